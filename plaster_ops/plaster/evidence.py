"""What R fresh processes measured, read back: results and raw latencies. Loads numpy, never torch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain.card import Status
from plaster_ops.plaster.meter import EnergyWindow

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
class Evidence:
    """All processes of one measurement, in order. `results` are their result mappings."""

    results: tuple[Mapping[str, Any], ...]
    all_blocks: tuple[MeasuredBlock, ...]

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

    def chosen_batches(self) -> dict[str, int]:
        """The batch per engine that the first process settled on; what later processes are given."""
        return {label: int(batch) for label, batch in self.results[0]["chosen_batches"].items()}

    def peak_host_bytes(self) -> int | None:
        """Largest peak of resident memory over the processes, all engines of the comparison loaded."""
        peaks = [result["peak_host_bytes"] for result in self.results if result.get("peak_host_bytes")]
        return max(peaks, default=None)

    def notes(self) -> list[str]:
        """What each process noted about foreign load and steal."""
        return [note for result in self.results for note in result["machine"]["notes"]]

    def trust(self) -> tuple[Status, str | None]:
        """`SUSPECT` with its reason where any process says so, else `MEASURED`."""
        for result in self.results:
            if result["machine"]["suspect"]:
                return Status.SUSPECT, str(result["machine"]["suspect"])
        return Status.MEASURED, None


def load_evidence(folders: Sequence[Path]) -> Evidence:
    """Reads `result.json` and `raw.npz` of each measure folder in turn; raises `ValueError` where they disagree."""
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    blocks = [
        block for result, folder in zip(results, folders, strict=True) for block in _blocks_of(result, _raw(folder))
    ]
    return Evidence(results=tuple(results), all_blocks=tuple(blocks))


def pooled_ns(blocks: Iterable[MeasuredBlock]) -> Latencies:
    """All latencies of these blocks, sorted upwards."""
    parts = [block.latencies_ns for block in blocks]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


def by_process(blocks: Iterable[MeasuredBlock]) -> list[list[MeasuredBlock]]:
    """The blocks of each process, in order of processes."""
    found: dict[int, list[MeasuredBlock]] = {}
    for block in blocks:
        found.setdefault(block.process, []).append(block)
    return [found[process] for process in sorted(found)]


def _raw(folder: Path) -> Latencies:
    with np.load(folder / "raw.npz", allow_pickle=False) as stored:
        return np.asarray(stored["latencies_ns"], dtype=np.int64)


def _blocks_of(result: Mapping[str, Any], raw: Latencies) -> list[MeasuredBlock]:
    rows = result["blocks"]
    if sum(row["queries"] for row in rows) != len(raw):
        raise ValueError(
            f"process {result['process']}: raw.npz holds {len(raw)} latencies, the result speaks of others"
        )
    blocks, offset = [], 0
    for row in rows:
        energy = row.get("energy")
        blocks.append(
            MeasuredBlock(
                process=int(result["process"]),
                kind=row["kind"],
                label=row["label"],
                index=int(row["index"]),
                batch=int(row["batch"]),
                window_s=float(row["window_s"]),
                cpu_s=float(row["cpu_s"]),
                latencies_ns=raw[offset : offset + row["queries"]],
                energy=EnergyWindow(**energy) if energy else None,
            )
        )
        offset += row["queries"]
    return blocks
