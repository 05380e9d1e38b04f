"""The `--json` object of a retrain, with one row of each kind of answer."""

from typing import Any

from plaster_ops.domain.card import Card, Reading, Row, Unmeasured
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import (
    CPU_TIME_PER_INFERENCE_S,
    E2E_P50_MS,
    E2E_P95_MS,
    ENGINE_BYTES,
    ENGINE_SCORE,
    INFERENCES_PER_J,
    SLO_SAMPLES_PER_S,
    Better,
)

ROWS: tuple[Row, ...] = (
    Reading(metric=E2E_P50_MS, value=1.234, ci95=(1.2, 1.3), n=1000),
    Reading(metric=E2E_P95_MS, value=2.5),
    Reading(metric=ENGINE_SCORE, value=0.9731, better=Better.HIGHER),
    Reading(metric=ENGINE_BYTES, value=97_725),
    Reading(metric=SLO_SAMPLES_PER_S, value=8214.2),
    Unmeasured(metric=INFERENCES_PER_J, reason="no NVML, no RAPL"),
    Reading(metric=CPU_TIME_PER_INFERENCE_S, value=0.00012),
)


def compared(
    row: Row, judgement: Judgement, change: float | None, ci95: tuple[float, float] | None = None, reason: str = ""
) -> dict[str, Any]:
    now = row.value if isinstance(row, Reading) else None
    return Comparison(
        metric=row.metric,
        judgement=judgement,
        now=now,
        then=None if change is None else 1.0,
        change=change,
        ci95=ci95,
        limit=row.metric.margin,
        reason=reason or None,
        better=row.direction,
    ).to_json()


COMPARED = (
    compared(ROWS[0], Judgement.WORSE, 0.091, (0.042, 0.143)),
    compared(ROWS[2], Judgement.BETTER, 0.0167, (0.01, 0.02)),
    compared(ROWS[3], Judgement.SAME, 0.0),
    compared(ROWS[4], Judgement.INCONCLUSIVE, -0.06, (-0.15, 0.03), "too_noisy: this comparison can show 9 %"),
    compared(ROWS[5], Judgement.NOT_COMPARABLE, None, reason="not measured now: no NVML, no RAPL"),
    compared(ROWS[6], Judgement.NOT_COMPARABLE, None, reason="not comparable: threads: 1 against 2"),
)


ASSESSMENT: dict[str, Any] = {
    "overall": "worse",
    "tradeoff": "trades L for A",
    "changed": [
        {"kind": "params", "name": "train.max_epochs", "then": "15", "now": "20"},
        {"kind": "environment", "name": "torch", "then": None, "now": "2.12"},
        {"kind": "data", "name": "train_samples", "then": "600", "now": "697"},
    ],
    "environment": {
        "cause": "both",
        "sentence": "the old engine is 14 % slower than it was logged",
        "rows": [
            {
                "key": "latency/e2e_p50_ms",
                "logged": 1.0,
                "today": 1.14,
                "change_ratio": 0.14,
                "verdict": "worse",
            }
        ],
    },
    "alarms": [
        {
            "id": 1,
            "pipeline": "digits",
            "letter": "L",
            "key": "latency/e2e_p50_ms",
            "unit": "ms",
            "index": 9,
            "raised_index": 12,
            "raised_at": "2026-11-20T02:00:00+00:00",
            "shape": "step",
            "before": 1.0,
            "after": 1.25,
            "change_ratio": 0.25,
            "change_difference": None,
            "worse": True,
            "p_value": 1e-5,
            "candidates": [{"kind": "environment", "name": "torch", "then": "2.11", "now": "2.12"}],
            "state": "open",
            "by": None,
            "note": None,
        }
    ],
}


def payload(**changed: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "schema": 1,
        "pipeline": "digits",
        "exit_code": 3,
        "verdict": "held",
        "reasons": ["latency gate failed: 9 % slower | allowed 5 %"],
        "run": {"index": 2, "id": "abc", "trigger": "cron", "slot": None, "fingerprint": "f"},
        "baseline": {"index": 1, "id": "def", "which": "last", "how": "remeasured"},
        "card": Card.of(ROWS).to_json(),
        "comparison": list(COMPARED),
        "phases": {"wait_s": 0.5, "fit_s": 9.25, "other_s": 0.0, "cycle_s": 9.75},
        "engine": {"backend": "openvino", "precision": "fp32", "decision": "build", "start": "warm"},
        "data": {"from": None, "to": 996, "new_samples": 443, "train_samples": 697, "eval_samples": 221},
        "mlflow": {"experiment": "plaster/digits", "run_id": "abc", "model_version": 2, "spooled": None},
    }
    return whole | changed
