"""Backends for tests: one that is slower than it should be, one that answers wrongly, one that cannot be used."""

import time
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.export import ExportedProgram

from plaster_ops.engines.options import read_options
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed
from plaster_ops.ports import Availability, Coverage, Engine, EngineBackend, EngineSpec

NAME = "tests.engines.doubles:SpinningBackend"


class SpinningEngine:
    """Runs another engine, then spins for `slow_ratio` of what that call took, on the same core."""

    def __init__(self, inner: Engine, slow_ratio: float) -> None:
        self._inner = inner
        self._slow_ratio = slow_ratio

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        began_s = time.perf_counter()
        outputs = self._inner.run(*inputs)
        ended_s = time.perf_counter()
        until_s = ended_s + self._slow_ratio * (ended_s - began_s)
        while time.perf_counter() < until_s:
            pass
        return outputs

    def effective_precision(self) -> str:
        return self._inner.effective_precision()

    def close(self) -> None:
        self._inner.close()


class SpinningBackend:
    """Option `inner`: the backend that does the work; `slow_ratio`: 0.2 makes each call last 20 % longer."""

    name = "spinning"

    def probe(self) -> Availability:
        return Availability(ok=True)

    def precisions(self) -> tuple[str, ...]:
        return ("fp32",)

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path) -> Coverage:
        backend, inner, _ = self._inner(spec)
        return backend.build(program, inner, folder)

    def load(self, folder: Path, spec: EngineSpec) -> SpinningEngine:
        backend, inner, slow_ratio = self._inner(spec)
        return SpinningEngine(backend.load(folder, inner), slow_ratio)

    def _inner(self, spec: EngineSpec) -> tuple[EngineBackend, EngineSpec, float]:
        options = read_options(spec, {"inner": "eager", "slow_ratio": 0.0})
        name = str(options["inner"])
        return find_backend(name), replace(spec, backend=name, options=()), float(options["slow_ratio"])


class WrongBackend(SpinningBackend):
    """Claims to be built and answers with the outputs of the inner engine plus one."""

    name = "wrong"

    def load(self, folder: Path, spec: EngineSpec) -> SpinningEngine:
        engine = super().load(folder, spec)

        class Wrong(SpinningEngine):
            def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
                return tuple(output + 1 for output in engine.run(*inputs))

        return Wrong(engine, 0.0)


class AbsentBackend(SpinningBackend):
    """Says that it cannot be used."""

    name = "absent"

    def probe(self) -> Availability:
        return Availability(ok=False, reason="no such device in this machine")


class CrashingBackend(SpinningBackend):
    """Writes half an engine and raises an error of its own library."""

    name = "crashing"

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path) -> Coverage:
        del program, spec
        (folder / "half.bin").write_bytes(b"half")
        raise ValueError("tactic 12 not found")


class RefusingBackend(CrashingBackend):
    """Raises our own error."""

    name = "refusing"

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path) -> Coverage:
        del program, spec, folder
        raise BuildFailed("operator Foo is unknown", "use another")
