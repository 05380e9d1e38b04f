"""ONNX Runtime on the CPU: fp32, and int8 by static quantisation on real inputs.

Never by dynamic quantisation: its convolutions ran four times slower than eager fp32 where it was measured. The
sessions do not spin while they wait, so that they can share cores.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.options import Schema, read_options
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineSpec, Option

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

MODEL = "model.onnx"
KINDS = "operators.json"
"""Operators of the graph as the runtime optimised it at the build: what the precision is read back from."""
_PACKAGES = ("onnxruntime", "onnx", "onnxscript", "torch")
_OPTIONS: Schema = {
    "spinning": False,
    "graph_optimization": ("all", "extended", "basic", "disabled"),
    "per_channel": True,
    "activations": ("uint8", "int8"),
    "operators": ("auto", "all", "products"),
}
"""`spinning`: threads burn their core while they wait. The last three are for int8: scales per channel of a weight, the
type of activations, and which operators are quantised. `products`: convolutions and matrix products alone; `auto`: all,
unless that moves an output by more than 0.05 of its range on the calibration inputs (a mask of large negative numbers
leaves no steps for anything else), then products."""
_PRODUCTS = ["Conv", "MatMul", "Gemm"]
_CLOSE = 0.05
_COMPARED = 16


class OnnxBackend:
    """Exports the program to ONNX and runs it in an ONNX Runtime session."""

    name = "onnxruntime"

    def probe(self) -> Availability:
        """Usable where the packages are installed; nothing is imported."""
        try:
            return Availability(ok=True, versions=tuple((package, version(package)) for package in _PACKAGES))
        except PackageNotFoundError as error:
            return Availability(ok=False, reason=f"{error.name} is not installed (pip install 'plaster-ops[onnx]')")

    def capabilities(self) -> Capabilities:
        """fp32 and int8; the runtime has no bf16 kernels for CPUs."""
        return Capabilities(precisions=("fp32", "int8"), options=_OPTIONS, libraries=("torch", "onnxruntime"))

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        """Writes `model.onnx` and `operators.json`. Raises `BuildFailed` with the exporter's reason."""
        from plaster_ops.engines.facts import count_ops
        from plaster_ops.engines.onnx_graph import write_onnx

        options = read_options(spec, _OPTIONS)
        if spec.precision not in ("fp32", "int8"):
            raise BuildFailed(f"onnxruntime cannot be built as {spec.precision}", "choose fp32 or int8")
        model = folder / MODEL
        if spec.precision == "fp32":
            write_onnx(program, spec, model)
        else:
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".onnx-") as work:
                plain = Path(work) / "plain.onnx"
                write_onnx(program, spec, plain)
                _quantise(plain, model, spec, calibration, options)
        kinds = self._optimised_kinds(model, spec, options)
        (folder / KINDS).write_text(json.dumps(kinds, sort_keys=True) + "\n", encoding="utf-8")
        return _coverage(kinds, spec.precision, count_ops(program))

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        """Never: the exporter folds weights into others, and the runtime packs them as it loads."""
        del engine, program, spec, folder
        raise RefitUnsupported(
            "onnxruntime keeps weights folded and packed; swapping them was seen to mix old and new", "it is rebuilt"
        )

    def load(self, folder: Path, spec: EngineSpec) -> OnnxEngine:
        """A session of `spec.threads` threads. Raises `BuildFailed` where the model does not load here."""
        options = read_options(spec, _OPTIONS)
        return OnnxEngine(_session(folder / MODEL, spec, options), spec, _read_kinds(folder / KINDS))

    def _optimised_kinds(self, model: Path, spec: EngineSpec, options: Mapping[str, Option]) -> dict[str, int]:
        from plaster_ops.engines.onnx_graph import count_kinds, load_graph

        with tempfile.TemporaryDirectory(dir=model.parent.parent, prefix=".onnx-") as work:
            optimised = Path(work) / "optimised.onnx"
            _session(model, spec, options, optimised)
            return count_kinds(load_graph(optimised))


