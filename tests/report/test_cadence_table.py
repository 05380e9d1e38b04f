"""How the answer to "how often?" reads."""

import random
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from plaster_ops.domain.cadence import Slot, answer
from plaster_ops.domain.metrics import Better
from plaster_ops.flow.cadence import Found, LeftOut
from plaster_ops.report.cadence_table import cadence_markdown, cadence_view, show_span

DAY_S = 86_400.0


def found(lost_a_day: float, *, slots: int = 60, jitter: float = 0.0, better: Better = Better.HIGHER) -> Found:
    sign = 1.0 if better is Better.HIGHER else -1.0
    past = [
        Slot(
            index=j + 1,
            by_age=tuple(
                sign * 0.9 - lost_a_day * age + (jitter if (j + age) % 2 else -jitter) for age in range(min(j, 30))
            ),
            stale_s=tuple(DAY_S * (age + 1) for age in range(min(j, 30))),
        )
        for j in range(slots)
    ]
    return Found(
        pipeline="shop", runs=slots, better=better, answer=answer(past, margin=0.005), slot_s=DAY_S, train_s=60.0,
        target=0.8, left_out=(LeftOut(index=4, score=0.91),), series=((2, 0.9),),
    )  # fmt: skip


def text(told: Found) -> str:
    console = Console(width=160, record=True, file=StringIO())
    console.print(cadence_view(told, plain=True))
    return console.export_text()


def test_a_slow_cadence_is_suggested_with_what_it_loses_and_saves() -> None:
    told = text(found(0.0))
    assert "* suggested: every 10th time (10 d), at a loss of +0.0000" in told
    assert "1/10 of the retrains" in told
    assert "every 10th time (10 d) *" in told
    assert "6 s a slot" in told
    assert "better left out: #4 (0.9100): the model before was at target (0.8) on their new data" in told


def test_a_loss_that_is_shown_and_one_that_cannot_be_told_read_differently() -> None:
    assert "every 2nd time (2 d) loses 0.0100, at least 0.0100" in text(found(0.02))
    assert "do not tell whether every 2nd time (2 d) is enough" in text(found(0.0, jitter=0.1, slots=31))


def test_a_loss_that_is_shown_but_not_to_exceed_what_is_allowed_cannot_be_told_yet() -> None:
    draw = random.Random(3)
    past = [Slot(index=j, by_age=(0.9, 0.888 + draw.gauss(0, 0.02))) for j in range(45)]
    told = answer(past, margin=0.005)
    (low, high), loss = told.rows[1].loss_ci95, told.rows[1].loss
    assert 0 < low < 0.005 < loss < high
    assert "do not tell whether every 2nd time (2 d) is enough" in text(replace(found(0.0), answer=told))


def test_a_score_that_is_better_low_is_shown_as_the_user_knows_it() -> None:
    told = cadence_markdown(found(0.0, better=Better.LOWER))
    assert "| each time (1 d) | 0.9000 |" in told.replace(" *", "")


def test_no_answer_says_what_is_missing() -> None:
    assert "no suggestion yet: 4 slots with an earlier model, 8 are needed" in text(found(0.0, slots=5))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45.0, "45 s"), (720.0, "12 min"), (23_400.0, "6.5 h"), (259_200.0, "3 d")]
)
def test_spans_have_the_unit_that_people_use(seconds: float, shown: str) -> None:
    assert show_span(seconds) == shown
