"""What OpenVINO's options do, what nncf makes of a model, what is kept in the cache, and what is counted."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plaster_ops.engines import openvino_engine, openvino_model
from plaster_ops.engines.blob_cache import CACHE_VARIABLE
from plaster_ops.engines.cpu import Cpu
from plaster_ops.engines.export import export_program, run_eager
from plaster_ops.engines.facts import flops_of_nodes
from plaster_ops.engines.inputs import input_specs
from plaster_ops.engines.openvino_coverage import operator_flops
from plaster_ops.engines.openvino_engine import OpenVinoBackend
from plaster_ops.engines.openvino_model import import_openvino
from plaster_ops.errors import BuildFailed, SettingsError
from plaster_ops.flow.stages.build import build_folder
from plaster_ops.ports import Engine
from tests.engines import models
from tests.engines.conftest import MAX_BATCH, Build, Exported, build_once, export_model, export_own, reasons_against


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Coverage, engine and folder of a model; each is built once."""
    return build_once(lambda: tmp_path_factory.mktemp("openvino"), "openvino", "fp32", export_model)


def answer(engine: Engine) -> Tensor:
    """To inputs that are the same every time."""
    return engine.run(torch.linspace(-2, 2, 5 * 6).reshape(5, 6))[0]


# ---- options -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hint", "speed"),
        ("preset", "fast"),
        ("model_type", "bert"),
        ("ranges", "median"),
        ("cache", "no"),
        ("batch_1", 1),
        ("fast_bias_correction", "yes"),
    ],
)
def test_an_option_of_another_kind_is_refused_before_anything_is_built(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"engine option {name} = {value!r}"):
        export_model("mlp").build(tmp_path, "openvino", **{name: value})
    assert not list(tmp_path.iterdir())


def test_with_the_hint_throughput_the_rows_of_a_batch_come_back_in_their_order(built: Build) -> None:
    exported = export_model("two")
    _, _, folder = built("two")
    engine = OpenVinoBackend().load(folder, replace(exported.spec("openvino", hint="throughput"), threads=2))
    assert [reasons_against(exported, engine, "fp32", rows) for rows in (1, 2, 3, 7, MAX_BATCH, 1)] == [()] * 6
    engine.close()


def test_a_single_query_is_answered_alike_without_a_model_of_its_own(built: Build) -> None:
    exported = export_model("pooled")
    engine = OpenVinoBackend().load(built("pooled")[2], exported.spec("openvino", batch_1=False))
    assert [reasons_against(exported, engine, "fp32", rows) for rows in (1, 4, 1)] == [(), (), ()]
    engine.close()


def test_large_and_small_batches_may_take_turns(tmp_path: Path) -> None:
    """Inputs up to 64 KiB are copied, larger ones read where they lie."""
    exported = export_own(models.Pooled(), models.pictures, max_batch=40)
    spec = replace(exported.spec("openvino"), batch=(1, 8, 40))
    backend = OpenVinoBackend()
    backend.build(exported.program, spec, tmp_path, ())
    engine = backend.load(tmp_path, spec)
    assert [reasons_against(exported, engine, "fp32", rows) for rows in (40, 2, 40, 2, 39)] == [()] * 5


def test_an_input_that_the_model_does_not_read_is_taken_and_passed_over(tmp_path: Path) -> None:
    class Ignoring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            del left
            return self.layer(right)

    exported = export_own(Ignoring(), lambda n: (torch.rand(n, 5), torch.rand(n, 3)))
    _, engine = exported.build(tmp_path, "openvino", "int8")
    assert [reasons_against(exported, engine, "int8", rows) for rows in (1, 4)] == [(), ()]


# ---- 8 bits by nncf ------------------------------------------------------------------------------------------------
def test_int8_runs_in_8_bits_keeps_parity_and_takes_less_room(built: Build) -> None:
    coverage, engine, folder = built("pooled", "int8")
    assert engine.effective_precision() == "int8"
    assert coverage.precision_ratio == 1.0
    assert reasons_against(export_model("pooled"), engine, "int8") == ()
    assert (folder / "model.bin").stat().st_size < 0.5 * (built("pooled")[2] / "model.bin").stat().st_size


