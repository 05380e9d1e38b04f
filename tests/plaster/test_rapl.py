"""RAPL over a false powercap tree on a simulated clock: known power in, joules or a reason out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.plaster.counters import open_counter, open_memory_counter
from plaster_ops.plaster.power import CounterLost, NoCounter
from plaster_ops.plaster.rapl import RaplCounter, open_dram, open_rapl
from tests.plaster.fake_nvml import SimClock

RANGE_UJ = 262_143_328_850
SMALL_UJ = 65_532_610_987


@dataclass
class Tree:
    """A powercap tree whose domains draw known power: folder -> (name, watts, counter at the start, range)."""

    root: Path
    sim: SimClock
    since_s: float = field(init=False)
    domains: dict[str, tuple[str, float, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.since_s = self.sim.now_s

    def add(self, folder: str, name: str, watts: float, start_uj: int = 0, range_uj: int = RANGE_UJ) -> None:
        place = self.root / folder
        place.mkdir(parents=True)
        (place / "name").write_text(f"{name}\n")
        (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.domains[folder] = (name, watts, start_uj, range_uj)
        self.write()

    def write(self) -> None:
        for folder, (_, watts, start_uj, range_uj) in self.domains.items():
            counted = start_uj + round(watts * (self.sim.now_s - self.since_s) * 1e6)
            (self.root / folder / "energy_uj").write_text(f"{counted % range_uj}\n")

    def step(self, seconds: float) -> None:
        self.sim.step(seconds)
        self.write()


@pytest.fixture
def sim() -> SimClock:
    return SimClock()


@pytest.fixture
def tree(tmp_path: Path, sim: SimClock) -> Tree:
    return Tree(tmp_path, sim)


def opened(tree: Tree) -> RaplCounter:
    counter = open_rapl(tree.root, now_s=tree.sim.s)
    assert isinstance(counter, RaplCounter), counter.reason
    return counter


def nested(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0", 80.0, 5_000_000)
    tree.add("intel-rapl:0:0", "core", 60.0)
    tree.add("intel-rapl:0:1", "uncore", 10.0)
    tree.add("intel-rapl:0:2", "dram", 7.0)
    tree.add("intel-rapl:1", "package-1", 45.0, 9_000_000)
    tree.add("intel-rapl:1:0", "dram", 5.0)
    tree.add("intel-rapl:2", "psys", 190.0)
    tree.add("intel-rapl-mmio:0", "package-0", 80.0, 5_000_000)


def test_nested_domains_are_counted_once_and_memory_apart(tree: Tree) -> None:
    nested(tree)
    counter, memory = opened(tree), open_dram(tree.root, now_s=tree.sim.s)
    tree.step(10.0)
    assert counter.read_j() == pytest.approx(1250.0, rel=0.005)
    assert memory.read_j() == pytest.approx(120.0, rel=0.005)
    assert (counter.scope, memory.scope) == ("cpu package", "dram")


def test_of_two_trees_that_show_one_package_the_msr_is_read(tree: Tree) -> None:
    tree.add("intel-rapl-mmio:0", "package-0", 1.0)
    tree.add("intel-rapl:0", "package-0", 80.0)
    counter = opened(tree)
    tree.step(10.0)
    assert counter.read_j() == pytest.approx(800.0, rel=0.005)


def test_a_counter_that_comes_round_goes_on_counting(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0", 100.0, RANGE_UJ - 450_000_000)
    counter = opened(tree)
    for _ in range(10):
        tree.step(1.0)
        counter.read_j()
    assert counter.read_j() == pytest.approx(1000.0, rel=0.005)


@pytest.mark.parametrize(("range_uj", "watts"), [(SMALL_UJ, 140.0), (SMALL_UJ, 900.0), (RANGE_UJ, 900.0)])
def test_read_as_often_as_it_asks_for_no_wrap_is_lost(tree: Tree, range_uj: int, watts: float) -> None:
    tree.add("intel-rapl:0", "package-0", watts, range_uj=range_uj)
    counter = opened(tree)
    begun_s = tree.sim.now_s
    while watts * (tree.sim.now_s - begun_s) < 3.5e-6 * range_uj:
        tree.step(counter.keep_s)
        joules = counter.read_j()
    assert joules == pytest.approx(watts * (tree.sim.now_s - begun_s), rel=1e-6)


def test_a_wrap_that_came_too_late_to_be_sure_is_not_called_a_reset(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0", 200.0, SMALL_UJ - 1_000_000_000, range_uj=SMALL_UJ)
    counter = opened(tree)
    tree.step(30.0)
    with pytest.raises(CounterLost, match="after 30 s unread, too long to tell a wrap from a reset"):
        counter.read_j()


def test_a_reset_near_the_end_of_the_range_is_no_wrap(tree: Tree) -> None:
    """A second below the edge at 70 W: a wrap within ten milliseconds would be 1 kJ."""
    tree.add("intel-rapl:0", "package-0", 70.0, SMALL_UJ - 1_000_000_000, range_uj=SMALL_UJ)
    counter = opened(tree)
    tree.step(0.01)
    (tree.root / "intel-rapl:0/energy_uj").write_text("14000000")
    with pytest.raises(CounterLost, match="went back"):
        counter.read_j()


def test_a_counter_that_leaps_is_lost_with_the_leap_as_reason(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0", 50.0, range_uj=10**14)
    counter = opened(tree)
    tree.step(10.0)
    (tree.root / "intel-rapl:0/energy_uj").write_text("6000000000000")
    with pytest.raises(CounterLost, match="leapt by 6000000 J in 10 s, more than 2000 W can draw"):
        counter.read_j()


def test_a_counter_that_was_not_read_for_so_long_that_it_may_have_come_round_is_lost(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0", 100.0)
    counter = opened(tree)
    tree.step(3600.0)
    with pytest.raises(CounterLost, match="not read for 3600 s"):
        counter.read_j()
    counter.rebase()
    tree.step(5.0)
    assert counter.read_j() == pytest.approx(500.0, rel=0.005)


@pytest.mark.parametrize("range_uj", [0, RANGE_UJ])
def test_a_counter_that_goes_back_in_the_middle_is_lost(tree: Tree, range_uj: int) -> None:
    tree.add("intel-rapl:0", "package-0", 1.0, 50_000_000, RANGE_UJ)
    (tree.root / "intel-rapl:0/max_energy_range_uj").write_text(str(range_uj))
    counter = opened(tree)
    (tree.root / "intel-rapl:0/energy_uj").write_text("7")
    with pytest.raises(CounterLost, match="went back"):
        counter.read_j()


def test_dies_that_repeat_one_counter_are_counted_once_and_noted(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0-die-0", 60.0, 7_000_000_000)
    tree.add("intel-rapl:1", "package-0-die-1", 60.0, 7_000_000_050)
    tree.add("intel-rapl:2", "package-1-die-0", 30.0, 9_000_000_000)
    counter = opened(tree)
    tree.step(10.0)
    assert counter.read_j() == pytest.approx(900.0, rel=0.005)
    assert counter.notes == ("package-0-die-1 repeats the counter of package-0-die-0: counted once",)


def test_dies_with_counters_of_their_own_are_added(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0-die-0", 60.0, 7_000_000_000)
    tree.add("intel-rapl:1", "package-0-die-1", 40.0, 7_300_000_000)
    counter = opened(tree)
    tree.step(10.0)
    assert counter.read_j() == pytest.approx(1000.0, rel=0.005)
    assert counter.notes == ()


def test_one_package_that_may_not_be_read_leaves_no_partial_sum(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    nested(tree)
    read_text = Path.read_text

    def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
        if self.name == "energy_uj" and "intel-rapl:1" in str(self):
            raise PermissionError(13, "denied", str(self))
        return read_text(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    counter = open_rapl(tree.root)
    assert isinstance(counter, NoCounter)
    assert "permission denied" in counter.reason
    with pytest.raises(RuntimeError, match="permission denied"):
        counter.read_j()


def test_a_counter_that_vanishes_while_it_counts_is_lost(tree: Tree) -> None:
    tree.add("intel-rapl:0", "package-0", 10.0)
    counter = opened(tree)
    (tree.root / "intel-rapl:0/energy_uj").unlink()
    with pytest.raises(CounterLost, match="package-0: FileNotFoundError"):
        counter.read_j()
    with pytest.raises(CounterLost, match="package-0: FileNotFoundError"):
        counter.rebase()


def test_rapl_that_is_missing_empty_or_damaged_says_so(tree: Tree) -> None:
    assert "missing" in open_rapl(tree.root / "none").reason
    tree.add("intel-rapl:0", "psys", 1.0)
    assert "no package domain" in open_rapl(tree.root).reason
    assert "no dram domain" in open_dram(tree.root).reason
    tree.add("intel-rapl:1", "package-0", 1.0)
    (tree.root / "intel-rapl:1/energy_uj").write_text("lots")
    assert "ValueError" in open_rapl(tree.root).reason


def test_a_cpu_engine_reads_rapl_and_names_all_that_is_missing(tree: Tree) -> None:
    reason = open_counter("cpu", powercap=tree.root / "none").reason
    assert "no RAPL" in reason
    assert "NVML" in reason
    assert "no RAPL" in open_memory_counter("cpu", powercap=tree.root / "none").reason
    nested(tree)
    assert open_counter("cpu", powercap=tree.root).source == "rapl"
    assert open_memory_counter("cpu", powercap=tree.root).scope == "dram"
    assert "its own memory" in open_memory_counter("cuda:0").reason
