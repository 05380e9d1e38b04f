"""The measure stage: loads every engine of a comparison into one fresh process and collects raw evidence.

No user code runs here. Reading the evidence is the parent's work (`plaster.latency` and its neighbours).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plaster_ops.importing import uncollected
from plaster_ops.plaster.collect import Collected, Setup, collect
from plaster_ops.plaster.counters import open_counter, open_memory_counter
from plaster_ops.plaster.energy_points import idle_s, points_s, take_points, watch_idle
from plaster_ops.plaster.load import Samples, load_samples
from plaster_ops.plaster.machine import peak_host_bytes, process_age_s
from plaster_ops.plaster.memory import ProcessPeak, gpu_memory, held_bytes, open_context
from plaster_ops.plaster.meter import EnergyWindow, Meter, TickMeter, meter_for
from plaster_ops.plaster.nvml import NvmlCounter
from plaster_ops.plaster.open_loop import Point
from plaster_ops.plaster.pinning import pinned
from plaster_ops.plaster.power import EnergyCounter
from plaster_ops.plaster.preflight import braked, cpu_times, disturbance, look_at_gpu
from plaster_ops.plaster.profiles import RACE, Profile, find_profile
from plaster_ops.plaster.raw_files import RAW, server_rows, write_raw
from plaster_ops.plaster.search import Found
from plaster_ops.plaster.sustained import least_metered_s
from plaster_ops.plaster.timing import process_cpu_s
from plaster_ops.plaster.turns import EAGER, Bench, Progress
from plaster_ops.ports import Engine, EventSink

SCHEMA = 1
_DRAM_UNREAD = "the package counter moves too seldom to be read at the edges of a block, where the memory's is"
_ENDING_S = 1.0
"""What closing engines, writing the raw samples and reading them in the parent take of a process's budget."""


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """Measures `spec["engines"]` (rows `{"label", "folder"}`) against each other; raw latencies go to `folder/raw.npz`.

    Further fields: `samples` (file), `profile`, `process` (0 searches the batch unless `chosen_batches` is given),
    `slo_ms`, `batches`, `threads`, `device`, `eager` (engine folder or None), `pin` (held to as many CPUs as `threads`;
    `cpus` are those of the process before), `max_queue_delay_ms` (None: no server mode), and what process 0 found:
    `fastest_batches`, `server`.
    """
    pins = bool(spec.get("pin")) and spec["device"] == "cpu"
    with pinned(int(spec["threads"]) if pins else None, spec.get("cpus")) as cpus:
        return _measure(spec, folder, emit, cpus)


def _measure(spec: Mapping[str, Any], folder: Path, emit: EventSink, cpus: Sequence[int]) -> dict[str, Any]:
    with uncollected("torch"):
        import torch

    torch.set_num_threads(int(spec["threads"]))
    device = str(spec["device"])
    before = look_at_gpu(device, has_context=False)
    samples = load_samples(Path(spec["samples"]), pinned=device.startswith("cuda"))
    machine_before, own_before_s = cpu_times(), process_cpu_s()
    process = ProcessPeak(device)
    engines, loading = _load(spec, samples, process)
    counter, memory = open_counter(device), open_memory_counter(device)
    try:
        sensor = counter.sensor() if isinstance(counter, NvmlCounter) else None
        bench = Bench(
            runs={label: engine.run for label, engine in engines.items()},
            inputs=samples,
            progress=Progress(emit=emit),
            meter=meter_for(counter, sensor=sensor, memory=memory),
            splits={label: engine.time_parts for label, engine in engines.items() if hasattr(engine, "time_parts")},
        )
        idle = watch_idle(bench.meter, _idle_s(spec, bench.meter) if device.startswith("cuda") else 0.0)
        setup = _setup(spec, bench.meter)
        collected = collect(bench, setup)
        if setup.profile.name != RACE.name:
            p50_ns = {label: collected.warmths[label].p50_ns for label in setup.order}
            settled = collected.chosen_batches
            take_points(bench, setup.order, setup.profile, p50_ns, collected.found, settled)
        after = look_at_gpu(device, has_context=True)
        trouble = before.trouble or after.trouble or braked(block.energy for block in bench.blocks)
        note = after.note or (f"before the load, {before.note}" if before.note else "")
        quiet = disturbance(machine_before, cpu_times(), process_cpu_s() - own_before_s, trouble, note)
        on_gpu = gpu_memory(device, process)
    finally:
        counter.close()
        memory.close()
        for engine in engines.values():
            engine.close()
    write_raw(folder / RAW, bench.blocks, collected.served)
    return {
        "schema": SCHEMA,
        **{field: spec[field] for field in ("process", "profile", "slo_ms", "device", "threads")},
        "input_shapes": list(samples.shapes),
        "samples_count": samples.count,
        "engines": {label: row | _warmth(collected, label) for label, row in loading.items()},
        "parts": dict(collected.parts),
        "cpus": list(cpus),
        "torch_threads": torch.get_num_threads(),
        "search": _search_rows(collected.found),
        "chosen_batches": dict(collected.chosen_batches),
        "fastest_batches": dict(collected.fastest_batches),
        "server": server_rows(collected.points, collected.served),
        "energy": _energy(counter, memory, bench.meter, idle),
        "machine": asdict(quiet),
        "peak_host_bytes": peak_host_bytes(),
        "gpu_memory": on_gpu,
        "age_s": process_age_s(),
    }


