"""What this machine is: the parts of a fingerprint. Loads no torch; NVML only where a GPU is asked for."""

import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.plaster.gpu_lookup import find_gpu, load_nvml, nvml_open

_PACKAGES = ("torch", "openvino", "onnxruntime", "torch-tensorrt", "tensorrt", "nncf", "numpy", "plaster-ops")
_ROOT = Path("/")


def fingerprint(
    device: str,
    threads: int,
    input_shapes: Sequence[str] = (),
    *,
    device_count: int = 1,
    environment: Mapping[str, str] | None = None,
    root: Path = _ROOT,
    nvml: Any = None,
) -> Fingerprint:
    """The device model, and as environment: kernel, governor, affinity, CPU quota, container, driver, versions."""
    recorded = cpu_environment(root) | package_versions() | dict(environment or {})
    name = cpu_model(root)
    if device.startswith("cuda"):
        name, driver = gpu_model(device, nvml=nvml)
        recorded |= driver
    return Fingerprint(
        device=name,
        device_count=device_count,
        threads=threads,
        input_shapes=tuple(input_shapes),
        environment=tuple(sorted(recorded.items())),
    )


def cpu_model(root: Path = _ROOT) -> str:
    """The CPU's model name as /proc/cpuinfo gives it, else the architecture."""
    for line in read_lines(root / "proc/cpuinfo"):
        field, _, value = line.partition(":")
        if field.strip() == "model name" and value.strip():
            return value.strip()
    return platform.machine()


def gpu_model(device: str, *, nvml: Any = None) -> tuple[str, dict[str, str]]:
    """The GPU's name, and its driver, UUID, power limit and modes; `("unknown GPU", {})` where NVML does not answer."""
    nvml = nvml or load_nvml()
    try:
        with nvml_open(nvml):
            handle = find_gpu(nvml, device)
            return str(nvml.nvmlDeviceGetName(handle)), {
                "driver": str(nvml.nvmlSystemGetDriverVersion()),
                "gpu_uuid": str(nvml.nvmlDeviceGetUUID(handle)),
                "power_limit_w": f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f}",
            } | _gpu_modes(nvml, handle)
    except (nvml.NVMLError, ValueError):
        return "unknown GPU", {}


def _gpu_modes(nvml: Any, handle: Any) -> dict[str, str]:
    """Persistence, ECC, MIG and the highest SM clock in MHz; "unknown" for what this GPU or driver does not tell."""
    asked: dict[str, Callable[[], Any]] = {
        "gpu_persistence": lambda: nvml.nvmlDeviceGetPersistenceMode(handle),
        "gpu_ecc": lambda: nvml.nvmlDeviceGetEccMode(handle)[0],
        "gpu_mig": lambda: nvml.nvmlDeviceGetMigMode(handle)[0],
        "gpu_max_sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
    }
    found = {}
    for name, ask in asked.items():
        try:
            found[name] = str(ask())
        except (nvml.NVMLError, AttributeError):
            found[name] = "unknown"
    return found


def container(root: Path = _ROOT) -> str:
    """The image that this process runs in, as podman tells it; "docker", "kubernetes" where only that is known; "none".

    Nothing inside a docker container names its image.
    """
    lines = read_lines(root / "run/.containerenv")
    images = [line.partition("=")[2].strip().strip('"') for line in lines if line.startswith("image=")]
    if images and images[0]:
        return images[0]
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    return "docker" if (root / ".dockerenv").exists() else "none"


def timing_cache_digest(cache: Path) -> str | None:
    """SHA-256 of what a TensorRT builder timed last, below the project's cache; None where there is no such file.

    Two builds from one timing cache choose the same kernels more often, so a changed digest explains a changed engine.
    """
    found = sorted(cache.glob("tensorrt/*/timing.cache"), key=lambda path: path.stat().st_mtime)
    return hashlib.sha256(found[-1].read_bytes()).hexdigest() if found else None


def cpu_environment(root: Path = _ROOT) -> dict[str, str]:
    """Kernel, governor, CPUs this process may use, CPU quota; "unknown" where the system says nothing."""
    return {
        "kernel": platform.release(),
        "governor": first_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "affinity": ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))),
        "cpu_quota": cpu_quota(root),
        "container": container(root),
        "python": platform.python_version(),
    }


def cpu_quota(root: Path = _ROOT) -> str:
    """CPUs the cgroup may use as text, "none" without a limit, "unknown" where no controller is mounted."""
    limit = first_line(root / "sys/fs/cgroup/cpu.max").split()
    if len(limit) == 2:
        return "none" if limit[0] == "max" else f"{int(limit[0]) / int(limit[1]):g}"
    quota = first_line(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = first_line(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota and period:
        return "none" if int(quota) < 0 else f"{int(quota) / int(period):g}"
    return "unknown"


def package_versions(names: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Installed versions of the packages that change what is measured; absent ones are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_host_bytes(root: Path = _ROOT) -> int | None:
    """Peak resident memory of this process image (VmHWM); `ru_maxrss` would include the parent's before exec."""
    for line in read_lines(root / "proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def anonymous_bytes(root: Path = _ROOT) -> int | None:
    """Anonymous resident memory of this process: what was allocated, not what was mapped from files."""
    for line in read_lines(root / "proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def process_age_s(root: Path = _ROOT) -> float:
    """Seconds since this process was started, imports included; 0 where /proc does not say."""
    text = first_line(root / "proc/self/stat")
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20:
        return 0.0
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)


def read_lines(path: Path) -> list[str]:
    """The file's lines; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def first_line(path: Path) -> str:
    """The file's first line; empty where it cannot be read."""
    lines = read_lines(path)
    return lines[0] if lines else ""
