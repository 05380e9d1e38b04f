"""Seconds go to exactly one phase, and the phases sum to the cycle."""

import pytest

from plaster_ops.domain.timeline import Phase, Timeline
from plaster_ops.errors import BuildFailed
from tests.conftest import SteppedClock


def phases_of(timeline: Timeline) -> tuple[dict[str, float], float]:
    plain = timeline.to_json()
    return plain, plain.pop("cycle_s")


def test_what_no_phase_claims_is_other_and_all_sums_up(clock: SteppedClock) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s())
    clock.step(1.0)
    with timeline.phase(Phase.FIT):
        clock.step(5.0)
    phases, cycle_s = phases_of(timeline)
    assert (phases["fit_s"], phases["other_s"], cycle_s) == (5.0, 1.0, 6.0)
    assert sum(phases.values()) == cycle_s


def test_time_before_the_first_line_of_python_counts(clock: SteppedClock) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s() - 0.5)
    timeline.claim(Phase.WAIT, 0.5)
    assert timeline.cycle_s() == timeline.spent_s(Phase.WAIT) == 0.5


def test_a_phase_that_raises_is_charged_all_the_same(clock: SteppedClock) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s())

    def build() -> None:
        with timeline.phase(Phase.BUILD):
            clock.step(3.0)
            raise BuildFailed("no engine")

    with pytest.raises(BuildFailed):
        build()
    assert timeline.spent_s(Phase.BUILD) == 3.0


def test_seconds_move_between_phases_but_never_more_than_there_are(clock: SteppedClock) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s())
    with timeline.phase(Phase.LAUNCH):
        clock.step(4.0)
    timeline.move(Phase.LAUNCH, Phase.FIT, 3.0)
    timeline.move(Phase.LAUNCH, Phase.FIT, 99.0)
    timeline.move(Phase.FIT, Phase.LAUNCH, -1.0)
    assert (timeline.spent_s(Phase.LAUNCH), timeline.spent_s(Phase.FIT), timeline.cycle_s()) == (0.0, 4.0, 4.0)


def test_a_resumed_run_goes_on_from_the_seconds_of_its_first_attempt(clock: SteppedClock) -> None:
    first = Timeline(clock.monotonic_s, clock.monotonic_s())
    with first.phase(Phase.DATA):
        clock.step(2.0)
    clock.step(0.25)
    kept = first.to_json()
    clock.step(3600.0)
    second = Timeline(clock.monotonic_s, clock.monotonic_s(), kept)
    with second.phase(Phase.FIT):
        clock.step(7.0)
    phases, cycle_s = phases_of(second)
    assert (phases["data_s"], phases["other_s"], phases["fit_s"], cycle_s) == (2.0, 0.25, 7.0, 9.25)
    assert sum(phases.values()) == cycle_s


def test_a_phase_that_is_not_known_is_refused(clock: SteppedClock) -> None:
    with pytest.raises(ValueError, match="nap_s"):
        Timeline(clock.monotonic_s, 0.0, {"nap_s": 1.0})


def test_every_phase_is_named_even_where_nothing_happened(clock: SteppedClock) -> None:
    phases, cycle_s = phases_of(Timeline(clock.monotonic_s, clock.monotonic_s()))
    assert set(phases) == {phase.value for phase in Phase}
    assert cycle_s == 0.0
