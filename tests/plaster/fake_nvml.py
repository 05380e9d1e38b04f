# ruff: noqa: N802, N815
"""A false NVML library under the real `pynvml`, on a simulated clock: boards whose true power is known.

`install` puts it where pynvml looks for the functions of the C library, so that the wrappers in use are the real ones.
"""

import ctypes
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, GPU_LOST = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_GPU_IS_LOST,
)


@dataclass
class SimClock:
    """Seconds that pass only when told to; `ns` and `s` are read as clocks."""

    now_s: float = 1000.0

    def step(self, seconds: float) -> None:
        self.now_s += seconds

    def ns(self) -> int:
        return round(self.now_s * 1e9)

    def s(self) -> float:
        return self.now_s

    def until(self, end_s: float) -> Callable[[float], bool]:
        """A pause that moves the clock, up to 3 ms too far as pauses do, and is over at `end_s`."""
        dice = random.Random(round(end_s * 1e6))

        def wait(seconds: float) -> bool:
            self.now_s = min(end_s, self.now_s + seconds + dice.uniform(0.0, 0.003))
            return self.now_s >= end_s

        return wait


def constant(watts: float) -> tuple[Callable[[float], float], Callable[[float, float], float]]:
    """Power at an instant, and its integral between two."""
    return (lambda _: watts), (lambda a_s, b_s: watts * (b_s - a_s))


def square(
    high_w: float, low_w: float, period_s: float, share: float
) -> tuple[Callable[[float], float], Callable[[float, float], float]]:
    """High for the first `share` of every period, low for the rest."""

    def power_w(t_s: float) -> float:
        return high_w if (t_s / period_s) % 1.0 < share else low_w

    def upto(t_s: float) -> float:
        whole, part = divmod(t_s, period_s)
        high_s = whole * period_s * share + min(part, period_s * share)
        return high_w * high_s + low_w * (t_s - high_s)

    return power_w, lambda a_s, b_s: upto(b_s) - upto(a_s)


@dataclass
class FakeGpu:
    """One board. Its counter moves every `step_s`, from `start_mj` on, and starts again at `wraps_at`.

    `seen_s`: the power sensor averages over the first so many seconds of every 0.1 s and repeats that for the rest;
    0: it tells the true power. `resets_at_s`: the driver is loaded again then. `errors`: function -> NVML error code.
    """

    uuid: str
    bus: str = "00000000:01:00.0"
    name: str = "NVIDIA Test 100"
    load: tuple[Callable[[float], float], Callable[[float, float], float]] = field(
        default_factory=lambda: constant(200.0)
    )
    step_s: float = 0.1
    phase_s: float = 0.037
    start_mj: int = 5_000_000
    wraps_at: int = 2**64
    seen_s: float = 0.0
    resets_at_s: float = math.inf
    mig: int | None = 0
    temp_c: int = 55
    clock_mhz: int = 1755
    reasons: int = 0
    pids: tuple[int, ...] = ()
    errors: dict[str, int] = field(default_factory=dict)

    def energy_mj(self, since_s: float, now_s: float) -> int:
        """The counter at that instant."""
        tick_s = math.floor((now_s - self.phase_s) / self.step_s) * self.step_s + self.phase_s
        if now_s >= self.resets_at_s:
            return round(self.load[1](self.resets_at_s, max(self.resets_at_s, tick_s)) * 1e3)
        return (self.start_mj + round(self.load[1](since_s, max(since_s, tick_s)) * 1e3)) % self.wraps_at

    def sensed_w(self, now_s: float) -> float:
        """What the power sensor says at that instant."""
        if not self.seen_s:
            return self.load[0](now_s)
        begin_s = math.floor(now_s / 0.1) * 0.1
        return self.load[1](begin_s, begin_s + self.seen_s) / self.seen_s


def _into(reference: Any, value: Any) -> None:
    reference._obj.value = value


