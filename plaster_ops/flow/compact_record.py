"""What a finished retrain keeps of its raw samples for ever: in the journal, and among its artifacts for MLflow."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plaster_ops.domain.compact import CompactRow, to_document
from plaster_ops.domain.run import RunRecord
from plaster_ops.flow.context import Context
from plaster_ops.flow.record import Measured
from plaster_ops.flow.sidebyside import paired_evidence
from plaster_ops.plaster.accuracy import GOLDEN, ROLLING
from plaster_ops.plaster.answer_record import ANSWERS, load_answers
from plaster_ops.plaster.compact import curve_row, paired_row, right_rows, timed_rows
from plaster_ops.plaster.raw_files import load_evidence
from plaster_ops.tracking.journal_rows import to_json
from plaster_ops.tracking.journal_runs import PATHS

COMPACT, RECORD = "compact.json", "record.json"
"""Artifacts: the same rows as in the journal, and the record."""


def keep_compact(ctx: Context, told: Measured, record: RunRecord) -> tuple[CompactRow, ...]:
    """The rows for `finish_run`. They and the record are written to the run's artifacts, which go to MLflow: from
    there the journal can be made anew."""
    rows = tuple(_rows(told, ctx.folder))
    keep_record(ctx, record)
    (ctx.folder / "artifacts" / COMPACT).write_text(json.dumps(to_document(rows), indent=1), encoding="utf-8")
    return rows


def keep_record(ctx: Context, record: RunRecord) -> None:
    """`<run>/artifacts/record.json`: the whole record, paths inside the project relative to it."""
    folder = ctx.folder / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    plain = record.to_json()
    plain |= {name: ctx.journal.file.relative(plain[name]) for name in PATHS}
    (folder / RECORD).write_text(to_json(plain), encoding="utf-8")


def _rows(told: Measured, folder: Path) -> Iterator[CompactRow]:
    evaluation = told.built.evaluation
    evidence = load_evidence(told.raw) if told.raw else None
    if evidence is not None:
        yield from timed_rows(evidence, "now")
    answers = folder / str(evaluation.get("answers") or ANSWERS)
    if answers.is_file():
        holdouts = {ROLLING: told.prepared["eval_digest"], GOLDEN: told.prepared["golden_digest"]}
        yield from right_rows(load_answers(answers), holdouts)
    if told.terms is not None:
        yield _beside(told.terms, evidence, evaluation)
    curve = curve_row(told.trained.curve)
    if curve is not None:
        yield curve


def _beside(terms: Mapping[str, Any], evidence: Any, evaluation: Mapping[str, Any]) -> CompactRow:
    label, ran = str(terms["label"]), evidence if terms["remeasured"] else None
    paired = paired_evidence(ran, evaluation, label, terms["margins"], terms["noise"])
    return paired_row(label, paired.ratios.values(), paired.differences.values(), paired.noise or {})
