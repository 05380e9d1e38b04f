"""Stage `build`: one backend x precision, from the exported program to an engine folder. Loads no user code."""

import logging
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.engines.artifact import Manifest, appearing_whole, hash_files, spec_from_json, write_manifest
from plaster_ops.engines.export import load_program, output_names, output_structure
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, PlasterError
from plaster_ops.ports import Coverage, EngineBackend, EngineSpec, EventSink

log = logging.getLogger(__name__)


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: program (path), spec (EngineSpec as JSON), weights_digest, graph_digest, out (the engine folder).

    The folder `out` appears whole, with its manifest, after the engine was loaded once from its files; a folder of that
    name is replaced. Result: the manifest as JSON, with `folder` and `digest` (of the manifest). Raises `BuildFailed`.
    """
    wanted = spec_from_json(spec["spec"])
    out = Path(spec["out"])
    program = load_program(Path(spec["program"]))
    emit({"event": "note", "text": f"building {wanted.backend} {wanted.precision}"})
    manifest = build_folder(program, wanted, out, spec["graph_digest"], spec["weights_digest"])
    log.info("built %s in %.1f s (%s)", out.name, manifest.build_s, folder)
    return manifest.to_json() | {"folder": str(out), "digest": manifest.digest}


def build_folder(program: Any, wanted: EngineSpec, out: Path, graph_digest: str, weights_digest: str) -> Manifest:
    """Builds the engine into `out`, loads it once, writes its manifest; raises `BuildFailed`."""
    backend = find_backend(wanted.backend)
    available = backend.probe()
    if not available.ok:
        raise BuildFailed(f"{wanted.backend} cannot be used here: {available.reason}", "see plaster-ops doctor")
    with appearing_whole(out) as draft:
        began_s = time.monotonic()
        coverage = _build(backend, program, wanted, draft)
        build_s = time.monotonic() - began_s
        manifest = Manifest(
            spec=wanted,
            files=hash_files(draft),
            versions=(*available.versions, ("python", platform.python_version())),
            build_s=build_s,
            coverage=coverage,
            effective_precision=_read_back(backend, wanted, draft),
            weights_digest=weights_digest,
            graph_digest=graph_digest,
            outputs=output_names(program),
            structure=output_structure(program),
        )
        write_manifest(draft, manifest)
    return manifest


def _build(backend: EngineBackend, program: Any, wanted: EngineSpec, draft: Path) -> Coverage:
    """A backend's own error with its own words; any other one named after the backend."""
    try:
        return backend.build(program, wanted, draft)
    except PlasterError:
        raise
    except Exception as error:
        raise BuildFailed(
            f"backend {wanted.backend} failed: {type(error).__name__}: {str(error)[:400]}", "see the log of the build"
        ) from error


def _read_back(backend: EngineBackend, wanted: EngineSpec, draft: Path) -> str:
    engine = backend.load(draft, wanted)
    try:
        return engine.effective_precision()
    finally:
        engine.close()
