"""One measuring process on a clock that only the engines move."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from plaster_ops.errors import SettingsError
from plaster_ops.plaster.collect import Collected, Setup, collect
from plaster_ops.plaster.meter import Meter, NoMeter, TickMeter
from plaster_ops.plaster.profiles import FULL, PROFILES, SMOKE, STANDARD, Profile, find_profile
from plaster_ops.plaster.sustained import least_metered_s
from plaster_ops.plaster.timing import Timed
from plaster_ops.plaster.turns import Bench, Progress
from tests.plaster.doubles import HandClock, KnownEngine, NumberedInputs

MS = 1_000_000


@dataclass
class Session:
    """Engines on one hand clock, measured with the smoke profile."""

    latencies: Mapping[str, Callable[[int, int], int]]
    events: list[Mapping[str, Any]] = field(default_factory=list)
    engines: dict[str, KnownEngine] = field(default_factory=dict)
    clock: HandClock = field(default_factory=HandClock)
    inputs: NumberedInputs = field(default_factory=NumberedInputs)
    meter: Meter = field(default_factory=NoMeter)

    def measure(self, *, labels: tuple[str, ...] = ("now", "then"), largest: int = 1000, **changes: Any) -> Collected:
        self.engines = {
            name: KnownEngine(self.clock, latency, largest=largest) for name, latency in self.latencies.items()
        }
        bench = Bench(
            runs={name: engine.run for name, engine in self.engines.items()},
            inputs=self.inputs,
            progress=Progress(emit=self.events.append),
            meter=self.meter,
            clock_ns=self.clock,
            cpu_s=self.clock.cpu_s,
        )
        fields: dict[str, Any] = {"labels": labels, "profile": SMOKE, "slo_ms": 7.0, "batches": (1, 2, 4, 8)}
        return collect(bench, Setup(**(fields | changes)))


def steady(per_batch_ms: float, per_sample_ms: float = 0.0) -> Callable[[int, int], int]:
    return lambda batch, _call: round((per_batch_ms + per_sample_ms * batch) * MS)


def test_single_stream_blocks_are_interleaved_and_answer_the_same_samples() -> None:
    session = Session({"now": steady(1.0), "then": steady(1.0)})
    blocks = [b for b in session.measure().blocks if b.kind == "single"]
    assert [b.label for b in blocks[:8]] == ["now", "then", "then", "now"] * 2
    assert {b.batch for b in blocks} == {1}
    assert len({len(b.timed.latencies_ns) for b in blocks}) == 1
    assert [b.index for b in blocks if b.label == "now"] == [b.index for b in blocks if b.label == "then"]


def test_the_other_engine_comes_first_in_the_next_process() -> None:
    session = Session({"now": steady(1.0), "then": steady(1.0)})
    blocks = session.measure(process=1, chosen_batches={"now": 4, "then": 4}).blocks
    assert [b.label for b in blocks[:4]] == ["then", "now", "now", "then"]


def test_a_process_keeps_to_the_seconds_of_the_profile() -> None:
    session = Session({"now": steady(0.5), "then": steady(0.5)})
    session.measure()
    planned_s = SMOKE.needed_s(2, searching=True, eager=False)
    assert 0.5 * planned_s < session.clock.now_ns * 1e-9 < 1.2 * planned_s


class QuietMeter(TickMeter):
    """A slow meter that needs no thread."""

    def __init__(self) -> None:
        self.lost, self.load = "", 0.0

    def begin(self, longest_s: float = 0.0) -> None:
        del longest_s

    def end(self, timed: Timed, batch: int) -> None:
        del timed, batch


@pytest.mark.parametrize("profile", [SMOKE, STANDARD, FULL])
@pytest.mark.parametrize("chosen", [None, {"now": 1, "then": 1}])
@pytest.mark.parametrize("query_ms", [2.0, 60.0])
def test_a_slow_energy_counter_does_not_stretch_the_throughput(
    profile: Profile, chosen: dict[str, int] | None, query_ms: float
) -> None:
    session = Session({"now": steady(query_ms), "then": steady(query_ms)}, meter=QuietMeter())
    quick = replace(profile, single_s=0.1, search_limit_s=1.0)
    blocks = session.measure(profile=quick, chosen_batches=chosen, slo_ms=100.0, batches=(1,)).blocks
    taken = [b.timed.window_ns * 1e-9 for b in blocks if b.kind == "throughput" and b.label == "now"]
    assert sum(taken) <= max(1.15 * profile.throughput_s, least_metered_s(profile, QuietMeter()) * 1.25)
    assert min(taken) >= 0.4
    assert max(taken) <= profile.energy_block_s * 1.25


def test_an_engine_of_half_a_second_is_measured_in_two_rounds_and_no_more() -> None:
    session = Session({"now": steady(500.0), "then": steady(500.0)})
    collected = session.measure()
    singles = [b for b in collected.blocks if b.kind == "single"]
    assert [b.label for b in singles] == ["now", "then", "then", "now"] * 2
    assert {len(b.timed.latencies_ns) for b in singles} == {1}
    assert session.clock.now_ns * 1e-9 < 40


def test_the_search_finds_the_largest_batch_that_pays_inside_the_limit() -> None:
    session = Session({"now": steady(2.0, 0.5), "then": steady(2.0, 0.5)})
    collected = session.measure()
    assert collected.chosen_batches == {"now": 8, "then": 8}
    assert {b.batch for b in collected.blocks if b.kind == "throughput"} == {8}
    assert collected.found is not None
    assert {p.batch: p.fit.value for p in collected.found.probes["now"]} == {
        1: "inside",
        2: "inside",
        4: "inside",
        8: "near",
    }
    assert session.inputs.forgotten == [2, 4]


def test_a_later_process_measures_the_batches_it_is_given_and_does_not_search() -> None:
    session = Session({"now": steady(1.0), "then": steady(1.0)})
    collected = session.measure(process=1, chosen_batches={"now": 2, "then": 4})
    assert collected.found is None
    assert {(b.label, b.batch) for b in collected.blocks if b.kind == "throughput"} == {("now", 2), ("then", 4)}


def test_enough_queries_are_asked_to_certify_a_slow_engine_inside_the_limit() -> None:
    session = Session({"now": steady(5.5), "then": steady(5.5)})
    collected = session.measure(batches=(1,))
    asked = sum(len(b.timed.latencies_ns) for b in collected.blocks if b.kind == "throughput" and b.label == "now")
    assert asked >= 459 / SMOKE.processes


def test_an_engine_beyond_the_limit_is_not_asked_longer_for_nothing() -> None:
    session = Session({"now": steady(50.0)})
    collected = session.measure(labels=("now",), batches=(1, 2))
    seconds = sum(b.timed.window_ns for b in collected.blocks if b.kind == "throughput") * 1e-9
    assert seconds < 1.6 * SMOKE.throughput_s
    assert collected.chosen_batches == {"now": 1}


def test_a_batch_with_a_bad_tail_is_stepped_down_for_both_engines() -> None:
    """From batch 4 on every 40th query takes 30 ms: too rare for a probe, too often for p99."""

    def tail(batch: int, call: int) -> int:
        return 30 * MS if batch >= 4 and call % 40 == 0 else round((1.0 + 0.01 * batch) * MS)

    collected = Session({"now": tail, "then": tail}).measure()
    assert collected.chosen_batches == {"now": 2, "then": 2}
    assert {b.batch for b in collected.blocks if b.kind == "throughput"} == {2}


def test_a_few_slow_queries_of_one_engine_do_not_part_equal_engines() -> None:
    def unlucky(batch: int, call: int) -> int:
        return 30 * MS if batch == 8 and call % 150 == 0 else round((1.0 + 0.01 * batch) * MS)

    longer = replace(SMOKE, throughput_s=1.0)
    collected = Session({"now": unlucky, "then": steady(1.0, 0.01)}).measure(profile=longer)
    assert collected.chosen_batches == {"now": 2, "then": 2}


def test_an_engine_clearly_over_the_limit_leaves_a_certified_one_alone() -> None:
    """Batch 8 hides its tail from the probe, whose calls are few."""

    def bad(batch: int, call: int) -> int:
        return 30 * MS if batch == 8 and call % 33 == 0 else round((1.0 + 0.01 * batch) * MS)

    quick = replace(SMOKE, throughput_s=8.0)
    collected = Session({"now": bad, "then": steady(1.0, 0.01)}).measure(profile=quick)
    assert collected.chosen_batches == {"now": 2, "then": 8}


def test_throughput_blocks_number_on_after_the_trial() -> None:
    collected = Session({"now": steady(1.0), "then": steady(1.0)}).measure(batches=(1,))
    indices = [b.index for b in collected.blocks if b.kind == "throughput" and b.label == "now"]
    assert indices == list(range(len(indices)))


def test_an_engine_that_refuses_larger_batches_is_measured_at_those_it_takes() -> None:
    collected = Session({"now": steady(1.0)}).measure(labels=("now",), largest=2)
    assert collected.chosen_batches == {"now": 2}
    assert collected.found is not None
    assert collected.found.ended == {"now": "failed"}


def test_an_engine_that_fails_on_batch_1_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        Session({"now": steady(1.0)}).measure(labels=("now",), largest=0)


def test_eager_gets_blocks_of_its_own_kind_and_no_throughput() -> None:
    session = Session({"now": steady(1.0), "eager": steady(3.0)})
    collected = session.measure(labels=("now",))
    eager = [b for b in collected.blocks if b.label == "eager"]
    assert {b.kind for b in eager} == {"eager"}
    assert set(collected.chosen_batches) == {"now"}
    assert "eager" in collected.warmths


def test_progress_rises_in_seconds_and_ends_at_the_total() -> None:
    session = Session({"now": steady(1.0), "then": steady(1.0)})
    session.measure()
    done = [event["done"] for event in session.events]
    assert done == sorted(done)
    assert session.events[-1]["done"] == session.events[-1]["total"]
    assert {event["event"] for event in session.events} == {"measure"}
    assert len(done) < 150


def test_warm_up_waits_until_an_engine_answers_steadily() -> None:
    def waking(_batch: int, call: int) -> int:
        return 20 * MS if call < 12 else MS

    warmths = Session({"now": waking}).measure(labels=("now",)).warmths
    assert warmths["now"].is_steady
    assert warmths["now"].p50_ns == MS
    assert warmths["now"].queries >= 10


def test_an_engine_that_never_answers_steadily_is_noted() -> None:
    def growing(_batch: int, call: int) -> int:
        return round(MS * 1.05 ** min(call, 120))

    warmth = Session({"now": growing}).measure(labels=("now",)).warmths["now"]
    assert not warmth.is_steady
    assert warmth.seconds < 4 * SMOKE.warmup_limit_s


def test_profiles_stay_inside_their_budget_with_two_engines() -> None:
    start_s = 3.0
    for profile in (SMOKE, STANDARD):
        needed_s = profile.needed_s(2, searching=True, eager=False)
        assert needed_s + start_s <= profile.process_limit_s(2)
        assert profile.timeout_s > profile.process_limit_s(2)
    assert 3 * FULL.single_s >= 600


def test_a_profile_is_shortened_but_never_below_a_quarter() -> None:
    assert SMOKE.shortened(0.5).single_s == SMOKE.single_s / 2
    assert SMOKE.shortened(-1.0).single_s == SMOKE.single_s / 4
    assert SMOKE.shortened(3.0) == SMOKE
    assert SMOKE.shortened(0.5).block_s == SMOKE.block_s


def test_an_unknown_profile_lists_the_known_ones() -> None:
    assert find_profile("smoke") is PROFILES["smoke"]
    with pytest.raises(SettingsError, match="'quick'") as caught:
        find_profile("quick")
    assert "smoke, standard, full" in caught.value.next_step
