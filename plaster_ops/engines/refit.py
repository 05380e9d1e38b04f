"""New weights into a built engine, with proof: an engine folder that is as good as a fresh build, or a reason.

A refit that does nothing, or half of it, is easily taken for one that worked. So the graph must be the old one, the
weights must be others, the refitted engine must answer as the new eager model does, and not as it did before; and the
files that were written must load to the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.artifact import Manifest, appearing_whole, hash_files, link_or_copy, verify, write_manifest
from plaster_ops.engines.key import engine_key
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import PlasterError, RefitUnsupported
from plaster_ops.ports import Engine, EngineBackend, EngineSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from plaster_ops.engines.parity import ParityReport

LIMIT = 1e-5
"""Largest |engine - eager| over the range of an output after a refit in fp32: ten times stricter than after a build."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refitted:
    """A refitted folder: `call_s` of the in-place call alone, `stage_s` with loading, checks and files."""

    manifest: Manifest
    call_s: float
    stage_s: float
    rel_err: float


def why_no_refit(old: Manifest, graph_digest: str, weights_digest: str, key: str, refit: str) -> str:
    """Why new weights cannot go into the engine of `old`; empty where they may be tried. Loads nothing.

    `key` is what the engine would be built under today, `refit` what its backend can do.
    """
    if refit == "none":
        return f"{old.spec.backend} cannot put new weights into a built engine"
    if old.graph_digest != graph_digest:
        return "the graph is another one"
    if old.weights_digest == weights_digest:
        return "the new weights equal the old: there is nothing to refit"
    if old.key != key:
        return "options, versions or the machine are not those that it was built with"
    return ""


def reuse_folder(old: Path, out: Path) -> Manifest:
    """The engine in `old` once more, as the folder `out`: the same files under second names. Verified first."""
    manifest = verify(old)
    with appearing_whole(out) as draft:
        for file in manifest.files:
            target = draft / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(old / file.name, target)
        write_manifest(draft, manifest)
    return manifest


def refit_folder(
    old: Path,
    program: ExportedProgram,
    out: Path,
    probes: Sequence[tuple[Tensor, ...]],
    *,
    spec: EngineSpec | None = None,
    limit: float | None = None,
) -> Refitted:
    """Refits the engine in `old` to the program's weights, into the folder `out`, which appears whole or not at all.

    `probes`: batches of real inputs that answers are compared on. `spec`: what the engine would be built as today,
    if not as it was. `limit`: the largest error over an output's range, instead of `LIMIT` in fp32 and of a lower
    precision's own. Raises `RefitUnsupported` with the reason; `old` is only read.
    """
    from plaster_ops.engines.graph import all_weights, graph_digest, weights_digest

    began_s = time.perf_counter()
    manifest = verify(old)
    backend = find_backend(manifest.spec.backend)
    digests = graph_digest(program), weights_digest(all_weights(program))
    key = engine_key(digests[0], spec or manifest.spec, backend.probe().versions)
    reason = why_no_refit(manifest, *digests, key, backend.capabilities().refit)
    if reason:
        raise RefitUnsupported(reason, "it is rebuilt")
    if not probes:
        raise RefitUnsupported("there are no inputs to verify a refit on", "it is rebuilt")
    with appearing_whole(out) as draft:
        call_s, rel_err = _refit_and_prove(backend, manifest, old, program, draft, probes, limit)
        refitted = replace(
            manifest,
            files=hash_files(draft),
            weights_digest=digests[1],
            refits=manifest.refits + 1,
            refit_s=call_s,
        )
        write_manifest(draft, refitted)
    return Refitted(manifest=refitted, call_s=call_s, stage_s=time.perf_counter() - began_s, rel_err=rel_err)


def _refit_and_prove(
    backend: EngineBackend,
    manifest: Manifest,
    old: Path,
    program: ExportedProgram,
    draft: Path,
    probes: Sequence[tuple[Tensor, ...]],
    limit: float | None,
) -> tuple[float, float]:
    import torch

    from plaster_ops.engines.eager import flat_module

    spec = manifest.spec
    engine = backend.load(old, spec)
    try:
        before = _answers(engine, probes)
        try:
            call_s = backend.refit(engine, program, spec, draft)
        except PlasterError as error:
            raise RefitUnsupported(error.message, "it is rebuilt") from error
        after = _answers(engine, probes)
    finally:
        engine.close()
    reloaded = backend.load(draft, spec)
    try:
        from_files = _answers(reloaded, probes)
    finally:
        reloaded.close()
    with torch.no_grad():
        eager = flat_module(program)
        wanted = [tuple(eager(*probe)) for probe in probes]
    report = _compare(wanted, after, manifest, limit)
    if not report.ok:
        raise RefitUnsupported(f"after the refit: {'; '.join(report.reasons)}", "it is rebuilt")
    if _all_equal(before, after) and not _all_equal(before, wanted):
        raise RefitUnsupported("the refit did nothing: every answer is the old engine's", "it is rebuilt")
    # A GPU may add in another order from one load to the next.
    exact = manifest.spec.device == "cpu"
    if not (_all_equal(after, from_files) if exact else _compare(after, from_files, manifest, limit).ok):
        raise RefitUnsupported("the written files do not answer as the refitted engine does", "it is rebuilt")
    return call_s, max((o.rel_err for o in report.outputs if o.rel_err is not None), default=0.0)


def _answers(engine: Engine, probes: Sequence[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    return [tuple(tensor.clone() for tensor in engine.run(*probe)) for probe in probes]


def _compare(wanted: Sequence[Any], found: Sequence[Any], manifest: Manifest, limit: float | None) -> ParityReport:
    from plaster_ops.engines.parity import compare_outputs, merge_reports

    if limit is None and manifest.spec.precision == "fp32":
        limit = LIMIT
    reports = [
        compare_outputs(ours, theirs, manifest.outputs, manifest.spec.precision, limit=limit)
        for ours, theirs in zip(wanted, found, strict=True)
    ]
    return merge_reports(reports)


def _all_equal(left: Sequence[tuple[Tensor, ...]], right: Sequence[tuple[Tensor, ...]]) -> bool:
    import torch

    pairs = (pair for a, b in zip(left, right, strict=True) for pair in zip(a, b, strict=True))
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True) for a, b in pairs)
