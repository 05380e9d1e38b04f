"""NVML: the energy counter of a GPU board, and what its sensors say beside it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from plaster_ops.domain.visible import UnknownGpu
from plaster_ops.plaster.gpu_lookup import find_gpu, load_nvml
from plaster_ops.plaster.power import CounterLost, NoCounter, PowerSample, Unwrapped

_UNIT_J = 1e-3
_RANGES = (2**32, 2**64)


class NvmlCounter:
    """Energy of one GPU board in joules since the counter was opened; `uuid` says which. Counts for all who use it.

    NVML counts millijoules since the driver was loaded, in steps of about a tenth of a second. It is opened with NVML
    open and closes it.
    """

    scope = "gpu"
    source = "nvml"
    tick_s = 0.1
    reason = ""
    notes: tuple[str, ...] = ()

    def __init__(self, nvml: Any, handle: Any, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._handle = handle
        self._now_s = now_s
        self.uuid = str(nvml.nvmlDeviceGetUUID(handle))
        self._counted = Unwrapped(self._read_mj(), now_s(), ranges=_RANGES, unit_j=_UNIT_J)
        self.keep_s = self._counted.keep_s

    def read_j(self) -> float:
        """Joules since opening; raises `CounterLost` where the driver does not answer or its counter went back."""
        return self._counted.advance(self._ask(), self._now_s()) * _UNIT_J

    def rebase(self) -> None:
        """Goes on from here. Raises `CounterLost` where the driver does not answer."""
        self._counted.rebase(self._ask(), self._now_s())

    def sensor(self) -> "NvmlSensor":
        """Power, temperature and clocks of the same board."""
        return NvmlSensor(self._nvml, self._handle)

    def users(self) -> frozenset[int] | None:
        """The processes that compute on this board, by the numbers that NVML knows; None where it does not tell."""
        try:
            return computing(self._nvml, self._handle)
        except self._nvml.NVMLError:
            return None

    def close(self) -> None:
        """Shuts NVML down."""
        self._nvml.nvmlShutdown()

    def _ask(self) -> int:
        try:
            return self._read_mj()
        except self._nvml.NVMLError as error:
            raise CounterLost(f"NVML stopped counting ({nvml_reason(error)})") from error

    def _read_mj(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


class NvmlSensor:
    """What one board says of itself now. A question that it does not know is not asked again."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._unknown: set[str] = set()

    def sample(self, at_ns: int) -> PowerSample:
        """Instantaneous power where the board tells it, else `nvmlDeviceGetPowerUsage`, which since Ampere is an
        average over a second but for GA100."""
        instant_w = self._asked("instant", self._instant_w)
        power_w = self._asked("average", self._average_w) if instant_w is None else instant_w
        nvml = self._nvml
        reasons = self._asked("reasons", lambda: clock_reasons(nvml, self._handle))
        return PowerSample(
            at_ns=at_ns,
            power_w=power_w,
            is_instant=instant_w is not None,
            temp_c=self._asked(
                "temperature", lambda: float(nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU))
            ),
            clock_mhz=self._asked(
                "clock", lambda: float(nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM))
            ),
            slowed=None if reasons is None else bool(reasons & held_down(nvml)),
            braked=None if reasons is None else bool(reasons & overheated(nvml)),
        )

    def _asked(self, name: str, question: Callable[[], Any]) -> Any:
        if name in self._unknown:
            return None
        try:
            answer = question()
        except self._nvml.NVMLError:
            answer = None
        if answer is None:
            self._unknown.add(name)
        return answer

    def _instant_w(self) -> float | None:
        field = self._nvml.nvmlDeviceGetFieldValues(self._handle, [self._nvml.NVML_FI_DEV_POWER_INSTANT])[0]
        return None if field.nvmlReturn else float(field.value.uiVal) * 1e-3

    def _average_w(self) -> float:
        return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle)) * 1e-3


def open_nvml(
    device: str = "cuda:0",
    *,
    nvml: Any = None,
    environment: Mapping[str, str] | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> NvmlCounter | NoCounter:
    """The counter of the GPU behind `device`, or the reason there is none.

    Reasons: no library or driver, no such GPU or several that could be meant, a board that is shared (MIG), a driver
    or GPU without the counter, no permission.
    """
    nvml = nvml or load_nvml()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return NoCounter(f"no NVML ({nvml_reason(error)})")
    try:
        return open_handle(nvml, find_gpu(nvml, device, environment), now_s=now_s)
    except (nvml.NVMLError, UnknownGpu) as error:
        nvml.nvmlShutdown()
        return NoCounter(f"no NVML energy ({nvml_reason(error)})")


def open_handle(nvml: Any, handle: Any, *, now_s: Callable[[], float] = time.monotonic) -> NvmlCounter:
    """The counter of that GPU; NVML is open. Raises `UnknownGpu` where it is shared, NVMLError where it has none."""
    if is_mig(nvml, handle):
        raise UnknownGpu("shared_gpu: MIG is on and the counter is the whole board's")
    return NvmlCounter(nvml, handle, now_s=now_s)


def is_mig(nvml: Any, handle: Any) -> bool:
    """True where the board is cut into MIG instances; False also where it does not know of MIG."""
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False


def computing(nvml: Any, handle: Any) -> frozenset[int]:
    """Numbers of the processes that compute on that board. Raises NVMLError where it does not tell."""
    return frozenset(int(process.pid) for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle))


def clock_reasons(nvml: Any, handle: Any) -> int:
    """The bits that say why the clocks are where they are, by the name that this driver knows."""
    try:
        return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError:
        return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def overheated(nvml: Any) -> int:
    """Bits that mean heat or a hardware brake: what was measured under them is not what the board can do."""
    return int(
        nvml.nvmlClocksThrottleReasonHwSlowdown
        | nvml.nvmlClocksThrottleReasonSwThermalSlowdown
        | nvml.nvmlClocksThrottleReasonHwThermalSlowdown
        | nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
    )


def held_down(nvml: Any) -> int:
    """`overheated`, and the power limit, which a busy board may reach by design."""
    return overheated(nvml) | int(nvml.nvmlClocksThrottleReasonSwPowerCap)


def nvml_reason(error: Exception) -> str:
    """The error as a part of a sentence; NVML's own in small letters."""
    text = str(error).strip()
    return (text if isinstance(error, UnknownGpu) else text.lower()) or type(error).__name__
