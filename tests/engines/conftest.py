"""Models exported once for all tests of this room."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from plaster_ops.engines.export import (
    export_program,
    flatten_inputs,
    input_names,
    input_specs,
    output_names,
    run_eager,
)
from plaster_ops.engines.parity import compare_outputs
from plaster_ops.engines.registry import find_backend
from plaster_ops.ports import Calibration, Coverage, Engine, EngineSpec, TensorSpec
from tests.engines import models

MAX_BATCH = 8


@dataclass(frozen=True)
class Exported:
    module: nn.Module
    inputs: Callable[[int], Any]
    specs: tuple[TensorSpec, ...]
    program: ExportedProgram

    def spec(self, backend: str, precision: str = "fp32", **options: Any) -> EngineSpec:
        return EngineSpec(
            backend=backend,
            precision=precision,
            device="cpu",
            inputs=self.specs,
            batch=(1, 4, MAX_BATCH),
            options=tuple(sorted(options.items())),
        )

    def calibration(self, precision: str) -> Calibration:
        return [flatten_inputs(self.inputs(64))] if precision == "int8" else []

    def build(self, folder: Path, backend: str, precision: str = "fp32", **options: Any) -> tuple[Coverage, Engine]:
        spec, found = self.spec(backend, precision, **options), find_backend(backend)
        folder.mkdir(parents=True, exist_ok=True)
        coverage = found.build(self.program, spec, folder, self.calibration(precision))
        return coverage, found.load(folder, spec)


Built = tuple[Coverage, Engine, Path]
Build = Callable[..., Built]


def build_once(
    new_folder: Callable[[], Path], backend: str, precision: str, export: Callable[[str], Exported]
) -> Build:
    """`build(model, precision, **options)` -> coverage, engine and folder; each is built once, on the same inputs."""
    known: dict[str, Built] = {}

    def build(name: str, precision: str = precision, **options: Any) -> Built:
        key = f"{name} {precision} {sorted(options.items())}"
        if key not in known:
            folder = new_folder() / "engine"
            torch.manual_seed(1)
            known[key] = (*export(name).build(folder, backend, precision, **options), folder)
        return known[key]

    return build


def reasons_against(exported: Exported, engine: Engine, precision: str, rows: int = 5) -> tuple[str, ...]:
    """Where the engine's answers to that many samples differ too much from eager's."""
    value = exported.inputs(rows)
    wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
    found = engine.run(*flatten_inputs(value))
    return compare_outputs(wanted, found, output_names(exported.program), precision).reasons


def export_own(
    module: nn.Module, inputs: Callable[[int], Any] = models.mlp_inputs, max_batch: int = MAX_BATCH
) -> Exported:
    """A model that is no one else's."""
    example = inputs(3)
    specs = input_specs([flatten_inputs(example)], None, input_names(module, example))
    return Exported(module.eval(), inputs, specs, export_program(module, example, specs, max_batch))


@cache
def export_model(name: str) -> Exported:
    makers: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any], list[tuple[Tensor, ...]]]] = {
        "mlp": (models.mlp, models.mlp_inputs, []),
        "conv": (models.ConvNet, models.images, []),
        "pooled": (models.Pooled, models.pictures, []),
        "strided": (models.Strided, models.pictures, []),
        "sloped": (models.Sloped, models.pictures, []),
        "steep": (models.Steep, models.pictures, []),
        "shifted": (models.Shifted, models.pictures, []),
        "moved": (models.Moved, models.pictures, []),
        "inverse": (models.Inverse, models.pictures, []),
        "two": (models.TwoByTwo, models.two_inputs, []),
        "named": (models.TwoByTwo, models.named_inputs, []),
        "sequence": (models.Sequence, models.sequences, [models.sequences(2, 4), models.sequences(2, 14)]),
        "regression": (models.Regression, models.rows, []),
        "other_regression": (models.OtherRegression, models.rows, []),
        "recurrent": (models.Recurrent, models.series, []),
    }
    make, inputs, more = makers[name]
    module, example = make().eval(), inputs(3)
    specs = input_specs([flatten_inputs(example), *more], None, input_names(module, example))
    return Exported(module, inputs, specs, export_program(module, example, specs, MAX_BATCH))


@pytest.fixture
def exported() -> Callable[[str], Exported]:
    return export_model
