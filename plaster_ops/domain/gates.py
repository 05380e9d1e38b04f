"""May the new engine become champion? Declared gates, each answered in one sentence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    ENGINE_BYTES,
    ENGINE_FLOPS_RATIO,
    ENGINE_SCORE,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    SLO_SAMPLES_PER_S,
    TRAIN_TO_ENGINE_S,
    Better,
    Metric,
    Scale,
)
from plaster_ops.domain.rule import FALSE_DISCOVERY_RATE

GATE_METRICS: Mapping[str, Metric] = {
    "programmability": ENGINE_FLOPS_RATIO,
    "latency": E2E_P50_MS,
    "accuracy": ROLLING_SCORE,
    "golden": ENGINE_SCORE,
    "size": ENGINE_BYTES,
    "throughput": SLO_SAMPLES_PER_S,
    "energy": INFERENCES_PER_J,
    "learning": TRAIN_TO_ENGINE_S,
}
"""The metric each gate in the settings speaks of."""


class GateState(StrEnum):
    """What became of one gate."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A declared limit: how far `metric` may get worse than the champion's. `required`: unmeasured is exit 6."""

    name: str
    metric: Metric
    limit: float
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOutcome:
    """One gate with its sentence."""

    gate: Gate
    state: GateState
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return {
            "gate": self.gate.name,
            "key": self.gate.metric.key,
            "limit": self.gate.limit,
            "required": self.gate.required,
            "state": self.state.value,
            "sentence": self.sentence,
        }


_FAILED, _UNANSWERED = " gate failed: ", " gate required, but "


def holds_back(sentence: str) -> bool:
    """Whether that sentence is of a gate that failed, or of a required one that could not be answered."""
    return _FAILED in sentence or _UNANSWERED in sentence


def apply_gates(gates: Sequence[Gate], comparison: Iterable[Comparison]) -> tuple[GateOutcome, ...]:
    """Answers every gate from the comparison with the champion. A letter that was not measured waives its gate."""
    rows = {row.metric.key: row for row in comparison}
    return tuple(_apply(gate, rows.get(gate.metric.key)) for gate in gates)


def _apply(gate: Gate, row: Comparison | None) -> GateOutcome:
    if row is None or row.judgement is Judgement.NOT_COMPARABLE:
        why = row.reason if row and row.reason else "not measured"
        words = _UNANSWERED if gate.required else " gate waived: "
        return GateOutcome(gate=gate, state=GateState.WAIVED, sentence=f"{gate.name}{words}{why}")
    if _fails(gate, row):
        sentence = f"{gate.name}{_FAILED}{describe_change(row)}, allowed {_allowed(gate)}"
        return GateOutcome(gate=gate, state=GateState.FAILED, sentence=sentence)
    if row.judgement is Judgement.INCONCLUSIVE and not _surely_within(gate, row):
        return GateOutcome(gate=gate, state=GateState.UNDECIDED, sentence=f"{gate.name} gate undecided: {row.reason}")
    return GateOutcome(gate=gate, state=GateState.PASSED, sentence=f"{gate.name} gate passed: {describe_change(row)}")


def _loss(row: Comparison, change: float) -> float:
    """How much worse a change is; negative where it is better."""
    return -change if row.better is Better.HIGHER else change


def _fails(gate: Gate, row: Comparison) -> bool:
    """Worse than the limit, and not by chance: the interval excludes 0 after the correction for all letters."""
    if row.change is None or _loss(row, row.change) <= gate.limit:
        return False
    if row.metric.scale is Scale.EXACT:
        return True
    if row.ci95 is None or row.p_adjusted is None:
        return False
    return not row.ci95[0] <= 0 <= row.ci95[1] and row.p_adjusted <= FALSE_DISCOVERY_RATE


def _surely_within(gate: Gate, row: Comparison) -> bool:
    return row.ci95 is not None and max(_loss(row, bound) for bound in row.ci95) <= gate.limit


def _allowed(gate: Gate) -> str:
    return f"{gate.limit:g}" if gate.metric.scale is Scale.DIFFERENCE else f"{gate.limit * 100:g} %"


def describe_change(row: Comparison) -> str:
    """`latency/e2e_p50_ms +9.1 % (95 % CI +4.2 % to +14.3 %)`, in the metric's own scale."""
    if row.change is None:
        return f"{row.metric.key} {row.judgement.value}"
    percent = row.metric.scale is not Scale.DIFFERENCE

    def show(value: float) -> str:
        return f"{value * 100:+.1f} %" if percent else f"{value:+.4f}"

    interval = f" (95 % CI {show(row.ci95[0])} to {show(row.ci95[1])})" if row.ci95 else ""
    return f"{row.metric.key} {show(row.change)}{interval}"
