"""The choice among engines that keep the score: by objective, ties by the next criterion, and always with a reason."""

import pytest

from plaster_ops.engines.choice import MARGIN, Raced, choose, finalists


def engine(
    label: str, p50_ms: float | None = 1.0, rate: float | None = 100.0, size: int = 1000, **more: float
) -> Raced:
    return Raced(label=label, engine_bytes=size, p50_ms=p50_ms, samples_per_s=rate, **more)


def test_the_fastest_is_first_and_the_rest_follow() -> None:
    chosen = choose([engine("slow", 2.0), engine("fast", 1.0), engine("middle", 1.5)], "latency")
    assert chosen.order == ("fast", "middle", "slow")
    assert chosen.sentence == "fast: best p50"


def test_within_the_margin_the_better_rate_decides() -> None:
    near = 1.0 + 0.9 * MARGIN
    chosen = choose([engine("a", 1.0, 100.0), engine("b", near, 150.0)], "latency")
    assert chosen.order == ("b", "a")
    assert chosen.sentence == "b: equal p50, then best samples/s"
    assert choose([engine("a", 1.0, 100.0), engine("b", 1.0 + 1.1 * MARGIN, 150.0)], "latency").order[0] == "a"


def test_full_equality_goes_by_the_order_of_the_settings() -> None:
    chosen = choose([engine("a"), engine("b")], "latency")
    assert chosen.sentence == "a: equal p50, then equal samples/s, then equal bytes, then first in the settings"


def test_throughput_is_the_rate_inside_the_limit() -> None:
    bounded, unbounded = (
        engine("bounded", 2.0, 100.0, slo_samples_per_s=90.0),
        engine("unbounded", 1.0, 500.0, slo_samples_per_s=50.0),
    )
    assert choose([unbounded, bounded], "throughput").order == ("bounded", "unbounded")
    assert choose([engine("never", 1.0, 1e6), bounded], "throughput").order[0] == "bounded"


def test_energy_is_joules_where_all_were_counted_and_cpu_time_where_not() -> None:
    both = [engine("a", inferences_per_j=5.0, cpu_s=1.0), engine("b", inferences_per_j=9.0, cpu_s=2.0)]
    assert choose(both, "energy").sentence == "b: best inferences/J"
    one = [engine("a", cpu_s=1.0), engine("b", inferences_per_j=9.0, cpu_s=2.0)]
    assert choose(one, "energy").sentence == "a: best CPU time (no energy counter)"


def test_size_is_bytes_then_latency() -> None:
    assert choose(
        [engine("a", 1.0, size=1010), engine("b", 2.0, size=1000), engine("c", 0.1, size=5000)], "size"
    ).order == (
        "a",
        "b",
        "c",
    )


def test_what_was_not_measured_comes_after_what_was() -> None:
    assert choose([engine("unknown", None, None), engine("known", 9.0)], "latency").order == ("known", "unknown")


def test_one_engine_is_chosen_without_a_comparison_and_none_is_an_error() -> None:
    assert choose([engine("only")], "latency").sentence == "only: no other came near it"
    assert choose([engine("only")], "latency", of=1).sentence == "only: the only one that keeps the score"
    with pytest.raises(ValueError, match="no engine"):
        choose([], "latency")


def test_the_race_is_for_the_best_four_and_for_nobody_twice_as_slow() -> None:
    tried = [
        engine(name, p50) for name, p50 in (("a", 1.9), ("b", 1.0), ("c", 2.1), ("d", 1.2), ("e", 1.3), ("f", 1.1))
    ]
    assert [found.label for found in finalists(tried, "latency")] == ["b", "d", "e", "f"]
    rates = [engine("x", 1.0, 10.0), engine("y", 5.0, 100.0)]
    assert [found.label for found in finalists(rates, "throughput")] == ["y"]
    assert len(finalists([engine("a", None, None), engine("b", None, None)], "latency")) == 2
