"""Memory of the measuring process; the GPU's by a double of NVML."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from plaster_ops.plaster import memory
from plaster_ops.plaster.memory import ProcessPeak, gpu_memory, held_bytes, open_context


class Nvml:
    """Tells of one GPU; each reading has the next list of processes."""

    class NVMLError(Exception):
        pass

    def __init__(self, *readings: list[tuple[int, int | None]], broken: bool = False) -> None:
        self.readings, self.broken = list(readings), broken

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Nothing is open."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        del handle
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.readings.pop(0)]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which GPU it is has tests of its own."""
    monkeypatch.setattr(memory, "find_gpu", lambda _nvml, device: device)


@pytest.mark.usefixtures("found")
def test_the_peak_is_the_largest_reading_of_this_process_alone() -> None:
    peak = ProcessPeak("cuda:0", nvml=Nvml([(1, 900), (7, 100)], [(7, 300)], [(7, 200)]), pid=7)
    for _ in range(3):
        peak.look()
    assert (peak.bytes, peak.reason) == (300, "")


@pytest.mark.usefixtures("found")
def test_a_process_that_nvml_does_not_list_has_a_reason_and_no_zero() -> None:
    peak = ProcessPeak("cuda:0", nvml=Nvml([(1, 900)], [(7, None)]), pid=7)
    for _ in range(2):
        peak.look()
        assert peak.bytes is None
        assert "other process ids" in peak.reason
    peak = ProcessPeak("cuda:0", nvml=Nvml(broken=True), pid=7)
    peak.look()
    assert peak.reason == "no NVML (driver not loaded)"


def test_on_a_cpu_what_is_allocated_counts_and_no_gpu_is_asked() -> None:
    open_context("cpu")
    before_bytes = held_bytes("cpu")
    # Past malloc's largest mmap threshold (32 MiB) it is fresh pages, never ones freed by what this process did before.
    kept = np.ones(64 * 2**20, dtype=np.uint8)
    after_bytes = held_bytes("cpu")
    assert before_bytes is not None
    assert after_bytes is not None
    assert after_bytes - before_bytes >= 0.9 * kept.nbytes
    found = gpu_memory("cpu", ProcessPeak("cpu"))
    assert found == {"torch_peak_bytes": None, "process_peak_bytes": None, "reason": "the engine runs on the CPU"}
