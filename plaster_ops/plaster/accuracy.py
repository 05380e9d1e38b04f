"""A, accuracy: the reloaded engine's own score on two sets, against the same weights in eager FP32 and against others.

`observe` and `judge_again` run in the evaluate stage and leave plain JSON beside a record of every sample; `read` and
`paired_differences` turn that into rows and evidence in the parent, without torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Better, Metric
from plaster_ops.domain.sample import PairedDifference
from plaster_ops.plaster.answer_record import SetRecord, judge, observe
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.resampling import UNRESAMPLED, SetScore
from plaster_ops.plaster.scoring import direction, evaluate_set, score
from plaster_ops.plaster.slices import in_words

ROLLING, GOLDEN = "rolling", "golden"
_METRIC_OF_SET = {ROLLING: m.ROLLING_SCORE, GOLDEN: m.ENGINE_SCORE}

_REFERENCE_ROWS = (
    m.REFERENCE_SCORE,
    m.RETAINED_RATIO,
    m.LOST_SCORE,
    m.AGREEMENT_RATIO,
    m.FLIPS_RATIO,
    m.OUTPUT_KL_MEAN_NATS,
)
_BASELINE_ROWS = (m.CHURN_VS_LAST_RATIO, m.NEGATIVE_FLIPS_VS_LAST_RATIO, m.DELTA_VS_LAST_SCORE, m.MCNEMAR_PVALUE)
_PARITY_FIELDS = {m.OUTPUT_COSINE_MIN_RATIO: "cosine_min", m.OUTPUT_ABS_ERR_MAX_SCORE: "abs_err_max"}
_INFINITE = "not finite: one of the two rules out a class that the other does not, or gives no number"
_NO_INTERVAL = "no interval: the score is not defined on resamples of these samples"
_NO_CLASSES = "the outputs have no class axis beside whole-number targets"

__all__ = [
    "GOLDEN",
    "ROLLING",
    "Answers",
    "SetScore",
    "direction",
    "evaluate_set",
    "gate_rows",
    "judge_again",
    "judge_set",
    "observe",
    "paired_differences",
    "read",
    "rejudged",
    "score",
]


def judge_set(
    metric: Any,
    engines: Mapping[str, Sequence[Answers]],
    *,
    which: str,
    reference: Sequence[Answers] | None = None,
    budget_s: float = 1.5,
    better: Better = Better.HIGHER,
) -> dict[str, Any]:
    """Scores every engine (the first is the new one) and the eager reference on one set; a section of the evaluation.

    `{"n", "engines": {label: score}, "reference": score | None, "agreement": {...} | None, "kl_mean_nats",
    "kl_is_infinite", "slices": {...} | None, "paired": {label: difference}, "changed": {label: {...} | None}}`;
    `paired` and `changed` are the new engine's against each other engine, `slices` (see `slices.worst_slice`) are where
    the answers carry any. `which` is "rolling" or "golden". `budget_s` is per engine.
    """
    record = observe(metric, engines, reference=reference, budget_s=budget_s, better=better)
    return judge_again(record, which, better)


def judge_again(record: SetRecord, which: str, better: Better) -> dict[str, Any]:
    """The same section from what was observed, without torch: today, or from the file that keeps it."""
    return judge(record, _METRIC_OF_SET[which], better)


def rejudged(evaluation: Mapping[str, Any], records: Mapping[str, SetRecord]) -> dict[str, Any]:
    """The evaluation with every set judged once more from its record; sets without one are as they were told."""
    better = Better(evaluation["better"])
    sets: Mapping[str, Any] = evaluation["sets"]
    again = {which: judge_again(records[which], which, better) if which in records else sets[which] for which in sets}
    return {**evaluation, "sets": again}


def read(
    evaluation: Mapping[str, Any],
    label: str = "now",
    *,
    baseline: str | None = None,
    alone: str = "the first retrain: there is no baseline",
) -> list[Row]:
    """Accuracy rows of one engine from `{"better", "sets": {"rolling": section, "golden": section | None}, "parity"}`.

    The headline is the golden score, or the rolling one where there is no golden set. `baseline` names the engine that
    churn, the difference and McNemar's p-value speak of; without one `alone` says why. What is known of the new engine
    only is not measured of any other. Whether the gate passed is not known yet: see `gate_rows`.
    """
    better = Better(evaluation["better"])
    sets: Mapping[str, Any] = evaluation["sets"]
    rolling, golden = sets.get(ROLLING), sets.get(GOLDEN)
    rows = [
        _score_row(m.ENGINE_SCORE, golden or rolling, label, better, None if golden else "rolling set: no golden set"),
        _score_row(m.ROLLING_SCORE, rolling, label, better, None),
        _given(m.EVAL_SAMPLES_COUNT, rolling and rolling["n"], "no rolling set was scored"),
        _given(m.GOLDEN_SAMPLES_COUNT, golden and golden["n"], "the pipeline has no golden set"),
        *gate_rows(None, "no gate was asked"),
    ]
    if rolling is None or label != next(iter(rolling["engines"])):
        reason = "no rolling set was scored" if rolling is None else "looked at in the new engine only"
        others = (*_REFERENCE_ROWS, *_BASELINE_ROWS, *_PARITY_FIELDS, m.WORST_SLICE_SCORE)
        return [*rows, *(Unmeasured(metric=metric, reason=reason) for metric in others)]
    rows += _against_reference(rolling, label, better)
    rows += _parity_rows(evaluation.get("parity"))
    rows += _against_baseline(rolling, baseline, alone)
    return [*rows, _slice_row(rolling.get("slices"), better)]


def gate_rows(passed: bool | None, reason: str | None = None) -> list[Row]:
    """Whether the accuracy gate passed: one row; None where it was not answered, for that `reason`."""
    if passed is None:
        return [Unmeasured(metric=m.GATE_PASSED_COUNT, reason=reason or "")]
    return [Reading(metric=m.GATE_PASSED_COUNT, value=int(passed), reason=reason)]


def paired_differences(evaluation: Mapping[str, Any], then: str) -> tuple[PairedDifference, ...]:
    """The new engine's differences from `then`: the headline on golden (rolling where there is none), and rolling."""
    sets: Mapping[str, Any] = evaluation["sets"]
    found = []
    for metric, section in (
        (m.ENGINE_SCORE, sets.get(GOLDEN) or sets.get(ROLLING)),
        (m.ROLLING_SCORE, sets.get(ROLLING)),
    ):
        if section and then in section["paired"]:
            found.append(PairedDifference.from_json({**section["paired"][then], "key": metric.key}))
    return tuple(found)


