"""Engines that are built once a session: a build of one backend takes half a minute."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from plaster_ops.engines.registry import BUILT_IN, find_backend
from plaster_ops.ports import Coverage, Engine, EngineSpec
from tests.engines.conftest import Exported, export_model

USUAL = {"fp32": ("pooled", "two", "sequence"), "bf16": ("pooled", "two"), "int8": ("pooled", "two")}
SLOW = {"inductor": ("pooled",)}
"""Models that a backend is tried on where it compiles for long."""


def runnable() -> list[tuple[str, str]]:
    """Every backend x precision that builds and runs here, emulated ones included."""
    found = []
    for name in BUILT_IN:
        backend = find_backend(name)
        able = backend.capabilities()
        if backend.probe().ok and able.runs_here:
            found += [(name, precision) for precision in able.precisions]
    return found


def cases(only: str | None = None) -> list[object]:
    """`(backend, precision, model)`; `only` that model."""
    return [
        (backend, precision, model)
        for backend, precision in runnable()
        for model in SLOW.get(backend, USUAL.get(precision, ("pooled",)))
        if only in (None, model)
    ]


@dataclass(frozen=True)
class BuiltEngine:
    exported: Exported
    spec: EngineSpec
    folder: Path
    coverage: Coverage

    def load(self) -> Engine:
        return find_backend(self.spec.backend).load(self.folder, self.spec)


Build = Callable[[str, str, str], BuiltEngine]


@pytest.fixture(autouse=True)
def _same_inputs_in_every_order() -> None:
    torch.manual_seed(6)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    known: dict[tuple[str, str, str], BuiltEngine] = {}

    def build(backend: str, precision: str, model: str) -> BuiltEngine:
        if (backend, precision, model) not in known:
            torch.manual_seed(5)
            exported = export_model(model)
            folder = tmp_path_factory.mktemp(f"{backend}-{precision}-{model}") / "engine"
            coverage, engine = exported.build(folder, backend, precision)
            engine.close()
            known[backend, precision, model] = BuiltEngine(
                exported, exported.spec(backend, precision), folder, coverage
            )
        return known[backend, precision, model]

    return build
