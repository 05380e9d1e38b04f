"""A metric of a pipeline that left its level at a retrain. Once told it is kept; people acknowledge or resolve it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.metrics import Scale, find_metric


class AlarmShape(StrEnum):
    """How the level was left."""

    STEP = "step"
    RAMP = "ramp"
    CREEP = "creep"


class AlarmState(StrEnum):
    """Where it stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """`index`: the first retrain of the new level; `raised_index`: the one whose end told it.

    `before`, `after`: medians of both sides, in the metric's unit. `change`: after / before - 1, or the difference
    where the metric's scale is one or `before` is 0. `p_value`: of the scan, deflated for autocorrelation; None for
    what has no test.
    `worse`: whether the metric went in its worse direction. `candidates`: what changed at `index`. `by`, `note`: who
    acknowledged or resolved it and what they said. `back_at`: the last retrain that had this level before an earlier
    alarm left it.
    """

    pipeline: str
    key: str
    fingerprint: str
    index: int
    raised_index: int
    raised_at: str
    shape: AlarmShape
    before: float
    after: float
    change: float
    p_value: float | None
    worse: bool
    candidates: tuple[Change, ...] = ()
    state: AlarmState = AlarmState.OPEN
    by: str | None = None
    note: str | None = None
    back_at: int | None = None
    id: int = 0

    @property
    def is_ratio(self) -> bool:
        """Whether `change` is a ratio of levels minus 1."""
        return find_metric(self.key).scale is not Scale.DIFFERENCE and self.before != 0

    @property
    def is_open_and_worse(self) -> bool:
        """Whether it went in the worse direction, and nobody has said a word of it."""
        return self.worse and self.state is AlarmState.OPEN

    @property
    def sentence(self) -> str:
        """`latency/e2e_p50_ms left its level at #9: 1 -> 1.12 ms (+12.0%, step)`."""
        unit = find_metric(self.key).unit
        told = f"{self.before:.4g} -> {self.after:.4g}{'' if unit == 'ratio' else f' {unit}'}"
        change = f"{self.change:+.1%}" if self.is_ratio else f"{self.change:+.4g}"
        return f"{self.key} left its level at #{self.index}: {told} ({change}, {self.shape})"

    def to_json(self) -> dict[str, Any]:
        """A row of `alarms` in `drift --json`."""
        metric = find_metric(self.key)
        plain = asdict(self)
        del plain["change"], plain["fingerprint"]
        return plain | {
            "letter": metric.letter.value,
            "unit": metric.unit,
            "shape": self.shape.value,
            "state": self.state.value,
            "change_ratio": self.change if self.is_ratio else None,
            "change_difference": None if self.is_ratio else self.change,
            "candidates": [each.to_json() for each in self.candidates],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], fingerprint: str) -> Self:
        """The alarm that `to_json` wrote of a series of that fingerprint."""
        ratio = plain["change_ratio"]
        return cls(
            pipeline=plain["pipeline"],
            key=plain["key"],
            fingerprint=fingerprint,
            index=plain["index"],
            raised_index=plain["raised_index"],
            raised_at=plain["raised_at"],
            shape=AlarmShape(plain["shape"]),
            before=plain["before"],
            after=plain["after"],
            change=plain["change_difference"] if ratio is None else ratio,
            p_value=plain["p_value"],
            worse=plain["worse"],
            candidates=tuple(Change(**{**row, "kind": ChangeKind(row["kind"])}) for row in plain["candidates"]),
            state=AlarmState(plain["state"]),
            by=plain["by"],
            note=plain["note"],
            back_at=plain.get("back_at"),
            id=plain["id"],
        )


ALARM_KEYS = (
    *(each.name for each in fields(Alarm) if each.name not in ("change", "fingerprint")),
    *("letter", "unit", "change_ratio", "change_difference"),
)
"""Keys of `Alarm.to_json`."""
