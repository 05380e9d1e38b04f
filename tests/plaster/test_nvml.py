"""NVML through the real pynvml over a false library: known power in, joules or a reason out."""

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from plaster_ops.domain.visible import UnknownGpu
from plaster_ops.engines import gpus
from plaster_ops.plaster.counters import open_counter
from plaster_ops.plaster.gpu_lookup import find_gpu, list_gpus, nvml_open
from plaster_ops.plaster.meter import EnergyWindow, TickMeter
from plaster_ops.plaster.nvml import NvmlCounter, open_nvml
from plaster_ops.plaster.power import CounterLost
from plaster_ops.plaster.timing import Timed
from tests.plaster.fake_nvml import (
    GPU_LOST,
    NO_PERMISSION,
    NOT_SUPPORTED,
    FakeGpu,
    FakeNvml,
    SimClock,
    constant,
    install,
    square,
)

Installed = Callable[..., FakeNvml]
ENERGY = "nvmlDeviceGetTotalEnergyConsumption"


@pytest.fixture
def sim() -> SimClock:
    return SimClock()


@pytest.fixture
def installed(sim: SimClock, monkeypatch: pytest.MonkeyPatch) -> Installed:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)

    def make(*boards: FakeGpu, **more: Any) -> FakeNvml:
        return install(monkeypatch, FakeNvml(sim, boards or (FakeGpu("GPU-a"),), **more))

    return make


def opened(sim: SimClock, device: str = "cuda:0", **environment: str) -> NvmlCounter:
    counter = open_nvml(device, environment=environment, now_s=sim.s)
    assert isinstance(counter, NvmlCounter), counter.reason
    return counter


def metered(sim: SimClock, counter: NvmlCounter, seconds: float, *, query_s: float = 0.01) -> EnergyWindow | None:
    """One block of that length, every query `query_s`, with the meter's own thread on the simulated clock."""
    begin_s = sim.now_s
    end_s = begin_s + seconds
    meter = TickMeter(counter, sensor=counter.sensor(), clock_ns=sim.ns, wait=sim.until(end_s))
    start_ns = sim.ns()
    meter.begin()
    if meter._thread is not None:
        meter._thread.join()  # the clock is moved by the thread alone, until the block is over
    window_ns = round(seconds * 1e9)
    latencies = [round(query_s * 1e9)] * round(seconds / query_s)
    window = meter.end(Timed(latencies_ns=latencies, start_ns=start_ns, window_ns=window_ns, cpu_s=0.0), 1)
    assert (window is None) == bool(meter.lost)
    if meter.lost:
        raise CounterLost(meter.lost)
    return window


@pytest.mark.parametrize("watts", [70.0, 350.0])
@pytest.mark.parametrize("phase_s", [0.0, 0.037, 0.091])
def test_steps_of_100_ms_give_the_true_energy_of_an_inference(
    sim: SimClock, installed: Installed, watts: float, phase_s: float
) -> None:
    installed(FakeGpu("GPU-a", load=constant(watts), phase_s=phase_s))
    window = metered(sim, opened(sim), 10.0)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(watts * 0.01, rel=0.005)
    assert window.joules / window.window_s == pytest.approx(watts, rel=0.005)
    assert window.updates >= 95


def test_a_load_that_comes_and_goes_is_measured_as_a_whole(sim: SimClock, installed: Installed) -> None:
    installed(FakeGpu("GPU-a", load=square(400.0, 100.0, 0.73, 0.5)))
    window = metered(sim, opened(sim), 60.0)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(2.5, rel=0.005)


@pytest.mark.parametrize("width", [32, 64])
def test_a_counter_that_comes_round_goes_on_counting(sim: SimClock, installed: Installed, width: int) -> None:
    installed(FakeGpu("GPU-a", load=constant(300.0), start_mj=2**width - 900_000, wraps_at=2**width))
    window = metered(sim, opened(sim), 10.0)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(3.0, rel=0.005)


