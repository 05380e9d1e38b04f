"""What every backend must do on a GPU: answer as the eager model on the CPU does, from and to host memory.

On an H100 those of `inductor` ended its process: see docs/benchmarks.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plaster_ops.engines.export import flatten_inputs, output_names, run_eager
from plaster_ops.engines.parity import compare_outputs
from plaster_ops.engines.registry import find_backend
from plaster_ops.errors import DataError, RefitUnsupported
from plaster_ops.ports import Coverage, Engine, EngineBackend, EngineSpec
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, Exported, export_model

DEVICE = "cuda:0"
OPT_BATCH = 4
NAMES = ("mlp", "conv", "named", "sequence", "recurrent")
REFIT_LIMIT = 1e-5

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=f"torch {torch.__version__} sees no CUDA device"),
]


@pytest.fixture(params=["eager", "inductor", "tensorrt"])
def backend(request: pytest.FixtureRequest) -> EngineBackend:
    found = find_backend(request.param)
    available = found.probe()
    if not available.ok:
        pytest.skip(f"{request.param}: {available.reason}")
    assert "cuda" in found.capabilities().devices
    return found


def spec_of(exported: Exported, backend: EngineBackend, precision: str = "fp32") -> EngineSpec:
    return replace(exported.spec(backend.name, precision), device=DEVICE, batch=(1, OPT_BATCH, MAX_BATCH))


def build(
    exported: Exported, backend: EngineBackend, folder: Path, precision: str = "fp32"
) -> tuple[Coverage, Engine, EngineSpec]:
    spec = spec_of(exported, backend, precision)
    calibrated = precision in backend.capabilities().calibrated
    folder.mkdir()
    coverage = backend.build(exported.program, spec, folder, [flatten_inputs(exported.inputs(8))] if calibrated else ())
    return coverage, backend.load(folder, spec), spec


def reasons(
    exported: Exported, engine: Engine, values: Sequence[object], precision: str, limit: float | None = None
) -> list[str]:
    """Why the engine does not answer as the model does; empty where it does."""
    found: list[str] = []
    for value in values:
        wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
        report = compare_outputs(wanted, engine.run(*flatten_inputs(value)), output_names(exported.program), precision)
        found += report.reasons
        if limit is not None:
            found += [f"{o.name}: {o.rel_err}" for o in report.outputs if o.rel_err is not None and o.rel_err > limit]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_output_agrees_with_the_model_at_the_smallest_usual_and_largest_batch(
    name: str, backend: EngineBackend, tmp_path: Path
) -> None:
    exported = export_model(name)
    coverage, engine, _ = build(exported, backend, tmp_path / "engine")
    assert engine.effective_precision() == "fp32"
    assert coverage.ops_total > 0
    assert not reasons(exported, engine, [exported.inputs(n) for n in (1, OPT_BATCH, MAX_BATCH, 1)], "fp32")
    engine.close()


def test_every_precision_that_it_has_here_agrees_within_its_limit(backend: EngineBackend, tmp_path: Path) -> None:
    exported = export_model("conv")
    precisions = backend.capabilities().precisions
    assert "fp32" in precisions
    for precision in precisions:
        _, engine, _ = build(exported, backend, tmp_path / precision, precision)
        assert engine.effective_precision() == precision
        assert not reasons(exported, engine, [exported.inputs(n) for n in (1, OPT_BATCH, MAX_BATCH)], precision)
        engine.close()


def test_sequences_of_any_length_are_served_and_padding_is_not_taken_for_a_causal_mask(
    backend: EngineBackend, tmp_path: Path
) -> None:
    exported = export_model("sequence")
    _, engine, _ = build(exported, backend, tmp_path / "engine")
    shapes = ((1, 4), (3, 14), (8, 9), (1, 4), (1, 5))
    assert not reasons(exported, engine, [models.sequences(rows, length) for rows, length in shapes], "fp32")


def test_it_runs_on_the_gpu_and_answers_in_host_memory(backend: EngineBackend, tmp_path: Path) -> None:
    exported = export_model("conv")
    _, engine, _ = build(exported, backend, tmp_path / "engine")
    inputs = flatten_inputs(exported.inputs(OPT_BATCH))
    engine.run(*inputs)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
        answers = engine.run(*inputs)
    assert {answer.device.type for answer in answers} == {"cpu"}
    names = [event.key for event in profiled.key_averages() if not event.key.startswith(("Memcpy", "Memset", "cuda"))]
    assert names, "no kernel ran on the GPU"


def test_an_answer_is_not_overwritten_by_the_next_call(backend: EngineBackend, tmp_path: Path) -> None:
    exported = export_model("conv")
    _, engine, _ = build(exported, backend, tmp_path / "engine")
    answer = engine.run(models.images(2))[0]
    copy = answer.clone()
    engine.run(models.images(2))
    assert torch.equal(answer, copy)


def test_inputs_that_it_was_not_built_for_are_refused(backend: EngineBackend, tmp_path: Path) -> None:
    _, engine, _ = build(export_model("mlp"), backend, tmp_path / "engine")
    for wrong in (torch.ones(MAX_BATCH + 1, 6), torch.ones(2, 7), torch.ones(2, 6).double(), torch.ones(0, 6)):
        with pytest.raises(DataError):
            engine.run(wrong)


def test_a_refit_is_exact_in_memory_and_on_disk_or_is_refused_and_changes_nothing(
    backend: EngineBackend, tmp_path: Path
) -> None:
    exported, other = export_model("regression"), export_model("other_regression")
    _, engine, spec = build(exported, backend, tmp_path / "engine")
    (tmp_path / "new").mkdir()
    values = [exported.inputs(n) for n in (1, OPT_BATCH, MAX_BATCH)]
    before = [engine.run(value) for value in values]
    if backend.capabilities().refit == "none":
        with pytest.raises(RefitUnsupported):
            backend.refit(engine, other.program, spec, tmp_path / "new")
        assert all(torch.equal(a[0], engine.run(value)[0]) for a, value in zip(before, values, strict=True))
        return
    assert backend.refit(engine, other.program, spec, tmp_path / "new") > 0.0
    assert not reasons(other, engine, values, "fp32", REFIT_LIMIT)
    assert not any(torch.equal(a[0], engine.run(value)[0]) for a, value in zip(before, values, strict=True))
    reloaded = backend.load(tmp_path / "new", spec)
    assert not reasons(other, reloaded, values, "fp32", REFIT_LIMIT)


def test_an_engine_beside_another_keeps_its_own_way_of_running(tmp_path: Path) -> None:
    """CUDA graphs are a mode of the process: one engine's must not become the other's."""
    found = find_backend("tensorrt")
    available = found.probe()
    if not available.ok:
        pytest.skip(f"tensorrt: {available.reason}")
    exported = export_model("conv")
    _, recorded, spec = build(exported, found, tmp_path / "engine")
    plain = found.load(tmp_path / "engine", replace(spec, options=(("cuda_graphs", False),)))
    values = [exported.inputs(n) for n in (1, OPT_BATCH, 1)]
    for engine in (recorded, plain, recorded, plain):
        assert not reasons(exported, engine, values, "fp32")
    recorded.close()
    assert not reasons(exported, plain, values, "fp32")
