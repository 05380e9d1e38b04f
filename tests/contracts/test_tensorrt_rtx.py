"""TensorRT-RTX builds without a GPU and tells how much of a graph it takes; it runs where it can, and says so."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import helper

from plaster_ops.engines import tensorrt_rtx_engine
from plaster_ops.engines.artifact import read_manifest
from plaster_ops.engines.facts import count_ops
from plaster_ops.engines.onnx_graph import load_graph, write_onnx
from plaster_ops.engines.registry import find_backend
from plaster_ops.engines.tensorrt_rtx_engine import TensorRtRtxBackend, parser_coverage
from plaster_ops.errors import BuildFailed, RefitUnsupported, SettingsError
from plaster_ops.flow.stages.build import NOT_READ_BACK, build_folder
from plaster_ops.ports import Coverage, EngineSpec
from tests.engines.conftest import Exported, export_model

BACKEND = TensorRtRtxBackend()
AVAILABLE = BACKEND.probe()

pytestmark = [
    pytest.mark.skipif(not AVAILABLE.ok, reason=AVAILABLE.reason),
]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is visible, and these are about having none")

Built = tuple[Coverage, Path]
Build = Callable[[str, str], Built]


def spec_of(exported: Exported, precision: str = "fp32", device: str = "cpu", **options: Any) -> EngineSpec:
    """As the ladder asks for it: `device` is where the engines of the pipeline run, "cpu" where no GPU is visible."""
    return replace(exported.spec("tensorrt_rtx", precision, **options), device=device)


def build_into(folder: Path, name: str, precision: str = "fp32", device: str = "cpu", **options: Any) -> Coverage:
    exported = export_model(name)
    folder.mkdir(parents=True, exist_ok=True)
    spec = spec_of(exported, precision, device, **options)
    return BACKEND.build(exported.program, spec, folder, exported.calibration(precision))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Coverage and folder of a model; each is built once."""
    known: dict[tuple[str, str], Built] = {}

    def build(name: str, precision: str) -> Built:
        if (name, precision) not in known:
            folder = tmp_path_factory.mktemp("rtx") / "engine"
            known[name, precision] = (build_into(folder, name, precision), folder)
        return known[name, precision]

    return build


# ---- building without a GPU ----------------------------------------------------------------------------------------
def test_the_library_is_here_and_says_what_it_builds() -> None:
    able = BACKEND.capabilities()
    assert able.precisions == ("fp32", "fp16", "bf16", "int8")
    assert able.devices == ("cuda",)
    assert able.refit == "none"
    assert find_backend("tensorrt_rtx").name == "tensorrt_rtx"
    assert dict(AVAILABLE.versions).keys() == {"tensorrt_rtx", "onnx", "onnxscript", "torch"}


CASES = [("mlp", "fp32"), ("mlp", "fp16"), ("mlp", "bf16"), ("mlp", "int8")]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_precision_is_built_without_a_gpu_and_the_coverage_adds_up(
    built: Build, name: str, precision: str
) -> None:
    coverage, folder = built(name, precision)
    assert [path.name for path in folder.iterdir()] == ["model.plan"]
    assert (folder / "model.plan").stat().st_size > 1000
    assert [path.name for path in folder.parent.iterdir()] == ["engine"], "nothing of the work is left behind"
    assert coverage.ops_total == count_ops(export_model(name).program)
    assert coverage.ops_in_engine == coverage.ops_supported == coverage.ops_total
    assert (coverage.flops_ratio, coverage.ops_ratio) == (1.0, 1.0)
    assert (coverage.engines, coverage.segments, coverage.fallback_ops, coverage.boundary_bytes) == (1, 0, (), 0)


def test_the_precisions_make_different_plans(built: Build) -> None:
    plans = {precision: (built("mlp", precision)[1] / "model.plan").read_bytes() for _, precision in CASES[:3]}
    assert len(set(plans.values())) == 3


def test_for_a_gpu_too_the_plan_is_in_the_precision_that_was_asked_for(built: Build, tmp_path: Path) -> None:
    build_into(tmp_path / "engine", "mlp", "bf16", "cuda:0")
    assert (tmp_path / "engine" / "model.plan").read_bytes() == (built("mlp", "bf16")[1] / "model.plan").read_bytes()


@pytest.mark.parametrize("precision", ["bf16"])
def test_a_mean_over_the_picture_is_built_in_half_precision(built: Build, precision: str) -> None:
    assert built("pooled", precision)[0].flops_ratio == 1.0


@no_gpu
def test_the_build_stage_keeps_it_without_reading_it_back(tmp_path: Path) -> None:
    exported = export_model("mlp")
    manifest = build_folder(exported.program, spec_of(exported), tmp_path / "engine", "g", "w")
    assert manifest.effective_precision == NOT_READ_BACK
    assert read_manifest(tmp_path / "engine").coverage.flops_ratio == 1.0
    assert manifest.coverage.time_ratio is None


# ---- what it cannot take -------------------------------------------------------------------------------------------
def with_operator(content: bytes, position: int, op_type: str = "Twist") -> bytes:
    """The model with one operator that nobody knows after the node at that position."""
    model = onnx.load_model_from_string(content)
    nodes = list(model.graph.node)
    made = nodes[position].output[0]
    for node in nodes:
        for k, name in enumerate(node.input):
            if name == made:
                node.input[k] = "twisted"
    foreign = helper.make_node(op_type, [made], ["twisted"], name="foreign", domain="mine")
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: position + 1], foreign, *nodes[position + 1 :]])
    shape = next((v for v in model.graph.value_info if v.name == made), None)
    if shape is not None:
        copied = onnx.ValueInfoProto()
        copied.CopyFrom(shape)
        copied.name = "twisted"
        model.graph.value_info.append(copied)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return bytes(model.SerializeToString())


