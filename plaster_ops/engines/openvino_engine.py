"""OpenVINO: the usual engine on CPUs. With `openvino_model` and `openvino_coverage` the landlord of openvino and nncf.

Beside the model for every batch, one is compiled for batch 1 alone where no other axis is free: it answers a single
query up to a tenth sooner (docs/benchmarks.md). Compiled models are kept under a key of our own, so that the next
process that loads the engine need not compile it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.blob_cache import blob_key, cache_folder, file_digests, keep_blob, read_blob
from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.openvino_model import (
    HINTS,
    check_precision,
    compile_config,
    compile_model,
    convert,
    effective_precision,
    import_openvino,
    input_indices,
    openvino_core,
    quantise,
    with_fixed_batch,
    words,
)
from plaster_ops.engines.options import Schema, read_options
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineSpec, Option

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

MODEL = "model.xml"
_OPTIONS: Schema = {
    "pinning": False,
    "hint": ("latency", "throughput"),
    "batch_1": True,
    "cache": True,
    "preset": ("performance", "mixed"),
    "model_type": ("none", "transformer"),
    "ranges": ("all", "mean"),
    "fast_bias_correction": True,
}
"""`pinning`: threads stay on their core; off by default, because a core that is shared with others cannot be left.
`hint` throughput: several streams share the threads, and a batch is answered in parts, side by side. `batch_1`: a model
of its own for single queries. `cache`: compiled models are kept. The rest is nncf's, for int8; `model_type` transformer
cost one encoder 0.2 of its accuracy, so it is only taken when asked for; `ranges` mean cuts off tails."""
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
        return Availability(ok=True, versions=versions + _nncf_version())

    def capabilities(self) -> Capabilities:
        """fp32; bf16 where the CPU has AVX-512 or bf16 of its own; int8 where nncf is installed."""
        cpu = this_cpu()
        precisions = ["fp32"]
        if cpu.has_bf16 or cpu.has_avx512:
            precisions.append("bf16")
        if _nncf_version():
            precisions.append("int8")
        return Capabilities(precisions=tuple(precisions), options=_OPTIONS, libraries=("torch", "openvino"))

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        """Writes `model.xml` and `model.bin`, weights in full. Raises `BuildFailed` with the converter's reason."""
        from plaster_ops.engines.facts import count_ops
        from plaster_ops.engines.openvino_coverage import measure_coverage

        options = read_options(spec, _OPTIONS)
        if spec.precision not in HINTS:
            raise BuildFailed(f"openvino cannot be built as {spec.precision}", f"choose one of {', '.join(HINTS)}")
        ov = import_openvino()
        model = convert(program, spec)
        if spec.precision == "int8":
            model = quantise(model, spec, calibration, options)
        ov.save_model(model, folder / MODEL, compress_to_fp16=False)
        core = openvino_core()
        compiled = compile_model(core, model, compile_config(spec, options))
        check_precision(compiled, spec.precision)
        return measure_coverage(core, model, compiled, count_ops(program), spec.precision)

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        """Never: OpenVINO packs the weights while it compiles."""
        del engine, program, spec, folder
        raise RefitUnsupported("openvino has no call that puts new weights into a compiled model", "it is rebuilt")

    def load(self, folder: Path, spec: EngineSpec) -> OpenVinoEngine:
        """The engine, compiled for `spec.threads` threads. Raises `BuildFailed` where it does not load here."""
        core = openvino_core()
        options = read_options(spec, _OPTIONS)
        loader = _Loader(core, folder, spec, options)
        general = loader.compiled(None)
        check_precision(general, spec.precision)
        single = loader.compiled(1) if options["batch_1"] and spec.batch[2] > 1 else None
        return OpenVinoEngine(general, spec, single)


