"""All seven letters of the new engine on one card."""

from collections.abc import Mapping
from typing import Any

from plaster_ops.domain.card import Card, Reading, Row
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.metrics import DATA_TO_DEPLOY_S, E2E_P50_MS
from plaster_ops.domain.timeline import Phase
from plaster_ops.flow import record as records
from plaster_ops.flow.context import Context
from plaster_ops.flow.optimise import Built
from plaster_ops.flow.sidebyside import SideBySide, timed_rows, value_of, with_missing
from plaster_ops.flow.train import Trained
from plaster_ops.plaster import accuracy, latency, learning, machine, programmability, size

NOT_TIMED = "not timed: --no-measure"


def build_card(
    ctx: Context,
    *,
    prepared: Mapping[str, Any],
    trained: Trained,
    built: Built,
    measured: SideBySide | None,
    accepted_s: float,
    baseline: str | None = None,
) -> Card:
    """Every row that this retrain can give. `accepted_s`: seconds from the trigger to the accepted engine."""
    rows: list[Row] = timed_rows(measured, "now") if measured is not None else []
    evidence = measured.evidence if measured is not None else None
    rows += programmability.read(
        built.manifest,
        built.tried,
        eager_p50_ms=latency.p50_ms(evidence, "eager", "eager") if evidence else None,
        p50_ms=value_of(rows, E2E_P50_MS.key),
    )
    rows += accuracy.read(built.evaluation, "now", baseline=baseline)
    rows += size.read(built.export["facts"], built.manifest, evidence.peak_host_bytes() if evidence else None)
    rows += learning.read(
        train_to_engine_s=accepted_s,
        cycle_s=ctx.timeline.cycle_s(),
        fit=trained.result.to_json(),
        train_wall_s=ctx.timeline.spent_s(Phase.LAUNCH) + ctx.timeline.spent_s(Phase.FIT),
        restarts=trained.restarts,
        new_samples=prepared["new_samples"],
        arrived_at_s=prepared["arrived_at"],
    )
    return Card.of(with_missing(rows, NOT_TIMED))


def with_deployment(ctx: Context, card: Card, prepared: Mapping[str, Any]) -> Card:
    """The card of a promoted engine: from the arrival of the newest datum to now, when its answers were measured."""
    arrived_s = prepared["arrived_at"]
    if arrived_s is None:
        return card
    took_s = max(0.0, ctx.clock.now_utc() - float(arrived_s))
    others = [row for row in card if row.metric.key != DATA_TO_DEPLOY_S.key]
    return Card.of([*others, Reading(metric=DATA_TO_DEPLOY_S, value=took_s)])


def machine_fingerprint(built: Built) -> Fingerprint:
    """This machine as the engine saw it."""
    spec = built.manifest["spec"]
    return machine.fingerprint(
        spec["device"],
        int(spec["threads"]),
        records.input_shapes(built.export),
        environment={
            "backend": spec["backend"],
            "precision": built.manifest["effective_precision"],
            **{f"engine.{name}": str(version) for name, version in built.manifest["versions"].items()},
        },
    )
