"""Declaring a metric: one call, one key."""

from collections.abc import Callable
from typing import Any

from plaster_ops.domain.metric import Better, Letter, Metric, Scale

HIGHER, LOWER, DECLARED, INFO = Better.HIGHER, Better.LOWER, Better.DECLARED, Better.NEITHER
COUNTED: dict[str, Any] = {"scale": Scale.EXACT}
"""Counted, not measured: the same model gives the same number."""
JUDGED: dict[str, Any] = {"scale": Scale.EXACT, "margin": 0.0}
"""Counted, and any change is a verdict."""

declared: dict[str, Metric] = {}


def declare(letter: Letter, key: str, unit: str, better: Better, method: str, meaning: str, **judged: Any) -> Metric:
    """Adds one metric; `judged` are the fields of `Metric` that say whether and how it is compared.

    Raises `ValueError` where the key is declared already.
    """
    if key in declared:
        raise ValueError(f"metric {key} is declared twice")
    metric = Metric(letter=letter, key=key, unit=unit, better=better, method=method, meaning=meaning, **judged)
    declared[key] = metric
    return metric


def axis(letter: Letter, name: str) -> Callable[..., Metric]:
    """`declare` for the metrics of one axis, whose keys begin with its name."""

    def declare_one(key: str, unit: str, better: Better, method: str, meaning: str, **judged: Any) -> Metric:
        return declare(letter, f"{name}/{key}", unit, better, method, meaning, **judged)

    return declare_one
