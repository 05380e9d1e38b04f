"""From an exported program to OpenVINO's format, quantised where asked, and from there to a compiled model.

The inference precision is always asked for and read back: left alone, OpenVINO picks bf16 where the CPU has it.
Usage statistics are never sent: openvino is imported without its telemetry package, so nothing is written to the home
folder.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.cpu import this_cpu
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Calibration, EngineSpec, Option, TensorSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What the operators that are not quantised run in."""
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
_HEAVY = {"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"}
_EIGHT_BITS = {"u8", "i8"}


def import_openvino() -> Any:
    """The openvino module, imported without the package that sends usage statistics."""
    if "openvino" not in sys.modules:
        modules: dict[str, Any] = sys.modules
        modules.setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")


@cache
def openvino_core() -> Any:
    """The one `Core` of this process, kept to its end.

    Its CPU plugin gives the thread a signal stack, and takes it away with the `Core`. Of two that do not go in the
    reverse order of their coming, the second puts a stack back that is gone, and the next signal that Python handles
    is a SIGSEGV.
    """
    return import_openvino().Core()


def convert(program: ExportedProgram, spec: EngineSpec) -> Any:
    """The whole graph in OpenVINO's format, free axes with their ranges. Raises `BuildFailed` naming what it lacks."""
    from plaster_ops.engines.inputs import axis_ranges
    from plaster_ops.engines.quiet import foreign_warnings_ignored

    ov = import_openvino()
    try:
        with foreign_warnings_ignored():
            model = ov.convert_model(program)
            shapes = {}
            for tensor, index in zip(spec.inputs, input_indices(model, spec.inputs), strict=True):
                if index is not None:
                    ranges = axis_ranges(tensor, spec.batch[2])
                    shapes[model.input(index)] = ov.PartialShape([ov.Dimension(low, high) for low, high in ranges])
            model.reshape(shapes)
    except Exception as error:
        raise BuildFailed(
            f"openvino takes a graph whole or not at all, and cannot convert this one: {words(error)}",
            "the other backends of engine.backends are tried",
        ) from error
    return model


def with_fixed_batch(model: Any, spec: EngineSpec, batch: int) -> Any | None:
    """A copy of the model for exactly that batch; None where another axis is free, which gains little."""
    if any(size is None for tensor in spec.inputs for size in tensor.shape):
        return None
    ov = import_openvino()
    fixed = model.clone()
    ports = zip(spec.inputs, input_indices(fixed, spec.inputs), strict=True)
    sizes = {fixed.input(i): ov.PartialShape([batch, *tensor.shape]) for tensor, i in ports if i is not None}
    fixed.reshape(sizes)
    return fixed


def quantise(model: Any, spec: EngineSpec, calibration: Calibration, options: Mapping[str, Option]) -> Any:
    """The model with 8-bit weights and activations, by nncf's post-training quantisation on real inputs.

    Activations keep their whole range: nncf's usual mean of per-sample ranges cuts the tails off where a sample has few
    elements (error 0.30 against 0.01 of the range on 16 columns). Where the CPU has no 8-bit dot product all weights
    are kept to 7 bits (nncf's overflow fix), else products saturate.
    """
    nncf = _import_nncf()
    names = [(tensor.name, index) for tensor, index in zip(spec.inputs, input_indices(model, spec.inputs), strict=True)]
    rows = [
        {name: group[k][n : n + 1].numpy() for k, (name, index) in enumerate(names) if index is not None}
        for group in calibration
        for n in range(int(group[0].shape[0]))
    ]
    if not rows:
        raise BuildFailed("there is nothing to calibrate int8 with", "see engine.calibration_samples")
    fix = nncf.quantization.advanced_parameters.OverflowFix
    estimator = nncf.quantization.range_estimator
    ranges = (
        estimator.RangeEstimatorParametersSet.MINMAX
        if options["ranges"] == "all"
        else estimator.RangeEstimatorParameters()
    )
    try:
        return nncf.quantize(
            model,
            nncf.Dataset(rows),
            subset_size=len(rows),
            preset=nncf.QuantizationPreset(options["preset"]),
            model_type=nncf.ModelType.TRANSFORMER if options["model_type"] == "transformer" else None,
            fast_bias_correction=bool(options["fast_bias_correction"]),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=fix.DISABLE if this_cpu().has_int8_dot else fix.ENABLE,
                activations_range_estimator_params=ranges,
            ),
        )
    except Exception as error:
        raise BuildFailed(f"nncf cannot quantise the model: {words(error)}", "remove int8, or see the log") from error


