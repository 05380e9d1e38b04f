"""`recompute`: every number of a run once more, from the raw samples and evidence that its artifacts keep."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading, Row
from plaster_ops.domain.compact import CompactKind
from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import RecordsGone, UsageError
from plaster_ops.flow.checked import Checked, check_compact
from plaster_ops.flow.record import EVALUATION, SAMPLES, WORKING
from plaster_ops.flow.sheet import replay
from plaster_ops.flow.sidebyside import compare_on
from plaster_ops.flow.wiring import open_to_look
from plaster_ops.plaster.accuracy import rejudged
from plaster_ops.plaster.answer_record import ANSWERS, load_answers
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.raw_files import load_evidence
from plaster_ops.settings import Settings

FORMAT = 1
_OF_A_ROW = (
    "now",
    "then",
    "change_ratio",
    "change_difference",
    "ci95",
    "detectable",
    "p_value",
    "p_adjusted",
    "verdict",
    "reason_code",
    "history",
)
"""Compared of each row of the comparison; a release that did not know one of them has not logged it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recomputed:
    """All numbers of one run. `what` of each is `value`, `ci95`, `n` or `status` of the card, or of the comparison.

    `source`: `raw`, or `compact` where the raw samples were pruned; `not_kept` are then the keys of which nothing is.
    """

    pipeline: str
    run: int
    folder: str
    numbers: tuple[Checked, ...]
    source: str = "raw"
    not_kept: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[Checked, ...]:
        """Those that the records do not give."""
        return tuple(number for number in self.numbers if not number.is_equal)

    def to_json(self) -> dict[str, Any]:
        """The `--json` object."""
        return {
            "schema": 1,
            "pipeline": self.pipeline,
            "run": self.run,
            "artifacts": self.folder,
            "source": self.source,
            "error_ratio": max((number.error_ratio for number in self.numbers), default=0.0),
            "not_kept": list(self.not_kept),
            "numbers": len(self.numbers),
            "metrics": len({number.key for number in self.numbers}),
            "equal": not self.differing,
            "differing": [
                {"key": number.key, "what": number.what, "logged": number.logged, "recomputed": number.again}
                for number in self.differing
            ],
        }


def recompute(settings: Settings, name: str | None, run: str) -> Recomputed:
    """Computes the card and the comparison of a run again from its artifacts, and holds them against the record.

    Where the raw samples are gone, what the journal keeps of them for ever gives some of the numbers, nearly.

    Raises `UsageError` for a run that does not exist or has no engine, `RecordsGone` where its records are gone.
    """
    found, _ = settings.pipeline(name)
    with open_to_look(settings) as ports:
        row = ports.journal.last_finished(found) if run == "last" else ports.journal.find_run(found, run)
        if row is None:
            raise UsageError(f"pipeline {found!r} has no finished run yet", f"plaster-ops retrain {found}")
        record = ports.journal.record(row.uid)
        kept = ports.journal.evidence(row.uid)
    if record is None or not record.card:
        raise UsageError(
            f"run {run!r} of {found!r} ended without a card", f"name a finished one: plaster-ops history {found}"
        )
    folder = Path(record.artifacts or "")
    if not (folder / SAMPLES).is_dir() and any(one.kind is CompactKind.TIMED for one in kept):
        compact = check_compact(record, kept)
        return Recomputed(
            pipeline=found,
            run=record.index,
            folder=str(folder),
            numbers=compact.numbers,
            source="compact",
            not_kept=compact.not_kept,
        )
    records = _read_records(folder)
    try:
        numbers = _numbers(record, records)
    except RecordsGone as error:
        raise RecordsGone(f"{error.message} (records: {folder})", error.next_step) from error
    except Exception as error:  # a reader was given what no run has ever written down
        raise _damaged(folder / WORKING, f"its working does not go through: {_words(error)}") from error
    return Recomputed(pipeline=found, run=record.index, folder=str(folder), numbers=tuple(numbers))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Records:
    """What a run kept: the working, the evaluation judged again, and raw samples where anything was timed."""

    working: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    evidence: Evidence | None


