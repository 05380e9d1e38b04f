"""What the flow adds to a card, and what the stage `evaluate` hands to it."""

from typing import Any

import pytest
import torch

from plaster_ops.domain.card import Card, Reading, Unmeasured
from plaster_ops.domain.compare import Judgement
from plaster_ops.domain.metrics import GATE_PASSED_COUNT, ROLLING_SCORE
from plaster_ops.flow.cards import with_gate
from plaster_ops.flow.promote import decide
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.stages.examiner import joined
from plaster_ops.plaster.accuracy import gate_rows
from plaster_ops.plaster.answers import Answers
from tests.flow.test_promote import SCORES, pipeline, row

CHAMPION: Any = object()


def gate_on_card(*scores: Any, gates: dict[str, Any] | None = None, champion: Any = CHAMPION) -> Any:
    settings = pipeline() if gates is None else pipeline(gates=gates)
    decision = decide(settings, scores if champion else None)
    before = Card.of(gate_rows(None, "no gate was asked"))
    return with_gate(before, Sheet(), decision, champion).find(GATE_PASSED_COUNT)


def test_the_card_tells_whether_the_accuracy_gate_passed() -> None:
    found = gate_on_card(*SCORES)
    assert isinstance(found, Reading)
    assert found.value == 1
    assert str(found.reason).startswith("accuracy gate passed")
    found = gate_on_card(row(ROLLING_SCORE, Judgement.WORSE, -0.05))
    assert isinstance(found, Reading)
    assert found.value == 0


@pytest.mark.parametrize(
    ("scores", "given", "reason"),
    [
        ((row(ROLLING_SCORE, Judgement.INCONCLUSIVE, -0.0099, "too_noisy"),), {}, "accuracy gate undecided: too_noisy"),
        ((), {}, "accuracy gate waived: not measured"),
        (SCORES, {"gates": {"latency": {"max_rise_ratio": 0.05}}}, "no accuracy gate is declared"),
        ((), {"champion": None}, "the first retrain"),
    ],
)
def test_a_gate_that_was_not_answered_is_neither_1_nor_0(scores: Any, given: Any, reason: str) -> None:
    found = gate_on_card(*scores, **given)
    assert isinstance(found, Unmeasured)
    assert found.reason.startswith(reason)


def test_slices_stay_with_their_samples_where_ragged_batches_are_joined() -> None:
    def part(names: str, length: int) -> Answers:
        n = len(names)
        slices = tuple((name,) for name in names)
        return Answers(outputs=torch.zeros(n, length), targets=torch.zeros(n), n=n, slices=slices)

    long, short = joined([part("ab", 5), part("c", 3), part("de", 5)])
    assert (long.n, long.slices) == (4, (("a",), ("b",), ("d",), ("e",)))
    assert (short.n, short.slices) == (1, (("c",),))
