"""What R fresh processes measured, written and read back: results and raw latencies. Loads numpy, never torch."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.domain.card import Status
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.open_loop import Kept, Point
from plaster_ops.plaster.sensing import Sensed
from plaster_ops.plaster.turns import EAGER, Block

Latencies = npt.NDArray[np.int64]
RAW = "raw.npz"
LATENCIES = "latencies_ns"
_SENSED = ("power_j", "temp_start_c", "temp_end_c", "clock_mhz", "slowed_ratio", "braked_ratio")
SERVER_DUE, SERVER_LATENCIES = "server_due_ns", "server_latencies_ns"


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


def load_evidence(folders: Sequence[Path]) -> Evidence:
    """Reads `result.json` and `raw.npz` of each measure folder in turn; raises `ValueError` where they disagree."""
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    blocks: list[MeasuredBlock] = []
    runs: list[ServerRun] = []
    for result, folder in zip(results, folders, strict=True):
        with (folder / RAW).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        runs += _server_runs_of(result, columns, folder)
        blocks += _blocks_of(result, columns, folder)
    return Evidence(results=tuple(results), all_blocks=tuple(blocks), all_server_runs=tuple(runs))


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


def _server_runs_of(result: Mapping[str, Any], columns: dict[str, Any], folder: Path) -> list[ServerRun]:
    due, latencies = (columns.pop(name, np.empty(0)).astype(np.int64) for name in (SERVER_DUE, SERVER_LATENCIES))
    rows = [(label, row) for label, found in sorted((result.get("server") or {}).items()) for row in found["runs"]]
    if sum(row["queries"] for _, row in rows) != len(due) or len(due) != len(latencies):
        raise ValueError(f"{folder / RAW}: {len(latencies)} served queries, but its runs speak of others")
    runs, offset = [], 0
    for label, row in rows:
        end = offset + row["queries"]
        runs.append(
            ServerRun(
                process=int(result["process"]),
                label=label,
                rate_per_s=row["rate_per_s"],
                certifies=row["certifies"],
                answered=row["answered"],
                batches=row["batches"],
                busy_s=row["busy_s"],
                window_s=row["window_s"],
                due_ns=due[offset:end],
                latencies_ns=latencies[offset:end],
            )
        )
        offset = end
    return runs


def _blocks_of(result: Mapping[str, Any], columns: dict[str, Any], folder: Path) -> list[MeasuredBlock]:
    raw = columns.pop(LATENCIES).astype(np.int64)
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
    if sum(row["queries"] for row in rows) != len(raw):
        raise ValueError(f"{folder / RAW}: {len(raw)} latencies, but its blocks speak of others")
    blocks, offset = [], 0
    for row in rows:
        end = offset + row["queries"]
        blocks.append(
            MeasuredBlock(
                process=int(result["process"]),
                kind=row["kind"],
                label=row["label"],
                index=row["index"],
                batch=row["batch"],
                window_s=row["window_s"],
                cpu_s=row["cpu_s"],
                latencies_ns=raw[offset:end],
                energy=_energy_of(row),
            )
        )
        offset = end
    return blocks


def _energy_of(row: Mapping[str, Any]) -> EnergyWindow | None:
    if not row["energy_updates"]:
        return None

    def known(column: str) -> float | None:
        value = row.get(column, math.nan)
        return None if math.isnan(value) else float(value)

    sensed = {name: known(f"sensed_{name}") for name in _SENSED}
    return EnergyWindow(
        joules=row["energy_joules"],
        window_s=row["energy_window_s"],
        inferences=row["energy_inferences"],
        updates=row["energy_updates"],
        dram_j=known("energy_dram_j"),
        sensed=Sensed(is_instant=bool(row.get("sensed_is_instant", True)), **sensed),
    )


def _energy_columns(energies: Sequence[EnergyWindow]) -> dict[str, npt.NDArray[Any]]:
    """One column a field; not-a-number stands for unknown in this file, and nowhere else."""
    floats: dict[str, list[float | None]] = {
        "energy_joules": [energy.joules for energy in energies],
        "energy_window_s": [energy.window_s for energy in energies],
        "energy_dram_j": [energy.dram_j for energy in energies],
        **{f"sensed_{name}": [getattr(energy.sensed, name) for energy in energies] for name in _SENSED},
    }
    return {
        **{name: np.array([math.nan if v is None else v for v in column]) for name, column in floats.items()},
        "energy_inferences": np.array([energy.inferences for energy in energies], dtype=np.float64),
        "energy_updates": np.array([energy.updates for energy in energies], dtype=np.int64),
        "sensed_is_instant": np.array([energy.sensed.is_instant for energy in energies], dtype=np.int64),
    }


def server_rows(points: Mapping[str, Point] | None, served: Sequence[Kept]) -> dict[str, Any] | None:
    """Server mode in the result of a process: per engine where it is served, and its runs; None without server mode."""
    if points is None:
        return None
    return {
        label: {"point": point.to_json(), "runs": [kept.to_json() for kept in served if kept.label == label]}
        for label, point in sorted(points.items())
    }


def write_raw(path: Path, blocks: Sequence[Block], served: Sequence[Kept] = ()) -> None:
    """Blocks as columns, one entry a block, and all latencies laid end to end in their order; read by `load_evidence`.

    `energy_updates` 0 means that the block has no energy window. Times are seconds, latencies int64 nanoseconds. Server
    mode adds, engine by engine and run by run as in `server_rows`, when each query was due and how long it took.
    """
    origin_ns = blocks[0].timed.start_ns if blocks else 0
    none = EnergyWindow(joules=0.0, window_s=0.0, inferences=0, updates=0)
    energies = [block.energy or none for block in blocks]
    laid = [latency_ns for block in blocks for latency_ns in block.timed.latencies_ns]
    columns = {
        "kind": np.array([block.kind for block in blocks], dtype=np.str_),
        "label": np.array([block.label for block in blocks], dtype=np.str_),
        "index": np.array([block.index for block in blocks], dtype=np.int64),
        "position": np.array([block.position for block in blocks], dtype=np.int64),
        "batch": np.array([block.batch for block in blocks], dtype=np.int64),
        "queries": np.array([len(block.timed.latencies_ns) for block in blocks], dtype=np.int64),
        "start_s": np.array([(block.timed.start_ns - origin_ns) * 1e-9 for block in blocks], dtype=np.float64),
        "window_s": np.array([block.timed.window_ns * 1e-9 for block in blocks], dtype=np.float64),
        "cpu_s": np.array([block.timed.cpu_s for block in blocks], dtype=np.float64),
        **_energy_columns(energies),
        LATENCIES: np.asarray(laid, dtype=np.int64),
    }
    if served:
        order = sorted(served, key=lambda kept: kept.label)
        columns[SERVER_DUE] = np.concatenate([kept.served.due_ns for kept in order])
        columns[SERVER_LATENCIES] = np.concatenate([kept.served.latencies_ns for kept in order])
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
