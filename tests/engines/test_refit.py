"""A refit is proved or refused: the graph, the weights, the answers before and after, the files that were written."""

from pathlib import Path

import pytest
import torch

from plaster_ops.engines.artifact import verify
from plaster_ops.engines.export import flatten_inputs, run_eager
from plaster_ops.engines.graph import all_weights, graph_digest, weights_digest
from plaster_ops.engines.refit import refit_folder, reuse_folder
from plaster_ops.engines.registry import load_engine
from plaster_ops.errors import ArtifactTampered, RefitUnsupported
from plaster_ops.flow.stages.build import build_folder
from tests.engines.conftest import Exported, export_model

PRONE = "tests.engines.doubles:ProneBackend"


def build(folder: Path, model: str = "pooled", backend: str = PRONE, **options: object) -> Exported:
    exported = export_model(model)
    program = exported.program
    digests = graph_digest(program), weights_digest(all_weights(program))
    build_folder(program, exported.spec(backend, **options), folder, *digests)
    return exported


def probes() -> list[tuple[torch.Tensor, ...]]:
    exported = export_model("pooled")
    return [flatten_inputs(exported.inputs(rows)) for rows in (1, 4)]


def refused(folder: Path, model: str, backend: str = PRONE, **options: object) -> str:
    build(folder / "old", backend=backend, **options)
    with pytest.raises(RefitUnsupported) as caught:
        refit_folder(folder / "old", export_model(model).program, folder / "new", probes())
    assert not (folder / "new").exists()
    assert verify(folder / "old").refits == 0
    return caught.value.message


def test_a_refitted_folder_answers_as_the_new_model_and_counts_its_refits(tmp_path: Path) -> None:
    build(tmp_path / "old")
    moved = export_model("moved")
    first = refit_folder(tmp_path / "old", moved.program, tmp_path / "new", probes())
    assert (first.manifest.refits, first.manifest.refit_s, first.call_s) == (1, 1e-4, 1e-4)
    assert first.rel_err <= 1e-6
    assert first.stage_s > first.call_s
    value = moved.inputs(3)
    torch.testing.assert_close(load_engine(tmp_path / "new").run(value)[0], run_eager(moved.module, value))
    again = refit_folder(tmp_path / "new", export_model("pooled").program, tmp_path / "third", probes())
    assert again.manifest.refits == 2
    assert again.manifest.key == first.manifest.key == verify(tmp_path / "old").key
    assert again.manifest.weights_digest == verify(tmp_path / "old").weights_digest


@pytest.mark.parametrize("model", ["strided", "sloped", "shifted", "conv"])
def test_another_graph_is_refused_though_its_weights_would_fit(model: str, tmp_path: Path) -> None:
    assert refused(tmp_path, model) == "the graph is another one"


def test_weights_that_equal_the_old_ones_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "pooled") == "the new weights equal the old: there is nothing to refit"


def test_a_backend_that_cannot_is_refused_by_name(tmp_path: Path) -> None:
    assert refused(tmp_path, "moved", backend="openvino") == "openvino cannot put new weights into a built engine"


def test_a_refit_that_does_nothing_is_caught(tmp_path: Path) -> None:
    assert "differs from eager" in refused(tmp_path, "moved", mode="nothing")


def test_a_refit_that_does_nothing_is_caught_even_where_it_would_not_be_seen_against_eager(tmp_path: Path) -> None:
    build(tmp_path / "old", mode="nothing")
    program = export_model("moved").program
    with pytest.raises(RefitUnsupported, match="did nothing: every answer is the old engine's"):
        refit_folder(tmp_path / "old", program, tmp_path / "new", probes(), limit=1e9)


def test_a_mix_of_old_and_new_weights_is_caught(tmp_path: Path) -> None:
    assert "differs from eager" in refused(tmp_path, "moved", mode="half")


def test_files_that_do_not_hold_what_was_refitted_are_caught(tmp_path: Path) -> None:
    assert refused(tmp_path, "moved", mode="files") == "the written files do not answer as the refitted engine does"


def test_without_inputs_there_is_no_proof_and_no_refit(tmp_path: Path) -> None:
    build(tmp_path / "old")
    with pytest.raises(RefitUnsupported, match="no inputs to verify"):
        refit_folder(tmp_path / "old", export_model("moved").program, tmp_path / "new", [])


def test_an_engine_built_with_other_options_or_versions_is_not_refitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "old")
    monkeypatch.setattr("plaster_ops.engines.key.machine_of", lambda device: f"another machine's {device}")
    with pytest.raises(RefitUnsupported, match="not those that it was built with"):
        refit_folder(tmp_path / "old", export_model("moved").program, tmp_path / "new", probes())


def test_an_engine_whose_files_were_changed_is_neither_refitted_nor_reused(tmp_path: Path) -> None:
    build(tmp_path / "old")
    (tmp_path / "old" / "weights.safetensors").write_bytes(b"other")
    for work in (
        lambda: refit_folder(tmp_path / "old", export_model("moved").program, tmp_path / "new", probes()),
        lambda: reuse_folder(tmp_path / "old", tmp_path / "new"),
    ):
        with pytest.raises(ArtifactTampered):
            work()
    assert not (tmp_path / "new").exists()


def test_a_reused_engine_is_the_same_files_under_second_names(tmp_path: Path) -> None:
    build(tmp_path / "old")
    manifest = reuse_folder(tmp_path / "old", tmp_path / "new")
    assert manifest.digest == verify(tmp_path / "new").digest == verify(tmp_path / "old").digest
    for file in manifest.files:
        assert (tmp_path / "new" / file.name).samefile(tmp_path / "old" / file.name)
