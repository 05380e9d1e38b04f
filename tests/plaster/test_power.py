"""Energy counters: RAPL over a false sysfs, NVML over a false library, and the windows read from them."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.plaster.meter import EdgeMeter, NoMeter, TickMeter, meter_for, tick_window
from plaster_ops.plaster.power import NoCounter, NvmlCounter, RaplCounter, find_gpu, open_counter, open_nvml, open_rapl
from plaster_ops.plaster.timing import Timed
from tests.plaster.doubles import HandClock


def domain(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return place


def test_rapl_adds_packages_and_nothing_inside_or_around_them(tmp_path: Path) -> None:
    first = domain(tmp_path, "intel-rapl:0", "package-0", 100)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 200)
    inner = domain(tmp_path, "intel-rapl:0:0", "core", 50)
    whole = domain(tmp_path, "intel-rapl:2", "psys", 900)
    twin = domain(tmp_path, "intel-rapl-mmio:0", "package-0", 100)
    counter = open_rapl(tmp_path)
    assert isinstance(counter, RaplCounter)
    for place, energy_uj in ((first, 500_100), (second, 250_200), (inner, 400_000), (whole, 999_000), (twin, 500_100)):
        (place / "energy_uj").write_text(str(energy_uj))
    assert counter.read_j() == pytest.approx(0.75)


def test_a_rapl_counter_that_wraps_goes_on_counting(tmp_path: Path) -> None:
    place = domain(tmp_path, "intel-rapl:0", "package-0", 900_000)
    counter = open_rapl(tmp_path)
    (place / "energy_uj").write_text("100000")
    assert counter.read_j() == pytest.approx(0.2)
    (place / "energy_uj").write_text("150000")
    assert counter.read_j() == pytest.approx(0.25)


def test_rapl_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 1)
    read_text = Path.read_text

    def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "denied", str(self))
        return read_text(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    counter = open_rapl(tmp_path)
    assert isinstance(counter, NoCounter)
    assert "permission denied" in counter.reason
    with pytest.raises(RuntimeError, match="permission denied"):
        counter.read_j()


def test_rapl_that_is_missing_or_has_no_package_says_so(tmp_path: Path) -> None:
    assert "missing" in open_rapl(tmp_path / "none").reason
    domain(tmp_path, "intel-rapl:0", "psys", 1)
    assert "no package domain" in open_rapl(tmp_path).reason


def test_rapl_with_a_damaged_counter_says_so(tmp_path: Path) -> None:
    (domain(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").write_text("lots")
    assert "ValueError" in open_rapl(tmp_path).reason


class FalseNvml:
    """NVML as far as this room uses it."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, init_error: str = "", energy_error: str = "", mig: int = 0) -> None:
        self.init_error, self.energy_error, self.mig = init_error, energy_error, mig
        self.energy_mj = 5000
        self.opened = 0
        self.asked: list[Any] = []

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init_error:
            raise self.NVMLError(self.init_error)
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        self.asked.append(index)
        return f"gpu{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetMigMode(self, _handle: str) -> tuple[int, int]:  # noqa: N802
        return self.mig, self.mig

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle: str) -> int:  # noqa: N802
        if self.energy_error:
            raise self.NVMLError(self.energy_error)
        return self.energy_mj


def test_nvml_counts_joules_and_is_shut_down() -> None:
    nvml = FalseNvml()
    counter = open_counter("cuda:0", nvml=nvml)
    assert isinstance(counter, NvmlCounter)
    assert counter.read_j() == 5.0
    assert counter.scope == "gpu"
    counter.close()
    assert nvml.opened == 0


@pytest.mark.parametrize(
    ("nvml", "reason"),
    [
        (FalseNvml(init_error="NVML Shared Library Not Found"), "no NVML (nvml shared library not found)"),
        (FalseNvml(energy_error="Not Supported"), "no NVML energy (not supported)"),
        (FalseNvml(mig=1), "shared_gpu"),
    ],
)
def test_a_gpu_without_a_counter_says_why_and_leaves_nvml_closed(nvml: FalseNvml, reason: str) -> None:
    counter = open_nvml("cuda:0", nvml=nvml)
    assert reason in counter.reason
    assert nvml.opened == 0


