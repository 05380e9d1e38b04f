"""Zeus's energy monitor and ours over one false GPU whose true energy is known.

`python benchmarks/energy_readers.py [--zeus FOLDER]` runs both over the false NVML of the tests, on its simulated
clock: how far joules per inference are off in windows of 1, 5 and 60 s, and what each says where the counter comes
round, is reset, or belongs to a shared board. FOLDER is where `pip install --no-deps --target FOLDER zeus` put Zeus,
which is no dependency of this project; without it only our own reader is shown.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest

from plaster_ops.plaster.meter import TickMeter
from plaster_ops.plaster.nvml import open_nvml
from plaster_ops.plaster.timing import Timed
from tests.plaster.fake_nvml import FakeGpu, FakeNvml, SimClock, constant, install, square

QUERY_S = 0.004
Load = tuple[Callable[[float], float], Callable[[float, float], float]]
STEADY, BURSTS = constant(300.0), square(400.0, 100.0, 0.73, 0.5)
REPEATS = {1.0: 200, 5.0: 100, 60.0: 25}
Reader = Callable[[SimClock, float], float]
"""Joules per query of a window of so many seconds that begins now."""


def ours(sim: SimClock, seconds: float) -> float:
    """Whole steps of the counter, polled by the meter's own thread."""
    counter = open_nvml("cuda:0", environment={}, now_s=sim.s)
    if counter.reason:
        raise RuntimeError(counter.reason)
    meter = TickMeter(counter, clock_ns=sim.ns, wait=sim.until(sim.now_s + seconds))
    start_ns = sim.ns()
    meter.begin()
    if meter._thread is not None:
        meter._thread.join()
    queries = round(seconds / QUERY_S)
    latencies_ns = [round(QUERY_S * 1e9)] * queries
    timed = Timed(latencies_ns=latencies_ns, start_ns=start_ns, window_ns=round(seconds * 1e9), cpu_s=0.0)
    window = meter.end(timed, 1)
    counter.close()
    if window is None:
        raise RuntimeError(meter.lost or "the counter did not move twice")
    return window.joules / window.inferences


def zeus(sim: SimClock, seconds: float) -> float:
    """`ZeusMonitor`'s window, as its documentation has it."""
    from zeus.device import gpu
    from zeus.monitor import energy

    gpu._gpus = None
    energy.time = sim.s
    monitor = energy.ZeusMonitor(gpu_indices=[0], cpu_indices=[])
    monitor.begin_window("block", sync_execution=False)
    sim.step(seconds)
    found = monitor.end_window("block", sync_execution=False)
    return float(found.gpu_energy[0]) / round(seconds / QUERY_S)


def installed(board: FakeGpu, sim: SimClock) -> FakeNvml:
    """That board is all that NVML knows from now on."""
    return install(pytest.MonkeyPatch(), FakeNvml(sim, [board]))


def between(begin_s: float, end_s: float) -> Load:
    """300 W between the two instants, 60 W before and after."""

    def power_w(t_s: float) -> float:
        return 300.0 if begin_s <= t_s < end_s else 60.0

    def joules(a_s: float, b_s: float) -> float:
        return 60.0 * (b_s - a_s) + 240.0 * max(0.0, min(b_s, end_s) - max(a_s, begin_s))

    return power_w, joules


LOADS: dict[str, Callable[[float, float], Load]] = {
    "steady 300 W": lambda *_: STEADY,
    "300 W out of 60 W": between,
    "bursts 400/100 W": lambda *_: BURSTS,
}


def errors(read: Reader, load_of: Callable[[float, float], Load], about_s: float) -> list[float]:
    """Relative errors of many windows, up to a tenth longer than asked for, that begin anywhere between two steps."""
    dice = random.Random(7)
    found = []
    for _ in range(REPEATS[about_s]):
        sim = SimClock()
        board = FakeGpu("GPU-a", phase_s=dice.random() * 0.1)
        installed(board, sim)
        begin_s, seconds = sim.now_s + 1 + dice.random(), about_s * (1 + dice.random() / 10)
        board.load = load_of(begin_s, begin_s + seconds)
        sim.step(begin_s - sim.now_s)
        per_query_j = read(sim, seconds)
        true_j = board.load[1](begin_s, begin_s + seconds) / round(seconds / QUERY_S)
        found.append(per_query_j / true_j - 1)
    return found


def odd_boards(read: Reader) -> list[tuple[str, str]]:
    """What the reader says of a board whose counter cannot simply be subtracted; the truth is 1.2 J a query."""
    boards = {
        "comes round at 2^32 mJ": FakeGpu("GPU-a", load=STEADY, start_mj=2**32 - 900_000, wraps_at=2**32),
        "comes round at 2^64 mJ": FakeGpu("GPU-a", load=STEADY, start_mj=2**64 - 900_000),
        "is reset in the window": FakeGpu("GPU-a", load=STEADY, resets_at_s=1004.0),
        "MIG, shared with others": FakeGpu("GPU-a", load=STEADY, mig=1),
        "steps once a window": FakeGpu("GPU-a", load=STEADY, step_s=6.0),
    }
    rows = []
    for name, board in boards.items():
        sim = SimClock()
        installed(board, sim)
        try:
            rows.append((name, f"{read(sim, 5.0):.3f} J"))
        except Exception as error:
            rows.append((name, f"no value: {' '.join(str(error).split())[:90]}"))
    return rows


def main() -> int:
    """Prints both tables; 0 always."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zeus", type=Path, help="folder that Zeus was installed into")
    options = parser.parse_args()
    readers: dict[str, Reader] = {"ours": ours}
    if options.zeus:
        sys.path.append(str(options.zeus))
        readers["zeus"] = zeus
    warnings.simplefilter("ignore")
    print("error of joules per query: median of the sizes, largest")
    for name, load_of in LOADS.items():
        for seconds in REPEATS:
            told = "  ".join(_told(who, read, load_of, seconds) for who, read in readers.items())
            print(f"  {name:18} {seconds:3.0f} s  {told}")
    for who, read in readers.items():
        print(f"{who}:")
        for name, text in odd_boards(read):
            print(f"  {name:24} {text}")
    return 0


def _told(who: str, read: Reader, load_of: Callable[[float, float], Load], seconds: float) -> str:
    sizes = [abs(error) for error in errors(read, load_of, seconds)]
    return f"{who} {statistics.median(sizes):7.2%} {max(sizes):7.2%}"


if __name__ == "__main__":
    sys.exit(main())
