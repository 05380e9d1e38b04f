"""One engine's turns dealt out to two copies of it."""

import pytest

from plaster_ops.plaster import latency
from plaster_ops.plaster.copies import COPIES, two_copies
from tests.plaster.doubles import block, evidence


def test_neighbouring_turns_are_opponents_and_who_comes_first_alternates() -> None:
    taken = [block("now", index, [100 + index]) for index in range(6)] + [block("then", 0, [5])]
    dealt = two_copies(evidence(taken), "now")
    seen = {(b.label, b.index): int(b.latencies_ns[0]) for b in dealt.all_blocks}
    assert seen == {("a", 0): 100, ("b", 0): 101, ("b", 1): 102, ("a", 1): 103, ("a", 2): 104, ("b", 2): 105}


def test_a_steady_drift_of_the_machine_cancels() -> None:
    """Each turn is 1 % slower than the one before it: the two copies do not differ."""
    taken = [block("now", index, [round(1e6 * 1.01**index)] * 11) for index in range(40)]
    (p50, _) = latency.paired_ratios(two_copies(evidence(taken), "now"), *COPIES)
    assert p50.per_process[0] == pytest.approx(0.0, abs=1e-4)


def test_a_machine_that_jumps_shows_it() -> None:
    taken = [block("now", index, [1_000_000 if index % 4 < 2 else 1_500_000] * 11) for index in range(40)]
    (p50, _) = latency.paired_ratios(two_copies(evidence(taken), "now"), *COPIES)
    assert p50.within_se[0] == pytest.approx(0.0, abs=1e-9)
    jumps = [block("now", index, [1_000_000 if index % 2 else 1_500_000] * 11) for index in range(40)]
    (loud, _) = latency.paired_ratios(two_copies(evidence(jumps), "now"), *COPIES)
    assert loud.within_se[0] > 0.05
