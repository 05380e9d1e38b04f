"""How often to retrain: which models are asked about which data, what is kept, and what cannot be asked any more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError, UsageError
from plaster_ops.flow.cadence import Found, cadence
from plaster_ops.flow.stages import ageing
from plaster_ops.settings import Settings
from tests.flow.conftest import Retrain
from tests.flow.test_session import changed
from tests.flow.walk import Walk


class Shop:
    """Rows 0, 1, 2, ...; the model answers with its one weight, and is right about rows up to it."""

    score = staticmethod(lambda outputs, targets: float((targets <= outputs[:, 0]).double().mean()))
    higher_is_better = True
    known = 100

    def model(self) -> Any:
        return Guess()

    def data(self, window: Window) -> Any:
        if int(window.end or 0) > self.known:
            raise DataError(f"rows up to {window.end} are gone", "keep them")
        rows = torch.arange(float(window.cut or 0) + 1, float(window.end or 0) + 1)
        return Rows(TensorDataset(rows[:, None], rows))

    def sample_batch(self, n: int) -> Any:
        return torch.zeros(n, 1)


class Guess(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.upto = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Any) -> Any:
        return self.upto + 0 * inputs


class Rows:
    def __init__(self, rows: TensorDataset) -> None:
        self._rows = rows

    def setup(self, stage: str) -> None:
        assert stage == "test"

    def test_dataloader(self) -> Any:
        return DataLoader(self._rows, batch_size=4)


def model(folder: Path, uid: str, upto: float) -> dict[str, str]:
    file = folder / f"{uid}.safetensors"
    save_file({"upto": torch.tensor([upto])}, file)
    return {"uid": uid, "weights": str(file)}


def slot(place: int, cut: int, end: int, models: list[Any]) -> dict[str, Any]:
    return {"slot": place, "window": Window(learned=cut, seen=cut, cut=cut, end=end).to_json(), "models": models}


def ask(folder: Path, slots: list[Any], max_s: float = 60.0) -> dict[str, Any]:
    spec = {
        "reference": f"{__name__}:Shop",
        "project": str(Path(__file__).parents[2]),
        "slots": slots,
        "max_s": max_s,
    }
    return ageing.run(spec, folder, lambda _event: None)


def test_every_model_is_scored_on_every_piece_by_the_pipelines_own_score(tmp_path: Path) -> None:
    old, new = model(tmp_path, "old", 12.0), model(tmp_path, "new", 25.0)
    told = ask(tmp_path, [slot(1, 10, 20, [old]), slot(2, 20, 30, [old, new])])
    scores = {(row["slot"], row["uid"]): row["score"] for row in told["scores"]}
    assert scores == {(1, "old"): 0.2, (2, "old"): 0.0, (2, "new"): 0.5}
    assert (told["better"], told["samples"], told["complete"]) == ("higher", {"1": 10, "2": 10}, True)


def test_data_that_is_gone_and_weights_that_do_not_fit_are_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2)}, tmp_path / "strange.safetensors")
    strange = {"uid": "strange", "weights": str(tmp_path / "strange.safetensors")}
    good = model(tmp_path, "good", 15.0)
    told = ask(tmp_path, [slot(1, 10, 20, [strange, good]), slot(2, 100, 120, [good])])
    assert [(row["slot"], row["uid"], row["score"]) for row in told["scores"]] == [(1, "good", 0.5)]
    assert {row.get("uid") or row["slot"] for row in told["gone"]} == {"strange", 2}
    assert "rows up to 120 are gone" in told["gone"][-1]["reason"]


def test_a_look_whose_time_is_over_says_that_it_is_not_complete(tmp_path: Path) -> None:
    told = ask(tmp_path, [slot(1, 10, 20, [model(tmp_path, "old", 12.0)])], max_s=-1.0)
    assert (told["scores"], told["complete"]) == ([], False)


@pytest.fixture
def asked(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """What the stage was asked; every model loses 0.01 a retrain of age."""
    specs: list[Mapping[str, Any]] = []

    def answer(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        del folder
        specs.append(spec)
        scores = [
            {"slot": each["slot"], "uid": one["uid"], "score": 0.9 - 0.01 * (len(each["models"]) - place)}
            for each in spec["slots"]
            for place, one in enumerate(each["models"])
        ]
        return {"better": "higher", "scores": scores, "samples": {}, "gone": [], "complete": True}

    monkeypatch.setattr(walk, "_ageing", answer, raising=False)
    return specs


def look(settings: Settings, margin: float | None = None) -> Found:
    return cadence(settings, None, newest=60, margin=margin, max_s=60.0, tell=lambda _event: None)


def grow(retrain: Retrain, walk: Walk, times: int) -> None:
    for _ in range(times):
        retrain()
        walk.arrived += 4


def test_models_are_asked_about_what_came_after_them_and_only_once(
    retrain: Retrain, walk: Walk, settings: Settings, asked: list[Mapping[str, Any]]
) -> None:
    grow(retrain, walk, 11)
    told = look(settings)
    assert [len(each["models"]) for each in asked[0]["slots"]] == list(range(1, 11))
    assert all(each["window"]["cut"] == each["window"]["seen"] for each in asked[0]["slots"])
    assert (told.runs, told.answer.slots, told.answer.suggested) == (11, 9, 1)
    assert [row.every for row in told.answer.rows] == [1, 2]
    assert told.answer.rows[1].loss == pytest.approx(0.005)
    assert told.answer.margin == 0.005
    again = look(settings, margin=0.01)
    assert len(asked) == 1
    assert again.answer.suggested == 2
    grow(retrain, walk, 1)
    look(settings)
    assert [len(each["models"]) for each in asked[1]["slots"]] == [11]


def test_retrains_whose_data_the_model_before_was_at_target_on_were_better_left_out(
    retrain: Retrain, walk: Walk, settings: Settings, asked: list[Mapping[str, Any]]
) -> None:
    aimed = changed(settings, train={"target_score": 0.85})
    grow(retrain, walk, 11)
    assert not asked
    told = look(aimed)
    assert told.left_out is not None
    assert [(one.index, one.score) for one in told.left_out] == [(index, 0.89) for index in range(2, 12)]
    high = changed(settings, train={"target_score": 0.95})
    assert look(high).left_out == ()


def test_an_error_is_low_when_it_is_good_and_shown_as_it_is(
    retrain: Retrain, walk: Walk, settings: Settings, asked: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = walk._ageing
    errors = lambda spec, folder: {  # noqa: E731
        **(told := answered(spec, folder)),
        "better": "lower",
        "scores": [{**row, "score": 1.0 - row["score"]} for row in told["scores"]],
    }
    monkeypatch.setattr(walk, "_ageing", errors, raising=False)
    grow(retrain, walk, 11)
    told = look(changed(settings, train={"target_score": 0.2}))
    assert len(asked) == 1
    assert told.answer.rows[1].loss == pytest.approx(0.005)
    assert told.series[0] == (2, pytest.approx(0.11))
    assert told.left_out is not None
    assert told.left_out[0].score == pytest.approx(0.11)
    assert look(changed(settings, train={"target_score": 0.05})).left_out == ()


def test_the_answer_is_json_with_numbers(
    retrain: Retrain, walk: Walk, settings: Settings, asked: list[Mapping[str, Any]]
) -> None:
    grow(retrain, walk, 11)
    assert not asked
    told = json.loads(json.dumps(look(settings).to_json(), allow_nan=False))
    assert (told["suggested_every"], told["left_out"], told["complete"], told["gone"]) == (1, None, True, [])
    assert [row["every"] for row in told["rows"]] == [1, 2]
    assert len(told["series"]) == 10


def test_a_past_without_new_data_between_retrains_cannot_be_asked(retrain: Retrain, settings: Settings) -> None:
    with pytest.raises(UsageError, match="'digits' has no two finished retrains with new data between them, of 0"):
        look(settings)
    retrain()
    with pytest.raises(UsageError, match="with new data between them, of 1"):
        look(settings)
