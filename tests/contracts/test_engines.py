"""What every backend must do at every precision that it builds and runs here: one suite for all of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plaster_ops.engines.export import flatten_inputs, output_names, run_eager
from plaster_ops.engines.facts import count_ops
from plaster_ops.engines.parity import compare_outputs
from plaster_ops.engines.registry import BUILT_IN, find_backend
from plaster_ops.errors import BuildFailed, DataError, RefitUnsupported, SettingsError
from tests.contracts.conftest import Build, cases, runnable
from tests.engines.conftest import MAX_BATCH, Exported, export_model

every = pytest.mark.parametrize(("backend", "precision", "model"), cases())
backends = pytest.mark.parametrize("backend", sorted(BUILT_IN))


def reasons(exported: Exported, outputs: tuple[Tensor, ...], value: object, precision: str) -> tuple[str, ...]:
    wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
    return compare_outputs(wanted, outputs, output_names(exported.program), precision).reasons


def test_the_backends_that_need_no_gpu_are_all_tried() -> None:
    tried = {backend for backend, _ in runnable()}
    assert {"eager", "inductor", "onnxruntime", "openvino"} <= tried, "install plaster-ops[dev] and a C++ compiler"
    assert {precision for backend, precision in runnable() if backend == "inductor"} == {"fp32", "bf16", "int8"}


@every
def test_every_output_agrees_with_eager_at_any_batch(built: Build, backend: str, precision: str, model: str) -> None:
    made = built(backend, precision, model)
    engine = made.load()
    for rows in (1, 5, MAX_BATCH, 1):
        value = made.exported.inputs(rows)
        assert reasons(made.exported, engine.run(*flatten_inputs(value)), value, precision) == ()
    engine.close()


@every
def test_it_runs_in_the_precision_that_was_asked_for(built: Build, backend: str, precision: str, model: str) -> None:
    made = built(backend, precision, model)
    assert made.load().effective_precision() == precision
    if precision != "fp32":
        value = flatten_inputs(made.exported.inputs(4))
        exact = torch.utils._pytree.tree_leaves(run_eager(made.exported.module, made.exported.inputs(4)))
        assert len(exact) == len(made.load().run(*value))
        assert made.coverage.precision_ratio is None or made.coverage.precision_ratio > 0.5


@every
def test_an_answer_is_not_overwritten_and_the_input_not_touched(
    built: Build, backend: str, precision: str, model: str
) -> None:
    made = built(backend, precision, model)
    engine = made.load()
    first, second = (flatten_inputs(made.exported.inputs(2)) for _ in range(2))
    kept = [tensor.clone() for tensor in first]
    answer = engine.run(*first)
    copies = [tensor.clone() for tensor in answer]
    engine.run(*second)
    assert all(torch.equal(now, then) for now, then in zip(answer, copies, strict=True))
    assert all(torch.equal(now, then) for now, then in zip(first, kept, strict=True))
    for again, before in zip(engine.run(*first), copies, strict=True):
        torch.testing.assert_close(again, before)


@every
def test_a_view_is_read_as_what_it_shows(built: Build, backend: str, precision: str, model: str) -> None:
    made = built(backend, precision, model)
    engine = made.load()
    inputs = flatten_inputs(made.exported.inputs(4))
    views = tuple(tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in inputs)
    assert not all(view.is_contiguous() for view in views)
    for plain, viewed in zip(engine.run(*inputs), engine.run(*views), strict=True):
        torch.testing.assert_close(plain, viewed)


@every
def test_two_loaded_engines_do_not_share_their_answers(built: Build, backend: str, precision: str, model: str) -> None:
    made = built(backend, precision, model)
    left, right = made.load(), made.load()
    inputs = flatten_inputs(made.exported.inputs(3))
    answer = left.run(*inputs)
    left.close()
    for one, other in zip(answer, right.run(*inputs), strict=True):
        torch.testing.assert_close(one, other)


@every
def test_inputs_that_it_was_not_built_for_are_refused(built: Build, backend: str, precision: str, model: str) -> None:
    made = built(backend, precision, model)
    engine = made.load()
    right = flatten_inputs(made.exported.inputs(2))
    too_many = flatten_inputs(made.exported.inputs(MAX_BATCH + 1))
    wrong_type = (right[0].to(torch.float64 if right[0].is_floating_point() else torch.int32), *right[1:])
    for inputs in (too_many, wrong_type, (), (*right, right[0]), (right[0].unsqueeze(0), *right[1:])):
        with pytest.raises(DataError):
            engine.run(*inputs)
    assert len(engine.run(*right)) == len(output_names(made.exported.program))


@every
def test_the_coverage_adds_up(built: Build, backend: str, precision: str, model: str) -> None:
    made = built(backend, precision, model)
    coverage = made.coverage
    assert coverage.ops_total == count_ops(made.exported.program)
    assert 0 <= coverage.ops_in_engine <= coverage.ops_total
    assert 0.0 <= coverage.flops_ratio <= 1.0
    assert coverage.ops_supported is not None
    assert coverage.ops_supported >= coverage.ops_in_engine
    if backend == "eager":
        assert (coverage.engines, coverage.ops_in_engine, coverage.flops_ratio) == (0, 0, 0.0)
    else:
        assert (coverage.engines, coverage.segments, coverage.fallback_ops) == (1, 0, ())
        assert (coverage.flops_ratio, coverage.ops_ratio) == (1.0, 1.0)


@every
def test_changed_files_do_not_load(built: Build, backend: str, precision: str, model: str, tmp_path: Path) -> None:
    made = built(backend, precision, model)
    folder = tmp_path / "damaged"
    shutil.copytree(made.folder, folder)
    for file in folder.iterdir():
        file.write_bytes(b"<net")
    with pytest.raises(BuildFailed, match=str(folder)):
        find_backend(backend).load(folder, made.spec)


@backends
def test_an_unknown_option_is_an_error_before_anything_is_built(backend: str, tmp_path: Path) -> None:
    exported = export_model("mlp")
    spec = replace(exported.spec(backend), options=(("enabled_precisions", "fp16"),))
    with pytest.raises(SettingsError, match="enabled_precisions"):
        find_backend(backend).build(exported.program, spec, tmp_path, ())
    assert not list(tmp_path.iterdir())


@backends
def test_a_precision_that_nobody_builds_is_refused_by_name(backend: str, tmp_path: Path) -> None:
    exported = export_model("mlp")
    with pytest.raises(BuildFailed, match="int3"):
        find_backend(backend).build(exported.program, exported.spec(backend, "int3"), tmp_path, ())


@pytest.mark.parametrize("backend", sorted({name for name, precision in runnable() if precision == "int8"}))
def test_int8_without_inputs_to_calibrate_with_is_refused(backend: str, tmp_path: Path) -> None:
    exported = export_model("mlp")
    with pytest.raises(BuildFailed, match="calibrate"):
        find_backend(backend).build(exported.program, exported.spec(backend, "int8"), tmp_path, ())


@pytest.mark.parametrize(("backend", "precision", "model"), cases(only="pooled"))
def test_a_refit_is_exact_or_refused_with_its_reason(
    built: Build, backend: str, precision: str, model: str, tmp_path: Path
) -> None:
    made = built(backend, precision, model)
    moved = export_model("moved")
    engine = made.load()
    able = find_backend(backend).capabilities()
    if able.refit == "none" or precision != "fp32":
        with pytest.raises(RefitUnsupported, match=r"\w+ \w+ \w+"):
            find_backend(backend).refit(engine, moved.program, made.spec, tmp_path)
        return
    assert find_backend(backend).refit(engine, moved.program, made.spec, tmp_path) > 0
    value = moved.inputs(5)
    wanted = run_eager(moved.module, value)
    for answer in (engine.run(value)[0], find_backend(backend).load(tmp_path, made.spec).run(value)[0]):
        assert float((answer - wanted).abs().max()) <= 1e-6 * float(wanted.abs().max())
