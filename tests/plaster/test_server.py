"""The open-loop server, on a clock that only it moves: against queueing theory, and with stalls."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from plaster_ops.plaster.load import Samples
from plaster_ops.plaster.server import Batcher, EngineAnswer, RealWait, Served, poisson_arrivals_ns, serve
from tests.plaster.queues import LAWS, MS, OwnClock, Services, lindley_ns, mean_wait_ms, simulate

_BATCHES = 100


def customers(law: str, load: float) -> int:
    """So many that 3 % is three standard errors: asymptotic variance / mean^2 of the waiting time, for M/M/1 exact.

    M/D/1 has half of it, the arrivals alone vary; allowing for the realised gaps and services leaves half of either
    (both seen over 60 seeds).
    """
    of_mm1 = (2 + 5 * load - 4 * load**2 + load**3) / (load * (1 - load) ** 2)
    return round(of_mm1 * (0.5 if law == "M/M/1" else 0.25) / 0.01**2)


def mean_wait_by_control(served: Served, services: Services, load: float) -> float:
    """Mean wait, with what chance did to gaps and services regressed out over batches (control variates)."""
    columns = (served.latencies_ns - services, np.diff(served.due_ns, prepend=0), services)
    wait, gap, service = (np.array([part.mean() for part in np.array_split(c, _BATCHES)]) / MS for c in columns)
    controls = np.column_stack([np.ones(_BATCHES), gap - 1 / load, service - 1])
    return float(np.linalg.lstsq(controls, wait, rcond=None)[0][0])


@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("law", LAWS)
def test_the_mean_wait_is_that_of_queueing_theory(law: str, load: float) -> None:
    count = customers(law, load)
    services = LAWS[law](np.random.default_rng([7, 1]), count)
    found = mean_wait_by_control(simulate(law, load, count, [7]), services, load)
    assert found == pytest.approx(mean_wait_ms(law, load), rel=0.03)


@pytest.mark.parametrize("law", LAWS)
def test_every_single_wait_is_that_of_lindleys_recursion(law: str) -> None:
    served = simulate(law, 0.9, 20_000, [3])
    services = LAWS[law](np.random.default_rng([3, 1]), 20_000)
    assert (served.latencies_ns - services).tolist() == lindley_ns(served.due_ns, services).tolist()
    assert served.busy_ns == services.sum()
    assert served.answered == 20_000


# ---- what a stall does -----------------------------------------------------------------------------------------------
def served_with(
    due_ms: Sequence[float], service_ms: Callable[[int, int], float], *sizes: int, **given: Any
) -> tuple[Served, list[tuple[float, list[int]]]]:
    """What became of queries due then, and which were answered together when (ms)."""
    clock, batches = OwnClock(), []
    delay_ms = given.pop("delay_ms", 0.0)

    def answer(numbers: Sequence[int], head: int, size: int) -> None:
        batches.append((clock.now_ns / MS, list(numbers[head : head + size])))
        clock.now_ns += round(service_ms(numbers[head], size) * MS)

    batcher = Batcher(sizes=sizes or (1,), max_queue_delay_ms=delay_ms)
    due_ns = np.array([round(ms * MS) for ms in due_ms], dtype=np.int64)
    return serve(answer, due_ns, batcher, clock_ns=clock, wait_until=clock.wait, **given), batches


def test_a_stall_is_seen_by_every_query_that_was_due_meanwhile() -> None:
    due_ms = [10.0 * i for i in range(60)]
    served, _ = served_with(due_ms, lambda number, _size: 201.0 if number == 20 else 1.0)
    latencies_ms = served.latencies_ns / MS
    meanwhile = [i for i in range(60) if 200.0 < due_ms[i] < 401.0]
    assert len(meanwhile) == 20
    assert all(latencies_ms[i] >= 401.0 - due_ms[i] for i in meanwhile)
    assert latencies_ms[21] == 401.0 - 210.0 + 1.0
    assert set(latencies_ms[:20]) == {1.0}
    assert set(latencies_ms[-10:]) == {1.0}


# ---- batches ---------------------------------------------------------------------------------------------------------
def test_the_largest_allowed_batch_of_what_waits_is_taken_and_never_padded() -> None:
    _, batches = served_with([0.0] + [1.0] * 7, lambda _number, _size: 5.0, 1, 2, 4)
    assert batches == [(0.0, [0]), (5.0, [1, 2, 3, 4]), (10.0, [5, 6]), (15.0, [7])]


def test_the_oldest_query_waits_for_a_full_batch_as_long_as_it_may() -> None:
    _, batches = served_with([1.0, 2.0, 3.5], lambda _number, _size: 0.5, 1, 2, 4, delay_ms=2.0)
    assert batches == [(3.0, [0, 1]), (5.5, [2])]


def test_a_full_batch_does_not_wait() -> None:
    _, batches = served_with([1.0, 1.5, 9.0], lambda _number, _size: 0.5, 1, 2, delay_ms=5.0)
    assert batches == [(1.5, [0, 1]), (14.0, [2])]


def test_lanes_are_never_joined_and_the_oldest_query_comes_first() -> None:
    lanes = [[0, 2, 4], [1, 3, 5]]
    _, batches = served_with([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], lambda _n, _s: 4.5, 1, 2, 4, lanes=lanes)
    assert [numbers for _, numbers in batches] == [[0], [1, 3], [2, 4], [5]]


def test_lanes_keep_every_query_its_own_latency() -> None:
    served, _ = served_with([0.0, 0.0, 1.0, 2.0], lambda _n, _s: 4.0, 1, 2, lanes=[[0, 2], [1, 3]])
    assert (served.latencies_ns / MS).tolist() == [4.0, 8.0, 11.0, 6.0]
    assert served.sizes.tolist() == [1, 2, 1]


def test_a_server_that_falls_behind_is_stopped_and_what_waits_has_waited_until_then() -> None:
    served, _ = served_with([float(i) for i in range(10)], lambda _n, _s: 4.0, patience_ns=2 * MS)
    assert served.answered == 3
    assert (served.latencies_ns[3:] / MS).tolist() == [11.0 - i for i in range(3, 10)]


def test_past_its_stop_no_server_waits_for_a_batch_to_fill() -> None:
    clock = OwnClock()
    batcher = Batcher(sizes=(1, 2), max_queue_delay_ms=60_000.0)
    due_ns = np.array([1 * MS, 2 * MS, 9 * MS], dtype=np.int64)
    began_ns = clock.now_ns
    served = serve(lambda *_: None, due_ns, batcher, clock_ns=clock, wait_until=clock.wait, patience_ns=3 * MS)
    assert served.answered == 2
    assert served.latencies_ns[2] == 3 * MS
    assert clock.now_ns - began_ns == 12 * MS + 1


def test_sizes_that_leave_a_query_unanswered_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\) must begin with 1"):
        Batcher(sizes=(2, 4))
    with pytest.raises(ValueError, match="rise"):
        Batcher(sizes=(1, 4, 2))


# ---- arrivals and waiting --------------------------------------------------------------------------------------------
def test_arrivals_are_seeded_and_their_gaps_exponential() -> None:
    due_ns = poisson_arrivals_ns(500.0, 100_000, (1, 2))
    assert due_ns.tolist() == poisson_arrivals_ns(500.0, 100_000, (1, 2)).tolist()
    assert due_ns.tolist() != poisson_arrivals_ns(500.0, 100_000, (1, 3)).tolist()
    gaps_ms = np.diff(due_ns) / MS
    assert gaps_ms.mean() == pytest.approx(2.0, rel=0.02)
    assert gaps_ms.std() == pytest.approx(2.0, rel=0.02)
    assert np.mean(gaps_ms > 2.0) == pytest.approx(np.exp(-1), rel=0.02)


def test_waiting_sleeps_first_and_spins_the_rest() -> None:
    now_ns, slept_s = 0, []

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns += 1_000
        return now_ns

    def sleep_s(seconds: float) -> None:
        nonlocal now_ns
        slept_s.append(seconds)
        now_ns += round(seconds * 1e9)

    wait = RealWait(clock_ns=clock_ns, sleep_s=sleep_s, spin_ns=200_000)
    wait(1_000_000)
    assert slept_s == [pytest.approx(0.000799)]
    assert 1_000_000 <= now_ns <= 1_002_000
    wait(now_ns + 150_000)
    assert len(slept_s) == 1


# ---- engines ---------------------------------------------------------------------------------------------------------
def test_single_samples_are_joined_for_the_engine_and_other_shapes_left_apart() -> None:
    samples = Samples([[torch.arange(6.0).reshape(3, 2)], [torch.arange(20.0, 26.0).reshape(2, 3)]])
    seen: list[torch.Tensor] = []
    answer = EngineAnswer(lambda tensor: seen.append(tensor.clone()), samples)
    lanes = answer.lanes(10)
    assert lanes is not None
    for lane in lanes:
        answer(lane, 0, 3)
        answer(lane, 3, 1)
    assert sorted(tuple(tensor.shape) for tensor in seen) == [(1, 2), (1, 3), (3, 2), (3, 3)]
    pool = samples.queries(1)
    for lane, joined in zip(lanes, seen[::2], strict=True):
        assert torch.equal(joined, torch.cat([pool[number % 5][0] for number in lane[:3]]))


def test_queries_of_one_shape_are_one_lane() -> None:
    answer = EngineAnswer(lambda _tensor: None, Samples([[torch.zeros(4, 2)]]))
    assert answer.lanes(9) is None
