"""Which NVIDIA GPUs are visible, asked of NVML without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.visible import UnknownGpu, in_cuda_order


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU: its name, compute capability, driver, UUID."""

    name: str
    capability: tuple[int, int]
    driver: str
    uuid: str = ""


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA would show here, in its order; () without driver, library or permission, or where
    CUDA_VISIBLE_DEVICES hides all.

    Where only CUDA knows the order (several models, plain numbers) or MIG instances are named, all of them by PCI bus.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").split(",")[0].strip() in ("", "-1"):
        return ()
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no permission: each means that no GPU can be used from here
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        listed = [_gpu(pynvml, handle, driver) for handle in sorted(handles, key=lambda h: _bus(pynvml, h))]
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    try:
        return tuple(in_cuda_order(listed, os.environ))
    except UnknownGpu:
        return tuple(listed)


def _gpu(nvml: Any, handle: Any, driver: str) -> Gpu:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    uuid = str(nvml.nvmlDeviceGetUUID(handle))
    return Gpu(name=str(nvml.nvmlDeviceGetName(handle)), capability=(major, minor), driver=driver, uuid=uuid)


def _bus(nvml: Any, handle: Any) -> str:
    return str(nvml.nvmlDeviceGetPciInfo(handle).busId)
