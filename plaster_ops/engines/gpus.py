"""Which NVIDIA GPUs are visible, asked of NVML without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU: its name, compute capability, driver."""

    name: str
    capability: tuple[int, int]
    driver: str


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine; () without driver, library or permission, or where CUDA_VISIBLE_DEVICES hides all."""
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
        return tuple(
            Gpu(
                name=str(pynvml.nvmlDeviceGetName(handle)),
                capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
                driver=driver,
            )
            for handle in handles
        )
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
