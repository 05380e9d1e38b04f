"""TensorRT through Torch-TensorRT: the one file that knows torch_tensorrt (`tensorrt_build` has the rest).

Written from the sources of 2.11.0, 2.12.1 and 2.13.0 and never run: no GPU was at hand, without which nothing imports.
tests/engines/torch_tensorrt_api.json lists what is called here; benchmarks/torch_tensorrt_api.py looks it up in wheels.

What those sources do and do not announce: the optimisation profile comes from the ranges of the graph and the sizes it
was traced with, never from the inputs that are passed; a mask of attention counts as causal unless that is denied;
unknown keywords are dropped; the key of its engine cache leaves out arguments of operators, so that one model's two
engines may share an entry; the engines of a loaded file are refitted in a copy only, never in place; and up to 2.12 a
refit may leave weights as they were, so that its result is always to be verified.
"""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.device import SplitsCalls, copied, host_to_host
from plaster_ops.engines.gpus import visible_gpus
from plaster_ops.engines.options import Schema, read_options
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineSpec, Option

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

MODEL = "model.ep"
_FACTS = "plaster.json"
"""A text inside `model.ep`: what the compiled graph was typed in, and the dtypes of the model's outputs."""
_PACKAGES = ("torch-tensorrt", "tensorrt", "torch", "nvidia-modelopt")
_TYPED = ("fp32", "fp16", "bf16")
_CALIBRATED = ("int8", "fp8")
_FP8_SINCE = (8, 9)
_OPTIONS: Schema = {
    "optimization_level": 3,
    "workspace_bytes": 0,
    "min_block_size": 1,
    "cuda_graphs": True,
    "refittable": True,
    "typing": ("cast", "autocast"),
    "tf32": False,
    "full_compilation": False,
    "hardware_compatible": False,
    "version_compatible": False,
    "build_cache": True,
    "timing_cache": True,
}
"""`optimization_level`: 0 to 5. `workspace_bytes` 0: the builder's own limit. `min_block_size`: fewest operators that
make an engine. `typing`, for fp16 and bf16: torch's autocast written into the graph, or Torch-TensorRT's own rules.
`full_compilation`: all in engines, or no build. The compatible ones trade speed for other GPUs and newer versions.
`build_cache` keeps refittable engines for the next build of a graph, `timing_cache` what the builder measured."""


