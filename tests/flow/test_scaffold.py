"""The text of a pipeline and its settings: it compiles, it is short, and what is not known is a TODO."""

from typing import Any

import pytest

from plaster_ops.flow.scaffold import logged_metric, pipeline_text, settings_text

SIDE = {"module": "pkg.net", "attribute": "Net", "arguments": {}, "imports": [], "assumed": {}, "missing": {}}


def draft(**changes: Any) -> dict[str, Any]:
    score = {"module": "torchmetrics", "name": "R2Score", "arguments": "", "outputs": "outputs", "targets": "targets"}
    return {
        "module": SIDE,
        "data": SIDE | {"module": "pkg.data", "attribute": "Rows"},
        "loader": "test_dataloader",
        "shuffled": False,
        "drawn": False,
        "inputs": ["batch[0]"],
        "names": [],
        "wrap": "",
        "width": 0,
        "target": "batch[1]",
        "split": False,
        "dynamic_axes": {},
        "score": score | {"plain": True, "given": False, "why": "regression"},
    } | changes


def text_of(*, most: int = 60, **changes: Any) -> str:
    text = pipeline_text(draft(**changes), "NetPipeline")
    compile(text, "net_pipeline.py", "exec")
    assert len(text.splitlines()) <= most
    return text


def test_the_plainest_pipeline_is_short() -> None:
    text = text_of()
    assert len(text.splitlines()) < 40
    assert "score = R2Score()" in text
    assert text.endswith("pipeline = NetPipeline\n")
    assert "TODO" not in text


def test_everything_at_once_still_compiles_and_is_short() -> None:
    score = draft()["score"] | {"plain": False, "outputs": 'outputs["a"].sigmoid()'}
    parts = {"names": ["x", "m"], "inputs": ['batch["x"]', 'batch["m"]'], "wrap": "dict", "split": True}
    axes = {"x": {1: [3, 9]}}
    text = text_of(most=70, shuffled=True, drawn=True, score=score, dynamic_axes=axes, **parts)
    for expected in ("class Data(Rows)", "class Served(Net)", "class Score(R2Score)", "(3, 9)", "def split"):
        assert expected in text
    assert "return Served()" in text
    assert "return Data()" in text


def test_assumed_arguments_say_where_they_come_from_and_missing_ones_are_todo() -> None:
    module = SIDE | {"arguments": {"lr": "0.001"}, "assumed": {"lr": "a usual value"}, "missing": {"net": "Module"}}
    text = text_of(module=module)
    assert "lr=0.001,  # assumed, a usual value" in text
    assert "net=...,  # TODO: Module" in text


def test_a_draft_of_two_classes_alone_is_a_file_of_todos() -> None:
    text = pipeline_text({key: draft()[key] for key in ("module", "data")}, "NetPipeline")
    compile(text, "net_pipeline.py", "exec")
    assert text.count("TODO") == 2


def test_two_classes_of_one_name_do_not_hide_each_other() -> None:
    text = text_of(data=SIDE | {"module": "pkg.data"})
    assert "from pkg.data import Net as TheirNet" in text


@pytest.mark.parametrize(
    ("logged", "score", "found"),
    [
        (["val_acc", "val_loss"], "MulticlassAccuracy", "val_acc"),
        (["train_acc", "val_loss"], "MulticlassAccuracy", None),
        (["valid/r2", "val_r2_mean"], "R2Score", "valid/r2"),
        ([], "R2Score", None),
    ],
)
def test_the_metric_of_validation_is_found_among_what_is_logged(
    logged: list[str], score: str, found: str | None
) -> None:
    assert logged_metric(logged, score) == found


def test_the_section_is_what_the_settings_read() -> None:
    import tomllib

    text = settings_text("net", "net_pipeline", prefix="tool.plaster-ops.", metric="val_acc", timeout_s=7200)
    section = tomllib.loads(text)["tool"]["plaster-ops"]["pipelines"]["net"]
    assert section["ref"] == "net_pipeline:pipeline"
    assert section["train"] == {"max_epochs": 20, "target_metric": "val_acc", "timeout_s": 7200}