def _numbers(record: RunRecord, records: _Records) -> list[Checked]:
    rows = replay(records.working["card"], records.evidence, records.evaluation)
    numbers = _card_numbers(record.card, rows)
    if record.comparison:
        numbers += _comparison_numbers(record.comparison, _compare_again(record.card, rows, records))
    return numbers


def _read_records(folder: Path) -> _Records:
    """Everything, judged again from every answer. A run of a release that kept no answers does not say that it has
    them: its evaluation is as recorded."""
    working = _document(folder / WORKING, ("format",))
    if working["format"] != FORMAT:
        raise RecordsGone(
            f"{folder / WORKING} has format {working['format']!r}, this release reads {FORMAT}",
            "recompute with the release that wrote it: the tag plaster.version",
        )
    working = _document(folder / WORKING, ("card", "terms"))
    evaluation = _document(folder / EVALUATION, ("better", "sets"))
    if working.get("answers") or (folder / ANSWERS).is_file():
        answers = load_answers(folder / ANSWERS)
        try:
            evaluation = rejudged(evaluation, answers)
        except Exception as error:  # sets of another shape than were ever saved
            raise _damaged(folder / ANSWERS, _words(error)) from error
    return _Records(working=working, evaluation=evaluation, evidence=_evidence(folder / SAMPLES))


def _document(file: Path, fields: Sequence[str]) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, _words(error)) from error
    missing = [field for field in fields if not isinstance(found, dict) or field not in found]
    if missing:
        raise _damaged(file, f"it has no {', '.join(missing)}")
    return dict(found)


def _evidence(folder: Path) -> Evidence | None:
    """The raw samples of all processes; None where there are none. A process that cannot be read is named."""
    processes = sorted(folder.glob("p*"), key=lambda path: path.name.removeprefix("p").zfill(9))
    try:
        return load_evidence(processes) if processes else None
    except Exception as error:  # whatever bytes that are no record may lead to
        for process in processes:
            try:
                load_evidence([process])
            except Exception as one:
                raise _damaged(process, _words(one)) from one
        raise _damaged(folder, _words(error)) from error


def _damaged(place: Path, why: str) -> RecordsGone:
    return RecordsGone(
        f"the records of this run cannot be read in {place}: {why}",
        "they are among the artifacts of its MLflow run; a run of an older release has none",
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _card_numbers(logged: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[Checked]:
    """Value, interval, count and status of each logged row that has a value. Of two rows of a key the later counts."""
    last = {row.metric.key: row for row in rows}
    again = {fields["key"]: fields for fields in Card(tuple(last.values())).to_json()}
    numbers = []
    for fields in logged:
        if fields["value"] is None:
            continue
        mine: Mapping[str, Any] = again.get(fields["key"], {})
        numbers += [
            Checked(key=str(fields["key"]), what=what, logged=fields[what], again=mine.get(what))
            for what in ("value", "ci95", "n", "status")
        ]
    return numbers


def _compare_again(
    logged: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    records: _Records,
) -> list[Mapping[str, Any]]:
    """The rows of the comparison from the recomputed card; what that card does not measure is taken as recorded."""
    last = {row.metric.key: row for row in rows}
    recorded = {row.metric.key: row for row in Card.from_json(logged)}
    now = Card(tuple(last[key] if isinstance(last.get(key), Reading) else row for key, row in recorded.items()))
    return [row.to_json() for row in compare_on(now, records.working["terms"], records.evidence, records.evaluation)]


def _comparison_numbers(logged: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> list[Checked]:
    rows = {fields["key"]: fields for fields in again}
    return [
        Checked(
            key=str(fields["key"]),
            what=f"comparison {what}",
            logged=_without_words(fields[what]),
            again=_without_words(rows.get(fields["key"], {}).get(what)),
        )
        for fields in logged
        for what in _OF_A_ROW
        if fields.get(what) is not None
    ]


def _without_words(value: Any) -> Any:
    """A row of the history without its sentence: a release may word it anew, and its code is compared."""
    return {name: each for name, each in value.items() if name != "reason"} if isinstance(value, Mapping) else value