def test_a_counter_that_was_reset_is_lost_and_not_a_small_number(sim: SimClock, installed: Installed) -> None:
    installed(FakeGpu("GPU-a", resets_at_s=sim.now_s + 4.0))
    with pytest.raises(CounterLost, match="went back"):
        metered(sim, opened(sim), 10.0)


def test_a_reset_close_to_the_edge_after_a_long_pause_is_not_taken_for_a_wrap(
    sim: SimClock, installed: Installed
) -> None:
    installed(FakeGpu("GPU-a", start_mj=2**32 - 100_000, resets_at_s=sim.now_s + 1800))
    counter = opened(sim)
    sim.step(3600.0)
    with pytest.raises(CounterLost, match="went back"):
        counter.read_j()


def test_what_happened_before_a_block_does_not_spoil_it(sim: SimClock, installed: Installed) -> None:
    installed(FakeGpu("GPU-a", resets_at_s=sim.now_s + 4.0))
    counter = opened(sim)
    sim.step(5.0)
    window = metered(sim, counter, 5.0)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(2.0, rel=0.005)


def test_a_gpu_that_is_lost_while_it_counts_says_so(sim: SimClock, installed: Installed) -> None:
    library = installed()
    counter = opened(sim)
    library.gpus[0].errors[ENERGY] = GPU_LOST
    with pytest.raises(CounterLost, match=r"stopped counting \(gpu is lost\)"):
        metered(sim, counter, 2.0)


