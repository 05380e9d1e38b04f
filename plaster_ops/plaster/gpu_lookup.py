"""Which GPU of NVML is behind a device of CUDA: by its UUID, never by its number alone (see `domain.visible`)."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.visible import UnknownGpu, in_cuda_order


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedGpu:
    """A GPU as NVML lists it. `handle` is NVML's own."""

    uuid: str
    name: str
    bus: str
    handle: Any


def load_nvml() -> Any:
    """The binding of NVIDIA's management library; it loads without a driver and then fails at `nvmlInit`."""
    import pynvml

    return pynvml


@contextmanager
def nvml_open(nvml: Any = None) -> Iterator[Any]:
    """NVML for as long as the block lasts. Raises its `NVMLError` where there is no driver."""
    nvml = nvml or load_nvml()
    nvml.nvmlInit()
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def find_gpu(nvml: Any, device: str, environment: Mapping[str, str] | None = None) -> Any:
    """NVML's handle for `cuda` or `cuda:N`. NVML is open.

    Where torch has its GPUs open it is asked for the UUID; otherwise the environment is read as CUDA reads it.
    Raises `UnknownGpu` where the device is not visible or could be several, NVMLError where NVML does not answer.
    """
    _, _, number = device.partition(":")
    index = int(number or 0)
    if environment is None:
        uuid = _uuid_of_torch(index)
        if uuid is not None:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
    seen = in_cuda_order(list_gpus(nvml), os.environ if environment is None else environment)
    if index >= len(seen):
        raise UnknownGpu(f"{device} is not among the {len(seen)} GPUs that CUDA_VISIBLE_DEVICES shows")
    return seen[index].handle


def list_gpus(nvml: Any) -> list[ListedGpu]:
    """All GPUs by PCI bus."""
    listed = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        listed.append(
            ListedGpu(
                uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                name=_text(nvml.nvmlDeviceGetName(handle)),
                bus=_text(nvml.nvmlDeviceGetPciInfo(handle).busId),
                handle=handle,
            )
        )
    return sorted(listed, key=lambda gpu: gpu.bus)


def _uuid_of_torch(index: int) -> str | None:
    """The UUID as torch has it; None where torch is not loaded, has no GPU open, or is too old to tell."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return None if uuid is None else f"GPU-{str(uuid).removeprefix('GPU-')}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
