import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram

from plaster_ops.engines import inductor
from plaster_ops.engines.cpu import Cpu, this_cpu
from plaster_ops.engines.inductor import InductorBackend, InductorEngine
from plaster_ops.errors import BuildFailed, DataError, RefitUnsupported
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, Exported, export_model
from tests.engines.test_backends import assert_parity


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Path, InductorEngine]:
    """A model that was built once for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("regression") / "engine"
    exported = export_model("regression")
    _, engine = exported.build(folder, "inductor")
    assert isinstance(engine, InductorEngine)
    return exported, folder, engine


def test_without_a_compiler_the_probe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert InductorBackend().probe().reason.startswith("no C++ compiler: no-such-compiler")


def test_a_compiled_library_agrees_with_eager_and_leaves_no_file_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.setenv("TMPDIR", str(outside))
    monkeypatch.delenv("PLASTER_CACHE", raising=False)
    exported = export_model("two")
    coverage, engine = exported.build(tmp_path / "engine", "inductor")
    assert (coverage.ops_in_engine, coverage.flops_ratio, coverage.engines) == (coverage.ops_total, 1.0, 1)
    assert_parity(exported, engine, [exported.inputs(rows) for rows in (1, 5, MAX_BATCH)], "fp32")
    transposed = tuple(tensor.t().contiguous().t() for tensor in models.two_inputs(4))
    assert_parity(exported, engine, [transposed], "fp32")
    with pytest.raises(DataError):
        engine.run(*models.two_inputs(MAX_BATCH + 1))
    engine.close()
    assert sorted(path.name for path in (tmp_path / "engine").iterdir()) == ["model.pt2", "weights.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "outside"]
    assert not any(path.is_file() for path in outside.rglob("*"))
    assert os.environ["TMPDIR"] == str(outside)


def test_weights_of_few_numbers_are_not_written_into_the_code(
    regression: tuple[Exported, Path, InductorEngine],
) -> None:
    """torch's compiler would, and a refit would leave them as they were."""
    exported, _, engine = regression
    small = [name for name, tensor in exported.program.state_dict.items() if tensor.numel() <= 8]
    assert small
    assert set(small) <= set(engine.fitting(exported.program))


def changed(program: ExportedProgram, change: Callable[[dict[str, Tensor]], None]) -> ExportedProgram:
    """The program with its weights changed."""
    other = copy.copy(program)
    weights = dict(other.state_dict)
    change(weights)
    other._state_dict = weights
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop(next(iter(weights))), "the new model has no"),
        (lambda weights: weights.update({next(iter(weights)): torch.zeros(1, 1)}), "the package was compiled for"),
        (
            lambda weights: weights.update({name: tensor.double() for name, tensor in weights.items()}),
            r"is torch\.float64",
        ),
    ],
    ids=["missing", "shape", "type"],
)
def test_weights_that_do_not_fit_are_refused_by_name_and_the_old_stay(
    regression: tuple[Exported, Path, InductorEngine],
    change: Callable[[dict[str, Tensor]], None],
    words: str,
    tmp_path: Path,
) -> None:
    exported, _, engine = regression
    value = exported.inputs(3)
    before = engine.run(value)[0]
    with pytest.raises(RefitUnsupported, match=words) as caught:
        InductorBackend().refit(engine, changed(exported.program, change), exported.spec("inductor"), tmp_path)
    assert "'" in caught.value.message
    assert torch.equal(engine.run(value)[0], before)
    assert not list(tmp_path.iterdir())


def test_a_frozen_package_holds_its_weights_and_cannot_be_refitted(tmp_path: Path) -> None:
    exported, moved = export_model("mlp"), export_model("mlp")
    _, engine = exported.build(tmp_path / "engine", "inductor", freezing=True)
    assert [path.name for path in (tmp_path / "engine").iterdir()] == ["model.pt2"]
    assert_parity(exported, engine, [exported.inputs(rows) for rows in (1, MAX_BATCH)], "fp32")
    with pytest.raises(RefitUnsupported, match="frozen"):
        InductorBackend().refit(engine, moved.program, exported.spec("inductor"), tmp_path)


def test_an_operator_that_is_handed_back_to_torch_is_named_with_what_it_costs(tmp_path: Path) -> None:
    exported = export_model("inverse")
    coverage, engine = exported.build(tmp_path / "engine", "inductor")
    assert_parity(exported, engine, [exported.inputs(rows) for rows in (1, 5)], "fp32")
    assert coverage.fallback_ops == ("aten::_linalg_check_errors", "aten::linalg_inv_ex")
    assert (coverage.engines, coverage.segments, coverage.uncounted_ops) == (2, 1, ())
    inverse, convolution, head = 2 * 16**3, 2 * 16 * 16 * 16 * 27, 2 * 16 * 10
    assert coverage.flops_ratio == pytest.approx(1 - inverse / (inverse + convolution + head))
    assert coverage.ops_in_engine < coverage.ops_total
    assert coverage.boundary_bytes == 2 * 16 * 16 * 4


def test_a_package_for_instructions_that_this_cpu_has_not_is_refused_and_not_run(
    regression: tuple[Exported, Path, InductorEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, folder, _ = regression
    plain: Cpu = replace(this_cpu(), flags=frozenset({"sse2"}))
    monkeypatch.setattr(inductor, "this_cpu", lambda: plain)
    with pytest.raises(BuildFailed, match="which this CPU has not"):
        InductorBackend().load(folder, exported.spec("inductor"))


def test_a_damaged_library_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"PK")
    with pytest.raises(BuildFailed, match=r"model\.pt2 does not load here"):
        InductorBackend().load(tmp_path, export_model("mlp").spec("inductor"))
