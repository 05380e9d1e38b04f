"""`explain`: one number of a run down to what it was measured from. Journal only: no engine, no torch, no mlflow."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.compact import CompactKind, CompactRow
from plaster_ops.domain.metric import Metric
from plaster_ops.domain.metrics import Better
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.watch import regime_start
from plaster_ops.domain.why import difference_arithmetic, history_arithmetic, ratio_arithmetic, what_would_change
from plaster_ops.errors import UsageError
from plaster_ops.flow.explain_parts import curve_of, histogram_of, restarts_of, samples_of
from plaster_ops.flow.metric_names import meant_metric
from plaster_ops.flow.wiring import open_to_look
from plaster_ops.plaster.compact_values import compact_values, side_by_side
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.journal_series import SeriesPoint

_NEIGHBOURS = 5
_SHOWN = 40
_EVERYTHING = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """One number. Sections are as in `--json`; None where nothing is kept of them."""

    pipeline: str
    run: Mapping[str, Any]
    metric: Metric
    reading: Mapping[str, Any]
    restarts: Sequence[Mapping[str, Any]]
    histogram: Mapping[str, Any] | None
    samples: Mapping[str, Any] | None
    curve: Mapping[str, Any] | None
    again: Mapping[str, Any] | None
    comparison: Mapping[str, Any] | None
    series: Mapping[str, Any]
    environment: Mapping[str, Any]
    records: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The `--json` object."""
        sections = {
            name: getattr(self, name)
            for name in ("pipeline", "run", "reading", "restarts", "histogram", "samples", "curve", "again")
        }
        more = {name: getattr(self, name) for name in ("comparison", "series", "environment", "records")}
        return {"schema": 1, "metric": asdict(self.metric), **sections, **more}


def explain(settings: Settings, name: str | None, run: str, key: str) -> Explanation:
    """Everything that is known of one metric of one run (`last`, `champion`, a number or an id).

    Raises `UsageError` for a run that does not exist or has no card, and for a key that names no metric, with the
    nearest.
    """
    found, _ = settings.pipeline(name)
    with open_to_look(settings) as ports:
        journal = ports.journal
        row = _run(journal, found, run)
        record = journal.record(row.uid)
        if record is None or not record.card:
            raise UsageError(f"run {row.label} of {found!r} ended without a card", f"see: plaster-ops history {found}")
        card = {str(fields["key"]): fields for fields in record.card}
        metric = meant_metric(key, [each for each, fields in card.items() if fields["value"] is not None])
        if metric.key not in card:
            raise UsageError(f"the card of run #{record.index} does not speak of {metric.key}", "see docs/metrics.md")
        return _explained(journal, row, record, metric, card[metric.key])


def _run(journal: Journal, pipeline: str, run: str) -> RunRow:
    words = {"last": journal.last_finished, "champion": journal.champion}
    row = words[run](pipeline) if run in words else journal.find_run(pipeline, run)
    if row is None:
        raise UsageError(f"pipeline {pipeline!r} has no {run} run yet", f"run it first: plaster-ops retrain {pipeline}")
    return row


def _explained(
    journal: Journal, row: RunRow, record: RunRecord, metric: Metric, reading: Mapping[str, Any]
) -> Explanation:
    kept = journal.evidence(row.uid)
    points = journal.points(row.pipeline, metric.key, _EVERYTHING)
    again = compact_values(kept).get(metric.key) if reading["value"] is not None else None
    return Explanation(
        pipeline=row.pipeline,
        run={
            "index": record.index,
            "uid": record.uid,
            "id": row.mlflow_run_id or record.uid,
            "verdict": record.verdict,
            "started_at": record.started_at,
        },
        metric=metric,
        reading=reading,
        restarts=restarts_of(metric, kept),
        histogram=histogram_of(metric, kept),
        samples=samples_of(metric, kept),
        curve=curve_of(metric, kept),
        again=None if again is None else {"value": again.value, "n": again.n, "error_ratio": again.error_ratio},
        comparison=_comparison(record, metric, kept, _earlier(journal, record, reading, points)),
        series=_series(journal, row, metric, points),
        environment=_environment(record),
        records=_records(row, record, kept),
    )


