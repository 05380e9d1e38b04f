"""The compiling half of the inductor backend: lowering to a precision, and torch's ahead-of-time compiler.

Separate from `inductor` so that a process that only runs an engine never loads the compiler.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.cpu import this_cpu
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Calibration, EngineSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def lowered(
    program: ExportedProgram, spec: EngineSpec, calibration: Calibration
) -> tuple[ExportedProgram, float | None]:
    """The graph to compile, on its device; the share of FLOPs that was lowered, None where the compiler decides."""
    from plaster_ops.engines.device import moved_to
    from plaster_ops.engines.lowering import autocast_program, product_precision, quantised_program

    program = moved_to(program, spec.device)
    if spec.precision == "bf16":
        graph = autocast_program(program, spec)
        return graph, product_precision(graph)[1]
    if spec.precision == "int8":
        if not calibration:
            raise BuildFailed("there is nothing to calibrate int8 with", "see engine.calibration_samples")
        return quantised_program(program, spec, calibration, _prepare, _convert), None
    return program, 1.0


def compile_package(
    program: ExportedProgram, package: Path, spec: EngineSpec, *, freezing: bool, with_weights: bool
) -> bool:
    """Compiles for exactly `spec.threads` threads: the number is fixed in the code. True if torch's cache helped.

    Without gradients, because the compiler passes over `freezing` without a word where they are on.
    """
    import torch
    import torch._inductor.config
    from torch._dynamo.utils import counters

    from plaster_ops.engines.facts import traced_inputs
    from plaster_ops.engines.quiet import foreign_warnings_ignored

    configs: dict[str, Any] = {
        "freezing": freezing,
        "compile_threads": 1,
        "aot_inductor.package_constants_in_so": with_weights,
        # Else weights of up to eight elements are written into the code, where no refit reaches them.
        "always_keep_tensor_constants": not with_weights,
    }
    if hasattr(torch._inductor.config.aot_inductor, "precompile_headers"):
        configs["aot_inductor.precompile_headers"] = False  # 20 s for the first build, 2 s saved in each later one
    if program.example_inputs is None:
        program.example_inputs = _as_called(program, traced_inputs(program))
    earlier = torch.get_num_threads()
    torch.set_num_threads(spec.threads)
    counters["inductor"].clear()
    try:
        with foreign_warnings_ignored(), torch.no_grad():
            torch._inductor.aoti_compile_and_package(program, package_path=str(package), inductor_configs=configs)
    except Exception as error:
        words = " ".join(line.strip() for line in str(error).splitlines() if line.strip())[:400]
        raise BuildFailed(
            f"inductor cannot compile the model: {type(error).__name__}: {words}",
            "see the log of the build; plaster-ops doctor checks the compiler",
        ) from error
    finally:
        torch.set_num_threads(earlier)
    return any(count for name, count in counters["inductor"].items() if name.endswith("cache_hit"))


@contextmanager
def files_below(cache: Path) -> Iterator[None]:
    """torch's compiler caches and unpacked libraries go below `cache` inside the block."""
    temporary = cache.resolve() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    wanted = {
        "TORCHINDUCTOR_CACHE_DIR": str(cache.resolve() / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TMPDIR": str(temporary),
    }
    earlier = {name: os.environ.get(name) for name in wanted}
    earlier_temporary = tempfile.tempdir
    os.environ.update(wanted)
    tempfile.tempdir = None
    try:
        yield
    finally:
        tempfile.tempdir = earlier_temporary
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _as_called(program: ExportedProgram, flat: tuple[Any, ...]) -> Any:
    from torch.utils._pytree import tree_unflatten

    return tree_unflatten(list(flat), program.call_spec.in_spec)


def _prepare(module: Any) -> Any:
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(reduce_range=not this_cpu().has_int8_dot)
    return prepare_pt2e(module, x86.X86InductorQuantizer().set_global(config))


def _convert(module: Any) -> Any:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

    return convert_pt2e(module)
