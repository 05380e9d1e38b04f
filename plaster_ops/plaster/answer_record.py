"""What engines answered on one evaluation set, a sample at a time: enough to judge the set again without the answers.

`observe` asks the score (torch is loaded); `judge` works on the record alone, now or from `answers.npz` years later.
Outputs themselves are not kept.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plaster_ops.domain.metrics import Better, Metric
from plaster_ops.errors import RecordsGone
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.resampling import Floats, SetScore, score_of_replicates, score_of_samples
from plaster_ops.plaster.score_pairs import (
    Counts,
    answers_changed,
    change_ratios,
    divergences,
    mean_divergence,
    pair_scores,
)
from plaster_ops.plaster.scoring import evaluate_set
from plaster_ops.plaster.slices import Rows, members_of, worst_of_means, worst_slice

ANSWERS = "answers.npz"
_META = "meta"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SetRecord:
    """One set. `engines`: label to score, the new engine first; `reference`: eager fp32 of the same weights.

    `changed`: the new engine's answers against those of each other engine, `strayed` against the reference, both as
    `answers_changed` counts them; `nats` as `divergences`. `slices`: slice to its samples' numbers; `worst` is what
    `worst_slice` found where the score is no mean over samples, so that no record can tell it again.
    """

    engines: Mapping[str, SetScore]
    reference: SetScore | None = None
    changed: Mapping[str, Counts | None] = field(default_factory=dict)
    strayed: Counts | None = None
    nats: Floats | None = None
    slices: Mapping[str, Rows] | None = None
    worst: Mapping[str, Any] | None = None


def observe(
    metric: Any,
    engines: Mapping[str, Sequence[Answers]],
    *,
    reference: Sequence[Answers] | None = None,
    budget_s: float = 1.5,
    better: Better = Better.HIGHER,
) -> SetRecord:
    """Scores every engine (the first is the new one) and the eager reference. `budget_s` is per engine."""
    first, *others = engines
    mine = evaluate_set(metric, engines[first], budget_s=budget_s)
    scores = {first: mine}
    for label in others:
        scores[label] = evaluate_set(metric, engines[label], like=mine, budget_s=budget_s)
    is_sliced = any(part.slices for part in engines[first])
    return SetRecord(
        engines=scores,
        reference=None if reference is None else evaluate_set(metric, reference, like=mine, budget_s=budget_s),
        changed={label: answers_changed(engines[first], engines[label]) for label in others},
        strayed=None if reference is None else answers_changed(engines[first], reference),
        nats=None if reference is None else divergences(engines[first], reference),
        slices=members_of(engines[first]) if is_sliced else None,
        worst=worst_slice(metric, engines[first], better) if is_sliced and mine.per_sample is None else None,
    )


def judge(record: SetRecord, metric: Metric, better: Better) -> dict[str, Any]:
    """The section of the evaluation that `accuracy.judge_set` describes, as plain JSON; differences are of `metric`."""
    first, *others = record.engines
    mine = record.engines[first]
    nats = None
    if record.nats is not None and record.strayed is not None:
        nats = mean_divergence(record.nats, int(record.strayed[:, 0].sum()))
    finite = nats is None or math.isfinite(nats)
    worst = record.worst
    if record.slices is not None and mine.per_sample is not None:
        worst = worst_of_means(mine.per_sample, record.slices, better)
    return {
        "n": mine.n,
        "engines": {label: scored.to_json() for label, scored in record.engines.items()},
        "reference": record.reference.to_json() if record.reference else None,
        "agreement": change_ratios(record.strayed),
        "kl_mean_nats": nats if finite else None,
        "kl_is_infinite": not finite,
        "slices": worst,
        "paired": {label: pair_scores(mine, record.engines[label], metric).to_json() for label in others},
        "changed": {label: change_ratios(record.changed[label]) for label in others},
    }


# ---- written and read back -------------------------------------------------------------------------------------------
def save_answers(records: Mapping[str, SetRecord], file: Path) -> None:
    """All sets of one evaluation in one compressed file."""
    arrays: dict[str, Any] = {}
    meta: dict[str, Any] = {"format": _FORMAT, "sets": {}}
    for which, record in records.items():
        scores = [*record.engines.values(), *([record.reference] if record.reference else [])]
        meta["sets"][which] = {
            "labels": list(record.engines),
            "scores": [{"n": s.n, "method": s.method, "value": s.value, "digest": s.digest} for s in scores],
            "slices": None if record.slices is None else list(record.slices),
            "worst": record.worst,
        }
        for number, scored in enumerate(scores):
            _keep(arrays, f"{which}/scores/{number}", scored.per_sample)
            _keep(arrays, f"{which}/replicates/{number}", scored.replicates)
        for number, label in enumerate(record.engines):
            _keep(arrays, f"{which}/changed/{number}", record.changed.get(label))
        for number, rows in enumerate((record.slices or {}).values()):
            _keep(arrays, f"{which}/slices/{number}", rows)
        _keep(arrays, f"{which}/strayed", record.strayed)
        _keep(arrays, f"{which}/nats", record.nats)
    arrays[_META] = np.array(json.dumps(meta))
    np.savez_compressed(file, **arrays)


def _keep(arrays: dict[str, Any], name: str, values: Any) -> None:
    if values is not None:
        arrays[name] = values


def load_answers(file: Path) -> dict[str, SetRecord]:
    """What `save_answers` wrote, without unpickling anything. Raises `RecordsGone` for a file of another format."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(str(arrays[_META]))
        if meta["format"] != _FORMAT:
            raise ValueError(f"format {meta['format']!r}, this release reads {_FORMAT}")
        return {which: _record(which, told, arrays) for which, told in meta["sets"].items()}
    except Exception as error:  # whatever bytes that are no record may lead to
        raise RecordsGone(
            f"the answers of this run cannot be read in {file}: {error or type(error).__name__}",
            "they are among the artifacts of its MLflow run",
        ) from error


def _record(which: str, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> SetRecord:
    labels: list[str] = told["labels"]
    scores = [_score(f"{which}/{{}}/{number}", one, arrays) for number, one in enumerate(told["scores"])]
    names = told["slices"]
    return SetRecord(
        engines=dict(zip(labels, scores[: len(labels)], strict=True)),
        reference=scores[len(labels)] if len(scores) > len(labels) else None,
        changed={label: arrays.get(f"{which}/changed/{i}") for i, label in enumerate(labels) if i},
        strayed=arrays.get(f"{which}/strayed"),
        nats=arrays.get(f"{which}/nats"),
        slices=None if names is None else {name: arrays[f"{which}/slices/{i}"] for i, name in enumerate(names)},
        worst=told["worst"],
    )


def _score(name: str, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> SetScore:
    per_sample = arrays.get(name.format("scores"))
    if per_sample is not None:
        return score_of_samples(per_sample, told["digest"])
    replicates = arrays.get(name.format("replicates"))
    return score_of_replicates(told["value"], replicates, method=told["method"], n=told["n"], digest=told["digest"])
