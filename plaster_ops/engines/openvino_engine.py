"""OpenVINO: the default engine on CPUs. The only module, with `openvino_coverage`, that imports openvino.

The inference precision is always asked for and read back: left alone, OpenVINO picks bf16 where the CPU has it.
Usage statistics are never sent: openvino is imported without its telemetry package, so nothing is written to the home
folder.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.options import read_options
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Availability, Coverage, EngineSpec, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

MODEL = "model.xml"
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
_OPTIONS = {"pinning": False}
"""`pinning`: threads stay on their core; off by default, because a core that is shared with others cannot be left."""
_COPY_UP_TO_BYTES = 65_536
"""Inputs up to this size are copied into the engine's own memory: cheaper than handing over a new address."""


class OpenVinoBackend:
    """Converts the exported program to OpenVINO's format and runs it on the CPU."""

    name = "openvino"

    def probe(self) -> Availability:
        """Usable where the package is installed; nothing is imported."""
        try:
            versions = tuple((package, version(package)) for package in ("openvino", "torch"))
        except PackageNotFoundError as error:
            return Availability(ok=False, reason=f"{error.name} is not installed (pip install 'plaster-ops[openvino]')")
        return Availability(ok=True, versions=versions)

    def precisions(self) -> tuple[str, ...]:
        """fp32, and bf16 where the CPU has it: a build that was not given its precision fails."""
        return tuple(_HINTS)

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path) -> Coverage:
        """Writes `model.xml` and `model.bin`, weights in full. Raises `BuildFailed` with the converter's reason."""
        from plaster_ops.engines.facts import count_ops
        from plaster_ops.engines.openvino_coverage import measure_coverage

        read_options(spec, _OPTIONS)
        if spec.precision not in _HINTS:
            raise BuildFailed(f"openvino cannot be built as {spec.precision}", f"choose one of {', '.join(_HINTS)}")
        ov = import_openvino()
        model = _convert(ov, program, spec)
        ov.save_model(model, folder / MODEL, compress_to_fp16=False)
        core = ov.Core()
        return measure_coverage(core, model, _compile(core, model, spec), count_ops(program))

    def load(self, folder: Path, spec: EngineSpec) -> OpenVinoEngine:
        """The engine, compiled for `spec.threads` threads. Raises `BuildFailed` where it does not load here."""
        core = import_openvino().Core()
        try:
            model = core.read_model(folder / MODEL)
        except RuntimeError as error:
            raise BuildFailed(
                f"{folder / MODEL} does not load: {_words(error)}", "remove the folder to have it rebuilt"
            ) from error
        return OpenVinoEngine(_compile(core, model, spec), spec)


class OpenVinoEngine:
    """A compiled model with one request that is reused; not for several threads at once.

    Outputs are copies in new tensors, never overwritten by a later call. An input above 64 KiB is read where it lies,
    and kept alive until the next call.
    """

    def __init__(self, compiled: Any, spec: EngineSpec) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard

        base: Any = importlib.import_module("openvino._pyopenvino").InferRequest
        self._compiled: Any = compiled
        self._request: Any = compiled.create_infer_request()
        self._infer = base.infer
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        self._ports = [_Port(self._request, index) for index in _input_indices(compiled, spec.inputs)]
        self._outputs = range(len(compiled.outputs))
        self._from_numpy = torch.from_numpy

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the engine was not built for."""
        for port, tensor in zip(self._ports, self._admit(inputs), strict=True):
            port.put(tensor)
        request = self._request
        # The wrapper's infer() packs and copies at twice the cost of a small model; its base class takes what is set.
        self._infer(request, {}, share_outputs=True, decode_strings=False)
        return tuple(self._from_numpy(request.get_output_tensor(k).data.copy()) for k in self._outputs)

    def effective_precision(self) -> str:
        """The precision that OpenVINO says it uses."""
        return _effective_precision(self._compiled)

    def close(self) -> None:
        """Frees the request and the compiled model."""
        self._ports = []
        self._request = self._compiled = None


class _Port:
    """One input of the request: its own memory for small tensors of an unchanged shape, else the caller's."""

    __slots__ = ("_index", "_request", "_shape", "_view")

    def __init__(self, request: Any, index: int | None) -> None:
        self._request = request
        self._index = index
        self._shape: Any = None
        self._view: Any = None

    def put(self, tensor: Tensor) -> None:
        """Makes `tensor` (contiguous, of the right dtype) the next input."""
        if tensor.shape == self._shape:
            self._view.copy_(tensor)
        elif self._index is not None:
            self._attach(tensor)

    def _attach(self, tensor: Tensor) -> None:
        import torch
        from openvino import Tensor as OpenVinoTensor

        array = tensor.detach().numpy()
        if array.nbytes > _COPY_UP_TO_BYTES:
            self._shape = self._view = None
            self._request.set_input_tensor(self._index, OpenVinoTensor(array, shared_memory=True))
            return
        own = OpenVinoTensor(array.copy(), shared_memory=False)
        self._view = torch.from_numpy(own.data)
        self._shape = tensor.shape
        self._request.set_input_tensor(self._index, own)


def import_openvino() -> Any:
    """The openvino module, imported without the package that sends usage statistics."""
    if "openvino" not in sys.modules:
        modules: dict[str, Any] = sys.modules
        modules.setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")


def _convert(ov: Any, program: ExportedProgram, spec: EngineSpec) -> Any:
    from plaster_ops.engines.inputs import axis_ranges
    from plaster_ops.engines.quiet import foreign_warnings_ignored

    try:
        with foreign_warnings_ignored():
            model = ov.convert_model(program)
            ports = _input_indices(model, spec.inputs)
            shapes = {}
            for tensor, index in zip(spec.inputs, ports, strict=True):
                if index is not None:
                    ranges = axis_ranges(tensor, spec.batch[2])
                    shapes[model.input(index)] = ov.PartialShape([ov.Dimension(low, high) for low, high in ranges])
            model.reshape(shapes)
    except Exception as error:
        raise BuildFailed(
            f"openvino cannot convert the model: {_words(error)}", "the next backend of engine.backends is tried"
        ) from error
    return model


def _input_indices(model: Any, specs: Sequence[TensorSpec]) -> list[int | None]:
    """Where each declared input is in the model; None for an input that the model does not read."""
    names = [port.get_names() for port in model.inputs]
    return [next((k for k, known in enumerate(names) if spec.name in known), None) for spec in specs]


def _compile(core: Any, model: Any, spec: EngineSpec) -> Any:
    options = read_options(spec, _OPTIONS)
    try:
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": _HINTS[spec.precision],
                "INFERENCE_NUM_THREADS": spec.threads,
                "ENABLE_CPU_PINNING": bool(options["pinning"]),
            },
        )
    except RuntimeError as error:
        raise BuildFailed(f"openvino cannot compile the model: {_words(error)}", "try another backend") from error
    effective = _effective_precision(compiled)
    if effective != spec.precision:
        raise BuildFailed(
            f"openvino uses {effective} on this CPU where {spec.precision} was asked for",
            f"remove {spec.precision} from engine.precisions",
        )
    return compiled


def _effective_precision(compiled: Any) -> str:
    name = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    return _NAMES.get(name, name)


def _words(error: Exception) -> str:
    """The telling lines of OpenVINO's messages, which begin with where in its source they arose."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join((telling or lines)[:3])[:400]
