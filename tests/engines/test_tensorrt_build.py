"""The TensorRT backend's own side: what it gives the compiler, how it weighs what came back, and how it takes a refit.

torch_tensorrt cannot be imported without a GPU. `Stand` stands in for it: it takes the keywords of the list, cuts a
graph with torch's own splitter and computes with torch, so it shows nothing of TensorRT itself.
"""

import inspect
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.passes.split_utils import split_by_tags

from plaster_ops.engines import tensorrt_build, tensorrt_engine
from plaster_ops.engines.export import export_program, flatten_inputs, input_specs, run_eager
from plaster_ops.engines.facts import count_ops, is_operator
from plaster_ops.engines.lowering import flat_callable
from plaster_ops.engines.options import read_options
from plaster_ops.engines.quiet import foreign_warnings_ignored
from plaster_ops.engines.tensorrt_engine import TensorRtBackend, TensorRtEngine, cache_key
from plaster_ops.errors import BuildFailed, DataError, RefitUnsupported
from plaster_ops.ports import TensorSpec
from tests.engines.conftest import MAX_BATCH, Exported, export_model

LISTED = json.loads((Path(__file__).parent / "torch_tensorrt_api.json").read_text(encoding="utf-8"))


# ---- what is compiled -----------------------------------------------------------------------------------------------
def test_the_profile_is_traced_at_the_usual_batch_and_never_at_1_or_at_another_axis() -> None:
    def shapes(batch: tuple[int, int, int], *sizes: int | None) -> list[tuple[int, ...]]:
        tensor = TensorSpec(name="x", dtype="float32", shape=sizes, ranges=((1, 2),) * sizes.count(None))
        spec = replace(export_model("mlp").spec("tensorrt"), inputs=(tensor,), batch=batch)
        return tensorrt_build.usual_shapes(spec)

    assert shapes((1, 32, 64), 6) == [(32, 6)]
    assert shapes((1, 1, 64), 6) == [(2, 6)]
    assert shapes((1, 1, 1), 6) == [(2, 6)]
    assert shapes((1, 6, 64), 6) == [(5, 6)]
    assert shapes((1, 4, 8), None) == [(4, 2)]


@pytest.mark.parametrize(("name", "precision"), [("named", "fp32"), ("conv", "fp16"), ("sequence", "bf16")])
def test_the_typed_program_takes_flat_inputs_and_runs_in_its_precision(name: str, precision: str) -> None:
    exported = export_model(name)
    spec = exported.spec("tensorrt", precision)
    before = str(exported.program.graph)
    typed = tensorrt_build.typed_program(exported.program, spec, (), cast=True)
    found, share = tensorrt_build.typed_as(typed, precision)
    assert found == precision
    assert share == pytest.approx(1.0, abs=0.2)
    assert [tuple(tensor.shape) for tensor in typed.example_inputs[0]] == tensorrt_build.usual_shapes(spec)
    assert not tensorrt_build.lost_range(typed, spec)
    value = exported.inputs(3)
    wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
    got = flat_callable(typed)(*flatten_inputs(value))
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
    assert str(exported.program.graph) == before


def test_without_casts_the_graph_stays_in_fp32_for_the_compiler_to_cast() -> None:
    exported = export_model("conv")
    typed = tensorrt_build.typed_program(exported.program, exported.spec("tensorrt", "fp16"), (), cast=False)
    assert tensorrt_build.typed_as(typed, "fp16") == ("fp32", 0.0)


def has_modelopt() -> bool:
    try:
        return bool(version("nvidia-modelopt"))
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not has_modelopt(), reason="nvidia-modelopt is not installed")
@pytest.mark.parametrize("name", ["conv", "sequence"])
def test_fp8_puts_quantisers_before_both_factors_of_the_layers(name: str) -> None:
    exported = export_model(name)
    rows = [flatten_inputs(exported.inputs(8))]
    typed = tensorrt_build.typed_program(exported.program, exported.spec("tensorrt", "fp8"), rows, cast=True)
    quantisers = [node for node in typed.graph.nodes if "quantize_op" in str(node.target)]
    layers = [n for n in typed.graph.nodes if str(n.target) in ("aten.linear.default", "aten.conv2d.default")]
    assert len(quantisers) >= 2 * len(layers) > 0
    found, share = tensorrt_build.typed_as(typed, "fp8")
    assert found == "fp8"
    assert share is not None
    assert 0.8 < share <= 1.0
    assert tensorrt_build.typed_as(typed, "int8")[1] == 0.0


