"""From the name of a backend to the backend. Loads no backend's libraries: a build or a load does."""

from __future__ import annotations

import difflib
import importlib
import inspect
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from plaster_ops.engines.artifact import verify
from plaster_ops.errors import SettingsError
from plaster_ops.ports import Engine, EngineBackend

GROUP = "plaster_ops.engines"
BUILT_IN = {
    "eager": "plaster_ops.engines.eager:EagerBackend",
    "inductor": "plaster_ops.engines.inductor:InductorBackend",
    "onnxruntime": "plaster_ops.engines.onnx_engine:OnnxBackend",
    "openvino": "plaster_ops.engines.openvino_engine:OpenVinoBackend",
    "tensorrt": "plaster_ops.engines.tensorrt_engine:TensorRtBackend",
    "tensorrt_rtx": "plaster_ops.engines.tensorrt_rtx_engine:TensorRtRtxBackend",
}


def known_backends() -> tuple[str, ...]:
    """Names of backends that can be asked for here: built in, and of installed plugins."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def find_backend(name: str) -> EngineBackend:
    """The backend of that name; `module:attribute` names one of your own.

    Raises `SettingsError` that lists the known names and the nearest one, or says why a plugin cannot be used.
    """
    reference = name if ":" in name else _reference(name)
    module_name, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        backend = found() if inspect.isclass(found) else found
    except Exception as error:
        raise SettingsError(
            f"engine backend {name!r} does not import: {type(error).__name__}: {error}",
            f"try: python -c 'from {module_name} import {attribute}'",
        ) from error
    lacking = [
        member for member in ("name", "probe", "capabilities", "build", "refit", "load") if not hasattr(backend, member)
    ]
    if lacking:
        raise SettingsError(f"engine backend {name!r} lacks {', '.join(lacking)}", "see EngineBackend in ports.py")
    return cast(EngineBackend, backend)


def load_engine(folder: Path) -> Engine:
    """The engine of a folder, after every file was checked against the manifest.

    Raises `ArtifactTampered` before anything is loaded, `BuildFailed` where the files no longer load on this stack.
    """
    manifest = verify(folder)
    return find_backend(manifest.spec.backend).load(folder, manifest.spec)


def preload(name: str) -> None:
    """Imports the libraries that the backend's engines run on, so that loading an engine is only that."""
    for library in find_backend(name).capabilities().libraries:
        if library == "openvino":
            from plaster_ops.engines.openvino_model import import_openvino

            import_openvino()
        else:
            importlib.import_module(library)


def _reference(name: str) -> str:
    if name in BUILT_IN:
        return BUILT_IN[name]
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.value
    known = known_backends()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise SettingsError(
        f"unknown engine backend {name!r}",
        f"known: {', '.join(known)}; nearest is {near[0] if near else known[0]!r}; or your own as module:attribute",
    )
