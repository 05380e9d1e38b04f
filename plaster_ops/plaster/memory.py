"""Memory of the process that measures: on a GPU by torch's allocator and by NVML, on a CPU by /proc."""

import os
from typing import Any

from plaster_ops.plaster.gpu_lookup import find_gpu, load_nvml, nvml_open
from plaster_ops.plaster.machine import anonymous_bytes


def on_gpu(device: str) -> bool:
    """Whether a torch device names a GPU."""
    return device.startswith("cuda")


def held_bytes(device: str) -> int | None:
    """What is allocated now: anonymous memory of this process, or memory in use on the whole GPU (TensorRT allocates
    beside torch). None where /proc is not readable."""
    if not on_gpu(device):
        return anonymous_bytes()
    import torch

    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


def open_context(device: str) -> None:
    """Makes the GPU's context now, so that it is no part of what the first engine takes."""
    if on_gpu(device):
        import torch

        torch.zeros(1, device=device)
        torch.cuda.reset_peak_memory_stats(device)


def torch_peak_bytes(device: str) -> int | None:
    """Most that torch's allocator held in tensors on that GPU since `open_context`; None on a CPU."""
    if not on_gpu(device):
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


class ProcessPeak:
    """The largest reading of this process's memory on its GPU, as NVML tells it, the context included.

    An engine keeps what it took, so a reading after each load and one after the last query see the peak. `reason` says
    why there is none.
    """

    def __init__(self, device: str, *, nvml: Any = None, pid: int | None = None) -> None:
        self._device, self._nvml, self._pid = device, nvml, pid or os.getpid()
        self.bytes: int | None = None
        self.reason = "" if on_gpu(device) else "the engine runs on the CPU"

    def look(self) -> None:
        """Takes one reading; nothing on a CPU."""
        if not on_gpu(self._device):
            return
        nvml = self._nvml or load_nvml()
        try:
            with nvml_open(nvml):
                processes = nvml.nvmlDeviceGetComputeRunningProcesses(find_gpu(nvml, self._device))
        except (nvml.NVMLError, ValueError) as error:
            self.reason = f"no NVML ({str(error).strip().lower() or type(error).__name__})"
            return
        mine = [p.usedGpuMemory for p in processes if p.pid == self._pid and p.usedGpuMemory]
        if mine:
            self.bytes = max(self.bytes or 0, int(mine[0]))
        else:
            self.reason = "NVML does not tell this process's memory (its list has other process ids, as in a container)"


def gpu_memory(device: str, process: ProcessPeak) -> dict[str, Any]:
    """`{"torch_peak_bytes", "process_peak_bytes", "reason"}` of the measuring process."""
    process.look()
    return {
        "torch_peak_bytes": torch_peak_bytes(device),
        "process_peak_bytes": process.bytes,
        "reason": "" if process.bytes is not None else process.reason,
    }
