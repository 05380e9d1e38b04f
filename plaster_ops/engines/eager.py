"""Eager PyTorch as an engine: the reference that every other engine is checked against, and the last resort.

It runs the exported graph operator by operator, so nothing is "inside an engine": its coverage is zero by definition.
Only fp32: a graph that was traced in fp32 names that dtype in its constants and casts, so casting its weights alone
does not make it a clean bf16 graph.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.options import read_options
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Availability, Coverage, EngineSpec

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

    def precisions(self) -> tuple[str, ...]:
        """fp32 only; see the module's docstring."""
        return ("fp32",)

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path) -> Coverage:
        """Writes `program.pt2`. Raises `BuildFailed` for another precision than fp32."""
        from plaster_ops.engines.export import save_program
        from plaster_ops.engines.facts import count_ops

        read_options(spec, {})
        if spec.precision not in self.precisions():
            raise BuildFailed(f"eager cannot be built as {spec.precision}", "choose precision fp32")
        save_program(program, folder / PROGRAM)
        return Coverage(ops_total=count_ops(program), ops_in_engine=0, flops_ratio=0.0, engines=0, graph_breaks=0)

    def load(self, folder: Path, spec: EngineSpec) -> EagerEngine:
        """The engine; sets torch's threads in this process to `spec.threads`."""
        from plaster_ops.engines.export import load_program

        return EagerEngine(load_program(folder / PROGRAM), spec)


class EagerEngine:
    """A graph that is run by torch. Outputs are new tensors, never overwritten by a later call."""

    def __init__(self, program: ExportedProgram, spec: EngineSpec) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard

        torch.set_num_threads(spec.threads)
        self._no_grad = torch.no_grad
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        self._graph: Any = flat_module(program)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the graph was not exported for."""
        with self._no_grad():
            return tuple(self._graph(*self._admit(inputs)))

    def effective_precision(self) -> str:
        """The weights are used as they are stored."""
        return "fp32"

    def close(self) -> None:
        """Lets go of the weights."""
        self._graph = None


def flat_module(program: ExportedProgram) -> Any:
    """The program as a module from flat inputs to flat outputs.

    torch's own checks of every call are left out: they cost more than a small model, and `InputGuard` stands in front.
    """
    import torch

    module = program.module(check_guards=False)
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks_with_kwargs.clear()
    for node in module.graph.nodes:
        node.target = _python_binding(node.target)
    module.graph.set_codegen(torch.fx.graph.CodeGen())
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