def test_layers_that_are_put_in_for_quantisers_compute_the_same() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv1d(2, 4, 3, stride=2, padding="valid", dilation=2, groups=2, bias=False)
            self.two = nn.Conv2d(1, 4, (1, 3), padding="same")
            self.three = nn.Linear(7, 5, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            seen = self.two(self.one(x).unsqueeze(1)).flatten(1, 2)
            return self.three(seen) @ self.three.weight

    example = torch.randn(3, 2, 17)
    module = Layers().eval()
    specs = input_specs([(example,)], None, ["x"])
    flat = tensorrt_build.with_layers(flat_callable(export_program(module, example, specs, 8)))
    kinds = [type(child).__name__ for _, child in flat.named_children() if not isinstance(child, torch.fx.GraphModule)]
    assert {"Conv1d", "Conv2d", "Linear"} <= set(kinds)
    torch.testing.assert_close(flat(example)[0], module(example))


def test_a_loaded_program_that_lost_the_range_of_an_axis_is_told_by_input_and_axis() -> None:
    exported = export_model("sequence")
    spec = exported.spec("tensorrt")
    assert not tensorrt_build.lost_range(exported.program, spec)
    longer = replace(spec.inputs[0], ranges=((4, 99),))
    found = tensorrt_build.lost_range(exported.program, replace(spec, inputs=(longer, spec.inputs[1])))
    assert found == "takes axis 1 of input 'tokens' as 4 to 14 only; it was built for 4 to 99"
    unbounded = SimpleNamespace(
        range_constraints={}, graph=exported.program.graph, graph_signature=exported.program.graph_signature
    )
    assert "as a size that nothing bounds" in tensorrt_build.lost_range(unbounded, spec)
    fixed = torch.export.export(exported.module, exported.inputs(3))
    assert "takes axis 0 of input 'tokens' as 3 to 3 only" in tensorrt_build.lost_range(fixed, spec)


# ---- the weighing of a cut ------------------------------------------------------------------------------------------
def cut(graph: torch.fx.GraphModule, outside: set[str]) -> Any:
    """The graph in pieces, as torch's splitter makes them for the partitioner: nodes of those kinds stay outside."""
    for node in reversed(graph.graph.nodes):
        if node.op != "output" and node.all_input_nodes and not node.users:
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    tags: list[str] = []
    for node in graph.graph.nodes:
        if node.op in ("call_function", "call_module"):
            where = "_run_on_gpu_" if any(kind in str(node.target) for kind in outside) else "_run_on_acc_"
            if not tags or not tags[-1].startswith(where):
                tags.append(f"{where}{len(tags)}")
            node.tag = tags[-1]
    return split_by_tags(graph, tags)


def lowered_model(name: str) -> torch.export.ExportedProgram:
    with foreign_warnings_ignored():
        return export_model(name).program.run_decompositions()


def test_a_whole_graph_in_one_engine_is_covered_whole() -> None:
    lowered = lowered_model("conv")
    total = count_ops(export_model("conv").program)
    coverage = tensorrt_build.cut_coverage(lowered, cut(lowered.module(), set()), total, 1.0)
    assert (coverage.ops_in_engine, coverage.ops_total, coverage.ops_supported) == (total, total, total)
    assert (coverage.engines, coverage.segments, coverage.fallback_ops) == (1, 0, ())
    assert (coverage.flops_ratio, coverage.boundary_bytes) == (1.0, 0)


def test_what_stays_outside_is_weighed_by_its_flops_and_by_what_crosses() -> None:
    lowered = lowered_model("conv")
    total = count_ops(export_model("conv").program)
    coverage = tensorrt_build.cut_coverage(lowered, cut(lowered.module(), {"relu"}), total, 0.9)
    assert (coverage.engines, coverage.segments, coverage.fallback_ops) == (2, 1, ("relu",))
    assert coverage.flops_ratio == 1.0
    assert coverage.boundary_bytes == 2 * 4 * 8 * 8 * 4
    assert coverage.ops_in_engine < total
    assert coverage.ops_supported == int(0.9 * total)
    assert coverage.uncounted_ops == ("relu",)
    lost = tensorrt_build.cut_coverage(lowered, cut(lowered.module(), {"addmm", "mm"}), total, 1.0)
    assert 0.0 < lost.flops_ratio < 1.0


def test_where_a_node_outside_is_none_of_the_programs_the_share_is_by_count_and_the_crossing_unknown() -> None:
    lowered = lowered_model("conv")
    parts = cut(lowered.module(), {"relu"})
    for node in parts._run_on_gpu_1.graph.nodes:
        if is_operator(node):
            node.name = "made_by_a_pass"
    coverage = tensorrt_build.cut_coverage(lowered, parts, 10, 1.0)
    assert coverage.boundary_bytes is None
    assert coverage.flops_ratio == pytest.approx(1.0 - 1.0 / sum(map(is_operator, lowered.graph.nodes)))


# ---- our side of the calls ------------------------------------------------------------------------------------------
class Piece(nn.Module):
    """Where the package puts an engine; here the graph itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.settings = SimpleNamespace(
            enable_experimental_decompositions=False,
            decompose_attention=False,
            torch_executed_ops=set(),
            min_block_size=1,
            require_full_compilation=False,
        )

    def forward(self, *inputs: Tensor) -> Any:
        return self.inner(*inputs)

    def get_layer_info(self) -> str:
        return json.dumps({"Layers": ["first", "second"]})


class Stand:
    """Stands in for torch_tensorrt of one release, on the CPU."""

    def __init__(self, release: str = "2.13.0", outside: set[str] | None = None) -> None:
        self.outside = outside or set()
        self.compiled_with: dict[str, Any] = {}
        self.saved_with: list[dict[str, Any]] = []
        self.mode = False
        self.modes: list[bool] = []
        self.Input = lambda **shapes: SimpleNamespace(**shapes)
        asked = LISTED["torch_tensorrt"]["torch_tensorrt.dynamo.compile"]
        keywords = [*asked["keywords"], *(k for k, found in asked["keywords_in"].items() if release in found)]
        kinds = inspect.Parameter
        compile_ = self._compiler()
        compile_.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                kinds("exported_program", kinds.POSITIONAL_OR_KEYWORD),
                *(kinds(keyword, kinds.KEYWORD_ONLY, default=None) for keyword in keywords),
                kinds("kwargs", kinds.VAR_KEYWORD),
            ]
        )
        self.dynamo = SimpleNamespace(
            compile=compile_,
            refit_module_weights=self.refit_module_weights,
            runtime=SimpleNamespace(TorchTensorRTModule=Piece),
            lowering=SimpleNamespace(
                get_decompositions=lambda **_: None,
                pre_export_lowering=lambda program, _: program,
                post_lowering=lambda graph, _: graph,
            ),
            partitioning=SimpleNamespace(
                get_graph_converter_support=lambda *_: (1, 1),
                fast_partition=lambda graph, **_: (cut(graph, self.outside), None),
            ),
        )
        self.runtime = SimpleNamespace(
            enable_cudagraphs=self.enable_cudagraphs,
            get_cudagraphs_mode=lambda: self.mode,
            set_cudagraphs_mode=self.set_cudagraphs_mode,
        )

    def _compiler(self) -> Any:
        def compile(program: Any, **settings: Any) -> Any:
            self.compiled_with = settings
            lowered = program.run_decompositions()
            parts = cut(lowered.module(), self.outside)
            for name, part in list(parts.named_children()):
                if "_run_on_acc" in name:
                    setattr(parts, name, Piece(part))
            return parts

        return compile

    def save(
        self,
        module: Any,
        file_path: str = "",
        *,
        output_format: str = "",
        arg_inputs: Any = None,
        dynamic_shapes: Any = None,
        extra_files: Any = None,
        **kwargs: Any,
    ) -> None:
        self.saved_with.append({"output_format": output_format, "extra_files": extra_files, **kwargs})
        if not isinstance(module, torch.export.ExportedProgram):
            module = torch.export.export(module, tuple(arg_inputs), dynamic_shapes=dynamic_shapes)
        torch.export.save(module, file_path, extra_files=extra_files)

    def load(self, file_path: str, extra_files: Any = None, **_: Any) -> Any:
        return torch.export.load(file_path, extra_files=extra_files)

    def refit_module_weights(self, module: Any, program: Any, *, verify_output: bool, in_place: bool) -> Any:
        del module
        assert (verify_output, in_place) == (False, False)
        assert isinstance(program, torch.export.ExportedProgram)
        return flat_callable(program)

    @contextmanager
    def enable_cudagraphs(self, _: Any) -> Iterator[None]:
        earlier, self.mode = self.mode, True
        yield
        self.mode = earlier

    def set_cudagraphs_mode(self, mode: bool) -> None:
        self.modes.append(mode)
        self.mode = mode


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """The backend with the stand-in on the CPU."""
    found = Stand()
    use(found, monkeypatch)
    return found


def use(found: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engine, "import_torch_tensorrt", lambda: found)
    monkeypatch.setattr(tensorrt_engine, "_indexed", lambda spec: spec)
    monkeypatch.setattr(tensorrt_build.torch.cuda, "device", lambda _: nullcontext())


def built(exported: Exported, folder: Path, precision: str = "fp32", **options: Any) -> tuple[Any, TensorRtEngine]:
    spec, backend = exported.spec("tensorrt", precision, **options), TensorRtBackend()
    folder.mkdir(exist_ok=True)
    return backend.build(exported.program, spec, folder, ()), backend.load(folder, spec)


@pytest.mark.usefixtures("stand")
@pytest.mark.parametrize(("name", "precision"), [("two", "fp32"), ("named", "bf16")])
def test_what_was_built_is_saved_with_its_ranges_and_loads_to_the_same_answers(
    name: str, precision: str, tmp_path: Path
) -> None:
    exported = export_model(name)
    coverage, engine = built(exported, tmp_path / "engine", precision)
    assert [path.name for path in (tmp_path / "engine").iterdir()] == ["model.ep"]
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    assert engine.effective_precision() == precision
    assert (coverage.engines, coverage.segments, coverage.layers) == (1, 0, 2)
    assert coverage.precision_ratio == pytest.approx(1.0, abs=0.2)
    for rows in (1, 4, MAX_BATCH):
        value = exported.inputs(rows)
        wanted = torch.utils._pytree.tree_leaves(run_eager(exported.module, value))
        for ours, theirs in zip(engine.run(*flatten_inputs(value)), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
    with pytest.raises(DataError):
        engine.run(*flatten_inputs(exported.inputs(MAX_BATCH + 1)))
    engine.close()


def test_the_compiler_is_given_typed_settings_and_never_a_causal_mask(stand: Stand, tmp_path: Path) -> None:
    built(export_model("mlp"), tmp_path / "engine", "fp16", workspace_bytes=5, refittable=False, full_compilation=True)
    given = stand.compiled_with
    assert given["attn_bias_is_causal"] is False
    assert given["pass_through_build_failures"] is True
    assert given["immutable_weights"] is True
    assert given["disable_tf32"] is True
    assert given["workspace_size"] == 5
    assert given["require_full_compilation"] is True
    assert "use_explicit_typing" not in given
    assert not {"cache_built_engines", "engine_cache_dir", "enable_autocast"} & given.keys()
    (shape,) = given["arg_inputs"]
    assert (shape.min_shape, shape.opt_shape, shape.max_shape) == ((1, 6), (4, 6), (MAX_BATCH, 6))
    assert shape.dtype is torch.float32


@pytest.mark.parametrize("release", ["2.11.0", "2.12.1"])
def test_strong_typing_is_asked_for_where_there_is_another(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(release)
    use(stand, monkeypatch)
    built(export_model("mlp"), tmp_path / "engine")
    assert stand.compiled_with["use_explicit_typing"] is True


def test_the_compilers_own_autocast_is_used_when_asked_for_and_outputs_keep_their_dtype(
    stand: Stand, tmp_path: Path
) -> None:
    exported = export_model("mlp")
    _, engine = built(exported, tmp_path / "engine", "fp16", typing="autocast")
    assert stand.compiled_with["enable_autocast"] is True
    assert stand.compiled_with["autocast_low_precision_type"] is torch.float16
    inner = engine.module
    engine.module = lambda *inputs: [output.half() for output in inner(*inputs)]
    assert engine.run(*flatten_inputs(exported.inputs(2)))[0].dtype is torch.float32


def test_refittable_engines_and_timings_are_kept_under_our_key(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASTER_CACHE", str(tmp_path / "cache"))
    exported = export_model("mlp")
    built(exported, tmp_path / "engine")
    own = tmp_path / "cache" / "tensorrt" / cache_key(exported.program, exported.spec("tensorrt"))
    assert Path(stand.compiled_with["engine_cache_dir"]).parent == own
    assert Path(stand.compiled_with["timing_cache_path"]).parent == own
    assert stand.compiled_with["cache_built_engines"] is stand.compiled_with["reuse_cached_engines"] is True
    assert stand.compiled_with["use_fast_partitioner"] is True
    built(exported, tmp_path / "engine", build_cache=False)
    assert "engine_cache_dir" not in stand.compiled_with


def test_engines_with_calibrated_scales_are_built_anew_each_time(tmp_path: Path) -> None:
    def settings(precision: str) -> dict[str, Any]:
        spec = replace(export_model("mlp").spec("tensorrt", precision), device="cuda:0")
        options = read_options(spec, TensorRtBackend().capabilities().options)
        return tensorrt_engine._compile_settings(Stand(), spec, options, tmp_path)

    assert settings("fp16")["reuse_cached_engines"] is True
    assert "reuse_cached_engines" not in settings("int8")


@pytest.mark.usefixtures("stand")
def test_a_build_that_found_the_builders_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTER_CACHE", str(tmp_path / "cache"))
    exported = export_model("mlp")
    coverage, _ = built(exported, tmp_path / "engine")
    assert coverage.from_cache is False
    own = tmp_path / "cache" / "tensorrt" / cache_key(exported.program, exported.spec("tensorrt"))
    (own / tensorrt_build.TIMINGS).write_text("t")
    coverage, _ = built(exported, tmp_path / "engine")
    assert coverage.from_cache is True


def test_a_model_of_which_nothing_became_an_engine_is_a_failed_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Stand(outside={"aten"}), monkeypatch)
    with pytest.raises(BuildFailed, match="took no operator"):
        built(export_model("mlp"), tmp_path / "engine")


def test_what_the_compiler_raises_is_told_in_one_line(stand: Stand, tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error\n  out of memory")

    fail.__signature__ = stand.dynamo.compile.__signature__  # type: ignore[attr-defined]
    stand.dynamo.compile = fail
    with pytest.raises(BuildFailed, match="tensorrt cannot compile the model: RuntimeError: CUDA error out of memory"):
        built(export_model("mlp"), tmp_path / "engine")


def test_operators_outside_the_engines_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Stand(outside={"relu"}), monkeypatch)
    coverage, _ = built(export_model("mlp"), tmp_path / "engine")
    assert (coverage.engines, coverage.segments, coverage.fallback_ops) == (2, 1, ("relu",))


def test_a_file_that_is_damaged_or_takes_less_than_the_spec_does_not_load(stand: Stand, tmp_path: Path) -> None:
    exported = export_model("mlp")
    built(exported, tmp_path / "engine")
    wider = replace(exported.spec("tensorrt"), batch=(1, 4, 4 * MAX_BATCH))
    with pytest.raises(BuildFailed, match="takes axis 0 of input"):
        TensorRtBackend().load(tmp_path / "engine", wider)
    (tmp_path / "engine" / "model.ep").write_bytes(b"PK")
    with pytest.raises(BuildFailed, match=r"model\.ep does not load here"):
        TensorRtBackend().load(tmp_path / "engine", exported.spec("tensorrt"))
    assert stand.saved_with[0]["output_format"] == "exported_program"


@pytest.mark.parametrize("own", [True, False])
def test_cuda_graphs_are_as_the_engine_wants_them_whatever_another_engine_left(
    own: bool, stand: Stand, tmp_path: Path
) -> None:
    exported = export_model("mlp")
    _, engine = built(exported, tmp_path / "engine", cuda_graphs=own)
    assert stand.mode is own
    stand.mode = not own
    engine.run(*flatten_inputs(exported.inputs(2)))
    assert (stand.modes, stand.mode) == ([own], own)
    engine.run(*flatten_inputs(exported.inputs(2)))
    assert stand.modes == [own]
    engine.close()
    assert stand.mode is False


def test_new_weights_are_taken_from_the_refitted_copy_and_its_file_is_written(stand: Stand, tmp_path: Path) -> None:
    exported, other = export_model("regression"), export_model("other_regression")
    _, engine = built(exported, tmp_path / "engine")
    engine.outside_weights = []  # the stand-in has no engine that could hold them
    (tmp_path / "new").mkdir()
    value = exported.inputs(3)
    before = engine.run(value)[0]
    call_s = TensorRtBackend().refit(engine, other.program, exported.spec("tensorrt"), tmp_path / "new")
    assert call_s >= 0.0
    torch.testing.assert_close(engine.run(value)[0], run_eager(other.module, value))
    assert not torch.allclose(engine.run(value)[0], before)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.ep"]
    assert stand.saved_with[-1]["extra_files"] == stand.saved_with[0]["extra_files"]


def test_a_refit_is_refused_with_the_reason_and_changes_nothing(stand: Stand, tmp_path: Path) -> None:
    exported, other = export_model("regression"), export_model("other_regression")
    _, engine = built(exported, tmp_path / "engine")
    (tmp_path / "new").mkdir()
    value = exported.inputs(3)
    before = engine.run(value)[0]

    def reason(found: Any, precision: str = "fp32", **options: Any) -> str:
        spec = exported.spec("tensorrt", precision, **options)
        with pytest.raises(RefitUnsupported) as caught:
            TensorRtBackend().refit(found, other.program, spec, tmp_path / "new")
        return caught.value.message

    assert "not built by tensorrt" in reason(object())
    assert "refittable = false" in reason(engine, refittable=False)
    assert "calibrated for the old weights" in reason(engine, "int8")
    assert "lies outside the engines" in reason(engine)
    engine.outside_weights = []

    def fail(*_: Any, verify_output: bool, in_place: bool) -> None:  # noqa: ARG001
        raise AssertionError("Refitting is not enabled")

    stand.dynamo.refit_module_weights = fail
    assert "does not refit the engine: AssertionError: Refitting is not enabled" in reason(engine)
    assert torch.equal(engine.run(value)[0], before)
    assert not list((tmp_path / "new").iterdir())


# ---- the engine cache -----------------------------------------------------------------------------------------------
def keeping(found: Stand, entries: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Makes the stand-in keep a file under each of those keys where it is told to; gives what each compile was told."""
    compiled, given = found.dynamo.compile, []

    @wraps(compiled)
    def compile(program: Any, **settings: Any) -> Any:
        given.append(settings)
        for entry in entries if "engine_cache_dir" in settings else ():
            folder = Path(settings["engine_cache_dir"]) / entry
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "blob.bin").write_text(entry)
        return compiled(program, **settings)

    monkeypatch.setattr(found.dynamo, "compile", compile)
    return given


def test_two_engines_that_share_an_entry_of_the_cache_are_built_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASTER_CACHE", str(tmp_path / "cache"))
    exported = export_model("conv")
    for entries, compiles in ((["one", "two"], 1), (["one"], 2)):
        found = Stand(outside={"aten.relu.default"})
        use(found, monkeypatch)
        given = keeping(found, entries, monkeypatch)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        coverage, _ = built(exported, tmp_path / f"engine{compiles}")
        assert coverage.engines == 2
        assert [("engine_cache_dir" in settings) for settings in given] == [True, False][:compiles]


def test_a_kept_engine_that_was_changed_is_never_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTER_CACHE", str(tmp_path / "cache"))

    def kept() -> Any:
        return tensorrt_build.kept_files(tmp_path / "engine", "key", timings=True)

    with kept() as folder:
        blob = folder / "engines" / "one" / "blob.bin"
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"built")
        (folder / tensorrt_build.TIMINGS).write_bytes(b"measured")
    with kept():
        assert blob.read_bytes() == b"built"
    blob.write_bytes(b"swapped")
    with kept():
        assert not blob.exists()
        assert (folder / tensorrt_build.TIMINGS).is_file()
