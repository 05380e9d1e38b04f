"""Weights scored without an engine: those of a race of starts, and the snapshots of a fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaster_ops.flow.candidates import memory_limit
from plaster_ops.flow.context import Context


def score_weights(
    ctx: Context,
    prepared: Mapping[str, Any],
    *,
    folder: str,
    weights: Sequence[Mapping[str, Any]],
    snapshots: Path | None = None,
    pair: bool = False,
) -> dict[str, Any]:
    """The stage `scores` on today's rolling set."""
    spec = {
        "reference": ctx.pipeline.ref,
        "project": str(ctx.project),
        "window": prepared["window"],
        "max_batch": ctx.pipeline.max_batch(),
        "weights": [dict(row) for row in weights],
        "snapshots": str(snapshots) if snapshots else None,
        "pair": pair,
    }
    return ctx.child(
        "scores", spec, folder=folder, timeout_s=ctx.pipeline.engine.timeout_s, memory_bytes=memory_limit(ctx)
    )