def _score_row(metric: Metric, section: Any, label: str, better: Better, note: str | None) -> Row:
    if not section or label not in section["engines"]:
        return Unmeasured(metric=metric, reason=f"engine {label!r} was not scored on this set", better=better)
    return _reading(metric, section["engines"][label], better, note)


def _reading(metric: Metric, scored: Mapping[str, Any], better: Better | None, note: str | None = None) -> Reading:
    bounds = scored["ci95"]
    return Reading(
        metric=metric,
        value=scored["value"],
        ci95=(bounds[0], bounds[1]) if bounds else None,
        n=scored["n"],
        reason="; ".join(part for part in (note, _NO_INTERVAL if scored["method"] == UNRESAMPLED else None) if part)
        or None,
        better=better,
    )


def _given(metric: Metric, value: float | None, reason: str, n: int | None = None) -> Row:
    return Unmeasured(metric=metric, reason=reason) if value is None else Reading(metric=metric, value=value, n=n)


def _against_reference(section: Mapping[str, Any], label: str, better: Better) -> list[Row]:
    reference = section["reference"]
    if not reference:
        return [Unmeasured(metric=metric, reason="no eager reference was scored") for metric in _REFERENCE_ROWS]
    mine, theirs, n = section["engines"][label]["value"], reference["value"], section["n"]
    higher = better is Better.HIGHER
    retained = (mine / theirs if higher else theirs / mine) if mine > 0 and theirs > 0 else None
    agreement: Mapping[str, float] = section["agreement"] or {}
    why_none = _INFINITE if section.get("kl_is_infinite") else _NO_CLASSES
    return [
        _reading(m.REFERENCE_SCORE, reference, None),
        _given(m.RETAINED_RATIO, retained, f"a score is not above 0: see {m.LOST_SCORE.key}", n),
        Reading(metric=m.LOST_SCORE, value=theirs - mine if higher else mine - theirs, n=n),
        _given(m.AGREEMENT_RATIO, agreement.get("agreement_ratio"), _NO_CLASSES, n),
        _given(m.FLIPS_RATIO, agreement.get("flips_ratio"), _NO_CLASSES, n),
        _given(m.OUTPUT_KL_MEAN_NATS, section.get("kl_mean_nats"), why_none, n),
    ]


def _parity_rows(parity: Mapping[str, Any] | None) -> list[Row]:
    reason = "no output is a floating number" if parity else "no eager reference was asked"
    return [_given(metric, (parity or {}).get(field), reason) for metric, field in _PARITY_FIELDS.items()]


def _against_baseline(section: Mapping[str, Any], baseline: str | None, alone: str) -> list[Row]:
    paired = section["paired"].get(baseline)
    if not paired:
        reason = alone if baseline is None else f"{baseline!r} was not scored"
        return [Unmeasured(metric=metric, reason=reason) for metric in _BASELINE_ROWS]
    changed: Mapping[str, float] = section["changed"].get(baseline) or {}
    bounds = paired["ci95"]
    by_samples = paired["method"] in ("mcnemar_midp", "identical")
    return [
        _given(m.CHURN_VS_LAST_RATIO, changed.get("churn_ratio"), _NO_CLASSES, section["n"]),
        _given(m.NEGATIVE_FLIPS_VS_LAST_RATIO, changed.get("negative_flips_ratio"), _NO_CLASSES, section["n"]),
        Reading(
            metric=m.DELTA_VS_LAST_SCORE,
            value=paired["delta"],
            ci95=(bounds[0], bounds[1]) if bounds else None,
            n=paired["n"],
            reason=None if bounds else _NO_INTERVAL,
        ),
        _given(
            m.MCNEMAR_PVALUE,
            paired["p_value"] if by_samples else None,
            f"the score is not 0 or 1 a sample: paired by {paired['method']}",
            paired["n"],
        ),
    ]


def _slice_row(slices: Mapping[str, Any] | None, better: Better) -> Row:
    if slices is None:
        return Unmeasured(metric=m.WORST_SLICE_SCORE, reason="the pipeline declares no slices", better=better)
    if slices["score"] is None:
        return Unmeasured(metric=m.WORST_SLICE_SCORE, reason=in_words(slices), better=better)
    return _reading(m.WORST_SLICE_SCORE, slices["score"], better, in_words(slices))
