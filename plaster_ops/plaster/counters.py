"""Which counters there are for the device that runs an engine."""

from pathlib import Path
from typing import Any

from plaster_ops.plaster.nvml import open_nvml
from plaster_ops.plaster.power import EnergyCounter, NoCounter
from plaster_ops.plaster.rapl import POWERCAP, RaplCounter, open_dram, open_rapl


def open_counter(device: str, *, powercap: Path = POWERCAP, nvml: Any = None) -> EnergyCounter:
    """The counter of what runs the engine: the GPU's for a CUDA device, the CPU packages' otherwise."""
    if device.startswith("cuda"):
        return open_nvml(device, nvml=nvml)
    rapl = open_rapl(powercap)
    if isinstance(rapl, RaplCounter):
        return rapl
    return NoCounter(f"engine runs on the CPU, {rapl.reason}; NVML counts GPUs only")


def open_memory_counter(device: str, *, powercap: Path = POWERCAP) -> EnergyCounter:
    """The counter of the memory beside the CPU packages, where the engine runs on the CPU."""
    if device.startswith("cuda"):
        return NoCounter("engine runs on a GPU, whose counter holds its own memory")
    return open_dram(powercap)
