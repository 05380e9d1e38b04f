"""A short interleaved race of the engines that may be used, in one fresh process, by the harness that measures runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, INFERENCES_PER_J
from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.choice import Raced
from plaster_ops.flow.candidates import FAILURES, memory_limit, one_line
from plaster_ops.flow.context import Context
from plaster_ops.flow.sidebyside import measure_spec, value_of
from plaster_ops.plaster import energy, latency
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.profiles import RACE
from plaster_ops.plaster.raw_files import load_evidence


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """`raced` with the race's numbers and none of the trial's; `failed`: label -> why it did not finish."""

    raced: list[Raced]
    failed: dict[str, str]


def race(ctx: Context, engines: Sequence[Raced], folders: Mapping[str, Path], *, samples: str, device: str) -> Result:
    """Side by side; where that ends badly, each alone in a child of its own, and who fails there is out."""
    found = ctx.once("race", Phase.BUILD, lambda: _run(ctx, folders, samples, device))
    failed = dict(found["failed"])
    raced = []
    for engine in engines:
        folder = found["folders"].get(engine.label)
        if folder is not None:
            raced.append(_read(engine, load_evidence([Path(folder)])))
    return Result(raced=raced, failed=failed)


def _run(ctx: Context, folders: Mapping[str, Path], samples: str, device: str) -> dict[str, Any]:
    try:
        _measure(ctx, folders, samples, device, "race")
        return {"folders": dict.fromkeys(folders, str(ctx.folder / "race")), "failed": {}}
    except FAILURES as error:
        ctx.tell({"event": "note", "text": f"the race ended early, each engine runs alone: {one_line(error)}"})
    done, failed = {}, {}
    for label, folder in folders.items():
        name = f"race-{label}"
        try:
            _measure(ctx, {label: folder}, samples, device, name)
            done[label] = str(ctx.folder / name)
        except FAILURES as error:
            failed[label] = f"failed while it was timed: {one_line(error)}"
    return {"folders": done, "failed": failed}


def _measure(ctx: Context, folders: Mapping[str, Path], samples: str, device: str, name: str) -> None:
    spec = measure_spec(ctx, folders, samples=samples, profile=RACE, device=device)
    ctx.child(
        "measure",
        spec,
        folder=name,
        timeout_s=min(RACE.timeout_s, ctx.pipeline.engine.timeout_s + RACE.total_s * len(folders)),
        memory_bytes=memory_limit(ctx),
        threads=ctx.pipeline.engine.threads,
    )


def _read(engine: Raced, evidence: Evidence) -> Raced:
    search = evidence.search(engine.label)
    probes: Sequence[Mapping[str, Any]] = search["probes"] if search else ()
    rows = energy.read(evidence, engine.label)
    return replace(
        engine,
        p50_ms=latency.p50_ms(evidence, engine.label),
        samples_per_s=max((float(probe["rate_per_s"]) for probe in probes), default=None),
        slo_samples_per_s=max((float(p["rate_per_s"]) for p in probes if p["fit"] != "over"), default=None),
        inferences_per_j=value_of(rows, INFERENCES_PER_J.key),
        cpu_s=value_of(rows, CPU_TIME_PER_INFERENCE_S.key),
    )
