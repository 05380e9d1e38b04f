"""What ONNX Runtime makes of a model at 8 bits, what its files hold, and what is read from an ONNX graph."""

import json
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from plaster_ops.engines import onnx_engine
from plaster_ops.engines.cpu import Cpu
from plaster_ops.engines.onnx_engine import OnnxBackend
from plaster_ops.engines.onnx_graph import boundary_bytes, count_kinds, flops_of_nodes, write_onnx
from plaster_ops.errors import BuildFailed, SettingsError
from tests.engines import models
from tests.engines.conftest import Build, Exported, build_once, export_model, export_own, reasons_against


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Coverage, engine and folder of a model; each is built once."""
    return build_once(lambda: tmp_path_factory.mktemp("onnxruntime"), "onnxruntime", "int8", exported_model)


class Masked(nn.Module):
    """Scores of which one in three is masked by a large negative number before a softmax over them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.score = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        masked = 10.0 * self.score(x) + torch.where(x > 0.4, -1e4, 0.0)
        return self.head(torch.softmax(masked, 1))


@cache
def exported_model(name: str) -> Exported:
    return export_own(Masked()) if name == "masked" else export_model(name)


def stored_graph(folder: Path) -> Any:
    return onnx.load(folder / "model.onnx").graph


def kinds(folder: Path) -> set[str]:
    return {node.op_type for node in stored_graph(folder).node}


def tensors(folder: Path, dtype: type) -> list[Any]:
    found = [numpy_helper.to_array(initializer) for initializer in stored_graph(folder).initializer]
    return [values for values in found if values.dtype == dtype]


# ---- 8 bits --------------------------------------------------------------------------------------------------------
def test_int8_is_quantised_once_and_for_all_and_never_while_it_runs(built: Build) -> None:
    coverage, engine, folder = built("pooled")
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds(folder)
    ran = set(json.loads((folder / "operators.json").read_text()))
    assert not {kind for kind in kinds(folder) | ran if "Dynamic" in kind or kind.endswith("Integer")}
    assert {"QLinearConv", "QGemm"} <= ran
    assert engine.effective_precision() == "int8"
    assert coverage.precision_ratio == 1.0
    assert reasons_against(export_model("pooled"), engine, "int8") == ()


def test_the_same_inputs_are_answered_alike_beside_whatever_others(built: Build) -> None:
    """Scales that were taken from the batch would differ with it."""
    _, engine, _ = built("pooled")
    quiet, loud = models.pictures(1), 50.0 * models.pictures(1)
    assert torch.equal(engine.run(quiet)[0], engine.run(torch.cat([quiet, loud]))[0][:1])


@pytest.mark.parametrize(("flags", "largest"), [({"avx2"}, 64), ({"avx2", "avx512_vnni"}, 127)])
def test_weights_have_7_bits_where_8_bit_products_would_overflow(
    flags: set[str], largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_engine, "this_cpu", lambda: Cpu(model="a CPU", flags=frozenset(flags)))
    export_model("mlp").build(tmp_path, "onnxruntime", "int8")
    weights = [values for values in tensors(tmp_path, np.int8) if values.ndim == 2]
    assert len(weights) == 2
    assert max(int(np.abs(values.astype(int)).max()) for values in weights) in (largest - 1, largest)


@pytest.mark.parametrize("per_channel", [True, False])
def test_each_channel_of_a_weight_has_a_scale_of_its_own_unless_that_is_switched_off(
    built: Build, per_channel: bool
) -> None:
    folder = built("pooled", **({} if per_channel else {"per_channel": False}))[2]
    per_weight = {values.size for values in tensors(folder, np.int8) if values.ndim == 1}
    assert (16 in per_weight) is per_channel


@pytest.mark.parametrize(("options", "dtype"), [({}, np.uint8), ({"activations": "int8"}, np.int8)])
def test_activations_are_of_the_type_that_was_asked_for(built: Build, options: dict[str, Any], dtype: type) -> None:
    folder = built("two", **options)[2]
    graph = stored_graph(folder)
    zero_points = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    found = {numpy_helper.to_array(i).dtype for i in graph.initializer if i.name in zero_points}
    assert found == {np.dtype(dtype)}


def softmax_is_quantised(folder: Path) -> bool:
    graph = stored_graph(folder)
    (softmax,) = (node for node in graph.node if node.op_type == "Softmax")
    return any(softmax.input[0] in node.output for node in graph.node if node.op_type == "DequantizeLinear")


def test_auto_leaves_the_others_in_fp32_where_a_mask_takes_all_steps(built: Build) -> None:
    exported = exported_model("masked")
    assert reasons_against(exported, built("masked", operators="all")[1], "int8") != ()
    assert softmax_is_quantised(built("masked", operators="all")[2])
    _, engine, _ = built("masked")
    assert reasons_against(exported, engine, "int8") == ()
    assert engine.effective_precision() == "int8"
    assert not softmax_is_quantised(built("masked")[2])


def test_a_graph_that_was_not_optimised_does_not_pretend_to_run_in_8_bits(built: Build) -> None:
    coverage, engine, _ = built("two", graph_optimization="disabled")
    assert engine.effective_precision() == "fp32"
    assert coverage.precision_ratio == 0.0