@pytest.mark.parametrize(
    ("board", "library", "reason"),
    [
        (FakeGpu("GPU-a"), {"init": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, "no NVML (driver not loaded)"),
        (FakeGpu("GPU-a"), {"init": NO_PERMISSION}, "no NVML (insufficient permissions)"),
        (FakeGpu("GPU-a"), {"missing": [ENERGY]}, "no NVML energy (function not found)"),
        (FakeGpu("GPU-a", errors={ENERGY: NOT_SUPPORTED}), {}, "no NVML energy (not supported)"),
        (FakeGpu("GPU-a", errors={ENERGY: NO_PERMISSION}), {}, "no NVML energy (insufficient permissions)"),
        (FakeGpu("GPU-a", mig=1), {}, "no NVML energy (shared_gpu: MIG is on"),
    ],
)
def test_a_gpu_without_a_counter_says_why_and_leaves_nvml_closed(
    installed: Installed, board: FakeGpu, library: dict[str, Any], reason: str
) -> None:
    found = installed(board, **library)
    counter = open_counter("cuda:0")
    assert counter.source == "none"
    assert counter.reason.startswith(reason)
    assert found.opened == 0
    with pytest.raises(RuntimeError, match="no energy counter"):
        counter.read_j()


def test_a_counter_is_closed_with_nvml(sim: SimClock, installed: Installed) -> None:
    library = installed(FakeGpu("GPU-a", mig=None))
    counter = opened(sim)
    assert (counter.scope, counter.uuid, library.opened) == ("gpu", "GPU-a", 1)
    counter.close()
    assert library.opened == 0


def test_the_real_library_without_a_driver_gives_a_reason() -> None:
    counter = open_nvml("cuda:0")
    counter.close()
    assert counter.reason == "" or counter.reason.startswith("no NVML")


# ---- the cross-check -------------------------------------------------------------------------------------------------
def test_the_integral_of_power_agrees_with_the_counter(sim: SimClock, installed: Installed) -> None:
    installed(FakeGpu("GPU-a", load=square(400.0, 100.0, 0.73, 0.5)))
    window = metered(sim, opened(sim), 30.0)
    assert window is not None
    assert window.sensed.power_j is not None
    assert window.sensed.power_j / window.joules == pytest.approx(1.0, abs=0.03)
    assert window.sensed.is_instant


def test_a_sensor_that_sees_25_of_every_100_ms_is_found_out(sim: SimClock, installed: Installed) -> None:
    """The load works in the unseen three quarters: the sensor says 100 W where 325 W are drawn."""
    installed(FakeGpu("GPU-a", load=square(100.0, 400.0, 0.1, 0.25), seen_s=0.025))
    window = metered(sim, opened(sim), 10.0)
    assert window is not None
    assert window.joules / window.window_s == pytest.approx(325.0, rel=0.005)
    assert window.sensed.power_j is not None
    assert window.sensed.power_j / window.joules == pytest.approx(100 / 325, rel=0.01)


def test_the_sensor_is_asked_more_than_20_times_a_second_at_uneven_instants(
    sim: SimClock, installed: Installed
) -> None:
    installed()
    counter, asked = opened(sim), []
    sensor = counter.sensor()

    class Noting:
        def sample(self, at_ns: int) -> Any:
            asked.append(at_ns)
            return sensor.sample(at_ns)

    meter = TickMeter(counter, sensor=Noting(), clock_ns=sim.ns, wait=sim.until(sim.now_s + 10.0))
    meter.begin()
    meter.end(Timed(latencies_ns=[], start_ns=0, window_ns=1, cpu_s=0.0), 1)
    gaps = {round((later - earlier) * 1e-6) for earlier, later in pairwise(asked)}
    assert len(asked) >= 200
    assert len(gaps) >= 3


@pytest.mark.parametrize(
    "board", [FakeGpu("GPU-a", errors={"nvmlDeviceGetFieldValues": NOT_SUPPORTED}), FakeGpu("GPU-a")]
)
def test_a_board_without_instantaneous_power_gives_its_average_and_says_so(
    sim: SimClock, installed: Installed, board: FakeGpu
) -> None:
    missing = () if board.errors else ("nvmlDeviceGetFieldValues",)
    installed(replace(board, load=constant(250.0)), missing=missing)
    window = metered(sim, opened(sim), 5.0)
    assert window is not None
    assert window.sensed.power_j == pytest.approx(window.joules, rel=0.01)
    assert not window.sensed.is_instant


def test_what_a_board_does_not_tell_is_unknown_and_not_zero(sim: SimClock, installed: Installed) -> None:
    missing = ["nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature"]
    reasons = ["nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"]
    installed(missing=[*missing, *reasons, "nvmlDeviceGetClockInfo"])
    window = metered(sim, opened(sim), 2.0)
    assert window is not None
    sensed = window.sensed
    told = (sensed.power_j, sensed.temp_start_c, sensed.temp_end_c, sensed.clock_mhz, sensed.braked_ratio)
    assert told == (None,) * 5


def test_temperature_clock_and_throttling_are_those_of_the_window(sim: SimClock, installed: Installed) -> None:
    installed(FakeGpu("GPU-a", temp_c=71, clock_mhz=1410, reasons=pynvml.nvmlClocksThrottleReasonSwPowerCap))
    window = metered(sim, opened(sim), 2.0)
    assert window is not None
    sensed = window.sensed
    assert (sensed.temp_start_c, sensed.temp_end_c, sensed.clock_mhz, sensed.slowed_ratio) == (71, 71, 1410, 1)
    assert sensed.braked_ratio == 0, "the power limit is no brake"


def test_heat_under_load_is_told_apart_from_the_power_limit(sim: SimClock, installed: Installed) -> None:
    installed(FakeGpu("GPU-a", reasons=pynvml.nvmlClocksThrottleReasonSwThermalSlowdown))
    window = metered(sim, opened(sim), 2.0)
    assert window is not None
    assert (window.sensed.slowed_ratio, window.sensed.braked_ratio) == (1, 1)


# ---- which GPU -------------------------------------------------------------------------------------------------------
NEAR = FakeGpu("GPU-aaaa-1", bus="00000000:0A:00.0", load=constant(100.0))
FAR = FakeGpu("GPU-bbbb-2", bus="00000000:3B:00.0", load=constant(300.0))


@pytest.mark.parametrize(
    ("visible", "device", "watts"),
    [
        ("1,0", "cuda:0", 300.0),
        ("1,0", "cuda:1", 100.0),
        ("GPU-bbbb-2,GPU-aaaa-1", "cuda:0", 300.0),
        ("GPU-bb", "cuda", 300.0),
        ("GPU-aaaa,1", "cuda:1", 300.0),
    ],
)
def test_two_gpus_in_another_order_are_each_measured_as_themselves(
    sim: SimClock, installed: Installed, visible: str, device: str, watts: float
) -> None:
    installed(FAR, NEAR)
    counter = opened(sim, device, CUDA_VISIBLE_DEVICES=visible)
    window = metered(sim, counter, 10.0)
    assert window is not None
    assert window.joules / window.inferences == pytest.approx(watts * 0.01, rel=0.005)


@pytest.mark.parametrize(
    ("visible", "device", "reason"),
    [
        ("GPU-aaaa-1", "cuda:1", "cuda:1 is not among the 1 GPUs"),
        ("0,-1,1", "cuda:1", "cuda:1 is not among the 1 GPUs"),
        ("0,0", "cuda:1", "cuda:1 is not among the 1 GPUs"),
        ("7", "cuda:0", "cuda:0 is not among the 0 GPUs"),
        ("GPU-", "cuda:0", "cuda:0 is not among the 0 GPUs"),
        ("", "cuda:0", "cuda:0 is not among the 0 GPUs"),
        ("MIG-c3", "cuda:0", "shared_gpu: MIG-c3"),
    ],
)
def test_a_gpu_that_is_not_visible_has_no_counter(installed: Installed, visible: str, device: str, reason: str) -> None:
    installed(NEAR, FAR)
    counter = open_nvml(device, environment={"CUDA_VISIBLE_DEVICES": visible})
    assert reason in counter.reason


def test_a_number_among_several_models_is_refused_unless_cuda_counts_by_bus(
    sim: SimClock, installed: Installed
) -> None:
    installed(NEAR, replace(FAR, name="NVIDIA Test 200"))
    assert "ambiguous" in open_nvml("cuda:0", environment={}).reason
    assert "ambiguous" in open_nvml("cuda:0", environment={"CUDA_VISIBLE_DEVICES": "0"}).reason
    assert opened(sim, "cuda:1", CUDA_DEVICE_ORDER="PCI_BUS_ID").uuid == "GPU-bbbb-2"
    assert opened(sim, "cuda:0", CUDA_VISIBLE_DEVICES="GPU-b").uuid == "GPU-bbbb-2"


def test_where_torch_has_its_gpus_open_it_says_which_they_are(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(NEAR, replace(FAR, name="NVIDIA Test 200"))
    cuda = SimpleNamespace(is_initialized=lambda: True, get_device_properties=lambda _: SimpleNamespace(uuid="bbbb-2"))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with nvml_open() as nvml:
        assert nvml.nvmlDeviceGetUUID(find_gpu(nvml, "cuda:0")) == "GPU-bbbb-2"


def test_an_unknown_gpu_raises_from_the_look_up(installed: Installed) -> None:
    installed()
    with nvml_open() as nvml, pytest.raises(UnknownGpu, match="cuda:3"):
        find_gpu(nvml, "cuda:3", {})
    with nvml_open() as nvml:
        assert [gpu.name for gpu in list_gpus(nvml)] == ["NVIDIA Test 100"]


def test_the_engines_see_the_gpus_in_cudas_order_too(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(FAR, NEAR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")

    def capability(_handle: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = 9, 0
        return 0

    monkeypatch.setattr(library, "nvmlDeviceGetCudaComputeCapability", capability, raising=False)
    assert [gpu.uuid for gpu in gpus.visible_gpus()] == ["GPU-bbbb-2", "GPU-aaaa-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus.visible_gpus() == ()