class OnnxEngine:
    """An inference session; outputs are new memory of their own, never overwritten by a later call."""

    def __init__(self, session: Any, spec: EngineSpec, kinds: Mapping[str, int]) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard

        self._session: Any = session
        self._kinds = kinds
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        taken = {port.name for port in session.get_inputs()}
        self._names = [tensor.name if tensor.name in taken else None for tensor in spec.inputs]
        self._from_numpy = torch.from_numpy

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the engine was not built for."""
        admitted = self._admit(inputs)
        feed = {name: tensor.numpy() for name, tensor in zip(self._names, admitted, strict=True) if name is not None}
        return tuple(self._from_numpy(answer) for answer in self._session.run(None, feed))

    def effective_precision(self) -> str:
        """int8 where most products of the optimised graph are 8-bit, else fp32."""
        from plaster_ops.engines.onnx_graph import eight_bit_ratio

        return "int8" if (eight_bit_ratio(self._kinds) or 0.0) > 0.5 else "fp32"

    def close(self) -> None:
        """Frees the session."""
        self._session = None


def _session(model: Path, spec: EngineSpec, options: Mapping[str, Option], optimised: Path | None = None) -> Any:
    import onnxruntime as ort

    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    wanted = ort.SessionOptions()
    wanted.intra_op_num_threads = spec.threads
    wanted.inter_op_num_threads = 1
    wanted.log_severity_level = 3
    wanted.graph_optimization_level = levels[str(options["graph_optimization"])]
    wanted.add_session_config_entry("session.intra_op.allow_spinning", "1" if options["spinning"] else "0")
    if optimised is not None:
        wanted.optimized_model_filepath = str(optimised)
    try:
        return ort.InferenceSession(str(model), wanted, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BuildFailed(
            f"{model} does not load: {' '.join(str(error).split())[:300]}", "remove the folder to have it rebuilt"
        ) from error


def _quantise(
    plain: Path, model: Path, spec: EngineSpec, calibration: Calibration, options: Mapping[str, Option]
) -> None:
    """QDQ form, real inputs one by one. Weights are kept to 7 bits where the CPU's 8-bit products would saturate."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    rows = list(_rows(calibration, spec))
    if not rows:
        raise BuildFailed("there is nothing to calibrate int8 with", "see engine.calibration_samples")
    prepared = plain.with_name("prepared.onnx")
    try:
        with foreign_warnings_ignored():
            quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
            _write_quantised(prepared, model, rows, options, products=options["operators"] == "products")
            if options["operators"] == "auto" and not _is_close(plain, model, rows[:_COMPARED], spec, options):
                _write_quantised(prepared, model, rows, options, products=True)
    except BuildFailed:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        raise BuildFailed(
            f"onnxruntime cannot quantise the model: {type(error).__name__}: {words}", "remove int8, or see the log"
        ) from error


def quantise_symmetric(plain: Path, model: Path, spec: EngineSpec, calibration: Calibration) -> None:
    """QDQ form with symmetric 8-bit activations, the one that TensorRT's parser takes."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    from plaster_ops.engines.quiet import foreign_warnings_ignored

    rows = list(_rows(calibration, spec))
    if not rows:
        raise BuildFailed("there is nothing to calibrate int8 with", "see engine.calibration_samples")
    with foreign_warnings_ignored():
        quantize_static(
            str(plain),
            str(model),
            _reader(rows),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=_PRODUCTS,
            extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
        )


def _write_quantised(
    prepared: Path, model: Path, rows: list[dict[str, Any]], options: Mapping[str, Option], *, products: bool
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(prepared),
        str(model),
        _reader(rows),
        quant_format=QuantFormat.QDQ,
        per_channel=bool(options["per_channel"]),
        activation_type=QuantType.QUInt8 if options["activations"] == "uint8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        reduce_range=not this_cpu().has_int8_dot,
        op_types_to_quantize=_PRODUCTS if products else None,
    )


def _is_close(
    plain: Path, model: Path, rows: list[dict[str, Any]], spec: EngineSpec, options: Mapping[str, Option]
) -> bool:
    """Whether no output moves by more than `_CLOSE` of its range on these inputs."""
    import numpy as np

    before, after = _session(plain, spec, options), _session(model, spec, options)
    taken = {port.name for port in before.get_inputs()}
    feeds = [{name: value for name, value in row.items() if name in taken} for row in rows]
    pairs = zip(*([session.run(None, feed) for feed in feeds] for session in (before, after)), strict=True)
    worst: dict[int, float] = {}
    largest: dict[int, float] = {}
    for wanted, found in pairs:
        for k, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
            worst[k] = max(worst.get(k, 0.0), float(np.abs(ours.astype(float) - theirs.astype(float)).max()))
            largest[k] = max(largest.get(k, 0.0), float(np.abs(ours.astype(float)).max()))
    return all(worst[k] <= _CLOSE * largest[k] for k in worst)


def _rows(calibration: Calibration, spec: EngineSpec) -> Iterator[dict[str, Any]]:
    names = [tensor.name for tensor in spec.inputs]
    for group in calibration:
        for n in range(int(group[0].shape[0])):
            yield {name: tensor[n : n + 1].numpy() for name, tensor in zip(names, group, strict=True)}


def _reader(rows: list[dict[str, Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(rows)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rows, None)

    return Reader()


def _coverage(kinds: Mapping[str, int], precision: str, ops_total: int) -> Coverage:
    """One session runs the whole graph on the one provider that it was given."""
    from plaster_ops.engines.onnx_graph import eight_bit_ratio

    low = eight_bit_ratio(kinds)
    ratio = None if low is None else low if precision == "int8" else 1.0 - low
    return Coverage(
        ops_total=ops_total,
        ops_in_engine=ops_total,
        ops_supported=ops_total,
        flops_ratio=1.0,
        engines=1,
        precision_ratio=ratio,
        layers=sum(kinds.values()),
    )


def _read_kinds(file: Path) -> dict[str, int]:
    try:
        return {str(kind): int(count) for kind, count in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise BuildFailed(f"{file} cannot be read: {error}", "remove the folder to have it rebuilt") from error
