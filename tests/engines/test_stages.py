"""The stages that use this room: export, from the user's pipeline to a program, and build, from there to a folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from plaster_ops.data.samples import SampleKeeper
from plaster_ops.engines.artifact import verify
from plaster_ops.engines.registry import load_engine
from plaster_ops.errors import ArtifactTampered, BuildFailed, PipelineError
from plaster_ops.flow.stages import build, export
from tests.engines import models

events: list[Any] = []


class Brought:
    """A pipeline as a user writes it, around one of the models; `score` and `data` are not asked for here."""

    score = None

    def __init__(self, model: Any, inputs: Any) -> None:
        self._model, self._inputs = model, inputs

    def model(self) -> nn.Module:
        return self._model() if callable(self._model) else self._model

    def data(self, window: object) -> object:
        raise AssertionError(f"the export reads no data, was given {window}")

    def sample_batch(self, n: int) -> Any:
        return self._inputs(n)


sequence = Brought(models.Sequence, models.sequences)
named = Brought(models.TwoByTwo, models.named_inputs)
branching = Brought(models.Branching, models.mlp_inputs)
too_few = Brought(models.mlp, lambda _: models.mlp_inputs(1))
no_module = Brought(lambda: "model", models.mlp_inputs)


def spec_of(name: str, tmp_path: Path, weights: nn.Module) -> dict[str, Any]:
    save_model(weights, str(tmp_path / "weights.safetensors"))
    return {
        "reference": f"tests.engines.test_stages:{name}",
        "project": str(Path(__file__).parents[2]),
        "weights": str(tmp_path / "weights.safetensors"),
        "samples": None,
        "max_batch": 8,
        "device": "cpu",
        "window": {"learned": None, "seen": None, "cut": None, "end": None},
    }


def build_spec(exported: dict[str, Any], out: Path, backend: str, **options: Any) -> dict[str, Any]:
    fields = {"precision": "fp32", "device": "cpu", "batch": [1, 4, 8], "threads": 1}
    return {
        "program": exported["program"],
        "spec": fields | {"backend": backend, "inputs": exported["inputs"], "options": options},
        "weights_digest": exported["weights_digest"],
        "graph_digest": exported["graph_digest"],
        "out": str(out),
    }


@pytest.fixture(scope="module")
def exported_dict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("export")
    result = export.run(spec_of("named", folder, models.TwoByTwo()), folder, events.append)
    return json.loads(json.dumps(result))


def test_an_export_says_all_that_later_stages_need(tmp_path: Path) -> None:
    trained = models.Sequence()
    keeper = SampleKeeper()
    for length in (5, 12, 5):
        keeper.add(models.sequences(2, length))
    keeper.save(tmp_path / "samples.safetensors")
    spec = spec_of("sequence", tmp_path, trained) | {"samples": str(tmp_path / "samples.safetensors")}
    result = export.run(spec, tmp_path, events.append)
    assert [tensor["name"] for tensor in result["inputs"]] == ["tokens", "padding"]
    assert [tensor["ranges"] for tensor in result["inputs"]] == [[[5, 12]], [[5, 12]]]
    assert result["outputs"] == ["0", "1"]
    assert result["torch"] == torch.__version__
    assert result["facts"]["params_count"] == sum(p.numel() for p in trained.parameters())
    assert Path(result["program"]).is_file()


def test_the_exported_weights_are_the_trained_ones_and_both_digests_tell(tmp_path: Path) -> None:
    results = []
    for k in range(2):
        folder = tmp_path / str(k)
        folder.mkdir()
        results.append(export.run(spec_of("named", folder, models.TwoByTwo()), folder, events.append))
    assert results[0]["graph_digest"] == results[1]["graph_digest"]
    assert results[0]["weights_digest"] != results[1]["weights_digest"]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="do not fit"):
        export.run(spec_of("named", tmp_path, models.mlp()), tmp_path, events.append)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(BuildFailed, match="do not fit"):
        export.run(
            spec_of("named", tmp_path, models.mlp()) | {"weights": str(tmp_path / "none")}, tmp_path, events.append
        )


def test_a_model_that_cannot_be_exported_is_named_with_its_line(tmp_path: Path) -> None:
    spec = spec_of("branching", tmp_path, models.mlp())
    save_file({}, tmp_path / "weights.safetensors")
    with pytest.raises(BuildFailed, match=r"models\.py"):
        export.run(spec, tmp_path, events.append)


@pytest.mark.parametrize(("name", "words"), [("too_few", r"sample_batch\(3\)"), ("no_module", "returned str")])
def test_a_pipeline_that_breaks_its_word_is_told_so(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=words):
        export.run(spec_of(name, tmp_path, models.mlp()), tmp_path, events.append)


@pytest.mark.parametrize(("fails", "tried"), [((), ["cuda:0"]), (("cuda:0",), ["cuda:0", "cpu"])])
def test_eager_is_built_where_the_engine_will_run_or_on_the_cpu_where_it_does_not_run_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: tuple[str, ...], tried: list[str]
) -> None:
    devices: list[str] = []

    def built(_program: Any, wanted: Any, *_: Any) -> None:
        devices.append(wanted.device)
        if wanted.device in fails:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(export, "build_folder", built)
    spec = spec_of("named", tmp_path, models.TwoByTwo()) | {"eager": {"threads": 1, "device": "cuda:0"}}
    assert export.run(spec, tmp_path, events.append)["eager"] == str(tmp_path / "eager")
    assert devices == tried


def test_eager_that_does_not_run_on_the_cpu_either_fails_the_export(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def built(*_: Any) -> None:
        raise BuildFailed("no", "nothing")

    monkeypatch.setattr(export, "build_folder", built)
    spec = spec_of("named", tmp_path, models.TwoByTwo()) | {"eager": {"threads": 1, "device": "cpu"}}
    with pytest.raises(BuildFailed, match="no"):
        export.run(spec, tmp_path, events.append)


def test_a_built_folder_verifies_loads_and_answers(exported_dict: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "engine"
    result = build.run(build_spec(exported_dict, out, "openvino"), tmp_path, events.append)
    manifest = verify(out)
    assert json.loads(json.dumps(result))["digest"] == manifest.digest
    assert result["build_s"] > 0
    assert result["engine_bytes"] == sum(f.stat().st_size for f in out.iterdir() if f.name != "manifest.json")
    assert manifest.effective_precision == "fp32"
    assert dict(manifest.versions).keys() == {"openvino", "nncf", "torch", "python"}
    assert manifest.outputs == ("value", "choice")
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    inputs = models.named_inputs(3)
    engine = load_engine(out)
    assert [tuple(t.shape) for t in engine.run(*inputs.values())] == [(3,), (3,)]
    engine.close()


def test_a_changed_engine_is_never_loaded(exported_dict: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "engine"
    build.run(build_spec(exported_dict, out, "eager"), tmp_path, events.append)
    with (out / "program.pt2").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\1\2\3")
    with pytest.raises(ArtifactTampered, match=r"program\.pt2"):
        load_engine(out)


def test_a_plugin_of_ones_own_is_built_by_its_reference(exported_dict: dict[str, Any], tmp_path: Path) -> None:
    reference = "tests.engines.doubles:SpinningBackend"
    spec = build_spec(exported_dict, tmp_path / "engine", reference, inner="openvino", slow_ratio=0.2)
    result = build.run(spec, tmp_path, events.append)
    assert result["spec"]["backend"] == reference
    engine = load_engine(tmp_path / "engine")
    assert len(engine.run(*models.named_inputs(2).values())) == 2


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("AbsentBackend", "no such device"),
        ("CrashingBackend", "ValueError: tactic 12 not found"),
        ("RefusingBackend", "operator Foo is unknown"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_no_folder(
    backend: str, words: str, exported_dict: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(BuildFailed, match=words):
        build.run(
            build_spec(exported_dict, tmp_path / "engine", f"tests.engines.doubles:{backend}"), tmp_path, events.append
        )
    assert not list(tmp_path.iterdir())