def renamed(content: bytes, kinds: Mapping[int, str]) -> bytes:
    """The model with operators that nobody knows in place of those at these positions."""
    model = onnx.load_model_from_string(content)
    for position, op_type in kinds.items():
        model.graph.node[position].op_type = op_type
    return bytes(model.SerializeToString())


def refusal(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a build of `mlp` is refused with where its ONNX form is this one."""
    monkeypatch.setattr(tensorrt_rtx_engine, "_onnx", lambda *_: content)
    with pytest.raises(BuildFailed) as caught:
        build_into(folder / "engine", "mlp")
    return caught.value.message


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """`mlp` as ONNX: two products with a Relu between them."""
    exported = export_model("mlp")
    file = tmp_path_factory.mktemp("plain") / "model.onnx"
    write_onnx(exported.program, spec_of(exported), file)
    assert [node.op_type for node in load_graph(file).node] == ["Gemm", "Relu", "Gemm"]
    return file.read_bytes()


def test_one_unknown_operator_cuts_the_graph_in_two_and_both_products_stay_inside(plain: bytes) -> None:
    coverage = parser_coverage(with_operator(plain, 1), export_model("mlp").program)
    assert coverage.fallback_ops == ("Twist",)
    assert (coverage.engines, coverage.segments) == (2, 1)
    assert coverage.flops_ratio == 1.0
    assert 0 < coverage.ops_in_engine < coverage.ops_total
    assert coverage.boundary_bytes == 2 * 16 * 4, "16 numbers out of the first piece, and 16 into the second"


def test_an_unknown_product_costs_its_share_of_the_flops(plain: bytes) -> None:
    """The second product, 16 x 4 after 6 x 16, under a name that only ONNX Runtime knows."""
    coverage = parser_coverage(renamed(plain, {2: "FusedMatMul"}), export_model("mlp").program)
    assert (coverage.engines, coverage.segments, coverage.fallback_ops) == (1, 1, ("FusedMatMul",))
    assert coverage.flops_ratio == pytest.approx(96 / 160)


def test_a_refused_build_names_the_operator_and_what_would_have_been_taken(
    plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal(with_operator(plain, 1), tmp_path, monkeypatch)
    assert "cannot take Twist: " in message
    assert "1.000 of the FLOPs in 2 pieces would have been its own" in message


def test_a_refused_build_leaves_nothing_behind(plain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Twist" in refusal(with_operator(plain, 1), tmp_path, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    assert not list((tmp_path / "engine").iterdir())


def test_a_graph_that_is_taken_whole_has_nothing_outside(plain: bytes) -> None:
    coverage = parser_coverage(plain, export_model("mlp").program)
    assert (coverage.engines, coverage.segments, coverage.fallback_ops, coverage.boundary_bytes) == (1, 0, (), 0)


def test_a_graph_without_any_known_operator_is_wholly_outside(plain: bytes) -> None:
    coverage = parser_coverage(renamed(plain, {0: "Twist", 1: "Turn", 2: "Twist"}), export_model("mlp").program)
    assert (coverage.engines, coverage.ops_in_engine, coverage.flops_ratio) == (0, 0, 0.0)
    assert coverage.fallback_ops == ("Turn", "Twist")


# ---- what is refused -----------------------------------------------------------------------------------------------
@no_gpu
def test_without_a_gpu_it_is_no_candidate_and_does_not_load(built: Build) -> None:
    assert not BACKEND.capabilities().runs_here
    with pytest.raises(BuildFailed, match="needs an NVIDIA GPU to run, none is visible") as caught:
        BACKEND.load(built("mlp", "fp32")[1], spec_of(export_model("mlp")))
    assert caught.value.next_step == "it builds here only"


def test_new_weights_are_never_put_into_a_plan(tmp_path: Path) -> None:
    exported = export_model("mlp")
    engine: Any = None
    with pytest.raises(RefitUnsupported, match="not built refittable"):
        BACKEND.refit(engine, exported.program, spec_of(exported), tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("workspace", 1, "'workspace' is unknown to backend 'tensorrt_rtx'"),
        ("tensorrt_rtx.workspace", 1, "is unknown"),
        ("workspace_bytes", "1 GB", "is of type str"),
        ("workspace_bytes", 1.5, "is of type float"),
    ],
)
def test_an_option_that_it_does_not_take_is_refused_before_anything_is_built(
    name: str, value: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=words):
        build_into(tmp_path, "mlp", **{name: value})
    assert not list(tmp_path.iterdir())


def test_too_little_scratch_memory_is_told_in_the_builders_words(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"cannot build the engine: .*workspace"):
        build_into(tmp_path / "engine", "mlp", workspace_bytes=1)
    assert not list((tmp_path / "engine").iterdir())


@pytest.mark.parametrize("precision", ["fp8", "int3"])
def test_a_precision_that_it_does_not_build_is_refused_by_name(precision: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=f"cannot be built as {precision}"):
        build_into(tmp_path, "mlp", precision)


def test_int8_without_inputs_to_calibrate_with_is_refused(tmp_path: Path) -> None:
    exported = export_model("mlp")
    (tmp_path / "engine").mkdir()
    with pytest.raises(BuildFailed, match="calibrate"):
        BACKEND.build(exported.program, spec_of(exported, "int8"), tmp_path / "engine", ())
