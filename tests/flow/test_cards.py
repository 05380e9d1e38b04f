"""What the flow adds to a card, and what the stage `evaluate` hands to it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plaster_ops.domain.card import Card, Reading, Status, Unmeasured
from plaster_ops.domain.judgement import Judgement
from plaster_ops.domain.metrics import E2E_P50_MS, GATE_PASSED_COUNT, ROLLING_SCORE, SPEEDUP_VS_EAGER_RATIO
from plaster_ops.flow.cards import with_gate, write_model
from plaster_ops.flow.promote import decide
from plaster_ops.flow.sheet import Sheet
from plaster_ops.flow.stages.examiner import joined
from plaster_ops.plaster.accuracy import gate_rows
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.programmability import UserCode
from tests.flow.test_promote import SCORES, pipeline, row
from tests.plaster.doubles import block, evidence

CHAMPION: Any = object()


def speedup_of(timed: Status, **eager: str) -> Any:
    one = [block("now", i, [1_000_000] * 50) for i in range(2)]
    two = [block("eager", i, [3_000_000] * 50, kind="eager") for i in range(2)]
    engines = {"now": {"device": "cuda:0"}, "eager": eager}
    found = evidence([*one, *two], device="cuda:0", engines=engines)
    sheet = Sheet(found)
    sheet.rows.append(Reading(metric=E2E_P50_MS, value=1.0, status=timed, reason="why"))
    coverage = {"ops_total": 1, "ops_in_engine": 1, "flops_ratio": 1.0, "engines": 1, "graph_breaks": 0}
    manifest = {"coverage": coverage, "files": []}
    built: Any = SimpleNamespace(
        manifest=manifest, tried=(), decision="build", how={}, export={"facts": {}}, folder=Path("/nowhere")
    )
    write_model(sheet, built, found, UserCode())
    return next(row for row in sheet.rows if row.metric is SPEEDUP_VS_EAGER_RATIO)


def test_a_speedup_is_trusted_as_far_as_the_latency_it_rests_on() -> None:
    plain = speedup_of(Status.MEASURED, device="cuda:0")
    assert (plain.value, plain.status, plain.reason) == (3.0, Status.MEASURED, None)
    for status in (Status.SUSPECT, Status.UNSTABLE):
        found = speedup_of(status, device="cuda:0")
        assert (found.status, found.reason) == (status, "why")


@pytest.mark.parametrize("eager", [{}, {"device": "cpu"}])
def test_eager_on_the_cpu_is_not_held_against_an_engine_on_a_gpu(eager: dict[str, str]) -> None:
    found = speedup_of(Status.MEASURED, **eager)
    assert isinstance(found, Unmeasured)
    assert found.reason == "eager ran on cpu, the engine on cuda:0"


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
