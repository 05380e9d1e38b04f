"""A change of speed is the machine's where the earlier engine shows it too, the model's where only the new one does."""

import math
from dataclasses import replace
from typing import Any

import pytest

from plaster_ops.domain.attribution import Attribution, Cause, attribute, measured_again
from plaster_ops.domain.card import Card, Reading, Status
from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.compare import compare_cards
from plaster_ops.domain.earlier import Earlier
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import (
    CPU_TIME_PER_INFERENCE_S,
    E2E_P50_MS,
    E2E_P90_MS,
    ENGINE_BYTES,
    SLO_BATCH_COUNT,
    SLO_SAMPLES_PER_S,
    Metric,
)
from tests.domain.cards import evidence, ratios

THREADS = Change(kind=ChangeKind.ENVIRONMENT, name="threads", then="2", now="1")
NOTHING_KNOWN: dict[str, Any] = {"margins": {}, "history": {}}
QUIET = Earlier(values=(1.00, 1.01, 0.99, 1.0, 1.005, 0.995, 1.0, 1.01, 0.99, 1.0))


def value(metric: Metric, at: float, *, width: float = 0.02, status: Status = Status.MEASURED) -> Reading:
    return Reading(metric=metric, value=at, ci95=(at * (1 - width), at * (1 + width)), status=status)


def card(p50_ms: float, *, rate: float | None = None, width: float = 0.02) -> Card:
    return Card((value(E2E_P50_MS, p50_ms, width=width), value(SLO_SAMPLES_PER_S, rate or 1000 / p50_ms, width=width)))


def whose(
    *, logged: float, then: float, now: float, width: float = 0.02, changes: tuple[Change, ...] = ()
) -> Attribution:
    """The old engine logged that p50, has `then` today, and the new one beside it `now`, in ms."""
    seen = evidence(
        *(ratios(m, *[s * math.log(now / then)] * 3) for m, s in ((E2E_P50_MS, 1), (SLO_SAMPLES_PER_S, -1)))
    )
    rows = compare_cards(card(now), card(then), seen)
    again = measured_again(
        card(logged, width=width), card(then, width=width), margins={}, history={E2E_P50_MS.key: QUIET}
    )
    return attribute(again, rows, then="run #1", changes=changes)


def test_what_slows_both_engines_is_the_environments_and_is_named() -> None:
    found = whose(logged=1.0, then=1.5, now=1.5, changes=(THREADS,))
    assert found.cause is Cause.ENVIRONMENT
    assert found.sentence == (
        "the engine of run #1 is 50% slower than it was logged (e2e_p50_ms 1 -> 1.5):"
        " that is the environment's (threads 2 -> 1), not the model's"
    )


def test_what_is_no_latency_is_above_or_below_what_was_logged() -> None:
    logged, today = (Card((value(SLO_SAMPLES_PER_S, rate, width=0.02),)) for rate in (1000.0, 550.0))
    found = attribute(measured_again(logged, today, margins={}, history={}), (), then="run #1")
    assert found.cause is Cause.ENVIRONMENT
    assert found.sentence.startswith(
        "the engine of run #1 shows slo_samples_per_s 45% below what was logged (1000 -> 550):"
    )


def test_an_environment_that_changed_in_nothing_that_is_recorded_says_so() -> None:
    assert "(nothing that is recorded of it changed)" in whose(logged=1.0, then=1.5, now=1.5).sentence


def test_what_only_the_new_engine_shows_is_the_models() -> None:
    found = whose(logged=1.0, then=1.0, now=1.3, changes=(THREADS,))
    assert found.cause is Cause.MODEL
    assert (
        found.sentence
        == "the engine of run #1 runs as it was logged, so e2e_p50_ms +30.0 % of the new engine is the model's"
    )


def test_a_slower_machine_and_a_slower_model_are_told_apart() -> None:
    found = whose(logged=1.0, then=1.5, now=1.95)
    assert found.cause is Cause.BOTH
    assert "50% slower than it was logged" in found.sentence
    assert found.sentence.endswith("today the new engine has e2e_p50_ms +30.0 %: that is the model's")


def test_a_model_that_makes_up_for_a_slower_machine_is_seen() -> None:
    """As fast as was logged, on a machine that slowed the old engine by half: the sum shows nothing, its parts do."""
    assert whose(logged=1.0, then=1.5, now=1.0).cause is Cause.BOTH


def test_nothing_moved_is_said_where_the_old_engine_is_shown_to_be_as_it_was() -> None:
    found = whose(logged=1.0, then=1.0, now=1.0)
    assert (found.cause, found.sentence) == (
        Cause.NONE,
        "the engine of run #1 runs as it was logged, and the new one like it",
    )


def test_wide_intervals_leave_it_open_and_say_what_would_have_shown() -> None:
    found = whose(logged=1.0, then=1.08, now=1.08, width=0.4)
    assert found.cause is Cause.UNKNOWN
    assert "only changes of" in found.sentence


def test_the_spread_from_run_to_run_is_part_of_the_error() -> None:
    """Half more is much in a history that keeps to 1 %, and nothing new in one that swings by half."""
    wild = Earlier(values=(1.0, 1.6, 0.7, 1.3, 0.9, 1.5, 0.8, 1.2, 1.0, 0.6))
    told = {}
    for name, history in (("quiet", QUIET), ("wild", wild)):
        again = measured_again(card(1.0), card(1.5), margins={}, history={E2E_P50_MS.key: history})
        told[name] = next(row.found.judgement.value for row in again if row.metric is E2E_P50_MS)
    assert told == {"quiet": "worse", "wild": "inconclusive"}


