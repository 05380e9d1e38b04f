"""Whether the machine was left alone while it measured, and what can be measured on it at all."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.visible import UnknownGpu
from plaster_ops.plaster.gpu_lookup import find_gpu, load_nvml, nvml_open
from plaster_ops.plaster.machine import cpu_environment, first_line, peak_host_bytes
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.nvml import (
    NvmlCounter,
    clock_reasons,
    computing,
    is_mig,
    nvml_reason,
    open_nvml,
    overheated,
)
from plaster_ops.plaster.rapl import open_dram, open_rapl

_STEAL_NOTED = 0.01
_STEAL_SUSPECT = 0.10
_LOAD_NOTED = 0.10
_BRAKED_SUSPECT = 0.05
_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuTimes:
    """CPU seconds of the whole machine since boot: `busy_s` by anyone, `steal_s` taken by the host, `total_s` all."""

    busy_s: float
    steal_s: float
    total_s: float


def cpu_times(root: Path = _ROOT) -> CpuTimes | None:
    """The first line of /proc/stat in seconds; None where there is none."""
    fields = first_line(root / "proc/stat").split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[1:9]]
    idle_s = ticks[3] + ticks[4]
    total_s = sum(ticks)
    return CpuTimes(busy_s=total_s - idle_s - ticks[7], steal_s=ticks[7], total_s=total_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet:
    """How undisturbed a span was. `suspect` says why its values may not decide; `notes` what else to know."""

    steal_ratio: float | None
    other_load_ratio: float | None
    notes: tuple[str, ...] = ()
    suspect: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuLook:
    """A GPU at one moment: `trouble` says why its readings would be suspect, `note` what could not be told."""

    trouble: str = ""
    note: str = ""


def disturbance(
    before: CpuTimes | None,
    after: CpuTimes | None,
    own_cpu_s: float,
    gpu_trouble: str = "",
    gpu_note: str = "",
) -> Quiet:
    """Compares two readings of the machine with what this process used in between.

    Steal above 1 % and foreign load above 10 % of the machine are noted; steal above 10 % and any trouble of the
    GPU make the span suspect. Paired comparisons survive the former, since both engines meet it in turn.
    """
    told = (gpu_note,) if gpu_note else ()
    if before is None or after is None or after.total_s <= before.total_s:
        return Quiet(steal_ratio=None, other_load_ratio=None, notes=told, suspect=gpu_trouble)
    span_s = after.total_s - before.total_s
    steal = (after.steal_s - before.steal_s) / span_s
    other = max(0.0, after.busy_s - before.busy_s - own_cpu_s) / span_s
    notes = []
    if steal > _STEAL_NOTED:
        notes.append(f"the host took {steal:.1%} of the CPU time (steal)")
    if other > _LOAD_NOTED:
        notes.append(f"other processes used {other:.0%} of the machine")
    suspect = gpu_trouble or (notes[0] if steal > _STEAL_SUSPECT else "")
    return Quiet(steal_ratio=steal, other_load_ratio=other, notes=(*notes, *told), suspect=suspect)


def look_at_gpu(device: str, *, has_context: bool, nvml: Any = None, own_pid: int | None = None) -> GpuLook:
    """A shared board, foreign processes, heat. `has_context`: this process has certainly opened that GPU.

    In a container NVML may name processes by numbers of the host. One that is not known then counts as this process,
    but only with a context, and where its own number is not listed.
    """
    if not device.startswith("cuda"):
        return GpuLook()
    nvml = nvml or load_nvml()
    try:
        with nvml_open(nvml):
            handle = find_gpu(nvml, device)
            if is_mig(nvml, handle):
                return GpuLook(trouble="shared_gpu: MIG is on")
            pids = computing(nvml, handle)
            slowed = clock_reasons(nvml, handle) & overheated(nvml)
    except (nvml.NVMLError, UnknownGpu) as error:
        return GpuLook(note=f"whether the GPU was shared or hot is not known ({nvml_reason(error)})")
    others = pids - {own_pid or os.getpid()}
    strangers = len(others) - (has_context and others == pids)
    if strangers > 0:
        return GpuLook(trouble=f"shared_gpu: {strangers} other process{'es' * (strangers > 1)} on this GPU")
    return GpuLook(trouble="the GPU throttled its clocks (heat or a power brake)" if slowed else "")


def braked(windows: Iterable[EnergyWindow | None]) -> str:
    """Says so where heat or a hardware brake held the clocks down in over 5 % of the samples under load."""
    sensed = [(window.sensed.braked_ratio, window.window_s) for window in windows if window is not None]
    known = [(ratio, window_s) for ratio, window_s in sensed if ratio is not None]
    seconds = sum(window_s for _, window_s in known)
    share = sum(ratio * window_s for ratio, window_s in known) / seconds if seconds > 0 else 0.0
    return f"heat or a power brake held the GPU's clocks down in {share:.0%} of the samples" * (share > _BRAKED_SUSPECT)


def what_can_be_measured(*, root: Path = _ROOT, nvml: Any = None) -> list[tuple[str, bool, str]]:
    """Rows `(thing, ok, reason)` for `doctor`; the reason of something that works says what it is."""
    gpu = open_nvml(nvml=nvml)
    rapl, dram = open_rapl(root / "sys/class/powercap"), open_dram(root / "sys/class/powercap")
    governor = cpu_environment(root)["governor"]
    times = cpu_times(root)
    rows = [
        ("GPU energy (NVML)", not gpu.reason, gpu.reason or "counter of the whole board"),
        ("GPU power beside it (NVML)", *_power(gpu)),
        ("CPU energy (RAPL)", not rapl.reason, rapl.reason or "; ".join(("package domains", *rapl.notes))),
        ("memory energy (RAPL)", not dram.reason, dram.reason or "dram domains"),
        ("CPU time", True, "user + system seconds of the measuring process"),
        ("CPU steal and foreign load", times is not None, "/proc/stat" if times else "/proc/stat is not readable"),
        ("peak memory", peak_host_bytes(root) is not None, "VmHWM in /proc/self/status"),
        (
            "CPU governor",
            governor != "unknown",
            governor if governor != "unknown" else "no cpufreq here (virtual machine?)",
        ),
        ("performance counters (perf)", *_perf(root)),
    ]
    gpu.close()
    return rows


def _power(gpu: Any) -> tuple[bool, str]:
    """Whether the integral of power can be held against the counter."""
    if not isinstance(gpu, NvmlCounter):
        return False, str(gpu.reason)
    sample = gpu.sensor().sample(0)
    if sample.power_w is None:
        return False, "the board does not tell its power"
    return True, "instantaneous power" if sample.is_instant else "power averaged over a second by the driver"


def _perf(root: Path) -> tuple[bool, str]:
    level = first_line(root / "proc/sys/kernel/perf_event_paranoid")
    if not level:
        return False, "the kernel has no perf events"
    allowed = int(level) <= 2 or os.geteuid() == 0
    return allowed, f"kernel.perf_event_paranoid = {level}" + ("" if allowed else "; needs 2 or less")
