"""Stage `build`: one backend x precision, from the exported program to an engine folder. Loads no user code."""

import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.data.samples import load_groups
from plaster_ops.engines.artifact import Manifest, appearing_whole, hash_files, spec_from_json, write_manifest
from plaster_ops.engines.export import load_program, output_names, output_structure
from plaster_ops.engines.facts import traced_inputs
from plaster_ops.engines.key import engine_key
from plaster_ops.engines.profile import time_inside
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, PlasterError
from plaster_ops.ports import Calibration, Coverage, EngineBackend, EngineSpec, EventSink

log = logging.getLogger(__name__)


def run(spec: Mapping[str, Any], folder: Path, _emit: EventSink) -> dict[str, Any]:
    """spec: program (path), spec (EngineSpec as JSON), weights_digest, graph_digest, out (the engine folder), and
    calibration (file of real inputs, or None).

    The folder `out` appears whole, with its manifest, after the engine was loaded once from its files; a folder of that
    name is replaced. Result: the manifest as JSON, with `folder` and `digest` (of the manifest). Raises `BuildFailed`.
    """
    wanted = spec_from_json(spec["spec"])
    out = Path(spec["out"])
    program = load_program(Path(spec["program"]))
    file = spec.get("calibration")
    manifest = build_folder(
        program,
        wanted,
        out,
        spec["graph_digest"],
        spec["weights_digest"],
        load_groups(Path(file)) if file else (),
    )
    log.info("built %s in %.1f s (%s)", out.name, manifest.build_s, folder)
    return manifest.to_json() | {"folder": str(out), "digest": manifest.digest}


def build_folder(
    program: Any, wanted: EngineSpec, out: Path, graph_digest: str, weights_digest: str, calibration: Calibration = ()
) -> Manifest:
    """Builds the engine into `out`, loads it once, writes its manifest; raises `BuildFailed`.

    An engine that runs in another precision than was asked for is refused, and so is one that needs inputs to be
    calibrated with and was given none.
    """
    backend = find_backend(wanted.backend)
    available, capabilities = backend.probe(), backend.capabilities()
    if not available.ok:
        raise BuildFailed(f"{wanted.backend} cannot be used here: {available.reason}", "see plaster-ops engines")
    is_calibrated = wanted.precision in capabilities.calibrated
    given = calibration if is_calibrated else ()
    if is_calibrated and not given:
        raise BuildFailed(f"{wanted.precision} is calibrated with real inputs, and there are none", _CALIBRATE)
    wanted = wanted if is_calibrated else replace(wanted, calibration="")
    with appearing_whole(out) as draft:
        began_s = time.monotonic()
        coverage = _build(backend, program, wanted, draft, given)
        build_s = time.monotonic() - began_s
        effective = NOT_READ_BACK
        if capabilities.runs_here:
            effective, time_ratio = _read_back(backend, wanted, draft, coverage, program)
            coverage = replace(coverage, time_ratio=time_ratio)
        manifest = Manifest(
            spec=wanted,
            files=hash_files(draft),
            versions=(*available.versions, ("python", platform.python_version())),
            build_s=build_s,
            coverage=coverage,
            effective_precision=effective,
            weights_digest=weights_digest,
            graph_digest=graph_digest,
            outputs=output_names(program),
            structure=output_structure(program),
            key=engine_key(graph_digest, wanted, available.versions),
            calibrated_with=sum(int(group[0].shape[0]) for group in given),
        )
        write_manifest(draft, manifest)
    return manifest


_CALIBRATE = "let data(window) give a train_dataloader whose inputs are not in the evaluation sets"
NOT_READ_BACK = "not read back"
"""Effective precision of an engine that was built on a machine that cannot run it."""


def _build(backend: EngineBackend, program: Any, wanted: EngineSpec, draft: Path, calibration: Calibration) -> Coverage:
    """A backend's own error with its own words; any other one named after the backend."""
    try:
        return backend.build(program, wanted, draft, calibration)
    except PlasterError:
        raise
    except Exception as error:
        raise BuildFailed(
            f"backend {wanted.backend} failed: {type(error).__name__}: {str(error)[:400]}", "see the log of the build"
        ) from error


def _read_back(
    backend: EngineBackend, wanted: EngineSpec, draft: Path, coverage: Coverage, program: Any
) -> tuple[str, float | None]:
    """What the loaded engine says it runs in, and the share of a forward's time inside it.

    Raises `BuildFailed` where the precision is not the one that was asked for.
    """
    engine = backend.load(draft, wanted)
    try:
        found = engine.effective_precision()
        time_ratio = time_inside(engine, coverage, traced_inputs(program)) if found == wanted.precision else None
    finally:
        engine.close()
    if found != wanted.precision:
        raise BuildFailed(
            f"{wanted.backend} runs the model in {found} where {wanted.precision} was asked for",
            f"remove {wanted.precision} from engine.precisions",
        )
    return found, time_ratio
