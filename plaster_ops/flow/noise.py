"""What this machine's noise is: as `calibrate` found it, and as every measurement shows it of itself."""

from collections.abc import Iterable, Mapping, Sequence

from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.metrics import CATALOGUE
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.plaster import energy, latency, machine, throughput
from plaster_ops.plaster.copies import COPIES, two_copies
from plaster_ops.plaster.evidence import Evidence
from plaster_ops.plaster.noise import half_width
from plaster_ops.tracking.journal import Journal

_FEWEST_PAIRS = 10
_SHARE = 0.5
"""Dealing an engine's turns out to two copies leaves half as many pairs: a comparison has half that variance."""


def paired_ratios(evidence: Evidence, now: str, then: str) -> dict[str, PairedRatios]:
    """log(now / then) of every timed metric, by key."""
    return {
        paired.key: paired
        for room in (latency, throughput, energy)
        for paired in room.paired_ratios(evidence, now, then)
    }


def margin_of(key: str, margins: Mapping[str, float]) -> float | None:
    """The margin of a verdict on that metric: the settings', else the catalogue's; None where it is never judged."""
    return margins.get(key, CATALOGUE[key].margin)


def widest(comparisons: Iterable[Mapping[str, PairedRatios]], margins: Mapping[str, float]) -> dict[str, float]:
    """Per metric the half-width over A/A comparisons of it."""
    found: dict[str, list[PairedRatios]] = {}
    for comparison in comparisons:
        for key, paired in comparison.items():
            found.setdefault(key, []).append(paired)
    limits = {key: margin_of(key, margins) for key in found}
    return {key: half_width(found[key], limit) for key, limit in limits.items() if limit is not None}


def own_noise(evidence: Evidence, labels: Sequence[str], margins: Mapping[str, float]) -> dict[str, float]:
    """Per metric the half-width that the engines show against themselves in this very measurement, the largest of them.

    Too few turns to tell (below ten pairs in a process) leave a metric out.
    """
    widths: dict[str, float] = {}
    for label in labels:
        for key, paired in paired_ratios(two_copies(evidence, label), *COPIES).items():
            margin = margin_of(key, margins)
            if margin is not None and min(paired.pairs) >= _FEWEST_PAIRS:
                width = half_width([paired], margin, share=_SHARE)
                widths[key] = max(widths.get(key, 0.0), width)
    return widths


def noise_of(
    evidence: Evidence, labels: Sequence[str], margins: Mapping[str, float], known: Mapping[str, float]
) -> dict[str, float]:
    """The larger of what was calibrated and what this measurement shows, per metric."""
    own = own_noise(evidence, labels, margins)
    return {key: max(own.get(key, 0.0), known.get(key, 0.0)) for key in own.keys() | known.keys()}


def device_of(record: RunRecord) -> str:
    """Where the engine of that run answers: cpu, cuda or cuda:N."""
    return str(record.engine.get("device") or "cpu")


def on_this_machine(record: RunRecord) -> Fingerprint:
    """As what an engine is known that is measured here and now: the run may have been made on another machine."""
    recorded = Fingerprint.from_json(record.fingerprint)
    return machine.fingerprint(device_of(record), recorded.threads, recorded.input_shapes)


def calibrated(journal: Journal, name: str, fingerprint: Fingerprint, profile: str) -> dict[str, float]:
    """The floors that `plaster-ops calibrate` left for this pipeline, device and profile; empty where it never ran."""
    floors = journal.noise_floors(name, fingerprint.digest, profile)
    return {key: floor.half_width for key, floor in floors.items()}