def _earlier(
    journal: Journal, record: RunRecord, reading: Mapping[str, Any], points: Sequence[SeriesPoint]
) -> list[float]:
    """What the run was held against when it ended: of its fingerprint and method, since the change of level that was
    known then."""
    key, digest = str(reading["key"]), str(record.fingerprint.get("digest") or "")
    known = [alarm for alarm in journal.alarms(record.pipeline) if alarm.raised_index < record.index]
    regime = range(regime_start(known, key, digest), record.index)
    method = str(reading.get("method") or "")
    return [p.value for p in points if p.index in regime and p.fingerprint == digest and p.is_by(method)]


def _comparison(
    record: RunRecord, metric: Metric, kept: Sequence[CompactRow], earlier: Sequence[float]
) -> dict[str, Any] | None:
    """The row of the comparison that the run showed, what it was computed from, and what would have changed it."""
    row = next((dict(fields) for fields in record.comparison if fields["key"] == metric.key), None)
    if row is None:
        return None
    beside = side_by_side(kept)
    arithmetic: dict[str, Any] | None = None
    noise: float | None = None
    if row["how"] == "history":
        arithmetic = history_arithmetic(earlier, row)
    elif beside is not None and row["how"] == "remeasured":
        noise = beside.noise.get(metric.key)
        ratios, difference = beside.ratios.get(metric.key), beside.differences.get(metric.key)
        if ratios is not None:
            arithmetic = ratio_arithmetic(ratios, row)
        elif difference is not None:
            arithmetic = difference_arithmetic(difference)
    return {
        "against": record.baseline,
        "row": row,
        "arithmetic": arithmetic,
        "noise_half_width": noise,
        "what_would_change": what_would_change(row),
    }


def _series(journal: Journal, row: RunRow, metric: Metric, points: Sequence[SeriesPoint]) -> dict[str, Any]:
    """This value among those of the same kind of machine and method, up to it and just after, and alarms there."""
    mine = next((point for point in points if point.uid == row.uid), None)
    alike = (
        points
        if mine is None
        else [point for point in points if (point.fingerprint, point.method) == (mine.fingerprint, mine.method)]
    )
    before = [point for point in alike if point.index < (row.index or 0)]
    after = [point for point in alike if point.index > (row.index or 0)][:_NEIGHBOURS]
    shown = [*before[-_SHOWN:], *([mine] if mine else []), *after]
    earlier = [point.value for point in before[-20:]]
    level = statistics.median(earlier) if earlier else None
    return {
        "runs_before": len(before),
        "level": level,
        "mad": statistics.median(abs(value - level) for value in earlier) if level is not None else None,
        "rank_from_best": _rank(mine, [*before, *after], metric),
        "points": [{"index": point.index, "value": point.value, "verdict": point.verdict} for point in shown],
        "alarms": [alarm.to_json() for alarm in journal.alarms(row.pipeline) if alarm.key == metric.key],
    }


def _rank(mine: SeriesPoint | None, others: Sequence[SeriesPoint], metric: Metric) -> int | None:
    """1 for the best of those that are alike; None where neither way is better."""
    if mine is None or metric.better not in (Better.HIGHER, Better.LOWER):
        return None
    sign = 1 if metric.better is Better.HIGHER else -1
    return 1 + sum(sign * point.value > sign * mine.value for point in others)


def _environment(record: RunRecord) -> dict[str, Any]:
    fingerprint = record.fingerprint
    equal = {name: fingerprint.get(name) for name in ("device", "device_count", "threads", "input_shapes", "digest")}
    tags = {name.removeprefix("plaster.env."): value for name, value in record.tags.items() if "plaster.env." in name}
    versions = {"plaster_ops": record.tags.get("plaster.version")}
    return {**equal, "environment": {**versions, **tags, **dict(fingerprint.get("environment") or {})}}


def _records(row: RunRow, record: RunRecord, kept: Sequence[CompactRow]) -> dict[str, Any]:
    folder = Path(record.artifacts) if record.artifacts else None
    there = folder is not None and (folder / "samples").is_dir()
    timed = any(one.kind is CompactKind.TIMED for one in kept)
    gives = "every number to the last digit" if there else "timed numbers within 0.7 %" if timed else "nothing any more"
    return {
        "artifacts": None if folder is None else str(folder),
        "raw_samples": there,
        "compact_rows": len(kept),
        "compact_bytes": sum(len(one.body) for one in kept),
        "recompute": f"plaster-ops recompute {record.index} --pipeline {row.pipeline}",
        "recompute_gives": gives,
    }
