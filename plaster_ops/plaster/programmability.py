"""P, programmability: how much of the model the optimiser took, in how many pieces, and what it took to get there."""

from collections.abc import Mapping, Sequence
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured


def read(
    manifest: Mapping[str, Any],
    tried: Sequence[Mapping[str, Any]],
    *,
    export_ok: bool = True,
    eager_p50_ms: float | None = None,
    p50_ms: float | None = None,
    decision: str = "build",
) -> list[Row]:
    """All programmability rows. `tried`: rows `{"backend", "precision", "ok", "reason"}` of the ladder.

    `decision` other than "build" means that no engine was built from nothing, so there is no cold build time.
    """
    coverage = manifest["coverage"]
    fallback = sorted(set(coverage.get("fallback_ops") or ()))
    counted = bool(coverage["ops_total"])
    rows: list[Row] = [
        Reading(metric=m.ENGINE_FLOPS_RATIO, value=coverage["flops_ratio"], n=coverage["ops_total"]),
        Reading(metric=m.ENGINE_OPS_RATIO, value=coverage["ops_in_engine"] / coverage["ops_total"])
        if counted
        else Unmeasured(metric=m.ENGINE_OPS_RATIO, reason="the graph holds no operator"),
        Reading(metric=m.ENGINES_COUNT, value=coverage["engines"]),
        Reading(metric=m.GRAPH_BREAKS_COUNT, value=coverage["graph_breaks"]),
        Reading(metric=m.EXPORT_OK_COUNT, value=1 if export_ok else 0),
        Reading(metric=m.UNSUPPORTED_OP_KINDS_COUNT, value=len(fallback), reason=", ".join(fallback) or None),
        Reading(metric=m.PRECISIONS_TRIED_COUNT, value=len(tried)),
        Reading(
            metric=m.PRECISIONS_PASSED_COUNT,
            value=sum(1 for row in tried if row["ok"]),
            reason=_refusals(tried),
        ),
    ]
    if decision == "build" and manifest.get("build_s") is not None:
        rows.append(Reading(metric=m.BUILD_COLD_S, value=float(manifest["build_s"])))
    else:
        rows.append(Unmeasured(metric=m.BUILD_COLD_S, reason=f"nothing was built from nothing: {decision}"))
    if eager_p50_ms and p50_ms:
        rows.append(Reading(metric=m.SPEEDUP_VS_EAGER_RATIO, value=eager_p50_ms / p50_ms))
    else:
        rows.append(Unmeasured(metric=m.SPEEDUP_VS_EAGER_RATIO, reason="eager was not measured beside the engine"))
    return rows


def _refusals(tried: Sequence[Mapping[str, Any]]) -> str | None:
    reasons = [f"{row['backend']} {row['precision']}: {row['reason']}" for row in tried if not row["ok"]]
    return "; ".join(reasons)[:500] or None
