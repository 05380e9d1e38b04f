"""A, of the data itself: rows from what the stage `prepare` told of the inputs. Reads nothing and tests nothing."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Metric

_NOT_LOOKED = "the data was not looked at"


def input_rows(told: Mapping[str, Any] | None) -> list[Row]:
    """The rows of `INPUTS` from metric key -> `{"value", "n", "reason"}`; a value of None is not measured."""
    return [_row(metric, (told or {}).get(metric.key) or {}) for metric in m.INPUTS]


def _row(metric: Metric, told: Mapping[str, Any]) -> Row:
    value, reason = told.get("value"), told.get("reason")
    if value is None:
        return Unmeasured(metric=metric, reason=reason or _NOT_LOOKED)
    return Reading(metric=metric, value=value, n=told.get("n"), reason=reason or None)
