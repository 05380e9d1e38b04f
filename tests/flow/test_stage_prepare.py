"""The first stage: what arrived, counted and digested, with real inputs put aside; or why there is nothing to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from plaster_ops.data.folder import FolderSource
from plaster_ops.data.samples import load_groups
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError, PipelineError
from plaster_ops.flow.stages import prepare
from tests.data.doubles import CountedSource

ROWS = TensorDataset(torch.arange(20.0).reshape(10, 2), torch.arange(10.0))


class Data:
    """A data module of few words: rows up to the cut for training, the others held out."""

    def __init__(self, window: Window, rows: TensorDataset = ROWS) -> None:
        cut = 7 if window.cut is None else int(window.cut)
        end = int(window.end or len(rows))
        self._train, self._test = TensorDataset(*rows[:cut]), TensorDataset(*rows[cut:end])

    def setup(self, stage: str) -> None:
        assert stage in ("fit", "test")

    def train_dataloader(self) -> Any:
        return DataLoader(self._train, batch_size=4)

    def test_dataloader(self) -> Any:
        return DataLoader(self._test, batch_size=4)


class Brought:
    """A regression on numbered rows, with a source and a golden set."""

    higher_is_better = False
    source: Any = CountedSource(10, holdout=3)

    @staticmethod
    def score(outputs: Any, targets: Any) -> float:
        return float((outputs - targets).abs().mean())

    def model(self) -> Any:
        raise AssertionError("no model is needed to look at the data")

    def data(self, window: Window) -> Any:
        return Data(window)

    def golden(self) -> Any:
        return TensorDataset(*ROWS[:2])

    def sample_batch(self, n: int) -> Any:
        return ROWS.tensors[0][:n]


class EmptyGolden(Brought):
    def golden(self) -> Any:
        return TensorDataset(*ROWS[:0])


class EmptyGoldenPair(Brought):
    def golden(self) -> Any:
        return ROWS[:0]


class NoGolden(Brought):
    golden = None  # type: ignore[assignment]


class NoSource(Brought):
    source = None


class DatedSource(CountedSource):
    """Rows 1 to 10 came into being at 100, 200, ... seconds."""

    def times(self, after: Any, upto: Any) -> Any:
        return [(100.0 * row, 1) for row in range(int(after or 0) + 1, int(upto) + 1)]


class Dated(Brought):
    source = DatedSource(10, holdout=3)


class Undated(Brought):
    source = type("Undated", (CountedSource,), {"times": lambda *_: [("soon", 1)]})(10)


class NothingHeldOut(Brought):
    source = CountedSource(10, holdout=0)


class NothingToTrainOn(Brought):
    source = CountedSource(3, holdout=3)


class NothingInTheDataset(Brought):
    """The source counts rows for training, and the data module gives none of them."""

    source = CountedSource(3, holdout=1)

    def data(self, window: Window) -> Any:
        return super().data(replace(window, cut=0))


class OneRowSample(Brought):
    def sample_batch(self, n: int) -> Any:
        del n
        return ROWS.tensors[0][:1]


def run(tmp_path: Path, name: str = "Brought", **changed: Any) -> dict[str, Any]:
    project = str(Path(__file__).parents[2])
    spec = {"reference": f"{__name__}:{name}", "project": project, "seen": None, "learned": None, "needed": 1}
    return prepare.run(spec | changed, tmp_path, lambda _event: None)


def test_a_first_look_counts_every_set(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found["window"] == {"learned": None, "seen": None, "cut": 7, "end": 10}
    counts = [found[f"{name}_samples"] for name in ("new", "train", "eval", "golden")]
    assert counts == [10, 7, 3, 2]
    assert (found["better"], found["skip"], found["source"]) == ("lower", "", "CountedSource")


def test_what_is_absorbed_ends_at_the_cut_and_its_newest_is_dated(tmp_path: Path) -> None:
    found = run(tmp_path, "Dated", learned=2)
    assert (found["new_samples"], found["absorbed_samples"]) == (8, 5)
    assert found["times"] == {
        "samples": 8,
        "newest": 1000.0,
        "quantiles": {"0.5": 700.0, "0.95": 300.0},
        "newest_trained": 700.0,
    }
    assert run(tmp_path)["times"] is None
    nothing = run(tmp_path, "NoSource")
    assert (nothing["absorbed_samples"], nothing["times"]) == (None, None)


def test_times_that_are_none_name_the_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"times\(\) gave \('soon', 1\)"):
        run(tmp_path, "Undated")


def test_real_inputs_are_put_aside_without_their_targets(tmp_path: Path) -> None:
    found = run(tmp_path)
    ((inputs,),) = load_groups(Path(found["samples"]))
    assert torch.equal(inputs, ROWS.tensors[0][7:])
    assert found["samples_kept"] == 3


def test_the_same_data_has_the_same_digests_and_other_data_others(tmp_path: Path) -> None:
    first, again = run(tmp_path), run(tmp_path)
    later = run(tmp_path, learned=8)
    for name in ("train_digest", "eval_digest", "golden_digest"):
        assert first[name] == again[name]
    assert later["eval_digest"] != first["eval_digest"]
    assert later["train_digest"] != first["train_digest"]
    assert later["golden_digest"] == first["golden_digest"]


def test_nothing_new_is_a_skip_before_any_data_is_read(tmp_path: Path) -> None:
    found = run(tmp_path, seen=10, learned=7)
    assert found["skip"] == "nothing new arrived since 10"
    assert "samples" not in found
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_without_a_golden_set_has_none(tmp_path: Path) -> None:
    found = run(tmp_path, "NoGolden")
    assert (found["golden_samples"], found["golden_digest"]) == (None, None)


def test_a_pipeline_without_a_source_counts_what_its_module_gives(tmp_path: Path) -> None:
    found = run(tmp_path, "NoSource")
    assert (found["new_samples"], found["train_samples"], found["arrived_at"]) == (7, 7, None)
    assert found["source"].startswith("none declared")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("EmptyGolden", "the golden set has 0 rows"),
        ("EmptyGoldenPair", "the golden set has 0 rows"),
        ("NothingHeldOut", "the rolling evaluation set has 0 rows"),
        ("NothingToTrainOn", "the training window has 0 rows: all 3 that have arrived are held out"),
        ("NothingInTheDataset", "the training window has 0 rows"),
    ],
)
def test_a_set_without_rows_is_named_with_the_next_step(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        run(tmp_path, name)
    assert int(caught.value.exit_code) == 2
    assert caught.value.next_step


def test_a_sample_of_the_wrong_size_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"sample_batch\(2\) returned 1 samples"):
        run(tmp_path, "OneRowSample")


class Arriving(Brought):
    """Rows of a folder, as a pipeline reads them."""

    golden = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.source = FolderSource("in", name="rows", time="at", holdout=2, settle_s=0.0)

    def data(self, window: Window) -> Any:
        tables = (self.source.train_rows(window), self.source.held_out_rows(window))
        found = [TensorDataset(*(torch.tensor(t["x"].to_pylist()) for _ in range(2))) for t in tables]
        return _Loaders(*found)


class _Loaders:
    def __init__(self, train: TensorDataset, test: TensorDataset) -> None:
        self._train, self._test = train, test

    def setup(self, stage: str) -> None:
        assert stage in ("fit", "test")

    def train_dataloader(self) -> Any:
        return DataLoader(self._train, batch_size=4)

    def test_dataloader(self) -> Any:
        return DataLoader(self._test, batch_size=4)


def test_a_folder_is_taken_in_counted_and_its_bad_files_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASTER_PROJECT", str(tmp_path))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("at,x\n" + "".join(f"{row},0.5\n" for row in range(10)))
    told: list[Any] = []
    project = str(Path(__file__).parents[2])
    spec = {"reference": f"{__name__}:Arriving", "project": project, "seen": None, "learned": None, "needed": 1}
    first = prepare.run(spec, tmp_path, told.append)
    assert (first["train_samples"], first["eval_samples"], first["new_samples"]) == (8, 2, 10)
    assert first["warm_train_samples"] is None

    (tmp_path / "in" / "b.csv").write_text("at,x\n10,0.5\n11,abc\n")
    again = spec | {"seen": first["window"]["end"], "learned": first["window"]["cut"]}
    skipped = prepare.run(again, tmp_path, told.append)
    assert skipped["skip"].endswith("files not taken: 1 quarantined (b.csv)")
    assert "quarantined: b.csv, row 2, column x: 'abc' is no double" in [event.get("text") for event in told]
    assert skipped["arrival"]["files"]["quarantined"] == 1

    (tmp_path / "in" / "c.csv").write_text("at,x\n12,0.5\n13,0.5\n14,0.5\n")
    warm = prepare.run(again | {"replay_ratio": 1.0}, tmp_path, told.append)
    assert (warm["train_samples"], warm["warm_train_samples"]) == (11, 6), "3 new ones, and as many of the 8 old"
    assert warm["warm_train_digest"] != warm["train_digest"]
