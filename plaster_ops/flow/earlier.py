"""The values of earlier retrains that a retrain is held against, from the journal's index alone."""

from collections.abc import Iterable

from plaster_ops.domain.earlier import MOST_EARLIER, Earlier
from plaster_ops.domain.metrics import CATALOGUE, Metric, Scale
from plaster_ops.domain.watch import regime_start
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_series import SeriesPoint

_LOOKED_AT = 4 * MOST_EARLIER
"""Of the newest values; those of other fingerprints and methods among them are left out."""


def earlier_values(
    journal: Journal, pipeline: str, *, fingerprint: str, before: int | None = None
) -> dict[str, Earlier]:
    """By key of every judged metric that is not exact, the values of the retrains before run `before` (None: of all).

    Only of runs with that fingerprint's digest, by the method of today, and since the metric's newest change of level
    that was told as an alarm: what is ordinary is its current regime.
    """
    told = [alarm for alarm in journal.alarms(pipeline) if before is None or alarm.index < before]
    judged = [metric for metric in CATALOGUE.values() if metric.margin is not None and metric.scale is not Scale.EXACT]
    found = {}
    for metric in judged:
        since = regime_start(told, metric.key, fingerprint)
        points = journal.points(pipeline, metric.key, _LOOKED_AT, before=before)
        found[metric.key] = _kept([point for point in points if point.index >= since], metric, fingerprint)
    return found


def _kept(points: Iterable[SeriesPoint], metric: Metric, fingerprint: str) -> Earlier:
    values, elsewhere, otherwise = [], 0, 0
    for point in points:
        if point.fingerprint != fingerprint:
            elsewhere += 1
        elif not point.is_by(metric.method):
            otherwise += 1
        else:
            values.append(point.value)
    return Earlier(values=tuple(values[-MOST_EARLIER:]), elsewhere=elsewhere, otherwise=otherwise)