def _energy(counter: EnergyCounter, memory: EnergyCounter, meter: Meter, idle: EnergyWindow | None) -> dict[str, Any]:
    """Who counted what, why not, and what was drawn at rest. `lost`: why the counter broke off while it counted."""
    return {
        "source": counter.source,
        "scope": counter.scope,
        "reason": counter.reason,
        "lost": meter.lost,
        "sensor_lost": meter.sensor_lost,
        "notes": list(counter.notes),
        "dram_reason": memory.reason or (_DRAM_UNREAD if isinstance(meter, TickMeter) else ""),
        "idle": {"joules": idle.joules, "window_s": idle.window_s} if idle else None,
    }


def _idle_s(spec: Mapping[str, Any], meter: Meter) -> float:
    profile = find_profile(str(spec["profile"]))
    return 0.0 if profile.name == RACE.name else idle_s(profile, meter)


def _setup(spec: Mapping[str, Any], meter: Meter) -> Setup:
    return Setup(
        labels=tuple(str(row["label"]) for row in spec["engines"]),
        profile=_fitted(find_profile(str(spec["profile"])), spec, meter),
        slo_ms=float(spec["slo_ms"]),
        batches=tuple(int(batch) for batch in spec["batches"]),
        process=int(spec["process"]),
        chosen_batches=spec.get("chosen_batches"),
        fastest_batches=spec.get("fastest_batches") or {},
        points={label: Point.from_json(row["point"]) for label, row in (spec.get("server") or {}).items()},
        max_queue_delay_ms=spec.get("max_queue_delay_ms"),
    )


def _load(
    spec: Mapping[str, Any], samples: Samples, process: ProcessPeak
) -> tuple[dict[str, Engine], dict[str, dict[str, Any]]]:
    """Engines by label, and what loading each was like; the order alternates with the process."""
    from plaster_ops.engines.artifact import read_manifest
    from plaster_ops.engines.registry import load_engine, preload

    rows = [(str(row["label"]), Path(row["folder"])) for row in spec["engines"]]
    if spec.get("eager"):
        rows.append((EAGER, Path(spec["eager"])))
    engines: dict[str, Engine] = {}
    loading: dict[str, dict[str, Any]] = {}
    first = samples.queries(1)[0]
    for _, folder in rows:
        preload(read_manifest(folder).spec.backend)
    open_context(str(spec["device"]))
    for label, folder in rows if int(spec["process"]) % 2 == 0 else reversed(rows):
        device = read_manifest(folder).spec.device
        before_bytes = held_bytes(device)
        begin_ns = time.perf_counter_ns()
        engine = load_engine(folder, threads=int(spec["threads"]) if device == "cpu" else None)
        loaded_ns = time.perf_counter_ns()
        engine.run(*first)
        answered_ns = time.perf_counter_ns()
        after_bytes = held_bytes(device)
        process.look()
        engines[label] = engine
        loading[label] = {
            "folder": str(folder),
            "device": device,
            "load_s": (loaded_ns - begin_ns) * 1e-9,
            "first_inference_ms": (answered_ns - loaded_ns) * 1e-6,
            **_taken(before_bytes, after_bytes),
            "effective_precision": engine.effective_precision(),
        }
    return engines, loading


def _taken(before_bytes: int | None, after_bytes: int | None) -> dict[str, Any]:
    """What loading took of memory, or why that is not known; the first of several engines may free what others left."""
    if before_bytes is None or after_bytes is None:
        return {"memory_bytes": None, "memory_reason": ""}
    if after_bytes < before_bytes:
        return {"memory_bytes": None, "memory_reason": "less memory was in use after loading the engine than before"}
    return {"memory_bytes": after_bytes - before_bytes, "memory_reason": ""}


def _fitted(profile: Profile, spec: Mapping[str, Any], meter: Meter) -> Profile:
    """The profile shortened to what is left of the process's budget after its start and for the energy points."""
    engines = len(spec["engines"])
    searching = spec.get("chosen_batches") is None
    points = 0.0 if profile.name == RACE.name else points_s(profile, meter, engines, searching=searching)
    left_s = profile.process_limit_s(engines) - process_age_s() - points - _ENDING_S
    needed_s = profile.needed_s(
        engines,
        searching=searching,
        eager=bool(spec.get("eager")),
        server=spec.get("max_queue_delay_ms") is not None,
    )
    scale, metered_s = left_s / needed_s, least_metered_s(profile, meter)
    if metered_s > scale * profile.throughput_s:  # is not shortened, so the rest makes room for it
        scale = (left_s - engines * metered_s) / (needed_s - engines * profile.throughput_s)
    return profile.shortened(scale)


def _warmth(collected: Collected, label: str) -> dict[str, Any]:
    warmth = collected.warmths.get(label)
    if warmth is None:
        return {}
    return {"warmup": {"queries": warmth.queries, "seconds": warmth.seconds, "is_steady": warmth.is_steady}}


def _search_rows(found: Found | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        label: {"ended": found.ended[label], "probes": [asdict(probe) for probe in probes]}
        for label, probes in found.probes.items()
    }
