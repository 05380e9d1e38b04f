"""TensorRT-RTX over ONNX: the builder of the TensorRT family that also builds on a machine without a GPU.

What it builds runs on NVIDIA GPUs of compute capability 7.5, 8.6, 8.9 and 12.x only, so elsewhere the backend builds
and reports its coverage, and is no candidate. Running was written from the API and never tried: no GPU was at hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.device import SplitsCalls, host_to_host
from plaster_ops.engines.options import Schema, read_options
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

PLAN = "model.plan"
_PACKAGES = (("tensorrt_rtx", "tensorrt_rtx"), ("onnx", "onnx"), ("onnxscript", "onnxscript"), ("torch", "torch"))
_OPTIONS: Schema = {"workspace_bytes": 0}
"""`workspace_bytes`: most scratch memory a tactic may use; 0: the builder's own limit."""
_RUNS_ON = {(7, 5), (8, 6), (8, 9), (12, 0), (12, 1)}


class TensorRtRtxBackend:
    """Exports to ONNX and builds a plan, strongly typed: the precision is the graph's."""

    name = "tensorrt_rtx"

    def probe(self) -> Availability:
        """Usable where the packages are installed; nothing is imported."""
        try:
            versions = tuple((package, version(name)) for package, name in _PACKAGES)
        except PackageNotFoundError as error:
            extra = "tensorrt-rtx" if error.name == "tensorrt_rtx" else "onnx"
            return Availability(ok=False, reason=f"{error.name} is not installed (pip install 'plaster-ops[{extra}]')")
        return Availability(ok=True, versions=versions)

    def capabilities(self) -> Capabilities:
        """fp32, fp16, bf16; int8 where onnxruntime is there to calibrate. Runs only where a GPU is visible."""
        from plaster_ops.engines.gpus import visible_gpus

        precisions = ("fp32", "fp16", "bf16", *(("int8",) if find_spec("onnxruntime") else ()))
        return Capabilities(precisions=precisions, devices=("cuda",), runs_here=bool(visible_gpus()), options=_OPTIONS)

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        """Writes `model.plan`. Raises `BuildFailed` with the parser's words, operators and FLOP share it would take."""
        options = read_options(spec, _OPTIONS)
        if spec.precision not in ("fp32", "fp16", "bf16", "int8"):
            raise BuildFailed(f"tensorrt_rtx cannot be built as {spec.precision}", "choose fp32, fp16, bf16 or int8")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".rtx-") as work:
            content = _onnx(program, spec, Path(work), calibration)
        coverage = parser_coverage(content, program)
        if coverage.fallback_ops:
            raise BuildFailed(
                f"tensorrt_rtx takes a graph whole or not at all, and cannot take {', '.join(coverage.fallback_ops)}:"
                f" {coverage.ops_in_engine} of {coverage.ops_total} operators and {coverage.flops_ratio:.3f} of the"
                f" FLOPs in {coverage.engines} pieces would have been its own",
                "the other backends of engine.backends are tried",
            )
        (folder / PLAN).write_bytes(_plan(content, spec, int(options["workspace_bytes"])))
        return coverage

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        """Never: the builder refuses refittable plans without a GPU, and with one it was never tried."""
        del engine, program, spec, folder
        raise RefitUnsupported("tensorrt_rtx plans are not built refittable", "it is rebuilt")

    def load(self, folder: Path, spec: EngineSpec) -> RtxEngine:
        """The engine on its GPU. Raises `BuildFailed` where none of those it runs on is visible."""
        import torch

        if not torch.cuda.is_available():
            raise BuildFailed("a tensorrt_rtx plan needs an NVIDIA GPU to run, none is visible", "it builds here only")
        capability = torch.cuda.get_device_capability(spec.device)
        if capability not in _RUNS_ON:
            raise BuildFailed(f"TensorRT-RTX does not run on compute capability {capability}", "use tensorrt there")
        return RtxEngine((folder / PLAN).read_bytes(), spec)


