"""Backends for tests: one that is slower than it should be, one that answers wrongly, one that cannot be used."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.export import ExportedProgram

from plaster_ops.engines.eager import flat_module
from plaster_ops.engines.export import load_program, save_program
from plaster_ops.engines.options import read_options
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import BuildFailed, RefitUnsupported
from plaster_ops.ports import Availability, Calibration, Capabilities, Coverage, Engine, EngineBackend, EngineSpec

NAME = "tests.engines.doubles:SpinningBackend"
WEIGHTS = "weights.safetensors"


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

    def capabilities(self) -> Capabilities:
        return Capabilities(precisions=("fp32",), options={"inner": "eager", "slow_ratio": 0.0})

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        backend, inner, _ = self._inner(spec)
        return backend.build(program, inner, folder, calibration)

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        del engine, program, spec, folder
        raise RefitUnsupported("a double is never refitted")

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

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        del program, spec, calibration
        (folder / "half.bin").write_bytes(b"half")
        raise ValueError("tactic 12 not found")


class RefusingBackend(CrashingBackend):
    """Raises our own error."""

    name = "refusing"

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        del program, spec, folder, calibration
        raise BuildFailed("operator Foo is unknown", "use another")


class ProneEngine:
    """Runs a stored graph with weights that can be exchanged; `mode` says how a refit goes wrong."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.mode = mode
        self.graph = flat_module(load_program(folder / "program.pt2"))
        self.put(load_file(folder / "weights.safetensors"))

    def put(self, weights: dict[str, Tensor]) -> None:
        own = dict(self.graph.named_parameters()) | dict(self.graph.named_buffers())
        with torch.no_grad():
            for name, tensor in weights.items():
                own[name].copy_(tensor)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return tuple(self.graph(*inputs))

    def effective_precision(self) -> str:
        return "fp32"

    def close(self) -> None:
        pass


class ProneBackend(SpinningBackend):
    """Can be refitted. Option `mode`: `well`; `nothing` is put in; `half` is; `files` hold the old weights."""

    name = "prone"

    def capabilities(self) -> Capabilities:
        return Capabilities(precisions=("fp32",), refit="in_place", options={"mode": "well"})

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        del spec, calibration
        save_program(program, folder / "program.pt2")
        save_file({name: tensor.contiguous() for name, tensor in program.state_dict.items()}, folder / WEIGHTS)
        return Coverage(ops_total=1, ops_in_engine=1, flops_ratio=1.0, engines=1)

    def refit(self, engine: Engine, program: ExportedProgram, spec: EngineSpec, folder: Path) -> float:
        assert isinstance(engine, ProneEngine)
        del spec
        weights = {name: tensor.detach().contiguous() for name, tensor in program.state_dict.items()}
        names = sorted(weights)
        taken = {"nothing": [], "half": names[: len(names) // 2]}.get(engine.mode, names)
        engine.put({name: weights[name] for name in taken})
        save_program(program, folder / "program.pt2")
        kept = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        save_file(kept if engine.mode == "files" else weights, folder / WEIGHTS)
        return 1e-4

    def load(self, folder: Path, spec: EngineSpec) -> ProneEngine:  # type: ignore[override]
        return ProneEngine(folder, str(read_options(spec, {"mode": "well"})["mode"]))


class FatalBackend(SpinningBackend):
    """Kills, hangs or fills the process it is in. Option `how`: segfault, hang, memory; `where`: build, load, run."""

    name = "fatal"

    def capabilities(self) -> Capabilities:
        return Capabilities(precisions=("fp32", "bf16"), options={"how": "segfault", "where": "build"})

    def build(self, program: ExportedProgram, spec: EngineSpec, folder: Path, calibration: Calibration) -> Coverage:
        del calibration
        self._strike(spec, "build")
        return find_backend("eager").build(program, replace(spec, backend="eager", options=()), folder, ())

    def load(self, folder: Path, spec: EngineSpec) -> Engine:  # type: ignore[override]
        if (folder / "manifest.json").exists():
            self._strike(spec, "load")
        engine = find_backend("eager").load(folder, replace(spec, backend="eager", options=()))
        strike = self._strike

        class Fatal(SpinningEngine):
            def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
                strike(spec, "run")
                return engine.run(*inputs)

        return Fatal(engine, 0.0)

    def _strike(self, spec: EngineSpec, where: str) -> None:
        chosen = read_options(spec, {"how": "segfault", "where": "build"})
        if chosen["where"] != where:
            return
        if chosen["how"] == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if chosen["how"] == "hang":
            time.sleep(3600)
        held = []
        while True:
            held.append(bytearray(os.urandom(1) * 50_000_000))


class _Fatal(FatalBackend):
    """Without options, so that several can stand in one ladder."""

    how, where = "segfault", "build"

    def capabilities(self) -> Capabilities:
        return Capabilities(precisions=("fp32",))

    def _strike(self, spec: EngineSpec, where: str) -> None:
        chosen = (("how", self.how), ("where", self.where))
        super()._strike(replace(spec, backend="fatal", options=chosen), where)


class SegfaultingBuild(_Fatal):
    name = "segfaulting_build"


class HangingBuild(_Fatal):
    name, how = "hanging_build", "hang"


class HungryBuild(_Fatal):
    name, how = "hungry_build", "memory"


class SegfaultingEngine(_Fatal):
    name, where = "segfaulting_engine", "run"