def test_what_was_measured_at_another_batch_that_day_is_not_held_against_it() -> None:
    def at(batch: int, cpu_s: float) -> Card:
        return Card((Reading(metric=SLO_BATCH_COUNT, value=batch), value(CPU_TIME_PER_INFERENCE_S, cpu_s)))

    assert measured_again(at(1, 2.0), at(8, 1.0), margins={}, history={}) == ()
    (row,) = measured_again(at(8, 2.0), at(8, 1.0), margins={}, history={})
    assert row.found.judgement.value == "better"


def test_guesses_disturbed_values_and_counts_are_held_against_nothing() -> None:
    logged = Card((value(E2E_P50_MS, 1.0, status=Status.SUSPECT), Reading(metric=ENGINE_BYTES, value=5.0)))
    assert measured_again(logged, card(2.0), margins={}, history={}) == ()


def test_an_engine_that_was_not_timed_on_its_own_day_is_said_to_be_so() -> None:
    rows = compare_cards(card(1.0), card(1.0), evidence(ratios(E2E_P50_MS, 0.0, 0.001, -0.001)))
    found = attribute((), rows, then="run #1")
    assert found.cause is Cause.UNKNOWN
    assert found.sentence.startswith("the engine of run #1 was measured today, but not on its own day")


@pytest.mark.parametrize("again", [()])
def test_an_engine_that_was_not_measured_again_leaves_it_unknown(again: tuple[()]) -> None:
    found = attribute(again, (), then="run #1")
    assert found.to_json() == {
        "cause": "unknown",
        "sentence": "the engine of run #1 was not measured again",
        "rows": [],
    }


def of(p50_ms: float, *, width: float = 0.02, metric: Metric = E2E_P50_MS, others: int = 0) -> Card:
    """That latency, and so many other timed metrics that never move."""
    rest = ((E2E_P90_MS, 2.0), (SLO_SAMPLES_PER_S, 5.0), (CPU_TIME_PER_INFERENCE_S, 3.0))[:others]
    return Card((value(metric, p50_ms, width=width), *(value(other, at) for other, at in rest)))


def test_one_of_many_that_moves_by_a_hair_is_not_believed() -> None:
    judged = {}
    for others in (0, 3):
        rows = measured_again(of(1.0, width=0.05, others=others), of(1.12, width=0.05, others=others), **NOTHING_KNOWN)
        judged[others] = rows[0].found.judgement.value
    assert judged == {0: "worse", 3: "inconclusive"}


def test_two_days_differ_by_the_spread_of_both() -> None:
    """Twelve values whose logs scatter by s: the difference of two of them by sqrt 2 times s."""
    swings = Earlier(values=tuple(math.exp(0.1 * sign) for sign in (1, -1) * 6))
    (row,) = measured_again(of(1.0), of(1.3), margins={}, history={E2E_P50_MS.key: swings})
    assert row.found.ci95 is not None
    low, high = (math.log1p(bound) for bound in row.found.ci95)
    t_of_11 = 2.201
    assert (high - low) / 2 == pytest.approx(t_of_11 * math.sqrt(2 * 12 / 11) * 0.1, rel=1e-3)


def test_a_machine_that_is_known_to_be_noisy_blames_nobody() -> None:
    judged = {}
    for noise in (0.0, 0.3):
        asked = {"history": {E2E_P50_MS.key: QUIET}, "noise": {E2E_P50_MS.key: noise}}
        (row,) = measured_again(of(1.0), of(1.3), margins={}, **asked)
        judged[noise] = row.found.judgement.value
    assert judged == {0.0: "worse", 0.3: "inconclusive"}


def test_what_was_measured_by_another_method_that_day_is_not_held_against_it() -> None:
    before = replace(E2E_P50_MS, method="latency.of.before")
    assert measured_again(of(1.0, metric=before), of(2.0), **NOTHING_KNOWN) == ()


def test_a_change_against_stored_numbers_is_never_the_models() -> None:
    """Stored numbers were measured on another day: the change may be the machine's as well."""
    again = measured_again(of(1.0), of(1.0), margins={}, history={E2E_P50_MS.key: QUIET})
    causes = {}
    for how in ("remeasured", "stored"):
        row = Comparison(metric=E2E_P50_MS, judgement=Judgement.WORSE, now=1.3, then=1.0, change=0.3, how=how)
        causes[how] = attribute(again, [row], then="run #1").cause
    assert causes == {"remeasured": Cause.MODEL, "stored": Cause.NONE}


def test_an_open_row_is_not_called_unchanged() -> None:
    again = measured_again(of(1.0, width=0.4), of(1.0, width=0.4), **NOTHING_KNOWN)
    assert again[0].found.judgement is Judgement.INCONCLUSIVE
    assert attribute(again, (), then="run #1").cause is Cause.UNKNOWN


def test_the_latency_is_what_is_told_whatever_else_moved() -> None:
    logged, today = (Card(tuple(reversed(tuple(card(p50_ms))))) for p50_ms in (1.0, 1.5))
    again = measured_again(logged, today, **NOTHING_KNOWN)
    assert [row.metric for row in again] == [SLO_SAMPLES_PER_S, E2E_P50_MS]
    assert "is 50% slower than it was logged" in attribute(again, (), then="run #1").sentence


def test_the_smallest_change_that_would_have_shown_is_told() -> None:
    def two(p50_ms: float) -> Card:
        return Card((value(E2E_P50_MS, p50_ms, width=0.3), value(E2E_P90_MS, p50_ms, width=0.6)))

    again = measured_again(two(1.0), two(1.08), **NOTHING_KNOWN)
    widths = sorted(row.found.detectable or 0.0 for row in again)
    assert widths[0] < widths[1] / 1.5
    assert f"only changes of {widths[0]:.0%} show" in attribute(again, (), then="run #1").sentence