def test_fp32_keeps_no_8_bit_products(built: Build) -> None:
    assert built("pooled")[1].effective_precision() == "fp32"


def test_an_fp32_engine_runs_wholly_in_the_precision_that_was_asked_for(built: Build) -> None:
    assert built("pooled")[0].precision_ratio == 1.0


def test_a_product_with_a_bias_counts_in_the_8_bit_share(built: Build) -> None:
    assert built("mlp", "int8")[0].precision_ratio == 1.0


@pytest.mark.parametrize("option", [{"model_type": "transformer"}, {"preset": "mixed"}], ids=str)
def test_each_option_of_nncf_makes_another_engine_that_is_still_int8(built: Build, option: dict[str, Any]) -> None:
    _, engine, _ = built("mlp", "int8", **option)
    assert engine.effective_precision() == "int8"
    assert not torch.equal(answer(engine), answer(built("mlp", "int8")[1]))


def test_the_transformers_ways_are_only_taken_when_asked_for(built: Build) -> None:
    plain = built("mlp", "int8", model_type="none", preset="performance", ranges="all", fast_bias_correction=True)
    assert torch.equal(answer(plain[1]), answer(built("mlp", "int8")[1]))


def test_whole_ranges_keep_the_largest_activations_where_means_cut_them_off(tmp_path: Path) -> None:
    """One sample in eight is thirty times as large as the others."""
    rows = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    rows[::8] *= 30.0
    exported = export_own(models.mlp(), lambda n: rows[:n])
    value = rows[::8][:MAX_BATCH]
    wanted = run_eager(exported.module, value)
    errors = {}
    for ranges in ("all", "mean"):
        _, engine = exported.build(tmp_path / ranges, "openvino", "int8", ranges=ranges)
        errors[ranges] = float((engine.run(value)[0] - wanted).abs().max() / wanted.abs().max())
    assert errors["all"] < 0.5 * errors["mean"]