# ---- fp32, options, files ------------------------------------------------------------------------------------------
def test_fp32_holds_no_quantised_operator_and_says_so(built: Build) -> None:
    coverage, engine, folder = built("mlp", "fp32")
    assert not {kind for kind in kinds(folder) if "Quantize" in kind}
    assert (engine.effective_precision(), coverage.precision_ratio) == ("fp32", 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("graph_optimization", "most"),
        ("activations", "uint4"),
        ("operators", "some"),
        ("spinning", 1),
        ("per_channel", "yes"),
    ],
)
def test_an_option_of_another_kind_is_refused_before_anything_is_built(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"engine option {name} = {value!r}"):
        export_model("mlp").build(tmp_path, "onnxruntime", **{name: value})
    assert not list(tmp_path.iterdir())


def test_weights_of_any_size_lie_inside_the_one_file(tmp_path: Path) -> None:
    """Exporters put large tensors beside the model, where nothing would find them once it is moved."""
    exported = export_own(nn.Sequential(nn.Linear(6, 20_000), nn.ReLU(), nn.Linear(20_000, 4)))
    _, engine = exported.build(tmp_path / "engine", "onnxruntime")
    engine.close()
    (tmp_path / "engine").rename(tmp_path / "moved")
    assert {path.name for path in (tmp_path / "moved").iterdir()} == {"model.onnx", "operators.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    moved = OnnxBackend().load(tmp_path / "moved", exported.spec("onnxruntime"))
    assert reasons_against(exported, moved, "fp32") == ()


def test_of_a_quantised_model_nothing_else_is_left_either(built: Build) -> None:
    folder = built("pooled")[2]
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "operators.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["engine"]


def test_more_weights_than_one_file_holds_are_refused_with_their_size(tmp_path: Path) -> None:
    program: Any = SimpleNamespace(state_dict={"weight": torch.zeros(1).expand(600_000_000)})
    with pytest.raises(BuildFailed, match=r"2\.4 GB of weights do not fit one ONNX file of 2 GB"):
        write_onnx(program, export_model("mlp").spec("onnxruntime"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_operator_without_a_counterpart_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"has no ONNX form.*linalg_inv"):
        export_model("inverse").build(tmp_path, "onnxruntime")


@pytest.mark.parametrize("text", ["", "[1]", '{"Gemm": "many"}', None])
def test_a_folder_whose_list_of_operators_is_damaged_does_not_load(
    text: str | None, built: Build, tmp_path: Path
) -> None:
    folder = tmp_path / "engine"
    shutil.copytree(built("mlp", "fp32")[2], folder)
    file = folder / "operators.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(BuildFailed, match=str(file)):
        OnnxBackend().load(folder, export_model("mlp").spec("onnxruntime"))


def test_an_input_that_the_model_does_not_read_is_taken_and_passed_over(tmp_path: Path) -> None:
    class Ignoring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            del left
            return self.layer(right)

    exported = export_own(Ignoring(), lambda n: (torch.rand(n, 5), torch.rand(n, 3)))
    _, engine = exported.build(tmp_path / "engine", "onnxruntime", "int8")
    assert reasons_against(exported, engine, "int8") == ()


# ---- what is read from a graph -------------------------------------------------------------------------------------
def small_graph() -> Any:
    """x [n, 6] times w [6, 4] -> Relu -> Softmax, with names for every value in between."""
    values = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in ("h", "r", "y")}
    weights = numpy_helper.from_array(np.ones((6, 4), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Softmax", ["r"], ["y"], name="softmax"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 6])
    return helper.make_graph(nodes, "g", [x], [values["y"]], [weights], value_info=[values["h"], values["r"]])


def test_flops_and_kinds_are_those_of_a_hand_count() -> None:
    graph = small_graph()
    assert flops_of_nodes(graph) == {"product": 2 * 6 * 4}
    assert flops_of_nodes(graph, {"n": 3}) == {"product": 3 * 2 * 6 * 4}
    assert count_kinds(graph) == {"MatMul": 1, "Relu": 1, "Softmax": 1}


@pytest.mark.parametrize(
    ("kind", "weights", "result", "wanted"),
    [
        ("Conv", [8, 2, 3, 3], [8, 4, 4], 2 * (8 * 4 * 4) * (2 * 3 * 3)),
        ("ConvTranspose", [4, 8, 3, 3], [8, 8, 8], 2 * (4 * 6 * 6) * (8 * 3 * 3)),
    ],
)
def test_flops_of_a_convolution_are_counted_as_torch_counts_them(
    kind: str, weights: list[int], result: list[int], wanted: int
) -> None:
    """Four channels of 6 x 6: each result takes a kernel in two groups, or each input is spread over a kernel."""
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4, 6, 6])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", *result])
    node = helper.make_node(kind, ["x", "w"], ["y"], name="conv", group=2 if kind == "Conv" else 1)
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(np.ones(weights, np.float32), "w")])
    assert flops_of_nodes(graph) == {"conv": wanted}
    with FlopCounterMode(display=False) as counter:
        if kind == "Conv":
            nn.functional.conv2d(torch.ones(1, 4, 6, 6), torch.ones(weights), groups=2)
        else:
            nn.functional.conv_transpose2d(torch.ones(1, 4, 6, 6), torch.ones(weights))
    assert counter.get_total_flops() == wanted


@pytest.mark.parametrize(("inside", "wanted"), [([0, 1, 2], 0), ([], 0), ([0, 2], 32), ([0], 16), ([1], 32)])
def test_what_crosses_the_border_is_counted_once_for_one_sample(inside: list[int], wanted: int) -> None:
    assert boundary_bytes(small_graph(), inside) == wanted