class _Loader:
    """Compiled models of one folder: from the cache where it holds them, else from the model's files."""

    def __init__(self, core: Any, folder: Path, spec: EngineSpec, options: Mapping[str, Option]) -> None:
        self._core, self._folder, self._spec = core, folder, spec
        self._config = compile_config(spec, options)
        digests = file_digests(folder) if options["cache"] else None
        self._cache = cache_folder("openvino") if digests else None
        self._origin = {
            "files": digests,
            "config": self._config,
            "openvino": version("openvino"),
            "cpu": this_cpu().digest,
            "batch": list(spec.batch),
        }
        self._model: Any = None

    def compiled(self, batch: int | None) -> Any | None:
        """For every batch (None), or for exactly that one; None where such a model would gain nothing."""
        key = blob_key(**self._origin, only=batch)
        blob = read_blob(self._cache, key)
        if blob is not None:
            try:
                return self._core.import_model(blob, "CPU", self._config)
            except RuntimeError:
                blob = None
        model = self._read()
        fixed = model if batch is None else with_fixed_batch(model, self._spec, batch)
        if fixed is None:
            return None
        compiled = compile_model(self._core, fixed, self._config)
        if self._cache is not None:
            keep_blob(self._cache, key, compiled.export_model().getvalue())
        return compiled

    def _read(self) -> Any:
        if self._model is None:
            try:
                self._model = self._core.read_model(self._folder / MODEL)
            except RuntimeError as error:
                raise BuildFailed(
                    f"{self._folder / MODEL} does not load: {words(error)}", "remove the folder to have it rebuilt"
                ) from error
        return self._model


class OpenVinoEngine:
    """Compiled models with requests that are reused; not for several threads at once.

    Outputs are copies in new tensors, never overwritten by a later call. An input above 64 KiB is read where it lies,
    and kept alive until the next call.
    """

    def __init__(self, compiled: Any, spec: EngineSpec, single: Any | None = None) -> None:
        from plaster_ops.engines.inputs import InputGuard

        self._compiled: Any = compiled
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        streams = int(compiled.get_property("NUM_STREAMS"))
        self._general: Any = _Request(compiled, spec) if streams < 2 else _Streams(compiled, spec, streams)
        self._single: Any = _Request(single, spec) if single is not None else self._general

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the engine was not built for."""
        admitted = self._admit(inputs)
        if admitted[0].shape[0] == 1:
            return self._single.run(admitted)  # type: ignore[no-any-return]
        return self._general.run(admitted)  # type: ignore[no-any-return]

    def effective_precision(self) -> str:
        """What the compiled model says its operators run in."""
        return effective_precision(self._compiled)

    def close(self) -> None:
        """Frees the requests and the compiled models."""
        self._general = self._single = self._compiled = None


class _Request:
    """One infer request of a compiled model."""

    def __init__(self, compiled: Any, spec: EngineSpec) -> None:
        import torch

        base: Any = importlib.import_module("openvino._pyopenvino").InferRequest
        self._request: Any = compiled.create_infer_request()
        self._infer = base.infer
        self._ports = [_Port(self._request, index) for index in input_indices(compiled, spec.inputs)]
        self._outputs = range(len(compiled.outputs))
        self._from_numpy = torch.from_numpy

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Answers, in new memory."""
        for port, tensor in zip(self._ports, inputs, strict=True):
            port.put(tensor)
        # The wrapper's infer() packs and copies at twice the cost of a small model; its base class takes what is set.
        self._infer(self._request, {}, share_outputs=True, decode_strings=False)
        return self.answers()

    def start(self, inputs: Sequence[Tensor]) -> None:
        """Begins to answer; `wait` and then `answers` give the outputs."""
        for port, tensor in zip(self._ports, inputs, strict=True):
            port.put(tensor)
        self._request.start_async()

    def wait(self) -> None:
        """Until what was started is done."""
        self._request.wait()

    def answers(self) -> tuple[Tensor, ...]:
        """The outputs of the last run, copied."""
        request = self._request
        return tuple(self._from_numpy(request.get_output_tensor(k).data.copy()) for k in self._outputs)


class _Streams:
    """As many requests as streams: the rows of a batch are shared out among them and answered side by side."""

    def __init__(self, compiled: Any, spec: EngineSpec, streams: int) -> None:
        import torch

        self._requests = [_Request(compiled, spec) for _ in range(streams)]
        self._cat = torch.cat

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Answers, in new memory, in the order of the rows."""
        rows = int(inputs[0].shape[0])
        parts = min(len(self._requests), rows)
        if parts == 1:
            return self._requests[0].run(inputs)
        edges = [rows * part // parts for part in range(parts + 1)]
        busy = self._requests[:parts]
        for request, low, high in zip(busy, edges[:-1], edges[1:], strict=True):
            request.start([tensor[low:high] for tensor in inputs])
        for request in busy:
            request.wait()
        columns = zip(*(request.answers() for request in busy), strict=True)
        return tuple(self._cat(column) for column in columns)


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


def _nncf_version() -> tuple[tuple[str, str], ...]:
    try:
        return (("nncf", version("nncf")),)
    except PackageNotFoundError:
        return ()
