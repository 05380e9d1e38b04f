"""S, size: the four drivers PLASTER names (layers, nodes, complexity, connections), and bytes on disk and in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Row, Unmeasured
from plaster_ops.domain.metrics import Metric

_COUNTED = (
    (m.PARAMS_COUNT, "params_count"),
    (m.PARAMS_TRAINABLE_COUNT, "params_trainable_count"),
    (m.WEIGHTS_BYTES, "weights_bytes"),
    (m.LAYERS_COUNT, "layers_count"),
    (m.DEPTH_COUNT, "depth_count"),
    (m.NODES_COUNT, "nodes_count"),
    (m.NODES_PER_LAYER_MEAN_COUNT, "nodes_per_layer_mean"),
    (m.NODES_PER_LAYER_MAX_COUNT, "nodes_per_layer_max"),
    (m.SAMPLE_MACS, "sample_macs"),
    (m.SAMPLE_FLOPS, "sample_flops"),
    (m.CONNECTIONS_UNIQUE_COUNT, "connections_unique_count"),
    (m.CONNECTIONS_EFFECTIVE_COUNT, "connections_effective_count"),
)
_SHARES = (
    (m.LAYER_FLOPS_MAX_RATIO, "layer_flops_max", "sample_flops", "no operator of the graph has FLOPs that are counted"),
    (m.DENSITY_RATIO, "connections_unique_count", "connections_count", "no layer multiplies by weights"),
)
_NO_GRAPH = "the exported graph is not at hand"
_ALL_LOADED = "all engines of the comparison loaded"
_CPU = "the engine runs on the CPU"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What training took: bytes of its newest checkpoint, and on GPUs the largest rank's peak. `reason`: why not."""

    checkpoint_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    on_gpu: bool = False
    reason: str = ""


def read(
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
    processes: Sequence[Mapping[str, Any]] = (),
    *,
    package_bytes: int | None = None,
    engine_memory_bytes: float | None = None,
    engine_memory_reason: str = "",
    trained: Trained | None = None,
) -> list[Row]:
    """All size rows: `facts` of the exported graph, `manifest` of the engine folder.

    `processes`: results of the measuring processes, for their peaks; none where nothing was measured.
    `engine_memory_bytes`: what loading the engine and its first answer took, `engine_memory_reason` why that is not
    known. `trained` None: nothing was trained.
    """
    engine_bytes = sum(int(file["bytes"]) for file in manifest["files"])
    unread = "no engine was measured" if not processes else "the memory of the measuring process is not readable"
    rows = [
        Reading(metric=m.ENGINE_BYTES, value=engine_bytes),
        _given(m.PACKAGE_BYTES, package_bytes, "the engine folder was not looked at"),
        _given(m.ENGINE_LAYERS_COUNT, manifest["coverage"].get("layers"), "the backend does not tell its layers"),
        _given(m.ENGINE_MEMORY_BYTES, engine_memory_bytes, engine_memory_reason or unread),
        *(_given(metric, facts.get(field), _NO_GRAPH) for metric, field in _COUNTED),
        *_share_rows(facts),
        _uncounted_row(facts.get("flops_uncounted_ops")),
        _compression_row(facts.get("weights_fp32_bytes"), engine_bytes),
    ]
    return [*rows, *_peak_rows(processes, unread), *_training_rows(trained)]


def folder_bytes(folder: Path) -> int | None:
    """Bytes of every file in an engine folder, the manifest included; None where it is gone."""
    if not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def checkpoint_bytes(folder: Path) -> int | None:
    """Bytes of the newest checkpoint that a fit has left in its folder; None where there is none."""
    found = sorted(folder.glob("epoch-*.ckpt"))
    return found[-1].stat().st_size if found else None


def _given(metric: Metric, value: float | None, reason: str, note: str | None = None) -> Row:
    if value is None:
        return Unmeasured(metric=metric, reason=reason)
    return Reading(metric=metric, value=value, reason=note)


def _share_rows(facts: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for metric, part, whole, reason in _SHARES:
        if facts.get(part) is None or facts.get(whole) is None:
            rows.append(Unmeasured(metric=metric, reason=_NO_GRAPH))
        else:
            rows.append(_given(metric, facts[part] / facts[whole] if facts[whole] else None, reason))
    return rows


def _uncounted_row(operators: Sequence[str] | None) -> Row:
    if operators is None:
        return Unmeasured(metric=m.FLOPS_UNCOUNTED_OPS_COUNT, reason=_NO_GRAPH)
    return Reading(metric=m.FLOPS_UNCOUNTED_OPS_COUNT, value=len(operators), reason=", ".join(operators) or None)


def _compression_row(fp32_bytes: int | None, engine_bytes: int) -> Row:
    if fp32_bytes is None:
        return Unmeasured(metric=m.COMPRESSION_RATIO, reason=_NO_GRAPH)
    reason = "the model has no weights" if not fp32_bytes else "the engine's files are empty"
    return _given(m.COMPRESSION_RATIO, fp32_bytes / engine_bytes if fp32_bytes and engine_bytes else None, reason)


def _peak_rows(processes: Sequence[Mapping[str, Any]], unread: str) -> list[Row]:
    """Largest over the measuring processes, every engine of the comparison loaded."""
    gpus: list[Mapping[str, Any]] = [result.get("gpu_memory") or {} for result in processes]
    on_cpu = any(not str(result.get("device", "cpu")).startswith("cuda") for result in processes)
    why_not = next((str(gpu["reason"]) for gpu in gpus if gpu.get("reason")), unread)
    hosts = [result["peak_host_bytes"] for result in processes if result.get("peak_host_bytes")]
    rows = [_given(m.PEAK_HOST_BYTES, max(hosts, default=None), unread, _ALL_LOADED)]
    for metric, field, reason in (
        (m.PEAK_GPU_BYTES, "process_peak_bytes", why_not),
        (m.TORCH_PEAK_GPU_BYTES, "torch_peak_bytes", unread),
    ):
        values = [gpu[field] for gpu in gpus if gpu.get(field) is not None]
        rows.append(_given(metric, max(values, default=None), _CPU if on_cpu else reason, _ALL_LOADED))
    return rows


def _training_rows(trained: Trained | None) -> list[Row]:
    found = trained or Trained(reason="nothing was trained")
    on_cpu = "" if found.on_gpu else "trained on the CPU"
    return [
        _given(m.CHECKPOINT_BYTES, found.checkpoint_bytes, found.reason or "the fit left no checkpoint"),
        _given(m.TRAIN_PEAK_GPU_BYTES, found.peak_gpu_bytes, found.reason or on_cpu or "the ranks did not tell"),
    ]
