"""May the new engine become champion? Declared gates, each answered in one sentence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.card import MEASURED_STATUSES, Card, Reading
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
    NO_CHAMPION = "no_champion"
    """The gate asks only how much worse than the champion, and there is none yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What is declared of one metric. `required`: unmeasured is exit 6.

    `limit`: how far it may get worse than the champion's, in the metric's scale. `floor`, `ceiling`: what its value
    must not be below, or above, in the metric's own unit, whoever is champion. None: not asked.
    """

    name: str
    metric: Metric
    limit: float | None = None
    floor: float | None = None
    ceiling: float | None = None
    required: bool = False

    @property
    def words(self) -> str:
        """`may get worse by 0.005, and not be below 0.9`."""
        asked = (
            ("get worse by", self.limit),
            ("not be below", self.floor),
            ("not be above", self.ceiling),
        )
        return "may " + ", and ".join(f"{words} {bound:g}" for words, bound in asked if bound is not None)


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
            "floor": self.gate.floor,
            "ceiling": self.gate.ceiling,
            "required": self.gate.required,
            "state": self.state.value,
            "sentence": self.sentence,
        }


_FAILED, _UNANSWERED = " gate failed: ", " gate required, but "


def holds_back(sentence: str) -> bool:
    """Whether that sentence is of a gate that failed, or of a required one that could not be answered."""
    return _FAILED in sentence or _UNANSWERED in sentence


def apply_gates(
    gates: Sequence[Gate], comparison: Iterable[Comparison] | None, card: Card | None = None
) -> tuple[GateOutcome, ...]:
    """Answers every gate, from the comparison with the champion (None: there is none yet) and the engine's own card.

    A limit is asked of the comparison, a floor and a ceiling of the card's value as it was measured. What was not
    measured waives its gate; of several answers to one gate the gravest is its outcome.
    """
    rows = None if comparison is None else {row.metric.key: row for row in comparison}
    return tuple(_outcome(gate, rows, card) for gate in gates)


_Answer = tuple[GateState, str]
_GRAVEST = (GateState.FAILED, GateState.WAIVED, GateState.UNDECIDED, GateState.PASSED, GateState.NO_CHAMPION)
_WORDS = {
    GateState.FAILED: _FAILED,
    GateState.WAIVED: " gate waived: ",
    GateState.UNDECIDED: " gate undecided: ",
    GateState.PASSED: " gate passed: ",
    GateState.NO_CHAMPION: " gate: ",
}


def _outcome(gate: Gate, rows: Mapping[str, Comparison] | None, card: Card | None) -> GateOutcome:
    answers = [*_against_bounds(gate, card), *_against_champion(gate, rows)]
    state = next(state for state in _GRAVEST if any(state is given for given, _ in answers))
    words = _UNANSWERED if state is GateState.WAIVED and gate.required else _WORDS[state]
    told = "; ".join(dict.fromkeys(clause for given, clause in answers if given is state))
    return GateOutcome(gate=gate, state=state, sentence=f"{gate.name}{words}{told}")


def _against_bounds(gate: Gate, card: Card | None) -> list[_Answer]:
    if gate.floor is None and gate.ceiling is None:
        return []
    row = None if card is None else card.find(gate.metric)
    if not isinstance(row, Reading) or row.status not in MEASURED_STATUSES:
        why = (row.reason or row.status.value) if row is not None else "not measured"
        return [(GateState.WAIVED, why)]
    told, answers = f"{gate.metric.key} {row.value:.6g}", []
    for name, bound, beyond in (("floor", gate.floor, "below"), ("ceiling", gate.ceiling, "above")):
        if bound is None:
            continue
        if row.value < bound if name == "floor" else row.value > bound:
            answers.append((GateState.FAILED, f"{told} is {beyond} its {name} {bound:g}"))
        else:
            answers.append((GateState.PASSED, f"{told}, {name} {bound:g}"))
    return answers


def _against_champion(gate: Gate, rows: Mapping[str, Comparison] | None) -> list[_Answer]:
    if gate.limit is None:
        return []
    if rows is None:
        return [(GateState.NO_CHAMPION, "there is no champion to be held against yet")]
    row = rows.get(gate.metric.key)
    if row is None or row.judgement is Judgement.NOT_COMPARABLE:
        return [(GateState.WAIVED, row.reason if row and row.reason else "not measured")]
    if _fails(gate.limit, row):
        return [(GateState.FAILED, f"{describe_change(row)}, allowed {_allowed(gate.limit, row)}")]
    if row.judgement is Judgement.INCONCLUSIVE and not _surely_within(gate.limit, row):
        return [(GateState.UNDECIDED, str(row.reason))]
    return [(GateState.PASSED, describe_change(row))]


def _loss(row: Comparison, change: float) -> float:
    """How much worse a change is; negative where it is better."""
    return -change if row.better is Better.HIGHER else change


def _fails(limit: float, row: Comparison) -> bool:
    """Worse than the limit, and not by chance: the interval excludes 0 after the correction for all letters."""
    if row.change is None or _loss(row, row.change) <= limit:
        return False
    if row.metric.scale is Scale.EXACT:
        return True
    if row.ci95 is None or row.p_adjusted is None:
        return False
    return not row.ci95[0] <= 0 <= row.ci95[1] and row.p_adjusted <= FALSE_DISCOVERY_RATE


def _surely_within(limit: float, row: Comparison) -> bool:
    return row.ci95 is not None and max(_loss(row, bound) for bound in row.ci95) <= limit


def _allowed(limit: float, row: Comparison) -> str:
    return f"{limit:g}" if row.metric.scale is Scale.DIFFERENCE else f"{limit * 100:g} %"


def describe_change(row: Comparison) -> str:
    """`latency/e2e_p50_ms +9.1 % (95 % CI +4.2 % to +14.3 %)`, in the metric's own scale."""
    if row.change is None:
        return f"{row.metric.key} {row.judgement.value}"
    percent = row.metric.scale is not Scale.DIFFERENCE

    def show(value: float) -> str:
        return f"{value * 100:+.1f} %" if percent else f"{value:+.4f}"

    interval = f" (95 % CI {show(row.ci95[0])} to {show(row.ci95[1])})" if row.ci95 else ""
    return f"{row.metric.key} {show(row.change)}{interval}"