class TensorRtBackend:
    """Compiles the exported program to TensorRT engines; operators that TensorRT has not run in torch between them."""

    name = "tensorrt"

    def probe(self) -> Availability:
        """Usable with torch-tensorrt, a torch with CUDA and a GPU: asked of package metadata and NVML, not imported."""
        known, gpus = _versions(), visible_gpus()
        reasons = [
            f"{package} is not installed (pip install 'plaster-ops[tensorrt]')"
            for package in ("torch-tensorrt", "torch")
            if package not in known
        ]
        if known.get("torch", "").endswith("+cpu"):
            reasons.append(f"torch {known['torch']} is built without CUDA (install torch from PyPI)")
        if not gpus:
            reasons.append("no NVIDIA GPU is visible")
        versions = () if reasons else (*known.items(), ("driver", gpus[0].driver))
        return Availability(ok=not reasons, reason="; ".join(reasons), versions=versions)

    def capabilities(self) -> Capabilities:
        """fp32, fp16, bf16; int8 with modelopt, and fp8 where a GPU has it. Runs only where a GPU is visible."""
        gpus = visible_gpus()
        eight_bits = ("int8", *(("fp8",) if any(gpu.capability >= _FP8_SINCE for gpu in gpus) else ()))
        return Capabilities(
            precisions=_TYPED + (eight_bits if "nvidia-modelopt" in _versions() else ()),
            calibrated=_CALIBRATED,
            devices=("cuda",),
            refit="in_place",
            falls_back=True,
            runs_here=bool(gpus),
            options=_OPTIONS,
            libraries=("torch", "torch_tensorrt"),
        )

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        """Writes `model.ep`. Raises `BuildFailed` with the compiler's words, or where nothing became an engine."""
        from plaster_ops.engines import tensorrt_build as ours
        from plaster_ops.engines.facts import count_ops

        options = read_options(spec, _OPTIONS)
        _check(spec, calibration)
        tt, key, spec = import_torch_tensorrt(), cache_key(program, spec), _indexed(spec)
        with (
            ours.told("tensorrt cannot compile the model", spec.device),
            ours.kept_files(folder, key, timings=bool(options["timing_cache"])) as kept,
        ):
            from_cache = any(kept.iterdir())
            typed = ours.typed_program(program, spec, calibration, cast=options["typing"] == "cast")
            seen = copied(typed)  # compile() lowers what it is given, in place
            compiled, pieces = _compile(tt, typed, spec, options, kept)
            if 0 < ours.kept_engines(kept) < len(pieces):  # two of them under one key, which leaves out arguments
                shutil.rmtree(kept / ours.ENGINES)
                compiled, pieces = _compile(tt, copied(seen), spec, {**options, "build_cache": False}, kept)
            if not pieces:
                raise BuildFailed("tensorrt took no operator of the model into an engine", "the next backend is tried")
            coverage, precision = _look(tt, seen, pieces, spec.precision, count_ops(program))
            saving = {
                "output_format": "exported_program",
                "arg_inputs": [tensor.to(spec.device) for tensor in ours.zero_inputs(spec)],
                "dynamic_shapes": ours.dynamic_shapes(spec),
                "extra_files": {_FACTS: json.dumps({"precision": precision, "outputs": ours.output_dtypes(program)})},
            }
            checked_call(tt.save, saving, ours.by_position(compiled), str(folder / MODEL))
        return replace(coverage, from_cache=from_cache)

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        """Puts the program's weights into a copy of the loaded engines and takes that copy; the old go when it worked.

        Raises `RefitUnsupported` for engines that are not refittable or calibrated, where operators between them hold
        weights (a refit leaves those as they were), and where Torch-TensorRT refuses.
        """
        from plaster_ops.engines import tensorrt_build as ours

        options, spec = read_options(spec, _OPTIONS), _indexed(spec)
        reason = _why_no_refit(engine, spec, options)
        if reason or not isinstance(engine, TensorRtEngine):
            raise RefitUnsupported(reason, "it is rebuilt")
        tt = import_torch_tensorrt()
        try:
            with ours.told("torch-tensorrt does not refit the engine", spec.device):
                typed = ours.typed_program(program, spec, (), cast=options["typing"] == "cast")
                began_s = time.perf_counter()
                # In place is refused for a loaded file. Up to 2.12 a map of weights is used unless that is denied,
                # which takes every normalisation's epsilon for 1e-5 and passes over weights that it does not know.
                how: dict[str, Any] = {"verify_output": False, "in_place": False}
                if "use_weight_map_cache" in inspect.signature(tt.dynamo.refit_module_weights).parameters:
                    how["use_weight_map_cache"] = False
                refitted = checked_call(tt.dynamo.refit_module_weights, how, engine.module, typed)
                call_s = time.perf_counter() - began_s
        except BuildFailed as error:
            raise RefitUnsupported(error.message, "it is rebuilt") from error
        engine.take(refitted)
        with ours.told(f"{folder / MODEL} cannot be written", spec.device):
            saving = {"output_format": "exported_program", "extra_files": {_FACTS: json.dumps(engine.facts)}}
            checked_call(tt.save, saving, engine.program, str(folder / MODEL))
        return call_s

    def load(self, folder: Path, spec: EngineSpec) -> TensorRtEngine:
        """The engines on their GPU. Raises `BuildFailed` where the file does not load, or lost the range of an axis."""
        from plaster_ops.engines import tensorrt_build as ours

        options, spec = read_options(spec, _OPTIONS), _indexed(spec)
        tt, texts = import_torch_tensorrt(), {_FACTS: ""}
        with ours.told(f"{folder / MODEL} does not load here", spec.device):
            program = checked_call(tt.load, {"extra_files": texts}, str(folder / MODEL))
            if lost := ours.lost_range(program, spec):
                raise BuildFailed(f"{folder / MODEL} {lost}", "remove the folder to have it rebuilt")
            return TensorRtEngine(tt, program, spec, json.loads(texts[_FACTS]), graphs=bool(options["cuda_graphs"]))