def _import_nncf() -> Any:
    import logging

    import_openvino()
    try:
        nncf = importlib.import_module("nncf")
        for part in ("advanced_parameters", "range_estimator"):
            importlib.import_module(f"nncf.quantization.{part}")
    except ImportError as error:
        raise BuildFailed(f"int8 needs nncf: {error}", "pip install 'plaster-ops[int8]'") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def input_indices(model: Any, specs: Sequence[TensorSpec]) -> list[int | None]:
    """Where each declared input is in the model; None for an input that the model does not read.

    Raises `BuildFailed` where the model reads one that no declared input is called by: it would stay empty.
    """
    names = [port.get_names() for port in model.inputs]
    found = [next((k for k, known in enumerate(names) if spec.name in known), None) for spec in specs]
    unfed = [", ".join(sorted(known)) for k, known in enumerate(names) if k not in found]
    if unfed:
        declared = ", ".join(spec.name for spec in specs)
        raise BuildFailed(
            f"openvino's model reads {'; '.join(unfed)}, the declared inputs are called {declared}",
            "name inputs as the exported program does, or remove the engine's folder to have it rebuilt",
        )
    return found


def compile_config(spec: EngineSpec, options: Mapping[str, Option]) -> dict[str, Any]:
    """The properties that a model is compiled with."""
    return {
        "PERFORMANCE_HINT": str(options["hint"]).upper(),
        "INFERENCE_PRECISION_HINT": HINTS[spec.precision],
        "INFERENCE_NUM_THREADS": spec.threads,
        "ENABLE_CPU_PINNING": bool(options["pinning"]),
    }


def compile_model(core: Any, model: Any, config: Mapping[str, Any]) -> Any:
    """The compiled model. Raises `BuildFailed` with OpenVINO's reason."""
    try:
        return core.compile_model(model, "CPU", dict(config))
    except RuntimeError as error:
        raise BuildFailed(f"openvino cannot compile the model: {words(error)}", "try another backend") from error


def check_precision(compiled: Any, wanted: str) -> None:
    """Raises `BuildFailed` where OpenVINO runs the model in another precision than was asked for."""
    effective = effective_precision(compiled)
    if effective != wanted:
        raise BuildFailed(
            f"openvino uses {effective} on this CPU where {wanted} was asked for",
            f"remove {wanted} from engine.precisions",
        )


def effective_precision(compiled: Any) -> str:
    """What the compiled model runs in: int8 where most of its products are 8-bit, else what OpenVINO says it uses."""
    heavy = heavy_nodes(compiled)
    if heavy and 2 * sum(runs_in == "int8" for _, runs_in in heavy) > len(heavy):
        return "int8"
    name = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    return _NAMES.get(name, name)


def heavy_nodes(compiled: Any) -> list[tuple[set[str], str]]:
    """Per product or convolution of the compiled model: the operators it came from, and the precision it runs in."""
    found = []
    for node in compiled.get_runtime_model().get_ops():
        facts = node_facts(node)
        if facts.get("layerType") in _HEAVY:
            origins = set(facts.get("originalLayersNames", "").split(","))
            told = facts.get("runtimePrecision", "")
            found.append((origins, "int8" if told in _EIGHT_BITS else _NAMES.get(told.lower(), told.lower())))
    return found


def node_facts(node: Any) -> dict[str, str]:
    """What the plugin notes on a node of the compiled model."""
    return {key: str(value.value) for key, value in dict(node.get_rt_info()).items()}


def words(error: Exception) -> str:
    """The telling lines of OpenVINO's messages, which begin with where in its source they arose."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return " ".join((telling or lines)[:6])[:400]
