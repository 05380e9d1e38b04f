"""When an engine has settled: rate, p50, p90 and, where it can be seen, p99 of its last three windows."""

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Status
from plaster_ops.plaster import latency
from plaster_ops.plaster.evidence import MeasuredBlock
from plaster_ops.plaster.steadiness import WindowFigures, what_moved, window_figures
from tests.plaster.doubles import block, evidence

MS = 1_000_000


def window(fast: int, slow: int = 0, *, idle_s: float = 0.0, slow_ms: float = 2.0) -> WindowFigures:
    """`fast` queries of 1 ms and `slow` ones."""
    taken = [MS] * fast + [round(slow_ms * MS)] * slow
    return window_figures(taken, sum(taken) * 1e-9 + idle_s)


def test_equal_windows_have_settled() -> None:
    assert what_moved([window(100)] * 3) is None
    assert what_moved([window(100, 50), *[window(100)] * 3]) is None


def test_two_windows_have_not_settled() -> None:
    assert what_moved([window(100)] * 2) == "2 of 3 windows"
    assert what_moved([]) == "0 of 3 windows"


def test_the_rate_alone_can_move() -> None:
    still = window(100)
    assert what_moved([still, still, window(100, idle_s=0.008)]) is None
    assert what_moved([still, still, window(100, idle_s=0.02)]) == "rate moved by 20%"


def test_p90_alone_can_move_where_the_window_is_long_enough_to_know_it() -> None:
    def of(queries: int, tail_ms: float) -> WindowFigures:
        slow = queries // 5
        taken = [MS] * (queries - slow) + [round(tail_ms * MS)] * slow
        return window_figures(taken, queries * 1e-3)

    assert what_moved([of(50, 2.0), of(50, 2.0), of(50, 2.5)]) == "p90 moved by 25%"
    assert what_moved([of(49, 2.0), of(49, 2.0), of(49, 2.5)]) is None


def test_p99_counts_from_368_queries_a_window() -> None:
    def of(queries: int, tail_ms: float) -> WindowFigures:
        taken = [MS] * (queries - 5) + [round(tail_ms * MS)] * 5
        return window_figures(taken, queries * 1e-3)

    assert what_moved([of(368, 2.0), of(368, 2.0), of(368, 3.0)]) == "p99 moved by 50%"
    assert what_moved([of(367, 2.0), of(367, 2.0), of(367, 3.0)]) is None


def slow_end(process: int, factor: float) -> list[MeasuredBlock]:
    """Three seconds of 1 ms queries; p90 of the last second is `factor` times the others'. p50 never moves."""
    return [
        block("now", i, [MS] * 80 + [round(2 * MS * (factor if i >= 20 else 1.0))] * 20, process=process)
        for i in range(30)
    ]


@pytest.mark.parametrize(("factor", "status"), [(1.05, Status.MEASURED), (1.4, Status.UNSTABLE)])
def test_a_tail_that_moves_makes_every_percentile_of_the_card_unstable(factor: float, status: Status) -> None:
    rows = latency.read(evidence([b for process in range(3) for b in slow_end(process, factor)]), "now")
    timed = (m.E2E_P50_MS, m.E2E_P90_MS, m.E2E_P99_MS, m.E2E_P99_ES_MS, m.E2E_MEAN_MS, m.E2E_MAX_MS)
    found = [row for row in rows if isinstance(row, Reading) and row.metric in timed]
    assert len(found) == len(timed)
    assert {row.status for row in found} == {status}
    if status is Status.UNSTABLE:
        assert "3 of 3 processes: p99 moved by 40%" in str(found[0].reason)


def test_one_unsettled_process_of_three_is_outvoted() -> None:
    blocks = slow_end(0, 1.4) + slow_end(1, 1.0) + slow_end(2, 1.0)
    assert latency.read(evidence(blocks), "now")[0].status is Status.MEASURED
    assert latency.read(evidence(slow_end(0, 1.4) + slow_end(1, 1.0)), "now")[0].status is Status.UNSTABLE