class TensorRtEngine(SplitsCalls):
    """A loaded file: engines, and torch's operators between them. Outputs are copied to new host tensors."""

    def __init__(self, tt: Any, program: Any, spec: EngineSpec, facts: Mapping[str, Any], *, graphs: bool) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard
        from plaster_ops.engines.lowering import flat_callable

        self._tt: Any = tt
        self._graphs = graphs
        self._dtypes = [getattr(torch, name) for name in facts["outputs"]]
        self._no_grad = torch.no_grad
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        self._engines = [name for name, value in program.constants.items() if not isinstance(value, torch.Tensor)]
        self.outside_weights = sorted({*program.state_dict, *program.constants} - set(self._engines))
        self.facts, self.program = facts, program
        self.module: Any = flat_callable(program)
        self._recording = self._record()
        self._run: Any = host_to_host(self._execute, spec.device)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the engine was not built for."""
        with self._no_grad():
            return tuple(self._run(list(self._admit(inputs))))

    def effective_precision(self) -> str:
        """What most products of the compiled graph were typed in; strongly typed, it runs as it is written.

        Read from the file, where the build wrote it after the graph was lowered. Engines tell the names of their layers
        alone; their types would need a debugger at the build, which takes over the logging of the process.
        """
        return str(self.facts["precision"])

    def take(self, module: Any) -> None:
        """Runs that module from now on, which must have the same engines by the same names."""
        engines = {name: getattr(module, name) for name in self._engines}
        self._recording.close()
        self.program.constants.update(engines)
        self.module = module
        self._recording = self._record()

    def close(self) -> None:
        """Frees the recorded graphs and the engines."""
        self._recording.close()
        self._run = self.module = self.program = None

    def _record(self) -> ExitStack:
        recording, tt = ExitStack(), self._tt
        if self._graphs:
            recording.enter_context(tt.runtime.enable_cudagraphs(self.module))
        return recording

    def _execute(self, inputs: Sequence[Any]) -> Sequence[Any]:
        tt = self._tt
        # The mode is the process's: another engine may have opened or closed its own since.
        if tt.runtime.get_cudagraphs_mode() is not self._graphs:
            tt.runtime.set_cudagraphs_mode(self._graphs)
        # Casts of Torch-TensorRT's own autocast may end at an output.
        return [answer.to(dtype) for answer, dtype in zip(self.module(*inputs), self._dtypes, strict=True)]


def import_torch_tensorrt() -> Any:
    """The package. Raises `BuildFailed` with the probe's reason, or with that of an import that fails (in any way)."""
    from plaster_ops.engines.quiet import foreign_warnings_ignored

    if reason := TensorRtBackend().probe().reason:
        raise BuildFailed(f"tensorrt cannot be used here: {reason}", "see plaster-ops engines")
    try:
        with foreign_warnings_ignored():
            return importlib.import_module("torch_tensorrt")
    except Exception as error:
        raise BuildFailed(
            f"torch_tensorrt does not import: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "pip install 'plaster-ops[tensorrt]' next to a torch of the same minor version",
        ) from error


def checked_call(function: Any, keywords: Mapping[str, Any], *positional: Any) -> Any:
    """Calls `function` where each keyword is a parameter of its own: one that falls into **kwargs is never seen again.

    Raises `BuildFailed` naming the keyword and the version of torch-tensorrt.
    """
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {name for name, p in inspect.signature(function).parameters.items() if p.kind in by_name}
    for keyword in keywords:
        if keyword not in known:
            raise BuildFailed(
                f"torch-tensorrt {_versions().get('torch-tensorrt', '?')} has no keyword {keyword!r} in"
                f" {function.__name__}, and would pass over it without a word",
                "install a version that plaster-ops knows: pip install 'plaster-ops[tensorrt]'",
            )
    return function(*positional, **keywords)


def cache_key(program: ExportedProgram, spec: EngineSpec) -> str:
    """SHA-256 over the whole graph, the spec with every option in place, versions, GPU and driver.

    Torch-TensorRT's own leaves out arguments of operators, shapes of weights, versions and the GPU.
    """
    from plaster_ops.engines.graph import graph_digest
    from plaster_ops.engines.key import engine_key

    options = tuple(sorted(read_options(spec, _OPTIONS).items()))
    return engine_key(graph_digest(program), replace(spec, options=options), tuple(_versions().items()))


def _compile(
    tt: Any, program: Any, spec: EngineSpec, options: Mapping[str, Option], kept: Path
) -> tuple[Any, list[Any]]:
    compiled = checked_call(tt.dynamo.compile, _compile_settings(tt, spec, options, kept), program)
    return compiled, [p for p in compiled.children() if isinstance(p, tt.dynamo.runtime.TorchTensorRTModule)]


