"""Engines measured now, side by side, in fresh processes that did not train; and the comparison that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading, Row, Unmeasured
from plaster_ops.domain.compare import Evidence, compare_cards
from plaster_ops.domain.earlier import Earlier
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.judgement import Comparison
from plaster_ops.domain.metric import Metric
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    ENGINE_SCORE,
    ESTIMATED_ENERGY,
    HEADLINES,
    INPUTS,
    PHASE_ENERGY,
    ROLLING_SCORE,
)
from plaster_ops.domain.sample import PairedDifference, PairedRatios
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.candidates import Opponent
from plaster_ops.flow.context import Context
from plaster_ops.flow.noise import noise_of, paired_ratios
from plaster_ops.flow.sheet import Sheet
from plaster_ops.plaster import accuracy, energy, latency, throughput
from plaster_ops.plaster.evidence import Evidence as Measured
from plaster_ops.plaster.profiles import Profile, find_profile
from plaster_ops.plaster.raw_files import load_evidence

REMEASURED = ("latency/", "throughput/", "energy/", "accuracy/")
"""Axes whose values of the baseline are taken from today's measurement, never from the store."""


TIMED = (latency.read, throughput.read, energy.read)


@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySide:
    """What the measuring processes brought home, and where their records lie."""

    evidence: Measured
    folders: tuple[Path, ...]
    profile: str


def measure(
    ctx: Context,
    engines: Sequence[Opponent],
    *,
    samples: str,
    eager: Path | None = None,
    device: str = "cpu",
    place: str = "measure",
) -> SideBySide:
    """Measures all engines in R fresh processes, interleaved A B B A; R and the seconds come from the profile.

    `place`: the folder of the processes' own folders, inside the run's.
    """
    wanted = ctx.pipeline.measure
    profile = find_profile(wanted.profile)
    first: Mapping[str, Any] = {}
    folders = []
    for process in range(profile.processes):
        spec = measure_spec(ctx, {e.label: e.folder for e in engines}, samples=samples, profile=profile, device=device)
        spec |= {
            "process": process,
            **{found: first.get(found) for found in ("chosen_batches", "fastest_batches", "server", "cpus")},
            "eager": str(eager) if eager else None,
            "max_queue_delay_ms": wanted.max_queue_delay_ms if wanted.server else None,
        }
        name = f"{place}/p{process}"
        result = ctx.child(
            "measure", spec, folder=name, timeout_s=profile.timeout_s, threads=ctx.pipeline.engine.threads
        )
        first = first or result
        folders.append(ctx.folder / name)
    return reopen(folders, profile.name)


def measure_spec(
    ctx: Context, folders: Mapping[str, Path], *, samples: str, profile: Profile, device: str
) -> dict[str, Any]:
    """What the stage `measure` is asked of engines label -> folder: its first process, which searches the batch."""
    wanted = ctx.pipeline.measure
    return {
        "engines": [{"label": label, "folder": str(folder)} for label, folder in folders.items()],
        "samples": samples,
        "profile": profile.name,
        "process": 0,
        "slo_ms": wanted.slo_ms,
        "batches": list(wanted.batches),
        "threads": ctx.pipeline.engine.threads,
        "device": device,
        "pin": wanted.pin,
        "chosen_batches": None,
        "eager": None,
    }


def reopen(folders: Sequence[Path], profile: str) -> SideBySide:
    """The evidence of measuring processes that ran before."""
    return SideBySide(evidence=load_evidence(folders), folders=tuple(folders), profile=profile)


def write_timed(sheet: Sheet, measured: SideBySide, label: str) -> None:
    """Latency, throughput and energy rows of one engine, onto a sheet."""
    for reader in TIMED:
        sheet.add(reader, measured.evidence, label)


def is_remeasured(metric: Metric) -> bool:
    """Whether measuring an earlier engine again gives that metric anew."""
    return metric.key.startswith(REMEASURED) and metric not in (*PHASE_ENERGY, *ESTIMATED_ENERGY, *INPUTS)