class RtxEngine(SplitsCalls):
    """A plan in an execution context of its own. Outputs are copied to new host tensors."""

    def __init__(self, plan: bytes, spec: EngineSpec) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard

        trt, logger = _import_trt()
        self._runtime: Any = trt.Runtime(logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BuildFailed(f"the plan does not load: {logger.last}", "it was built for another GPU or version")
        self._context: Any = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self._inputs = [tensor.name for tensor in spec.inputs if is_input.get(tensor.name)]
        self._taken = [is_input.get(tensor.name, False) for tensor in spec.inputs]
        self._outputs = [name for name in names if not is_input[name]]
        self._dtypes = [getattr(torch, _TORCH[str(self._engine.get_tensor_dtype(n))]) for n in self._outputs]
        self._device = spec.device
        self._precision = spec.precision
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        self._run = host_to_host(self._execute, spec.device)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the plan was not built for."""
        return tuple(self._run(list(self._admit(inputs))))

    def effective_precision(self) -> str:
        """A strongly typed plan runs in the types of its graph."""
        return self._precision

    def close(self) -> None:
        """Frees context, engine and runtime."""
        self._context = self._engine = self._runtime = None

    def _execute(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        import torch

        given = [tensor for tensor, taken in zip(inputs, self._taken, strict=True) if taken]
        for name, tensor in zip(self._inputs, given, strict=True):
            self._context.set_input_shape(name, tuple(tensor.shape))
            self._context.set_tensor_address(name, tensor.data_ptr())
        outputs = []
        for name, dtype in zip(self._outputs, self._dtypes, strict=True):
            outputs.append(torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=dtype, device=self._device))
            self._context.set_tensor_address(name, outputs[-1].data_ptr())
        self._context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream)
        return outputs


_TORCH = {
    "DataType.FLOAT": "float32",
    "DataType.HALF": "float16",
    "DataType.BF16": "bfloat16",
    "DataType.INT64": "int64",
    "DataType.INT32": "int32",
    "DataType.BOOL": "bool",
}


def parser_coverage(content: bytes, program: ExportedProgram) -> Coverage:
    """What the ONNX parser says it takes: operators by count and by FLOPs, pieces, and the kinds it does not take.

    Its pieces are runs of operators that it takes; asked whether a piece is supported, it says no to all of them as
    soon as one operator of the graph is not, so only what they list counts.
    """
    from plaster_ops.engines.facts import count_ops
    from plaster_ops.engines.onnx_graph import NO_OPERATORS, boundary_bytes, flops_of_nodes, load_graph

    trt, logger = _import_trt()
    network = trt.Builder(logger).create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    parser.supports_model_v2(content)
    pieces = [parser.get_subgraph_nodes(k) for k in range(parser.num_subgraphs)]
    inside = {int(node) for nodes in pieces for node in nodes}
    graph = load_graph(content)
    nodes = list(graph.node)
    operators = [position for position, node in enumerate(nodes) if node.op_type not in NO_OPERATORS]
    outside = [position for position in operators if position not in inside]
    flops = flops_of_nodes(graph)
    total, counted = count_ops(program), sum(flops.values())
    lost = sum(flops.get(nodes[position].name, 0) for position in outside)
    share = 1.0 - len(outside) / len(operators) if operators else 1.0
    return Coverage(
        ops_total=total,
        ops_in_engine=total if not outside else int(total * share),
        ops_supported=total if not outside else int(total * share),
        flops_ratio=1.0 - lost / counted if counted else share,
        has_flops=counted > 0 or not outside,
        engines=len(pieces),
        segments=sum(position - 1 not in outside for position in outside),
        fallback_ops=tuple(sorted({nodes[position].op_type for position in outside})),
        boundary_bytes=boundary_bytes(graph, inside) if outside else 0,
        precision_ratio=None,
    )


def _onnx(program: ExportedProgram, spec: EngineSpec, work: Path, calibration: Calibration) -> bytes:
    from plaster_ops.engines.onnx_graph import write_onnx

    file = work / "graph.onnx"
    if spec.precision in ("fp16", "bf16"):
        from plaster_ops.engines.lowering import autocast_program
        from plaster_ops.engines.onnx_graph import fold_constants

        # The program lies on the CPU, whatever it is built for, and autocast heeds where it lies. The exporter's own
        # clean-up folds a batch norm in fp32 into a bf16 convolution, which the parser refuses; so it folds constants
        # alone, because the parser wants to know the axes of a mean.
        lowered = autocast_program(program, replace(spec, device="cpu"))
        write_onnx(lowered, spec, file, optimize=False)
        fold_constants(file)
    else:
        write_onnx(program, spec, file)
    if spec.precision == "int8":
        from plaster_ops.engines.onnx_engine import quantise_symmetric

        quantise_symmetric(file, work / "int8.onnx", spec, calibration)
        file = work / "int8.onnx"
    return file.read_bytes()


def _plan(content: bytes, spec: EngineSpec, workspace_bytes: int) -> bytes:
    from plaster_ops.engines.inputs import axis_ranges, middle_lengths

    trt, logger = _import_trt()
    builder = trt.Builder(logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        words = "; ".join(str(parser.get_error(k).desc()) for k in range(parser.num_errors))
        raise BuildFailed(f"tensorrt_rtx cannot parse the graph: {words[:300]}", "see the log of the build")
    config = builder.create_builder_config()
    if workspace_bytes:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    profile = builder.create_optimization_profile()
    declared = {tensor.name: tensor for tensor in spec.inputs}
    for k in range(network.num_inputs):
        tensor = declared[network.get_input(k).name]
        ranges = axis_ranges(tensor, spec.batch[2])
        low, high = (tuple(bounds[end] for bounds in ranges) for end in (0, 1))
        profile.set_shape(tensor.name, low, (spec.batch[1], *middle_lengths(tensor)), high)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildFailed(f"tensorrt_rtx cannot build the engine: {logger.last}", "see the log of the build")
    return bytes(plan)


def _strongly_typed(trt: Any) -> int:
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


_LOADED: dict[str, tuple[Any, Any]] = {}


def _import_trt() -> tuple[Any, Any]:
    """The library and one logger for the process: TensorRT keeps the first that it is given."""
    if not _LOADED:
        import tensorrt_rtx as trt

        class Logger(trt.ILogger):
            """Keeps the last error: the builder says why it failed nowhere else."""

            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.last = "no reason given"

            def log(self, severity: Any, message: str) -> None:
                """Called by the library."""
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    self.last = message

        _LOADED["trt"] = (trt, Logger())
    return _LOADED["trt"]