@pytest.mark.parametrize(("flags", "largest"), [({"avx2"}, 64), ({"avx2", "avx512_vnni"}, 127)])
def test_weights_have_7_bits_where_8_bit_products_would_overflow(
    flags: set[str], largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = Cpu(model="a CPU", flags=frozenset(flags))
    for module in (openvino_engine, openvino_model):
        monkeypatch.setattr(module, "this_cpu", lambda: cpu)
    exported = export_model("mlp")
    backend = OpenVinoBackend()
    backend.build(exported.program, exported.spec("openvino", "int8"), tmp_path, exported.calibration("int8"))
    model = import_openvino().Core().read_model(tmp_path / "model.xml")
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    weights = [op.get_data() for op in constants if op.get_element_type().get_type_name() == "i8"]
    assert len(weights) == 2
    assert max(int(np.abs(values.astype(int)).max()) for values in weights) in range(largest - 2, largest + 1)


# ---- the cache of compiled models ----------------------------------------------------------------------------------
@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Engine folders with their manifests, as the build stage makes them; each is built once."""
    base, known = tmp_path_factory.mktemp("stored"), dict[str, Path]()

    def make(name: str = "pooled", precision: str = "fp32") -> Path:
        key = f"{name}-{precision}"
        if key not in known:
            exported, known[key] = export_model(name), base / key
            spec = exported.spec("openvino", precision)
            build_folder(exported.program, spec, known[key], "g", "w", exported.calibration(precision))
        return known[key]

    return make


def load(folder: Path, precision: str = "fp32", threads: int = 1, **options: Any) -> Engine:
    spec = replace(export_model("pooled").spec("openvino", precision, **options), threads=threads)
    return OpenVinoBackend().load(folder, spec)


def blobs(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.blob"))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_second_load_needs_no_compilation_and_answers_alike(
    precision: str, cache: Path, stored: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "engine"
    shutil.copytree(stored("pooled", precision), folder)
    load(folder, precision).close()
    kept = blobs(cache)
    assert len(kept) == 2, "one for every batch, one for batch 1"
    for name in ("model.xml", "model.bin"):
        (folder / name).unlink()
    engine = load(folder, precision)
    assert engine.effective_precision() == precision
    assert [reasons_against(export_model("pooled"), engine, precision, rows) for rows in (1, 5)] == [(), ()]
    assert blobs(cache) == kept


@pytest.mark.parametrize("is_whole", [False, True])
def test_what_is_damaged_or_refused_is_compiled_anew(is_whole: bool, cache: Path, stored: Callable[..., Path]) -> None:
    load(stored()).close()
    for blob in blobs(cache):
        blob.write_bytes(b"of another release")
        if is_whole:
            blob.with_suffix(".sha256").write_text(hashlib.sha256(b"of another release").hexdigest())
    assert reasons_against(export_model("pooled"), load(stored()), "fp32") == ()
    assert all(blob.stat().st_size > 1000 for blob in blobs(cache))


def test_other_threads_options_or_files_never_share_a_compiled_model(cache: Path, stored: Callable[..., Path]) -> None:
    counts = []
    for changed in ({}, {"threads": 2}, {"pinning": True}, {"batch_1": False}):
        load(stored(), **changed).close()
        counts.append(len(blobs(cache)))
    assert counts == [2, 4, 6, 6]
    load(stored("pooled", "int8"), "int8").close()
    assert len(blobs(cache)) == 8


@pytest.mark.parametrize(("options", "count"), [({"batch_1": False}, 1), ({"cache": False}, 0)])
def test_one_model_leaves_one_blob_and_a_cache_that_is_off_none(
    options: dict[str, Any], count: int, cache: Path, stored: Callable[..., Path]
) -> None:
    load(stored(), **options).close()
    assert len(blobs(cache)) == count


def test_a_model_with_a_free_axis_has_none_for_batch_1(cache: Path, tmp_path: Path) -> None:
    rows = [(torch.rand(3, length, 4),) for length in (2, 9)]
    module, specs = nn.Linear(4, 2).eval(), input_specs(rows, None, ["input"])
    program = export_program(module, rows[0][0], specs, MAX_BATCH)
    exported = Exported(module, lambda n: torch.rand(n, 7, 4), specs, program)
    build_folder(program, exported.spec("openvino"), tmp_path / "engine", "g", "w")
    assert len(blobs(cache)) == 0, "a folder without its manifest is not known yet"
    engine = OpenVinoBackend().load(tmp_path / "engine", exported.spec("openvino"))
    assert [reasons_against(exported, engine, "fp32", n) for n in (1, 5)] == [(), ()]
    assert len(blobs(cache)) == 1


def test_without_a_place_for_it_nothing_is_kept(
    stored: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    load(stored()).close()
    assert not list(tmp_path.iterdir())
    assert {path.name for path in stored().iterdir()} == {"manifest.json", "model.bin", "model.xml"}


# ---- what is counted, and what is refused --------------------------------------------------------------------------
def test_flops_are_those_that_torch_counts() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 2, 3, stride=2), nn.Flatten(), nn.Linear(2, 3))
    exported = export_own(layers, lambda n: torch.rand(n, 4, 6, 6))
    model = openvino_model.convert(exported.program, exported.spec("openvino"))
    found = sum(operator_flops(op) for op in model.get_ops())
    assert found == sum(flops_of_nodes(exported.program).values()) > 0


def test_an_operator_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as caught:
        export_model("inverse").build(tmp_path, "openvino")
    assert "cannot convert this one" in caught.value.message
    assert "linalg_inv" in caught.value.message


def test_an_input_that_nothing_feeds_is_refused(tmp_path: Path) -> None:
    exported = export_model("mlp")
    exported.build(tmp_path, "openvino", "fp32")
    spec = exported.spec("openvino")
    other = replace(spec, inputs=tuple(replace(tensor, name="picture") for tensor in spec.inputs))
    with pytest.raises(BuildFailed, match=r"reads .*, the declared inputs are called picture"):
        OpenVinoBackend().load(tmp_path, other)
