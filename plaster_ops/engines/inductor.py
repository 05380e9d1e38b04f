"""AOTInductor: the exported graph compiled to a shared library by torch's own compiler, for where OpenVINO is absent.

Needs a C++ compiler to build and none to run. The library is made for this CPU's instruction set and this torch.
Only fp32: see `eager`. Every file that torch writes on the way goes below the folder in PLASTER_CACHE.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaster_ops.engines.options import read_options
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Availability, Coverage, EngineSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

PACKAGE = "model.pt2"
CACHE_VARIABLE = "PLASTER_CACHE"
_OPTIONS = {"freezing": False}
"""`freezing`: weights packed into the code; faster, and later new weights cannot be loaded into the same library."""


class InductorBackend:
    """Compiles with torch._inductor ahead of time."""

    name = "inductor"

    def probe(self) -> Availability:
        """Usable where torch and a C++ compiler ($CXX, else g++) are installed."""
        try:
            torch_version = version("torch")
        except PackageNotFoundError:
            return Availability(ok=False, reason="torch is not installed")
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return Availability(ok=False, reason=f"no C++ compiler: {compiler} is not on PATH (apt install g++)")
        return Availability(ok=True, versions=(("torch", torch_version), ("machine", platform.machine())))

    def precisions(self) -> tuple[str, ...]:
        """fp32 only."""
        return ("fp32",)

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path) -> Coverage:
        """Writes `model.pt2`; 10 to 60 seconds. Raises `BuildFailed` with the compiler's first words."""
        options = read_options(spec, _OPTIONS)
        if spec.precision not in self.precisions():
            raise BuildFailed(f"inductor cannot be built as {spec.precision}", "choose precision fp32")
        package = folder / PACKAGE
        with ExitStack() as stack:
            cache = os.environ.get(CACHE_VARIABLE) or stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".inductor-", dir=folder.parent, ignore_cleanup_errors=True)
            )
            stack.enter_context(_files_below(Path(cache)))
            _compile(program, package, spec.threads, freezing=bool(options["freezing"]))
        return _coverage(program, package)

    def load(self, folder: Path, spec: EngineSpec) -> InductorEngine:
        """The engine; sets torch's threads in this process to `spec.threads`."""
        cache = os.environ.get(CACHE_VARIABLE)
        with ExitStack() as stack:
            if cache:
                stack.enter_context(_files_below(Path(cache)))
            return InductorEngine(folder / PACKAGE, spec)


class InductorEngine:
    """A loaded library. Outputs are new tensors, never overwritten by a later call."""

    def __init__(self, package: Path, spec: EngineSpec) -> None:
        import torch
        import torch._inductor

        from plaster_ops.engines.inputs import InputGuard

        torch.set_num_threads(spec.threads)
        self._no_grad = torch.no_grad
        self._admit = InputGuard(spec.inputs, spec.batch[2]).admit
        try:
            self._model: Any = torch._inductor.aoti_load_package(str(package))
        except Exception as error:
            raise BuildFailed(
                f"{package} does not load here: {str(error).splitlines()[0][:300]}",
                "it was compiled by another torch or for another CPU; remove the folder to have it rebuilt",
            ) from error
        self._run = self._model.loader.run

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Flat outputs for flat inputs. Raises `DataError` for inputs that the library was not compiled for."""
        with self._no_grad():
            return tuple(self._run(list(self._admit(inputs))))

    def effective_precision(self) -> str:
        """The graph was compiled as it was traced."""
        return "fp32"

    def close(self) -> None:
        """Unloads the library."""
        self._run = self._model = None


def _compile(program: ExportedProgram, package: Path, threads: int, *, freezing: bool) -> None:
    """Compiles for exactly `threads` threads: the number is fixed in the code."""
    import torch
    import torch._inductor.config
    from torch.utils._pytree import tree_unflatten

    from plaster_ops.engines.facts import traced_inputs
    from plaster_ops.engines.quiet import foreign_warnings_ignored

    configs: dict[str, Any] = {"freezing": freezing, "compile_threads": 1}
    if hasattr(torch._inductor.config.aot_inductor, "precompile_headers"):
        configs["aot_inductor.precompile_headers"] = False  # 20 s for the first build, 2 s saved in each later one
    if program.example_inputs is None:
        program.example_inputs = tree_unflatten(list(traced_inputs(program)), program.call_spec.in_spec)
    earlier = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with foreign_warnings_ignored():
            torch._inductor.aoti_compile_and_package(program, package_path=str(package), inductor_configs=configs)
    except Exception as error:
        words = " ".join(line.strip() for line in str(error).splitlines() if line.strip())[:400]
        raise BuildFailed(
            f"inductor cannot compile the model: {type(error).__name__}: {words}",
            "see the log of the build; plaster-ops doctor checks the compiler",
        ) from error
    finally:
        torch.set_num_threads(earlier)


@contextmanager
def _files_below(cache: Path) -> Iterator[None]:
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


def _coverage(program: ExportedProgram, package: Path) -> Coverage:
    """All operators but those that the library hands back to torch's dispatcher."""
    from plaster_ops.engines.facts import count_ops

    total = count_ops(program)
    handed_back = _handed_back(package)
    inside = max(0, total - len(handed_back))
    return Coverage(
        ops_total=total,
        ops_in_engine=inside,
        flops_ratio=1.0,
        engines=1,
        graph_breaks=0,
        fallback_ops=tuple(sorted(set(handed_back))),
    )


def _handed_back(package: Path) -> list[str]:
    """Operators called through the dispatcher: the calls in the generated source, named where a table names them."""
    names: list[str] = []
    calls = 0
    with zipfile.ZipFile(package) as archive:
        for entry in archive.namelist():
            if entry.endswith(".wrapper.cpp"):
                calls += len(re.findall(rb"aoti_torch_proxy_executor_call_function\(", archive.read(entry)))
            elif entry.endswith(".wrapper.json"):
                nodes = json.loads(archive.read(entry)).get("nodes", [])
                names += [str(node.get("node", {}).get("target", "unnamed")) for node in nodes]
    return names if len(names) >= calls else names + ["unnamed"] * (calls - len(names))