def test_the_gpu_is_found_by_the_uuid_that_is_visible() -> None:
    nvml = FalseNvml()
    assert find_gpu(nvml, "cuda:1", {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == "GPU-b"
    assert find_gpu(nvml, "cuda:0", {"CUDA_VISIBLE_DEVICES": "3"}) == "gpu3"
    assert find_gpu(nvml, "cuda", {}) == "gpu0"
    with pytest.raises(ValueError, match="cuda:2"):
        find_gpu(nvml, "cuda:2", {"CUDA_VISIBLE_DEVICES": "GPU-a"})


def test_the_real_library_without_a_driver_gives_a_reason() -> None:
    counter = open_nvml("cuda:0")
    counter.close()
    assert counter.reason == "" or counter.reason.startswith("no NVML")


def test_a_cpu_engine_without_rapl_names_both_that_are_missing(tmp_path: Path) -> None:
    reason = open_counter("cpu", powercap=tmp_path / "powercap").reason
    assert "no RAPL" in reason
    assert "NVML" in reason


def timed(start_ns: int, *latencies_ns: int) -> Timed:
    return Timed(latencies_ns=list(latencies_ns), start_ns=start_ns, window_ns=sum(latencies_ns), cpu_s=0.0)


def test_a_tick_window_counts_what_ended_between_its_ticks() -> None:
    ticks = [(50, 0.5), (120, 1.0), (220, 3.0), (320, 6.0), (450, 9.0)]
    window = tick_window(ticks, timed(100, *[50] * 6), batch=4)
    assert window is not None
    assert window.joules == 5.0
    assert window.window_s == pytest.approx(200e-9)
    assert window.inferences == 4 * 4
    assert window.updates == 2


def test_fewer_than_two_ticks_inside_a_block_give_no_window() -> None:
    assert tick_window([(50, 1.0), (150, 2.0)], timed(100, 100), batch=1) is None


def test_ticks_of_100_ms_measure_a_constant_power_within_half_a_percent() -> None:
    """200 W, 10 ms a query: 2 J an inference, though the counter moves only ten times a second."""
    ticks = [(i * 100_000_000 + 37_000_000, 20.0 * i) for i in range(40)]
    window = tick_window(ticks, timed(0, *[10_000_000] * 350), batch=1)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(2.0, rel=0.005)


class SteppedCounter:
    """Rises by one joule each time it is read."""

    scope, source, tick_s, reason = "gpu", "nvml", 0.1, ""

    def __init__(self) -> None:
        self.joules = 0.0
        self.enough = threading.Event()

    def read_j(self) -> float:
        self.joules += 1.0
        if self.joules >= 5:
            self.enough.set()
        return self.joules

    def close(self) -> None:
        pass


def test_a_tick_meter_polls_while_a_block_runs_and_then_stops() -> None:
    counter = SteppedCounter()
    meter = TickMeter(counter, period_s=0.001)
    start_ns = time.perf_counter_ns()
    meter.begin()
    assert counter.enough.wait(20)
    spent_ns = time.perf_counter_ns() - start_ns
    window = meter.end(timed(start_ns, spent_ns), batch=1)
    assert window is not None
    assert window.updates >= 1
    stopped_at = counter.joules
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-ticks"]
    assert counter.joules == stopped_at


def test_an_edge_meter_counts_the_settling_query_with_the_block() -> None:
    clock = HandClock()
    counter = SteppedCounter()
    counter.tick_s = 0.001
    meter = EdgeMeter(counter, clock)
    meter.begin()
    clock.now_ns = 500_000_000
    window = meter.end(timed(0, *[1] * 9), batch=2)
    assert window is not None
    assert (window.joules, window.inferences, window.window_s) == (1.0, 20, 0.5)


def test_the_meter_follows_the_counter() -> None:
    slow = SteppedCounter()
    fast = SteppedCounter()
    fast.tick_s = 0.001
    assert isinstance(meter_for(slow), TickMeter)
    assert isinstance(meter_for(fast), EdgeMeter)
    assert isinstance(meter_for(NoCounter("none")), NoMeter)
    assert NoMeter().end(timed(0, 1), 1) is None
