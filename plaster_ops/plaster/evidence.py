"""What R fresh processes measured: results, blocks with their raw latencies, runs of arrivals. Never loads torch."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain.card import Status
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.open_loop import Point
from plaster_ops.plaster.turns import EAGER

Latencies = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredBlock:
    """One turn of one engine in one process. `cpu_s` is that process's CPU time during the turn."""

    process: int
    kind: str
    label: str
    index: int
    batch: int
    window_s: float
    cpu_s: float
    latencies_ns: Latencies
    energy: EnergyWindow | None = None

    @property
    def queries(self) -> int:
        """Timed queries."""
        return len(self.latencies_ns)

    @property
    def samples(self) -> int:
        """Samples answered: queries x batch."""
        return self.queries * self.batch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ServerRun:
    """One run of Poisson arrivals on one engine in one process, queries in the order they were due.

    `certifies`: the run was long, and no decision had seen its arrivals. Latencies count from `due_ns`.
    """

    process: int
    label: str
    rate_per_s: float
    certifies: bool
    answered: int
    batches: int
    busy_s: float
    window_s: float
    due_ns: Latencies
    latencies_ns: Latencies


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """All processes of one measurement, in order. `results` are their result mappings."""

    results: tuple[Mapping[str, Any], ...]
    all_blocks: tuple[MeasuredBlock, ...]
    all_server_runs: tuple[ServerRun, ...] = ()

    @property
    def processes(self) -> int:
        """How many fresh processes measured."""
        return len(self.results)

    @property
    def slo_ms(self) -> float:
        """The latency limit."""
        return float(self.results[0]["slo_ms"])

    @property
    def profile(self) -> str:
        """Name of the profile."""
        return str(self.results[0]["profile"])

    def blocks(self, kind: str, label: str) -> list[MeasuredBlock]:
        """That engine's turns of one kind, over all processes."""
        return [block for block in self.all_blocks if block.kind == kind and block.label == label]

    def engine_rows(self, label: str) -> list[Mapping[str, Any]]:
        """What each process noted on loading that engine."""
        return [result["engines"][label] for result in self.results if label in result["engines"]]

    def search(self, label: str) -> Mapping[str, Any] | None:
        """The batch search of that engine; None where no process searched."""
        found = [result["search"][label] for result in self.results if result.get("search")]
        return found[0] if found else None

    def fastest_batch(self, label: str) -> int | None:
        """The batch with most samples per second in the search, the limit aside; None where it found no end."""
        found = self.results[0].get("fastest_batches", {}).get(label)
        return None if found is None else int(found)

    def server_point(self, label: str) -> Point | None:
        """Where the first process would serve that engine; None where server mode was not asked for."""
        points = self.results[0].get("server")
        return Point.from_json(points[label]["point"]) if points and label in points else None

    def server_runs(self, label: str) -> list[ServerRun]:
        """That engine's runs of Poisson arrivals, over all processes."""
        return [run for run in self.all_server_runs if run.label == label]

    def chosen_batches(self) -> dict[str, int]:
        """The batch per engine that the first process settled on; what later processes are given."""
        return {label: int(batch) for label, batch in self.results[0]["chosen_batches"].items()}

    def engine_memory_bytes(self, label: str) -> float | None:
        """Median over the processes of what loading that engine and its first answer took."""
        rows = self.engine_rows(label)
        taken = [int(row["memory_bytes"]) for row in rows if row.get("memory_bytes") is not None]
        return statistics.median(taken) if taken else None

    def why_no_memory(self, label: str) -> str:
        """What a process noted where it does not tell that; empty where none did."""
        return next((str(row["memory_reason"]) for row in self.engine_rows(label) if row.get("memory_reason")), "")

    def device_of(self, label: str) -> str:
        """Where that engine ran. Eager was always on the CPU in records that do not tell."""
        told = [row["device"] for row in self.engine_rows(label) if row.get("device")]
        return str(told[0]) if told else "cpu" if label == EAGER else self.device

    def parts_ms(self, label: str, part: str) -> list[float]:
        """`h2d`, `compute`, `d2h` or `enqueue` of every call that was split, sorted; none on a CPU."""
        return sorted(float(ms) for r in self.results for ms in r.get("parts", {}).get(label, {}).get(part, ()))

    @property
    def device(self) -> str:
        """Where the engines ran: "cpu" or "cuda:0"."""
        return str(self.results[0].get("device", "cpu"))

    @property
    def affinity(self) -> str:
        """The CPUs that the measuring processes ran on, "0,1"; "unknown" where they do not tell, or differ."""
        told = {",".join(map(str, result.get("cpus", ()))) for result in self.results}
        return (told.pop() if len(told) == 1 else "") or "unknown"

    def notes(self) -> list[str]:
        """What each process noted about foreign load and steal."""
        return [note for result in self.results for note in result["machine"]["notes"]]

    def trust(self) -> tuple[Status, str | None]:
        """`SUSPECT` with its reason where any process says so, else `MEASURED`."""
        for result in self.results:
            if result["machine"]["suspect"]:
                return Status.SUSPECT, str(result["machine"]["suspect"])
        return Status.MEASURED, None


def windows(blocks: Sequence[MeasuredBlock], count: int) -> list[list[MeasuredBlock]]:
    """Consecutive blocks of one process put together to at most `count` windows of about equal length."""
    wanted = min(count, len(blocks))
    edges = [round(i * len(blocks) / wanted) for i in range(wanted + 1)] if wanted else []
    return [list(blocks[low:high]) for low, high in pairwise(edges)]


def pooled_ns(blocks: Iterable[MeasuredBlock]) -> Latencies:
    """All latencies of these blocks, sorted upwards; not to be written to: the last few are kept."""
    return _pooled_ns(tuple(blocks))


@lru_cache(maxsize=16)
def _pooled_ns(blocks: tuple[MeasuredBlock, ...]) -> Latencies:
    parts = [block.latencies_ns for block in blocks]
    pooled = np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)
    pooled.flags.writeable = False
    return pooled


def by_process(blocks: Iterable[MeasuredBlock]) -> list[list[MeasuredBlock]]:
    """The blocks of each process, in order of processes."""
    found: dict[int, list[MeasuredBlock]] = {}
    for block in blocks:
        found.setdefault(block.process, []).append(block)
    return [found[process] for process in sorted(found)]
