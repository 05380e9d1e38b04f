"""AOTInductor: the exported graph compiled to a shared library by torch's own compiler. It can be refitted.

In fp32 the package holds no weights: they lie beside it, so that one compiled package serves every retrain of an
architecture. bf16 and int8 are frozen: weights are packed into the package, and new ones cannot be put in. Needs a C++
compiler to build and none to run. The library is made for this CPU's instruction set and this torch. Every file that
torch writes on the way goes below the folder in PLASTER_CACHE.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.artifact import link_or_copy
from plaster_ops.engines.cpu import this_cpu
from plaster_ops.engines.device import SplitsCalls, host_to_host
from plaster_ops.engines.inductor_build import compile_package, files_below, lowered
from plaster_ops.engines.options import Schema, read_options
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

PACKAGE = "model.pt2"
WEIGHTS = "weights.safetensors"
CACHE_VARIABLE = "PLASTER_CACHE"
_OPTIONS: Schema = {"freezing": False}
"""`freezing`, for fp32: weights packed into the package; where oneDNN packs well that is faster, and it cannot be
refitted. bf16 and int8 are frozen in any case."""
_NEEDED_FLAGS = {"AVX512": "avx512f", "AMX": "amx_tile", "AVX2": "avx2"}


class InductorBackend:
    """Compiles with torch._inductor ahead of time."""

    name = "inductor"

    def probe(self) -> Availability:
        """Usable where torch and a C++ compiler ($CXX, else g++) are installed."""
        try:
            versions = [("torch", version("torch"))]
        except PackageNotFoundError:
            return Availability(ok=False, reason="torch is not installed")
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return Availability(ok=False, reason=f"no C++ compiler: {compiler} is not on PATH (apt install g++)")
        return Availability(ok=True, versions=(*versions, *_torchao_version()))

    def capabilities(self) -> Capabilities:
        """fp32, refittable in place; bf16, emulated where the CPU has no such instructions; int8 with torchao."""
        precisions = ("fp32", "bf16", "int8") if _torchao_version() else ("fp32", "bf16")
        return Capabilities(
            precisions=precisions,
            emulated=() if this_cpu().has_bf16 else ("bf16",),
            devices=("cpu", "cuda"),
            refit="in_place",
            falls_back=True,
            options=_OPTIONS,
        )

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        """Writes `model.pt2`, and `weights.safetensors` where the package holds none; 10 to 60 seconds.

        Raises `BuildFailed` with the compiler's first words.
        """
        from plaster_ops.engines.inductor_package import measure_coverage

        options = read_options(spec, _OPTIONS)
        if spec.precision not in ("fp32", "bf16", "int8"):
            raise BuildFailed(f"inductor cannot be built as {spec.precision}", "choose fp32, bf16 or int8")
        graph, ratio = lowered(program, spec, calibration)
        freezing = spec.precision != "fp32" or bool(options["freezing"])
        package = folder / PACKAGE
        with _cache_folder(folder):
            cached = compile_package(graph, package, spec, freezing=freezing, with_weights=freezing)
            if not freezing and not _write_weights(package, graph, spec, folder / WEIGHTS):
                compile_package(graph, package, spec, freezing=False, with_weights=True)
        return replace(measure_coverage(program, package, spec.precision, ratio), from_cache=cached)

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        """Puts the program's weights into the loaded library; the new folder shares the compiled package with the old.

        Raises `RefitUnsupported` for a frozen package, and for names, shapes or types that are not the compiled ones.
        """
        del spec
        if not isinstance(engine, InductorEngine):
            raise RefitUnsupported("that engine was not built by inductor", "it is rebuilt")
        weights = engine.fitting(program)
        began_s = time.perf_counter()
        engine.put_weights(weights)
        call_s = time.perf_counter() - began_s
        link_or_copy(engine.folder / PACKAGE, folder / PACKAGE)
        _save(weights, folder / WEIGHTS)
        return call_s

    def load(self, folder: Path, spec: EngineSpec) -> InductorEngine:
        """The engine; sets torch's threads in this process to `spec.threads`."""
        with _cache_folder(None):
            return InductorEngine(folder, spec)


