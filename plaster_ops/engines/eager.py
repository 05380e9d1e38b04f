"""Eager PyTorch as an engine: the reference that every other engine is checked against, and the last resort.

It runs the exported graph operator by operator, so nothing is "inside an engine": its coverage is zero by definition.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.device import SplitsCalls, host_to_host, moved_to
from plaster_ops.engines.options import read_options
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

PROGRAM = "program.pt2"
_SHORT_WAY = frozenset(
    (
        *("conv1d", "conv2d", "conv3d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
        *("linear", "matmul", "mm", "bmm", "addmm", "scaled_dot_product_attention", "embedding"),
        *("batch_norm", "layer_norm", "group_norm", "softmax", "log_softmax"),
        *("relu", "gelu", "silu", "sigmoid", "tanh", "add", "sub", "mul", "div"),
    )
)
"""Operators whose Python binding takes the arguments of the graph's operator as they are."""


class EagerBackend:
    """Stores the exported program and runs it as torch would."""

    name = "eager"

    def probe(self) -> Availability:
        """Usable wherever torch is installed."""
        try:
            return Availability(ok=True, versions=(("torch", version("torch")),))
        except PackageNotFoundError:
            return Availability(ok=False, reason="torch is not installed")

    def capabilities(self) -> Capabilities:
        """fp32, and bf16 by autocast, which a CPU without such instructions emulates. Nothing is in an engine."""
        emulated = () if this_cpu().has_bf16 else ("bf16",)
        return Capabilities(
            precisions=("fp32", "bf16"),
            emulated=emulated,
            devices=("cpu", "cuda"),
            falls_back=True,
            libraries=("torch", "torch.export"),
        )

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        """Writes `program.pt2`. Raises `BuildFailed` for another precision than fp32 and bf16."""
        from plaster_ops.engines.export import save_program
        from plaster_ops.engines.facts import count_ops
        from plaster_ops.engines.lowering import autocast_program, product_precision

        del calibration
        read_options(spec, {})
        if spec.precision not in ("fp32", "bf16"):
            raise BuildFailed(f"eager cannot be built as {spec.precision}", "choose fp32 or bf16")
        kept = program if spec.precision == "fp32" else autocast_program(moved_to(program, spec.device), spec)
        save_program(kept, folder / PROGRAM)
        ratio = product_precision(kept)[1]
        return Coverage(
            ops_total=count_ops(program),
            ops_in_engine=0,
            ops_supported=0,
            flops_ratio=0.0,
            engines=0,
            segments=1,
            precision_ratio=ratio if spec.precision != "fp32" or ratio is None else 1.0 - ratio,
        )

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        """Never: storing the program anew is as quick."""
        del engine, program, spec, folder
        raise RefitUnsupported("eager stores the program itself: there is nothing to put weights into", "it is rebuilt")

    def load(self, folder: Path, spec: EngineSpec) -> EagerEngine:
        """The engine; sets torch's threads in this process to `spec.threads`."""
        from plaster_ops.engines.export import load_program

        return EagerEngine(load_program(folder / PROGRAM), spec)


class EagerEngine(SplitsCalls):
    """A graph that is run by torch. Outputs are new tensors, never overwritten by a later call."""

    def __init__(self, program: ExportedProgram, spec: EngineSpec) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard

        torch.set_num_threads(spec.threads)
        self._no_grad = torch.no_grad
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        self._precision = spec.precision
        self._program: Any = program
        graph = flat_module(moved_to(program, spec.device))
        self._run: Any = host_to_host(lambda given: graph(*given), spec.device)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the graph was not exported for."""
        with self._no_grad():
            return tuple(self._run(self._admit(inputs)))

    def effective_precision(self) -> str:
        """What most products of the stored graph run in; a graph without any has the precision it was stored as."""
        from plaster_ops.engines.lowering import product_precision

        found, ratio = product_precision(self._program)
        return self._precision if ratio is None else found

    def close(self) -> None:
        """Lets go of the weights."""
        self._run = self._program = None


def flat_module(program: ExportedProgram) -> Any:
    """The program as a module from flat inputs to flat outputs.

    torch's own checks of every call are left out: they cost more than a small model, and `InputGuard` stands in front.
    """
    from plaster_ops.engines.lowering import flat_callable

    module = flat_callable(program)
    for node in module.graph.nodes:
        node.target = _python_binding(node.target)
    module.recompile()
    return module


def _python_binding(target: Any) -> Any:
    """The function that a module's forward would call for an operator of the graph: the same kernel, reached sooner."""
    import torch

    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return target
    name = target.overloadpacket.__name__
    if name not in _SHORT_WAY:
        return target
    return getattr(torch._C._nn, name, None) or getattr(torch._C._VariableFunctions, name, target)
