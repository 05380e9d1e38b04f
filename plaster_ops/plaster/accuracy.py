"""A, accuracy: the reloaded engine's own score on two sets, against the same weights in eager FP32 and against others.

`judge_set` runs in the evaluate stage and leaves plain JSON; `read` and `paired_differences` turn that into rows and
evidence in the parent, without torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Better, Metric
from plaster_ops.domain.sample import PairedDifference
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.score_pairs import compare_answers, pair_scores
from plaster_ops.plaster.scoring import SetScore, direction, evaluate_set, score

ROLLING, GOLDEN = "rolling", "golden"
_METRIC_OF_SET = {ROLLING: m.ROLLING_SCORE, GOLDEN: m.ENGINE_SCORE}

__all__ = [
    "GOLDEN",
    "ROLLING",
    "Answers",
    "SetScore",
    "direction",
    "evaluate_set",
    "judge_set",
    "paired_differences",
    "read",
    "score",
]


def judge_set(
    metric: Any,
    engines: Mapping[str, Sequence[Answers]],
    *,
    which: str,
    reference: Sequence[Answers] | None = None,
    budget_s: float = 1.5,
) -> dict[str, Any]:
    """Scores every engine (the first is the new one) and the eager reference on one set; a section of the evaluation.

    `{"n", "engines": {label: score}, "reference": score | None, "agreement": {...} | None,
    "paired": {label: difference}, "changed": {label: {...} | None}}`; `paired` and `changed` are the new engine's
    against each other engine. `which` is "rolling" or "golden". `budget_s` is per engine.
    """
    first, *others = engines
    mine = evaluate_set(metric, engines[first], budget_s=budget_s)
    scores = {first: mine}
    for label in others:
        scores[label] = evaluate_set(metric, engines[label], like=mine, budget_s=budget_s)
    eager = None if reference is None else evaluate_set(metric, reference, like=mine, budget_s=budget_s)
    return {
        "n": mine.n,
        "engines": {label: scored.to_json() for label, scored in scores.items()},
        "reference": eager.to_json() if eager else None,
        "agreement": compare_answers(engines[first], reference) if reference is not None else None,
        "paired": {label: pair_scores(mine, scores[label], _METRIC_OF_SET[which]).to_json() for label in others},
        "changed": {label: compare_answers(engines[first], engines[label]) for label in others},
    }


def read(evaluation: Mapping[str, Any], label: str = "now", *, baseline: str | None = None) -> list[Row]:
    """Accuracy rows of one engine from `{"better", "sets": {"rolling": section, "golden": section | None}, "parity"}`.

    The headline is the golden score, or the rolling one where there is no golden set. `baseline` names the engine that
    churn and McNemar's p-value speak of. Rows against the reference are the new engine's only.
    """
    better = Better(evaluation["better"])
    sets: Mapping[str, Any] = evaluation["sets"]
    rolling, golden = sets.get(ROLLING), sets.get(GOLDEN)
    rows = [
        _score_row(m.ENGINE_SCORE, golden or rolling, label, better, None if golden else "rolling set: no golden set"),
        _score_row(m.ROLLING_SCORE, rolling, label, better, None),
    ]
    for metric, section in ((m.EVAL_SAMPLES_COUNT, rolling), (m.GOLDEN_SAMPLES_COUNT, golden)):
        if section:
            rows.append(Reading(metric=metric, value=section["n"]))
    if rolling is None or label != next(iter(rolling["engines"])):
        return rows
    rows += _against_reference(rolling, label, better)
    rows += _parity_rows(evaluation.get("parity"))
    return [*rows, *(_against_baseline(rolling, baseline) if baseline else [])]


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
        reason=note,
        better=better,
    )


def _against_reference(section: Mapping[str, Any], label: str, better: Better) -> list[Row]:
    reference = section["reference"]
    if not reference:
        return [Unmeasured(metric=m.REFERENCE_SCORE, reason="no eager reference was scored")]
    mine, theirs = section["engines"][label]["value"], reference["value"]
    rows: list[Row] = [_reading(m.REFERENCE_SCORE, reference, None)]
    higher = better is Better.HIGHER
    if mine > 0 and theirs > 0:
        rows.append(Reading(metric=m.RETAINED_RATIO, value=mine / theirs if higher else theirs / mine, n=section["n"]))
    else:
        rows.append(Reading(metric=m.LOST_SCORE, value=theirs - mine if higher else mine - theirs, n=section["n"]))
    if section["agreement"]:
        rows.append(Reading(metric=m.AGREEMENT_RATIO, value=section["agreement"]["agreement_ratio"], n=section["n"]))
    return rows


def _parity_rows(parity: Mapping[str, Any] | None) -> list[Row]:
    pairs = ((m.OUTPUT_COSINE_MIN_RATIO, "cosine_min"), (m.OUTPUT_ABS_ERR_MAX_SCORE, "abs_err_max"))
    return [
        Reading(metric=metric, value=float(parity[field]))
        for metric, field in pairs
        if parity and parity.get(field) is not None
    ]


def _against_baseline(section: Mapping[str, Any], baseline: str) -> list[Row]:
    rows: list[Row] = []
    changed = section["changed"].get(baseline)
    if changed:
        for metric, field in (
            (m.CHURN_VS_LAST_RATIO, "churn_ratio"),
            (m.NEGATIVE_FLIPS_VS_LAST_RATIO, "negative_flips_ratio"),
        ):
            rows.append(Reading(metric=metric, value=changed[field], n=section["n"]))
    paired = section["paired"].get(baseline)
    if paired and paired["method"] in ("mcnemar_midp", "identical"):
        rows.append(Reading(metric=m.MCNEMAR_PVALUE, value=paired["p_value"], n=paired["n"]))
    return rows
