"""Energy counters: NVML for a GPU, RAPL for CPU packages, and a null object that says why there is neither.

Nothing here estimates: where no hardware counter can be read there are no joules.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
SLOW_TICK_S = 0.02
"""A counter that ticks less often than this is read at its own ticks, not at the edges of a block."""


class EnergyCounter(Protocol):
    """Joules since some origin. `reason` is empty only where `read_j` may be called."""

    scope: str
    source: str
    tick_s: float
    reason: str

    def read_j(self) -> float: ...

    def close(self) -> None: ...


class NoCounter:
    """There is no energy counter here; `reason` says why."""

    scope = ""
    source = "none"
    tick_s = 0.0

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read_j(self) -> float:
        """Raises: the caller looks at `reason` first."""
        raise RuntimeError(f"no energy counter: {self.reason}")

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Domain:
    path: Path
    range_uj: int

    def read_uj(self) -> int:
        return int((self.path / "energy_uj").read_text())


class RaplCounter:
    """Sum of the CPU package domains under a powercap tree, in joules since the counter was opened.

    Only top-level `package-*` domains count: core, uncore and dram lie inside or beside them and psys holds them all.
    Wrap-around at `max_energy_range_uj` is undone, once between two reads.
    """

    scope = "cpu package"
    source = "rapl"
    tick_s = 0.001
    reason = ""

    def __init__(self, domains: tuple[_Domain, ...]) -> None:
        self._domains = domains
        self._last_uj = [domain.read_uj() for domain in domains]
        self._total_uj = 0

    def read_j(self) -> float:
        """Joules since opening."""
        for i, domain in enumerate(self._domains):
            now_uj = domain.read_uj()
            delta_uj = now_uj - self._last_uj[i]
            self._total_uj += delta_uj if delta_uj >= 0 else delta_uj + domain.range_uj
            self._last_uj[i] = now_uj
        return self._total_uj * 1e-6

    def close(self) -> None:
        """Nothing is held open."""


def open_rapl(root: Path = POWERCAP) -> RaplCounter | NoCounter:
    """The package counter under `root`, or the reason there is none: missing tree, no package, permission denied."""
    if not root.is_dir():
        return NoCounter(f"no RAPL ({root} missing)")
    packages: dict[str, _Domain] = {}
    for folder in sorted(root.glob("intel-rapl*:*")):
        name = _text(folder / "name")
        if name.startswith("package-"):
            packages.setdefault(name, _Domain(path=folder, range_uj=int(_text(folder / "max_energy_range_uj") or 0)))
    if not packages:
        return NoCounter(f"no RAPL (no package domain under {root})")
    try:
        return RaplCounter(tuple(packages.values()))
    except PermissionError:
        return NoCounter(f"no RAPL (permission denied: {root}/*/energy_uj is readable by root only)")
    except (OSError, ValueError) as error:
        return NoCounter(f"no RAPL ({type(error).__name__} while reading {root})")


class NvmlCounter:
    """Energy of one GPU board since the driver was loaded, in joules, as NVML counts it."""

    scope = "gpu"
    source = "nvml"
    tick_s = 0.1
    reason = ""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def read_j(self) -> float:
        """Joules; NVML counts millijoules and updates its counter about ten times a second."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3

    def close(self) -> None:
        """Shuts NVML down."""
        self._nvml.nvmlShutdown()


def load_nvml() -> Any:
    """The binding of NVIDIA's management library; it loads without a driver and then fails at `nvmlInit`."""
    import pynvml

    return pynvml


def open_nvml(device: str = "cuda:0", *, nvml: Any = None) -> NvmlCounter | NoCounter:
    """The counter of the GPU behind `device`, or the reason there is none: no library, no GPU, MIG, too old a GPU."""
    nvml = nvml or load_nvml()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return NoCounter(f"no NVML ({_nvml_reason(error)})")
    try:
        handle = find_gpu(nvml, device)
        if _is_mig(nvml, handle):
            nvml.nvmlShutdown()
            return NoCounter("no NVML energy (shared_gpu: MIG is on and the counter is the whole board's)")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (nvml.NVMLError, ValueError) as error:
        nvml.nvmlShutdown()
        return NoCounter(f"no NVML energy ({_nvml_reason(error)})")
    return NvmlCounter(nvml, handle)


def find_gpu(nvml: Any, device: str, environment: Mapping[str, str] | None = None) -> Any:
    """NVML's handle for a torch device, by UUID where CUDA_VISIBLE_DEVICES names one.

    Raises `ValueError` for a device that is not visible, NVMLError where NVML does not know it.
    """
    _, _, number = device.partition(":")
    index = int(number or 0)
    visible = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if not names:
        return nvml.nvmlDeviceGetHandleByIndex(index)
    if index >= len(names):
        raise ValueError(f"{device} is not among CUDA_VISIBLE_DEVICES={visible}")
    if names[index].isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(names[index]))
    return nvml.nvmlDeviceGetHandleByUUID(names[index])


def open_counter(device: str, *, powercap: Path = POWERCAP, nvml: Any = None) -> EnergyCounter:
    """The counter of what runs the engine: the GPU's for a CUDA device, the CPU packages' otherwise."""
    if device.startswith("cuda"):
        return open_nvml(device, nvml=nvml)
    rapl = open_rapl(powercap)
    if isinstance(rapl, RaplCounter):
        return rapl
    return NoCounter(f"engine runs on the CPU, {rapl.reason}; NVML counts GPUs only")


def _is_mig(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False


def _nvml_reason(error: Exception) -> str:
    return str(error).strip().lower() or type(error).__name__


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
