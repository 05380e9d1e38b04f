"""Evidence on disk: what a measuring process writes of its blocks and runs, and reading it back. Never torch."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plaster_ops.plaster.evidence import Evidence, MeasuredBlock, ServerRun
from plaster_ops.plaster.meter import EnergyWindow
from plaster_ops.plaster.open_loop import Kept, Point
from plaster_ops.plaster.sensing import Sensed
from plaster_ops.plaster.turns import Block

RAW, RESULT = "raw.npz", "result.json"
_LATENCIES = "latencies_ns"
_SENSED = ("power_j", "temp_start_c", "temp_end_c", "clock_mhz", "slowed_ratio", "braked_ratio")
_SERVER_DUE, _SERVER_LATENCIES = "server_due_ns", "server_latencies_ns"


def load_evidence(folders: Sequence[Path]) -> Evidence:
    """Reads `result.json` and `raw.npz` of each measure folder in turn; raises `ValueError` where they disagree."""
    results = [json.loads((folder / RESULT).read_text()) for folder in folders]
    blocks: list[MeasuredBlock] = []
    runs: list[ServerRun] = []
    for result, folder in zip(results, folders, strict=True):
        with (folder / RAW).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        runs += _server_runs_of(result, columns, folder)
        blocks += _blocks_of(result, columns, folder)
    return Evidence(results=tuple(results), all_blocks=tuple(blocks), all_server_runs=tuple(runs))


def _server_runs_of(result: Mapping[str, Any], columns: dict[str, Any], folder: Path) -> list[ServerRun]:
    due, latencies = (columns.pop(name, np.empty(0)).astype(np.int64) for name in (_SERVER_DUE, _SERVER_LATENCIES))
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
    raw = columns.pop(_LATENCIES).astype(np.int64)
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
        _LATENCIES: np.asarray(laid, dtype=np.int64),
    }
    if served:
        order = sorted(served, key=lambda kept: kept.label)
        columns[_SERVER_DUE] = np.concatenate([kept.served.due_ns for kept in order])
        columns[_SERVER_LATENCIES] = np.concatenate([kept.served.latencies_ns for kept in order])
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