def card_then(recorded: Card, label: str, measured: Measured | None, evaluation: Mapping[str, Any]) -> Card:
    """An earlier run's card as of today: re-measured where it could be, as `recorded` for what does not change.

    Without a measurement its scores are still today's where today's sets were put to it.
    """
    if measured is None:
        found = {row.metric: row for row in accuracy.read(evaluation, label) if isinstance(row, Reading)}
        scores = {metric: found[metric] for metric in (ENGINE_SCORE, ROLLING_SCORE) if metric in found}
        return Card.of([*(row for row in recorded if row.metric not in scores), *scores.values()])
    stored = [row for row in recorded if not is_remeasured(row.metric)]
    fresh = [row for reader in TIMED for row in reader(measured, label)]
    return Card.of([*stored, *fresh, *accuracy.read(evaluation, label)])


def terms_of(
    baseline: Baseline,
    *,
    remeasured: bool,
    margins: Mapping[str, float],
    history: Mapping[str, Earlier],
    fingerprint: Fingerprint,
    noise: Mapping[str, float],
) -> dict[str, Any]:
    """What a comparison with that baseline rests on beside the evidence, as plain JSON.

    `noise`: this machine's, as it was calibrated. `remeasured`: whether the baseline's engine ran in the evidence.
    """
    return {
        "label": baseline.label,
        "stored": baseline.card.to_json(),
        "remeasured": remeasured,
        "margins": dict(margins),
        "history": {key: earlier.to_json() for key, earlier in history.items()},
        "differing": fingerprint.differences(Fingerprint.from_json(baseline.record.fingerprint)),
        "noise": dict(noise),
    }


def compare_on(
    now: Card, terms: Mapping[str, Any], evidence: Measured | None, evaluation: Mapping[str, Any]
) -> tuple[Comparison, ...]:
    """All judged metrics of the new card on the terms of `terms_of`."""
    label, ran = str(terms["label"]), evidence if terms["remeasured"] else None
    return compare_cards(
        now,
        card_of(terms, evidence, evaluation),
        paired_evidence(ran, evaluation, label, terms["margins"], terms["noise"]),
        margins=terms["margins"],
        history=terms["history"],
        differing=() if ran is not None else terms["differing"],
        how="remeasured" if ran is not None else "stored",
    )


def card_of(terms: Mapping[str, Any], evidence: Measured | None, evaluation: Mapping[str, Any]) -> Card:
    """The baseline's card as of today, on the terms of `terms_of`."""
    ran = evidence if terms["remeasured"] else None
    return card_then(Card.from_json(terms["stored"]), str(terms["label"]), ran, evaluation)


def paired_evidence(
    measured: Measured | None,
    evaluation: Mapping[str, Any],
    label: str,
    margins: Mapping[str, float],
    noise: Mapping[str, float],
) -> Evidence:
    """The paired numbers of `now` against one engine, and how noisy the machine was meanwhile."""
    ratios: dict[str, PairedRatios] = {}
    if measured is not None:
        ratios = paired_ratios(measured, "now", label)
        noise = noise_of(measured, ("now", label), margins, noise)
    differences: dict[str, PairedDifference] = {
        paired.key: paired for paired in accuracy.paired_differences(evaluation, label)
    }
    return Evidence(ratios=ratios, differences=differences, noise=noise)


def with_missing(rows: Sequence[Row], reason: str) -> list[Row]:
    """The rows, with what is missing given as reason `reason`: headlines; latency and throughput where not timed."""
    timed = any(row.metric is E2E_P50_MS for row in rows)
    given = [*rows] if timed else [*rows, *latency.unmeasured(reason)]
    present = {row.metric.key for row in given}
    wanted = {metric.key: metric for metric in (*HEADLINES, *(row.metric for row in throughput.absent(reason)))}
    gaps: list[Row] = [Unmeasured(metric=metric, reason=reason) for key, metric in wanted.items() if key not in present]
    return [*given, *gaps]


def value_of(rows: Sequence[Row], key: str) -> float | None:
    """The value of a measured row."""
    return next((row.value for row in rows if row.metric.key == key and isinstance(row, Reading)), None)
