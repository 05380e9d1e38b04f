"""Which GPUs a CUDA process sees, and in what order: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER read as CUDA does.

CUDA numbers the GPUs that it shows, fastest first unless told otherwise; NVML numbers all of them by PCI bus. So a
number alone can be another GPU.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar


class UnknownGpu(ValueError):
    """Which GPU is meant cannot be told; the message says why."""


class Listed(Protocol):
    """A GPU as NVML lists it."""

    @property
    def uuid(self) -> str: ...

    @property
    def name(self) -> str: ...


GpuT = TypeVar("GpuT", bound=Listed)


def in_cuda_order(by_bus: Sequence[GpuT], environment: Mapping[str, str]) -> list[GpuT]:
    """The GPUs that a process of that environment sees, in CUDA's order, each once. `by_bus`: all, by PCI bus.

    UUIDs may be shortened. CUDA shows nothing from the first entry on that it does not know. Raises `UnknownGpu` for a
    MIG instance (the board is shared), and where GPUs are of several models and only numbers are given: CUDA alone
    knows which of them is the fastest.
    """
    numbered = environment.get("CUDA_DEVICE_ORDER", "").strip().upper() == "PCI_BUS_ID"
    ordered = by_bus if numbered or len({gpu.name for gpu in by_bus}) <= 1 else None
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return _known(ordered)
    found: list[GpuT] = []
    for entry in (part.strip() for part in chosen.split(",")):
        gpu = _entry(entry, by_bus, ordered)
        if gpu is None:
            break
        if gpu not in found:
            found.append(gpu)
    return found


def _entry(entry: str, by_bus: Sequence[GpuT], ordered: Sequence[GpuT] | None) -> GpuT | None:
    """The GPU of one entry of CUDA_VISIBLE_DEVICES; None where CUDA would stop reading."""
    if entry.startswith("MIG-"):
        raise UnknownGpu(f"shared_gpu: {entry} is a part of a board, and counters are the whole board's")
    if entry.isdigit():
        known = _known(ordered)
        return known[int(entry)] if int(entry) < len(known) else None
    named = [gpu for gpu in by_bus if entry and gpu.uuid.lower().startswith(entry.lower())]
    return named[0] if len(named) == 1 else None


def _known(ordered: Sequence[GpuT] | None) -> list[GpuT]:
    if ordered is None:
        raise UnknownGpu(
            "ambiguous: GPUs of several models, and CUDA counts the fastest first; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
    return list(ordered)
