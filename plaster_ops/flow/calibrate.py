"""`calibrate`: one engine measured against itself, so that later verdicts know what this machine's noise is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.errors import NotComparable, UsageError
from plaster_ops.flow.baseline import Baseline, choose_baseline
from plaster_ops.flow.candidates import Opponent
from plaster_ops.flow.context import Context
from plaster_ops.flow.noise import device_of, margin_of, on_this_machine, paired_ratios, widest
from plaster_ops.flow.scratch import scratch_context
from plaster_ops.flow.sidebyside import measure
from plaster_ops.flow.wiring import open_to_look
from plaster_ops.plaster.copies import COPIES
from plaster_ops.ports import EventSink
from plaster_ops.settings import Settings
from plaster_ops.tracking.noise_floors import NoiseFloor


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """One metric: the half-width of an A/A comparison beside the margin it is judged by. `largest`: seen change."""

    key: str
    half_width: float
    margin: float
    largest: float
    comparisons: int

    @property
    def is_below(self) -> bool:
        """Whether verdicts on that metric can be had on this machine."""
        return self.half_width <= self.margin


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What `calibrate` found and has written to the journal."""

    pipeline: str
    run: int
    profile: str
    device: str
    fingerprint: str
    floors: tuple[Floor, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The `--json` object."""
        return {
            "schema": 1,
            "pipeline": self.pipeline,
            "run": self.run,
            "profile": self.profile,
            "device": self.device,
            "fingerprint": self.fingerprint,
            "seconds": round(self.seconds, 3),
            "floors": [
                {
                    "key": floor.key,
                    "half_width_ratio": floor.half_width,
                    "margin_ratio": floor.margin,
                    "largest_ratio": floor.largest,
                    "comparisons": floor.comparisons,
                    "verdict": "quiet" if floor.is_below else "too_noisy",
                }
                for floor in self.floors
            ],
        }


def calibrate(
    settings: Settings, name: str | None, *, run: str, profile: str, comparisons: int, tell: EventSink, start_s: float
) -> Calibration:
    """Measures the engine of `run` (champion, last, or a run) against itself, `comparisons` times, and remembers it.

    Each is a whole comparison under `profile`: as many fresh processes, turns and seconds as a verdict rests on.
    Raises `UsageError` without a run or with another thread count, `NotComparable` where its engine or its data are
    gone.
    """
    found, pipeline = settings.pipeline(name)
    pipeline = pipeline.model_copy(update={"measure": pipeline.measure.model_copy(update={"profile": profile})})
    with open_to_look(settings) as ports:
        baseline = _engine_of(choose_baseline(ports.journal, found, run), found, run)
        fingerprint = _this_machine(baseline, pipeline.engine.threads)
        with scratch_context(ports, found, pipeline, purpose="calibrate", tell=tell, start_s=start_s) as ctx:
            taken = _compare_copies(ctx, baseline, comparisons)
            seconds = ctx.timeline.cycle_s()
        floors = _floors(taken, pipeline.margins())
        ports.journal.remember_noise(
            found,
            fingerprint.digest,
            profile,
            [NoiseFloor(key=f.key, half_width=f.half_width, comparisons=f.comparisons) for f in floors],
        )
    return Calibration(
        pipeline=found,
        run=baseline.record.index,
        profile=profile,
        device=fingerprint.device,
        fingerprint=fingerprint.digest,
        floors=floors,
        seconds=seconds,
    )


def _engine_of(baseline: Baseline | None, name: str, run: str) -> Baseline:
    if baseline is None:
        raise UsageError(f"pipeline {name!r} has no {run} run to calibrate with", f"plaster-ops retrain {name}")
    if baseline.engine_folder is None:
        raise NotComparable(
            f"the engine of run {baseline.record.index} is gone or no longer loads",
            f"calibrate with another run: plaster-ops history {name}",
        )
    return baseline


def _this_machine(baseline: Baseline, threads: int) -> Fingerprint:
    """What later retrains on this machine will be known by: the run may have been made on another."""
    recorded = Fingerprint.from_json(baseline.record.fingerprint)
    if recorded.threads != threads:
        raise UsageError(
            f"the engine of run {baseline.record.index} has {recorded.threads} threads, the settings say {threads}:"
            " the noise of one says nothing of the other",
            f"retrain first, or set engine.threads = {recorded.threads}",
        )
    return on_this_machine(baseline.record)


def _compare_copies(ctx: Context, baseline: Baseline, comparisons: int) -> list[dict[str, PairedRatios]]:
    assert baseline.engine_folder is not None
    prepared = ctx.child("prepare", ctx.data_spec())
    if prepared["skip"]:
        raise NotComparable(f"there is no data to measure with: {prepared['skip']}", "let data arrive, then calibrate")
    device = device_of(baseline.record)
    copies = [Opponent(label=label, folder=baseline.engine_folder) for label in COPIES]
    taken = []
    for number in range(comparisons):
        ctx.tell({"event": "note", "text": f"comparison {number + 1} of {comparisons} of the engine with itself"})
        measured = measure(ctx, copies, samples=prepared["samples"], device=device, place=f"measure{number}")
        taken.append(paired_ratios(measured.evidence, *COPIES))
    return taken


def _floors(taken: list[dict[str, PairedRatios]], margins: Mapping[str, float]) -> tuple[Floor, ...]:
    floors = []
    for key, width in widest(taken, margins).items():
        pairs = [comparison[key] for comparison in taken if key in comparison]
        margin = margin_of(key, margins)
        if margin is not None:
            means = [sum(paired.per_process) / len(paired.per_process) for paired in pairs]
            largest = max(map(abs, means))
            floors.append(Floor(key=key, half_width=width, margin=margin, largest=largest, comparisons=len(pairs)))
    return tuple(floors)