class InductorEngine(SplitsCalls):
    """A loaded library. Outputs are new tensors, never overwritten by a later call."""

    def __init__(self, folder: Path, spec: EngineSpec) -> None:
        import torch

        from plaster_ops.engines.inputs import InputGuard

        torch.set_num_threads(spec.threads)
        self.folder = folder
        self._device = spec.device
        self._no_grad = torch.no_grad
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        self._library: Any = _open_library(folder / PACKAGE, spec.device)
        self._kept: dict[str, Tensor] | None = None
        if (folder / WEIGHTS).is_file():
            from safetensors.torch import load_file

            self.put_weights(load_file(folder / WEIGHTS))
        self._run: Any = host_to_host(self._library.run, spec.device)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the library was not compiled for."""
        with self._no_grad():
            return tuple(self._run(list(self._admit(inputs))))

    def effective_precision(self) -> str:
        """Read from the generated source in the package."""
        from plaster_ops.engines.inductor_package import read_precision

        return read_precision(self.folder / PACKAGE)

    def fitting(self, program: ExportedProgram) -> dict[str, Tensor]:
        """The program's weights by the names that the library was compiled with.

        Raises `RefitUnsupported` naming the first that is missing, new, or of another shape or type: the library
        itself would take a wrong shape without a word and read past its end.
        """
        from plaster_ops.engines.graph import weights_read

        if self._kept is None:
            raise RefitUnsupported(
                "the package is frozen: its weights are packed and renamed, new ones cannot be put in", "it is rebuilt"
            )
        known = {**program.constants, **program.state_dict}
        written = sorted(weights_read(program) - self._kept.keys())
        if written:
            raise RefitUnsupported(f"weight {written[0]!r} is not among those of the package", "it is rebuilt")
        missing = sorted(self._kept.keys() - known.keys())
        if missing:
            raise RefitUnsupported(
                f"the new model has no {missing[0]!r}, which the package was compiled with"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
                "it is rebuilt",
            )
        for name, old in self._kept.items():
            new = known[name]
            if new.shape != old.shape or new.dtype != old.dtype:
                raise RefitUnsupported(
                    f"weight {name!r} is {new.dtype}{list(new.shape)}, the package was compiled for"
                    f" {old.dtype}{list(old.shape)}",
                    "it is rebuilt",
                )
        return {name: known[name].detach().cpu().contiguous() for name in sorted(self._kept)}

    def put_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Loads every constant of the library; in place, copied."""
        on_device = {name: tensor.to(self._device) for name, tensor in weights.items()}
        try:
            self._library.load_constants(on_device, False, True)
        except RuntimeError as error:
            raise BuildFailed(
                f"{self.folder / PACKAGE} does not take its weights: {str(error).splitlines()[0][:300]}",
                "remove the folder to have it rebuilt",
            ) from error
        self._kept = dict(weights)

    def close(self) -> None:
        """Unloads the library."""
        self._run = self._library = self._kept = None


def _open_library(package: Path, device: str) -> Any:
    """torch's own loader below its Python wrapper, which would import the whole compiler for two seconds."""
    import torch

    loader: Any = torch._C._aoti.AOTIModelPackageLoader
    index = int(device.partition(":")[2] or 0) if device.startswith("cuda") else -1
    try:
        isa = loader.load_metadata_from_package(str(package), "model").get("AOTI_CPU_ISA", "")
        flag = _NEEDED_FLAGS.get(str(isa).partition(" ")[0])
        flags = this_cpu().flags
        if flag and flags and flag not in flags:
            raise BuildFailed(f"{package} was compiled for {isa}, which this CPU has not", "it is rebuilt here")
        return loader(str(package), "model", False, 1, index)
    except RuntimeError as error:
        raise BuildFailed(
            f"{package} does not load here: {(str(error).splitlines() or ['?'])[0][:300]}",
            "it was compiled by another torch or for another CPU; remove the folder to have it rebuilt",
        ) from error


def _write_weights(package: Path, graph: ExportedProgram, spec: EngineSpec, file: Path) -> bool:
    """The constants that the package asks for, under its names.

    False, and nothing is written, where the graph does not know one of them, or reads a weight that the package does
    not ask for: that one is in the code, and the package cannot be refitted.
    """
    from plaster_ops.engines.graph import weights_read

    known = {**graph.constants, **graph.state_dict}
    names = set(_open_library(package, spec.device).get_constant_fqns())
    if names - known.keys() or weights_read(graph) - names:
        return False
    _save({name: known[name].detach().cpu().contiguous() for name in sorted(names)}, file)
    return True


def _save(weights: Mapping[str, Tensor], file: Path) -> None:
    """Each tensor under its own name, tied ones as copies."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    own = {}
    for name, tensor in weights.items():
        own[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    save_file(own, file)


def _cache_folder(folder: Path | None) -> ExitStack:
    """torch's files go below PLASTER_CACHE; where that is not set, below a folder beside `folder` that is removed."""
    stack = ExitStack()
    cache = os.environ.get(CACHE_VARIABLE)
    if cache is None and folder is not None:
        cache = stack.enter_context(
            tempfile.TemporaryDirectory(prefix=".inductor-", dir=folder.parent, ignore_cleanup_errors=True)
        )
    if cache is not None:
        stack.enter_context(files_below(Path(cache)))
    return stack


def _torchao_version() -> tuple[tuple[str, str], ...]:
    try:
        return (("torchao", version("torchao")),)
    except PackageNotFoundError:
        return ()