def _look(tt: Any, program: Any, pieces: Sequence[Any], precision: str, total: int) -> tuple[Coverage, str]:
    """Lowers and cuts as `compile` did, by the settings that its engines carry; coverage, and the graph's precision."""
    from plaster_ops.engines.tensorrt_build import cut_coverage, typed_as

    piece = pieces[0]
    settings = piece.settings
    table = tt.dynamo.lowering.get_decompositions(
        enable_experimental_decompositions=settings.enable_experimental_decompositions,
        decompose_attention=settings.decompose_attention,
    )
    lowered = tt.dynamo.lowering.pre_export_lowering(program, settings).run_decompositions(table)
    graph = tt.dynamo.lowering.post_lowering(lowered.module(), settings)
    supported, called = tt.dynamo.partitioning.get_graph_converter_support(graph, settings.torch_executed_ops)
    parts, _ = tt.dynamo.partitioning.fast_partition(
        graph,
        min_block_size=settings.min_block_size,
        torch_executed_ops=settings.torch_executed_ops,
        require_full_compilation=settings.require_full_compilation,
        skip_fusion=supported == called,
    )
    coverage = cut_coverage(lowered, parts, total, supported / max(1, called))
    if coverage.engines != len(pieces):
        raise BuildFailed(f"{len(pieces)} engines were compiled, {coverage.engines} counted", "see the build's log")
    found, ratio = typed_as(lowered, precision)
    return replace(coverage, layers=_layers(pieces), precision_ratio=ratio), found


def _layers(pieces: Sequence[Any]) -> int | None:
    try:
        return sum(len(json.loads(piece.get_layer_info())["Layers"]) for piece in pieces)
    except (KeyError, TypeError, ValueError):
        return None


def _compile_settings(tt: Any, spec: EngineSpec, options: Mapping[str, Option], kept: Path) -> dict[str, Any]:
    """Keywords of `compile`. Always strongly typed, so that precision is what the graph says."""
    import torch

    from plaster_ops.engines.tensorrt_build import ENGINES, TIMINGS, profiles

    settings: dict[str, Any] = {
        "arg_inputs": [
            tt.Input(min_shape=low, opt_shape=usual, max_shape=high, dtype=dtype)
            for low, usual, high, dtype in profiles(spec)
        ],
        "device": torch.device(spec.device),
        "disable_tf32": not options["tf32"],
        "workspace_size": options["workspace_bytes"],
        "require_full_compilation": options["full_compilation"],
        "min_block_size": options["min_block_size"],
        "pass_through_build_failures": True,
        "version_compatible": options["version_compatible"],
        "hardware_compatible": options["hardware_compatible"],
        "optimization_level": options["optimization_level"],
        "use_fast_partitioner": True,
        "timing_cache_path": str(kept / TIMINGS),
        "immutable_weights": not options["refittable"],
        "attn_bias_is_causal": False,
    }
    if "use_explicit_typing" in inspect.signature(tt.dynamo.compile).parameters:
        settings["use_explicit_typing"] = True
    if options["typing"] == "autocast" and spec.precision in ("fp16", "bf16"):
        settings["enable_autocast"] = True
        settings["autocast_low_precision_type"] = torch.float16 if spec.precision == "fp16" else torch.bfloat16
    # Only refittable engines can be. Those with calibrated scales are not: a hit is refitted, and nobody would see it.
    if options["build_cache"] and options["refittable"] and spec.precision not in _CALIBRATED:
        settings["cache_built_engines"] = settings["reuse_cached_engines"] = True
        settings["engine_cache_dir"] = str(kept / ENGINES)
    return settings


def _check(spec: EngineSpec, calibration: Calibration) -> None:
    if spec.precision not in _TYPED + _CALIBRATED:
        raise BuildFailed(f"tensorrt cannot be built as {spec.precision}", f"choose {', '.join(_TYPED + _CALIBRATED)}")
    if spec.precision in _CALIBRATED and not calibration:
        raise BuildFailed(f"there is nothing to calibrate {spec.precision} with", "see engine.calibration_samples")
    if spec.precision in _CALIBRATED and "nvidia-modelopt" not in _versions():
        raise BuildFailed(f"{spec.precision} needs nvidia-modelopt", "pip install nvidia-modelopt")


def _why_no_refit(engine: Engine, spec: EngineSpec, options: Mapping[str, Option]) -> str:
    if not isinstance(engine, TensorRtEngine):
        return "that engine was not built by tensorrt"
    if not options["refittable"]:
        return "the engine was built with refittable = false: its weights are fixed"
    if spec.precision in _CALIBRATED:
        return f"the scales of {spec.precision} were calibrated for the old weights"
    if engine.outside_weights:
        return f"{engine.outside_weights[0]!r} lies outside the engines, and a refit leaves such weights as they were"
    return ""


def _indexed(spec: EngineSpec) -> EngineSpec:
    """The spec with a numbered device, as Torch-TensorRT wants it. Raises `BuildFailed` for one that is no GPU."""
    if not spec.device.startswith("cuda"):
        raise BuildFailed(f"tensorrt runs on GPUs, not on {spec.device!r}", "choose a device such as cuda:0")
    return replace(spec, device=spec.device if ":" in spec.device else f"{spec.device}:0")


def _versions() -> dict[str, str]:
    """Of the packages that are installed, by name."""
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
