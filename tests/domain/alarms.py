"""Alarms as a retrain tells them."""

from typing import Any

from plaster_ops.domain.alarm import Alarm, AlarmShape


def alarm(index: int = 4, **changed: Any) -> Alarm:
    """A step of p50 for the worse at that retrain, told two retrains later, with no id yet."""
    plain: dict[str, Any] = {
        "pipeline": "digits",
        "key": "latency/e2e_p50_ms",
        "fingerprint": "f" * 16,
        "index": index,
        "raised_index": index + 2,
        "raised_at": "2026-11-28T02:00:00+00:00",
        "shape": AlarmShape.STEP,
        "before": 1.0,
        "after": 1.2,
        "change": 0.2,
        "p_value": 1e-7,
        "worse": True,
    }
    return Alarm(**(plain | changed))
