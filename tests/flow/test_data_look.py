"""What `prepare` finds out about the data itself, from one retrain to the next, and how it is told."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError
from plaster_ops.flow.stages import prepare
from plaster_ops.plaster.inputs import input_rows

ROWS = 400


class Shop:
    """A pipeline without a source: 4 inputs, 3 classes; class attributes say what is wrong with the data today."""

    score = MulticlassAccuracy(3, average="micro")
    source: Any = None
    seed, shift, kinds, held = 0, 0.0, 3, ROWS
    spoil_training = False
    spoil_rolling = False
    leaks = 0
    width = 4

    def data(self, _: Window) -> Any:
        return self

    def setup(self, _: str) -> None:
        pass

    def _set(self, seed: int, shift: float, kinds: int, rows: int) -> TensorDataset:
        draw = torch.Generator().manual_seed(seed)
        inputs = torch.randn(rows, self.width, generator=draw)
        inputs[:, 2] += shift
        return TensorDataset(inputs, torch.arange(rows) % kinds)

    def train_dataloader(self) -> Any:
        rows = self._set(self.seed + 100, 0.0, 3, ROWS)
        if self.spoil_training:
            rows.tensors[0][5, 1] = float("nan")
        if self.leaks:
            rows.tensors[0][: self.leaks] = self.test_dataloader().dataset.tensors[0][: self.leaks]
        return DataLoader(rows, batch_size=32)

    def test_dataloader(self) -> Any:
        rows = self._set(self.seed, self.shift, self.kinds, self.held)
        if self.spoil_rolling:
            rows.tensors[0][:4, 0] = float("inf")
        return DataLoader(rows, batch_size=64)

    def model(self) -> Any:
        raise AssertionError("no model is needed to look at the data")

    def sample_batch(self, n: int) -> Any:
        return torch.zeros(n, self.width)


class Again(Shop):
    seed = 1


class Moved(Shop):
    seed, shift = 1, 1.0


class Strange(Shop):
    seed, kinds = 1, 5


class Spoilt(Shop):
    spoil_training = True


class Infinite(Shop):
    spoil_rolling = True


class Wider(Shop):
    width = 5


class Fewer(Shop):
    held = 30


class Counted:
    """A source that gives rows by column name."""

    order, time, label = "id", None, "sold"
    name = "counted"

    def newest(self) -> Any:
        return 10

    def count(self, *_: Any) -> int:
        return 10

    def cut(self, *_: Any) -> Any:
        return 8

    def arrived_at(self, _: Any) -> Any:
        return None

    def held_out_rows(self, window: Window) -> Any:
        assert window.end == 10
        draw = torch.Generator().manual_seed(3)
        load = torch.randn(100, generator=draw).tolist()
        return pa.table({"id": range(100), "load": load, "kind": ["a", "b"] * 50, "sold": [0, 1] * 50})

    def remarks(self, after: Any) -> list[str]:
        return [f"one row came late, after {after}"]


class Leaking(Shop):
    leaks = 3


class WithColumns(Shop):
    source = Counted()


def run(folder: Path, name: str, events: list[Any] | None = None, *, checked: int = 2048, **asked: Any) -> Any:
    folder.mkdir(exist_ok=True)
    spec = {
        "reference": f"{__name__}:{name}",
        "project": str(Path(__file__).parents[2]),
        "seen": None,
        "learned": None,
        "needed": 1,
        "inspect": {"check_samples": checked, "earlier": asked.pop("earlier", [])},
    }
    sink = events if events is not None else []
    return prepare.run(spec | asked, folder, sink.append)["drift"]


def after(tmp_path: Path, first: str, second: str, events: list[Any] | None = None) -> Any:
    """What the second night tells, the first one being the last retrain."""
    before = run(tmp_path / "first", first)
    earlier = [{"which": "last", "index": 7, "file": before["sketch"]}]
    return run(tmp_path / "second", second, events, earlier=earlier)


def values(told: Any) -> dict[str, Any]:
    rows = {row.metric.key: row for row in input_rows(told["figures"])}
    assert list(rows) == [metric.key for metric in m.INPUTS]
    return {key: row.value if isinstance(row, Reading) else None for key, row in rows.items()}


def texts(events: list[Any]) -> list[str]:
    return [event["text"] for event in events if event["event"] == "note"][1:]


def test_the_first_night_knows_its_training_data_only(tmp_path: Path) -> None:
    told = run(tmp_path, "Shop")
    found = values(told)
    assert found[m.INPUT_DRIFT_RATIO.key] is found[m.LABEL_SHIFT_RATIO.key] is None
    assert found[m.TRAIN_GAP_RATIO.key] == found[m.UNSEEN_LABELS_COUNT.key] == found[m.MISSING_VALUES_RATIO.key] == 0
    assert told["notes"] == []
    assert told["features"] == 4
    assert (tmp_path / "data_sketch.json").is_file()


def test_a_night_like_the_last_tells_nothing(tmp_path: Path) -> None:
    events: list[Any] = []
    found = values(after(tmp_path, "Shop", "Again", events))
    assert found[m.INPUT_DRIFT_RATIO.key] == found[m.LABEL_SHIFT_RATIO.key] == 0
    assert texts(events) == []


def test_an_input_that_moved_is_told_in_words_with_its_distance(tmp_path: Path) -> None:
    events: list[Any] = []
    told = after(tmp_path, "Shop", "Moved", events)
    (sentence,) = texts(events)
    assert sentence.startswith("inputs drifted since #7: 1 of 4 features, worst in0[2] D 0.")
    assert values(told)[m.INPUT_DRIFT_RATIO.key] == 0.25
    assert values(told)[m.INPUT_DISTANCE_MAX_RATIO.key] == told["against"]["last"]["distance"] > 0.3
    assert values(told)[m.TRAIN_GAP_RATIO.key] == 0.25
    assert told["against"]["last"]["samples_ratio"] == 1.0


def test_labels_that_nothing_was_trained_on_or_the_score_has_not_are_told(tmp_path: Path) -> None:
    events: list[Any] = []
    told = after(tmp_path, "Shop", "Strange", events)
    assert "labels of the rolling set in none of 400 training samples: 3, 4" in texts(events)
    assert "labels outside the 3 classes of the score: 3, 4" in texts(events)
    assert any(text.startswith("labels shifted since #7: label total variation 0.4") for text in texts(events))
    assert values(told)[m.UNSEEN_LABELS_COUNT.key] == 2
    assert values(told)[m.LABEL_SHIFT_RATIO.key] == pytest.approx(0.4, abs=0.01)


def test_nan_in_training_ends_the_retrain_unless_it_is_not_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in0 holds 1 NaN in 1 of 400 training samples, the first in sample 5, value 1"):
        run(tmp_path, "Spoilt")
    told = run(tmp_path, "Spoilt", checked=0)
    assert told["training"]["reason"] == "data.check_samples is 0"
    assert values(told)[m.TRAIN_GAP_RATIO.key] is values(told)[m.UNSEEN_LABELS_COUNT.key] is None


def test_training_samples_that_are_evaluated_too_are_counted_and_told(tmp_path: Path) -> None:
    events: list[Any] = []
    assert run(tmp_path, "Leaking", events)["training"]["evaluated"] == 3
    assert texts(events) == ["3 of 400 training samples are in the rolling or the golden set, too"]
    assert run(tmp_path, "Shop")["training"]["evaluated"] == 0
    assert run(tmp_path, "Leaking", checked=0)["training"]["evaluated"] is None


def test_missing_values_of_the_rolling_set_are_a_figure_and_a_sentence(tmp_path: Path) -> None:
    events: list[Any] = []
    told = run(tmp_path, "Infinite", events)
    assert values(told)[m.MISSING_VALUES_RATIO.key] == 4 / 1600
    assert texts(events) == ["in0 of the rolling set holds 0 NaN and 4 infinite values"]


def test_another_width_and_fewer_samples_are_told(tmp_path: Path) -> None:
    assert after(tmp_path, "Shop", "Wider")["notes"] == ["inputs are others than in #7: new in0[4]"]
    assert after(tmp_path, "Shop", "Fewer")["notes"] == ["the rolling set has 30 samples, #7 had 400"]


def test_rows_of_a_source_are_told_by_the_names_of_their_columns(tmp_path: Path) -> None:
    events: list[Any] = []
    told = run(tmp_path, "WithColumns", events, learned=4)
    assert (told["of"], told["features"]) == ("columns", 2)
    kept = json.loads(Path(told["sketch"]).read_text())
    assert list(kept["features"]) == ["load", "kind"], "order and label are no inputs"
    assert "one row came late, after 4" in [event["text"] for event in events]


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 9}'])
def test_a_sketch_that_cannot_be_read_is_a_reason_and_no_failure(tmp_path: Path, text: str) -> None:
    (tmp_path / "old.json").write_text(text)
    earlier = [{"which": "last", "index": 7, "file": str(tmp_path / "old.json")}]
    told = run(tmp_path, "Shop", earlier=earlier)
    assert told["against"]["last"]["reason"].startswith("its data_sketch.json")
    assert values(told)[m.INPUT_DRIFT_RATIO.key] is None


def test_without_a_look_every_row_says_so() -> None:
    assert {row.reason for row in input_rows(None)} == {"the data was not looked at"}
