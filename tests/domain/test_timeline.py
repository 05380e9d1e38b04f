"""Seconds go to exactly one phase, and the phases sum to the cycle."""

import pytest

from plaster_ops.domain.timeline import Instant, Phase, Timeline
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


def test_an_open_phase_counts_up_to_now(clock: SteppedClock) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s())
    with timeline.phase(Phase.LOG):
        clock.step(3.0)
        assert (timeline.to_json()["log_s"], timeline.to_json()["other_s"], timeline.faults()) == (3.0, 0.0, ())
        clock.step(1.0)
    assert timeline.spent_s(Phase.LOG) == 4.0


def test_a_stepped_wall_clock_moves_no_moment(clock: SteppedClock) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s() - 2.0, start_utc_s=clock.epoch - 2.0)
    begun = clock.epoch - 2.0
    clock.epoch -= 3600.0
    clock.monotonic += 8.0
    assert timeline.now() == Instant(offset_s=10.0, utc_s=begun + 10.0)
    assert timeline.trigger() == Instant(offset_s=0.0, utc_s=begun)


def test_a_resumed_run_dates_its_moments_anew_and_leaves_the_time_between_out(clock: SteppedClock) -> None:
    clock.step(3600.0)
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s(), {"fit_s": 5.0}, start_utc_s=clock.epoch)
    clock.step(1.0)
    assert timeline.now() == Instant(offset_s=6.0, utc_s=clock.epoch)


@pytest.mark.parametrize(
    ("claimed_s", "words"), [(101.5, "the phases sum to 101.50 s, but"), (98.5, "1.50 s of 100.00 s")]
)
def test_spans_that_miss_the_cycle_by_more_than_a_hundredth_are_a_fault(
    clock: SteppedClock, claimed_s: float, words: str
) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s())
    clock.step(100.0)
    timeline.claim(Phase.FIT, claimed_s)
    (fault,) = timeline.faults()
    assert words in fault


@pytest.mark.parametrize("claimed_s", [100.9, 99.1])
def test_spans_within_a_hundredth_of_the_cycle_are_no_fault(clock: SteppedClock, claimed_s: float) -> None:
    timeline = Timeline(clock.monotonic_s, clock.monotonic_s())
    clock.step(100.0)
    timeline.claim(Phase.FIT, claimed_s)
    assert timeline.faults() == ()
    assert timeline.to_json()["cycle_s"] == 100.0