class FakeNvml:
    """The functions of the C library, as ctypes would call them. A name in `missing` is not there at all."""

    def __init__(self, clock: SimClock, gpus: Sequence[FakeGpu], *, missing: Sequence[str] = (), init: int = 0) -> None:
        self.clock, self.gpus, self.missing, self.init = clock, list(gpus), set(missing), init
        self.since_s = clock.now_s
        self.opened = 0
        self.energy_reads = 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "missing"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def _gpu(self, handle: Any, function: str) -> tuple[FakeGpu, int]:
        gpu = self.gpus[ctypes.cast(handle, ctypes.c_void_p).value - 0x1000]  # type: ignore[operator]
        return gpu, gpu.errors.get(function, 0)

    def nvmlInitWithFlags(self, _flags: int) -> int:
        self.opened += not self.init
        return self.init

    def nvmlShutdown(self) -> int:
        self.opened -= 1
        return 0

    def nvmlErrorString(self, _code: int) -> bytes:
        return b"Unknown Error"

    def nvmlSystemGetDriverVersion(self, text: Any, _size: Any) -> int:
        text.value = b"580.65"
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        _into(count, len(self.gpus))
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:
        ctypes.c_void_p.from_address(ctypes.addressof(device._obj)).value = 0x1000 + index.value
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: Any, device: Any) -> int:
        found = [i for i, gpu in enumerate(self.gpus) if gpu.uuid.encode() == uuid.value]
        return self.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(found[0]), device) if found else NOT_FOUND

    def nvmlDeviceGetUUID(self, handle: Any, text: Any, _size: Any) -> int:
        text.value = self._gpu(handle, "")[0].uuid.encode()
        return 0

    def nvmlDeviceGetName(self, handle: Any, text: Any, _size: Any) -> int:
        text.value = self._gpu(handle, "")[0].name.encode()
        return 0

    def nvmlDeviceGetPciInfo_v3(self, handle: Any, info: Any) -> int:
        info._obj.busId = self._gpu(handle, "")[0].bus.encode()
        return 0

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        gpu, _ = self._gpu(handle, "")
        if gpu.mig is None:
            return NOT_SUPPORTED
        _into(current, gpu.mig)
        _into(pending, gpu.mig)
        return 0

    def nvmlDeviceGetArchitecture(self, _handle: Any, architecture: Any) -> int:
        _into(architecture, pynvml.NVML_DEVICE_ARCH_HOPPER)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, energy: Any) -> int:
        gpu, error = self._gpu(handle, "nvmlDeviceGetTotalEnergyConsumption")
        self.energy_reads += 1
        _into(energy, gpu.energy_mj(self.since_s, self.clock.now_s))
        return error

    def nvmlDeviceGetPowerUsage(self, handle: Any, power: Any) -> int:
        gpu, error = self._gpu(handle, "nvmlDeviceGetPowerUsage")
        now_s = self.clock.now_s
        _into(power, round(gpu.load[1](now_s - 1.0, now_s) * 1e3))
        return error

    def nvmlDeviceGetFieldValues(self, handle: Any, _count: Any, values: Any) -> int:
        gpu, error = self._gpu(handle, "nvmlDeviceGetFieldValues")
        for field_value in values._obj:
            known = field_value.fieldId == pynvml.NVML_FI_DEV_POWER_INSTANT
            field_value.nvmlReturn = error if known else NOT_SUPPORTED
            field_value.value.uiVal = round(gpu.sensed_w(self.clock.now_s) * 1e3)
        return 0

    def nvmlDeviceGetTemperature(self, handle: Any, _sensor: Any, temperature: Any) -> int:
        gpu, error = self._gpu(handle, "nvmlDeviceGetTemperature")
        _into(temperature, gpu.temp_c)
        return error

    def nvmlDeviceGetClockInfo(self, handle: Any, _kind: Any, clock: Any) -> int:
        gpu, error = self._gpu(handle, "nvmlDeviceGetClockInfo")
        _into(clock, gpu.clock_mhz)
        return error

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, reasons: Any) -> int:
        _into(reasons, self._gpu(handle, "")[0].reasons)
        return 0

    nvmlDeviceGetCurrentClocksEventReasons = nvmlDeviceGetCurrentClocksThrottleReasons

    def nvmlDeviceGetEnforcedPowerLimit(self, _handle: Any, limit: Any) -> int:
        _into(limit, 350_000)
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, infos: Any) -> int:
        pids = self._gpu(handle, "")[0].pids
        _into(count, len(pids))
        if infos is None:
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE if pids else 0
        for info, pid in zip(infos, pids, strict=False):
            info.pid = pid
        return 0


def install(monkeypatch: pytest.MonkeyPatch, library: FakeNvml) -> FakeNvml:
    """The library is what pynvml finds from now on, until the test ends."""
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml, "_nvmlLib_refcount", 0)
    return library
