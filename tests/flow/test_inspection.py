"""What `init` finds out about a stranger's module and data, form by form."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from plaster_ops.errors import UsageError
from plaster_ops.flow.stages import inspection
from plaster_ops.flow.stages.inspecting.code import evaluate, share_arguments
from plaster_ops.flow.stages.inspecting.parts import Part, needs_split, read_batch
from plaster_ops.flow.stages.inspecting.scores import choose_score
from tests.flow import strangers

HERE = "tests.flow.strangers"


def inspect(module: str, data: str = "Rows", *arguments: str, score: str | None = None) -> dict[str, Any]:
    spec = {"module": f"{HERE}:{module}", "data": f"{HERE}:{data}", "arguments": list(arguments), "score": score}
    return inspection.run(spec, Path(), lambda _event: None)


def row(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(check for check in found["checks"] if check["name"] == name)


def test_widths_come_from_the_data_a_config_from_its_defaults_and_the_score_from_the_module() -> None:
    found = inspect("Plain")
    assert found["complete"]
    module = found["draft"]["module"]
    assert module["arguments"] == {"input_dim": "4", "num_classes": "3", "config": f"{HERE}.Config()", "lr": "0.001"}
    assert set(module["assumed"]) == {"input_dim", "num_classes", "config", "lr"}
    assert row(found, "module builds")["state"] == "warn"
    assert found["draft"]["score"]["name"] == "MulticlassAccuracy"
    assert found["draft"]["score"]["arguments"] == "num_classes=3"
    assert (found["draft"]["inputs"], found["draft"]["target"], found["draft"]["split"]) == (
        ["batch[0]"],
        "batch[1]",
        False,
    )


def test_an_argument_that_nobody_can_guess_is_named_with_its_flag() -> None:
    found = inspect("NeedsBackbone")
    assert not found["complete"]
    assert found["missing"]["module"] == {"backbone": "Module"}
    assert "--arg backbone=..." in row(found, "module builds")["next_step"]


def test_an_object_is_given_as_an_expression() -> None:
    found = inspect("NeedsBackbone", "Rows", "backbone=torch.nn.Linear(4, 3)")
    assert found["complete"]
    assert found["draft"]["module"]["arguments"] == {"backbone": "torch.nn.Linear(4, 3)"}
    assert found["draft"]["module"]["imports"] == ["torch.nn"]


def test_a_held_out_loader_that_shuffles_is_put_in_order() -> None:
    found = inspect("Plain", "Rows", "shuffle_test=True")
    assert (found["draft"]["shuffled"], found["draft"]["drawn"]) == (True, False)
    assert row(found, "held-out data")["state"] == "warn"


def test_a_split_that_is_drawn_anew_is_noticed() -> None:
    assert inspect("Plain", "Redrawn")["draft"]["drawn"]
    assert not inspect("Plain", "Rows")["draft"]["drawn"]


def test_a_download_without_network_says_so() -> None:
    check = row(inspect("Plain", "Downloads"), "data sets up")
    assert check["state"] == "bad"
    assert "no network" in check["next_step"]
    assert "strangers.py" in check["detail"]


def test_what_is_no_lightning_module_is_refused() -> None:
    check = row(inspect("NotLightning"), "module builds")
    assert check["state"] == "bad"
    assert "no LightningModule" in check["detail"]


def test_a_class_that_is_not_there_names_those_that_are() -> None:
    check = row(inspect("Nobody"), "imports")
    assert check["state"] == "bad"
    assert "Plain" in check["next_step"]


def test_a_score_of_the_users_own_is_taken() -> None:
    given = "torchmetrics.classification.MulticlassF1Score(3)"
    found = inspect("Plain", "Rows", score=given)
    assert (found["draft"]["score"]["name"], found["draft"]["score"]["given"]) == (given, True)
    assert row(inspect("Plain", "Rows", score="torchmetrics.MeanSquaredError()"), "score")["state"] == "bad"


@pytest.mark.parametrize(
    ("text", "value", "imports"),
    [
        ("1e-3", 0.001, ()),
        ("[1, 2]", [1, 2], ()),
        ("Default", "Default", ()),
        ("./data/x", "./data/x", ()),
        ("torch.float16", torch.float16, ("torch",)),
        ("None", None, ()),
    ],
)
def test_a_value_is_a_literal_an_expression_or_its_own_text(text: str, value: object, imports: tuple[str, ...]) -> None:
    found = evaluate(text)
    assert (found.value, found.imports) == (value, imports)


def test_an_expression_that_cannot_be_evaluated_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="cannot be imported"):
        evaluate("nowhere.to.be.Found()", "backbone")
    with pytest.raises(UsageError, match="fails"):
        evaluate("torch.nn.Linear()", "backbone")


def test_an_argument_goes_to_the_class_that_takes_it() -> None:
    shares = share_arguments(["lr=1", "batch_size=8", "module.input_dim=4"], strangers.Plain, strangers.Rows)
    assert shares == ({"lr": "1", "input_dim": "4"}, {"batch_size": "8"})
    with pytest.raises(UsageError, match="neither class takes 'lrr'"):
        share_arguments(["lrr=1"], strangers.Plain, strangers.Rows)
    with pytest.raises(UsageError, match="NAME=VALUE"):
        share_arguments(["lr"], strangers.Plain, strangers.Rows)


def batch() -> dict[str, torch.Tensor]:
    return {"x": torch.randn(6, 4), "weight": torch.ones(6, 1), "label": torch.arange(6) % 3, "id": torch.arange(6)}


def test_a_forward_that_takes_the_whole_dict_is_wrapped_with_what_it_asks_for() -> None:
    reading, _ = read_batch(strangers.WholeBatch(), batch())
    assert reading is not None
    assert (reading.wrap, reading.names) == ("dict", ("x", "weight"))
    assert reading.targets[0].text == 'batch["label"]'


def test_labels_that_forward_takes_only_for_a_loss_are_targets() -> None:
    class Losing(nn.Linear):
        def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            found = {"scores": super().forward(batch["x"])}
            if "label" in batch:
                found["loss"] = nn.functional.cross_entropy(found["scores"], batch["label"])
            return found

    reading, met = read_batch(Losing(4, 3), batch())
    assert reading is not None, met
    assert (reading.wrap, reading.names, reading.targets[0].text) == ("dict", ("x",), 'batch["label"]')


@pytest.mark.parametrize("form", [lambda x: x, lambda x: [x], lambda x: (x,)])
def test_a_batch_of_one_tensor_that_comes_back_in_its_shape_is_its_own_target(form: Any) -> None:
    given = form(torch.randn(6, 4))
    reading, met = read_batch(nn.Linear(4, 4), given)
    assert reading is not None, met
    assert reading.inputs == reading.targets
    assert needs_split(given, reading, reading.targets[0])
    assert "holds no targets" in read_batch(nn.Linear(4, 3), given)[1]


def test_an_assumed_argument_of_the_data_is_marked_too() -> None:
    told = row(inspect("Plain"), "data sets up")
    assert (told["state"], "batch_size=32 (a usual value)" in told["detail"]) == ("warn", True)
    assert row(inspect("Plain", "Rows", "batch_size=8"), "data sets up")["state"] == "ok"


def test_a_module_without_forward_is_told_so() -> None:
    assert "NoForward has no forward" in row(inspect("NoForward"), "batch understood")["detail"]


def test_a_reference_without_a_class_is_told_in_the_words_of_its_flag() -> None:
    found = row(
        inspection.run({"module": HERE, "data": "x", "arguments": [], "score": None}, Path(), lambda _: None), "imports"
    )
    assert (found["detail"], found["next_step"]) == (
        f"--module {HERE!r} is not MODULE:CLASS",
        "for example --module mypkg.models:Net",
    )


def test_a_forward_of_keywords_gets_all_but_what_looks_like_a_target() -> None:
    reading, _ = read_batch(strangers.Keywords(), batch())
    assert reading is not None
    assert (reading.wrap, reading.names) == ("", ("x", "weight", "id"))


def test_a_forward_that_takes_a_list_is_wrapped() -> None:
    class Takes(nn.Linear):
        def forward(self, parts: list[torch.Tensor]) -> torch.Tensor:
            x, _ = parts
            return super().forward(x)

    reading, _ = read_batch(Takes(4, 3), (torch.randn(6, 4), torch.arange(6)))
    assert reading is not None
    assert (reading.wrap, reading.names, reading.width) == ("list", ("part0",), 2)


def test_optional_inputs_are_taken_where_the_batch_has_them_and_flags_are_not() -> None:
    class Masked(nn.Linear):
        def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, verbose: bool = False) -> torch.Tensor:
            assert not isinstance(verbose, torch.Tensor)
            return super().forward(x if mask is None else x * mask)

    three, _ = read_batch(Masked(4, 3), (torch.randn(6, 4), torch.ones(6, 4), torch.arange(6)))
    two, _ = read_batch(Masked(4, 3), (torch.randn(6, 4), torch.arange(6)))
    assert three is not None
    assert two is not None
    assert [part.text for part in three.inputs] == ["batch[0]", "batch[1]"]
    assert [part.text for part in two.inputs] == ["batch[0]"]


def test_a_batch_that_forward_does_not_take_says_what_it_met() -> None:
    reading, met = read_batch(nn.Linear(5, 3), (torch.randn(6, 4), torch.arange(6)))
    assert reading is None
    assert "RuntimeError" in met
    assert "holds no targets" in read_batch(nn.Linear(4, 3), torch.randn(6, 4))[1]


def chosen(outputs: Any, *targets: torch.Tensor, model: nn.Module | None = None) -> tuple[str, str, str, str]:
    parts = [Part(text=f"batch[{k}]", tensor=t) for k, t in enumerate(targets, start=1)]
    score = choose_score(model or nn.Module(), [(outputs, parts)])
    assert score is not None
    return score.name, score.outputs, score.targets, score.target.text


CLASSES, ONES = torch.arange(6) % 3, torch.tensor([0, 1, 1, 0, 1, 0])


@pytest.mark.parametrize(
    ("outputs", "target", "name", "shown", "told"),
    [
        (torch.randn(6, 3), CLASSES, "MulticlassAccuracy", "outputs", "targets"),
        (torch.randn(6, 1) * 9, ONES, "BinaryAccuracy", "outputs.squeeze(-1).sigmoid()", "targets"),
        (torch.rand(6, 1), ONES, "BinaryAccuracy", "outputs.squeeze(-1)", "targets"),
        (torch.randn(6) * 9, ONES.float(), "BinaryAccuracy", "outputs.sigmoid()", "targets.long()"),
        (torch.randn(6, 1), torch.randn(6), "R2Score", "outputs.squeeze(-1)", "targets"),
        (torch.randn(6), torch.randn(6, 1), "R2Score", "outputs", "targets.squeeze(-1)"),
        (torch.randn(6, 2), torch.randn(6, 2), "R2Score", "outputs", "targets"),
        (torch.randn(6, 1, 4, 4), torch.randn(6, 1, 4, 4), "MeanSquaredError", "outputs", "targets"),
        (torch.randn(6, 3, 4, 4), torch.ones(6, 4, 4).long(), "MulticlassJaccardIndex", "outputs", "targets"),
        (torch.randn(6, 3), nn.functional.one_hot(CLASSES), "MulticlassAccuracy", "outputs", "targets.argmax(1)"),
        (torch.rand(6, 3), torch.ones(6, 3).long(), "MultilabelAccuracy", "outputs", "targets"),
    ],
)
def test_the_usual_score_follows_from_what_outputs_and_targets_look_like(
    outputs: torch.Tensor, target: torch.Tensor, name: str, shown: str, told: str
) -> None:
    assert chosen(outputs, target) == (name, shown, told, "batch[1]")


def test_of_several_heads_the_one_that_fits_the_target_is_scored() -> None:
    heads = (torch.randn(6, 3), torch.randn(6, 1))
    assert chosen(heads, CLASSES) == ("MulticlassAccuracy", "outputs[0]", "targets", "batch[1]")
    assert chosen(heads, torch.randn(6)) == ("R2Score", "outputs[1].squeeze(-1)", "targets", "batch[1]")
    assert chosen({"kind": heads[0]}, CLASSES)[1] == 'outputs["kind"]'


def test_padded_targets_are_ignored() -> None:
    score = choose_score(nn.Module(), [(torch.randn(6, 3), [Part(text="b", tensor=CLASSES - (CLASSES == 0) * 100)])])
    assert score is not None
    assert "ignore_index=-100" in score.arguments


def test_the_modules_own_metric_is_preferred_and_told_logits_from_probabilities() -> None:
    name, shown, _, _ = chosen(torch.randn(6, 1) * 9, ONES, model=strangers.Logit())
    assert (name, shown) == ("BinaryF1Score", "outputs.sigmoid().squeeze(-1)")


def test_lengths_that_vary_between_batches_become_dynamic_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Padded(strangers.Rows):
        def test_dataloader(self) -> Any:
            labels = torch.arange(6) % 3
            return DataLoader([(torch.ones(6, length, 4), labels) for length in (5, 9, 7)], batch_size=None)

        def train_dataloader(self) -> Any:
            return DataLoader([(torch.ones(6, 12, 4), torch.arange(6) % 3)], batch_size=None)

    class Mean(strangers.Plain):
        def __init__(self) -> None:
            super().__init__(4, 3, strangers.Config(), 0.1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.mean(1))

    monkeypatch.setattr(strangers, "Padded", Padded, raising=False)
    monkeypatch.setattr(strangers, "Mean", Mean, raising=False)
    found = inspect("Mean", "Padded")
    assert [check for check in found["checks"] if check["state"] == "bad"] == []
    assert found["draft"]["dynamic_axes"] == {"0": {1: [5, 12]}}
    assert row(found, "lengths")["state"] == "ok"
