"""From the name of a backend to the backend. Loads no backend's libraries: a build or a load does."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import cast

from plaster_ops.engines.artifact import verify
from plaster_ops.plugins import Plugins
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


_BACKENDS = Plugins(
    kind="engine backend",
    group=GROUP,
    built_in=BUILT_IN,
    members=("name", "probe", "capabilities", "build", "refit", "load"),
    see="EngineBackend in ports.py",
)


def known_backends() -> tuple[str, ...]:
    """Names of backends that can be asked for here: built in, and of installed plugins."""
    return _BACKENDS.names()


def find_backend(name: str) -> EngineBackend:
    """The backend of that name; `module:attribute` names one of your own.

    Raises `SettingsError` that lists the known names and the nearest one, or says why a plugin cannot be used.
    """
    return cast(EngineBackend, _BACKENDS.find(name))


def load_engine(folder: Path, *, threads: int | None = None) -> Engine:
    """The engine of a folder, after every file was checked against the manifest.

    `threads`: how many it shall run with; None: as it was built. One that was compiled for a number keeps to it.
    Raises `ArtifactTampered` before anything is loaded, `BuildFailed` where the files no longer load on this stack.
    """
    manifest = verify(folder)
    spec = manifest.spec if threads is None else replace(manifest.spec, threads=threads)
    return find_backend(manifest.spec.backend).load(folder, spec)


def preload(name: str) -> None:
    """Imports the libraries that the backend's engines run on, so that loading an engine is only that."""
    for library in find_backend(name).capabilities().libraries:
        if library == "openvino":
            from plaster_ops.engines.openvino_model import import_openvino

            import_openvino()
        else:
            importlib.import_module(library)
