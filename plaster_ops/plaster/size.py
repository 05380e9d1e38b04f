"""S, size: the four drivers PLASTER names (layers, nodes, complexity, connections), and bytes on disk and in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured

_COUNTED = (
    (m.PARAMS_COUNT, "params_count"),
    (m.PARAMS_TRAINABLE_COUNT, "params_trainable_count"),
    (m.WEIGHTS_BYTES, "weights_bytes"),
    (m.LAYERS_COUNT, "layers_count"),
    (m.DEPTH_COUNT, "depth_count"),
    (m.NODES_COUNT, "nodes_count"),
    (m.SAMPLE_MACS, "sample_macs"),
    (m.CONNECTIONS_EFFECTIVE_COUNT, "connections_effective_count"),
)


def read(
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
    peak_host_bytes: int | None = None,
    *,
    package_bytes: int | None = None,
    engine_memory_bytes: int | None = None,
) -> list[Row]:
    """All size rows: `facts` of the exported graph, `manifest` of the engine folder, memory while measuring."""
    engine_bytes = sum(int(file["bytes"]) for file in manifest["files"])
    rows: list[Row] = [Reading(metric=m.ENGINE_BYTES, value=engine_bytes)]
    layers = manifest["coverage"].get("layers")
    for metric, value, reason in (
        (m.PACKAGE_BYTES, package_bytes, "the engine folder was not looked at"),
        (m.ENGINE_LAYERS_COUNT, layers, "the backend does not tell its layers"),
        (m.ENGINE_MEMORY_BYTES, engine_memory_bytes, "no engine was measured, or /proc is not readable"),
    ):
        rows.append(Unmeasured(metric=metric, reason=reason) if value is None else Reading(metric=metric, value=value))
    for metric, field in _COUNTED:
        if facts.get(field) is None:
            rows.append(Unmeasured(metric=metric, reason="the exported graph does not tell"))
        else:
            rows.append(Reading(metric=metric, value=facts[field]))
    uncounted = list(facts.get("flops_uncounted_ops") or [])
    rows.append(
        Reading(metric=m.FLOPS_UNCOUNTED_OPS_COUNT, value=len(uncounted), reason=", ".join(map(str, uncounted)) or None)
    )
    weights_bytes = facts.get("weights_bytes")
    if weights_bytes and engine_bytes:
        rows.append(Reading(metric=m.COMPRESSION_RATIO, value=weights_bytes / engine_bytes))
    if peak_host_bytes is None:
        rows.append(Unmeasured(metric=m.PEAK_HOST_BYTES, reason="no engine was measured, or /proc is not readable"))
    else:
        rows.append(
            Reading(metric=m.PEAK_HOST_BYTES, value=peak_host_bytes, reason="all engines of the comparison loaded")
        )
    return rows


def folder_bytes(folder: Path) -> int | None:
    """Bytes of every file in an engine folder, the manifest included; None where it is gone."""
    if not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
