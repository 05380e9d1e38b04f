"""Inputs to quantise with: from the training data, evenly, never one that is evaluated, and the same ones each time."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from plaster_ops.data.calibration import Calibration, RowSet, keep_calibration
from plaster_ops.data.samples import load_groups
from plaster_ops.errors import DataError
from plaster_ops.flow.stages import prepare
from tests.flow.test_stage_prepare import EmptyGoldenPair

ROWS = torch.arange(40.0).reshape(20, 2)
LABELS = torch.arange(20)


class Training:
    """A data module whose training loader is the one given; it must have been set up for the fit."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._stage = ""

    def setup(self, stage: str) -> None:
        self._stage = stage

    def train_dataloader(self) -> Any:
        assert self._stage == "fit"
        if isinstance(self._loader, Exception):
            raise self._loader
        return self._loader


class Stream(IterableDataset[Any]):
    """Rows one after the other."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter((row, 0) for row in self._rows)


class SizedStream(Stream):
    """One that knows how many it will give."""

    def __len__(self) -> int:
        return len(self._rows)


def loader(rows: Tensor = ROWS, **given: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(rows, torch.zeros(len(rows))), **{"batch_size": 4, **given})


def evaluated(*batches: Tensor) -> RowSet:
    found = RowSet()
    for batch in batches:
        found.add((batch,))
    return found


def keep(training: Any, folder: Path, *batches: Tensor, most: int = 100) -> Calibration:
    return keep_calibration(
        Training(training), ROWS[:2], None, evaluated(*batches), most, folder / "calibration.safetensors"
    )


def kept_rows(found: Calibration) -> list[list[float]]:
    assert found.file is not None
    ((rows,),) = load_groups(Path(found.file))
    return rows.tolist()


# ---- never what is evaluated -----------------------------------------------------------------------------------------
def test_rows_of_any_evaluation_set_are_left_out_and_counted(tmp_path: Path) -> None:
    found = keep(loader(), tmp_path, ROWS[5:7], ROWS[[12]], torch.full((3, 2), -1.0))
    assert kept_rows(found) == torch.cat([ROWS[:5], ROWS[7:12], ROWS[13:]]).tolist()
    assert (found.samples, found.overlapping, found.reason) == (17, 3, "")


def test_an_evaluated_row_is_left_out_as_often_as_it_occurs(tmp_path: Path) -> None:
    found = keep(loader(torch.cat([ROWS, ROWS[:3], ROWS[:3]])), tmp_path, ROWS[:3])
    assert kept_rows(found) == ROWS[3:].tolist()
    assert found.overlapping == 9


def test_a_training_row_that_occurs_twice_is_no_evaluated_row(tmp_path: Path) -> None:
    found = keep(loader(torch.cat([ROWS, ROWS])), tmp_path, ROWS[15:16])
    assert (len(kept_rows(found)), found.overlapping) == (38, 2)


def test_rows_are_told_apart_by_every_input_their_type_and_their_shape() -> None:
    numbers, flags = torch.arange(6.0).reshape(2, 3), torch.tensor([[True], [False]])
    known = RowSet()
    known.add((numbers, flags))
    assert known.unknown((numbers, flags)) == []
    assert known.unknown((numbers.flip(0), flags.flip(0))) == []
    assert known.unknown((numbers, flags.flip(0))) == [0, 1]
    assert known.unknown((numbers.view(torch.int32), flags)) == [0, 1]
    assert known.unknown((numbers.reshape(2, 1, 3), flags)) == [0, 1]
    assert known.unknown((numbers,)) == [0, 1]
    nearly = numbers.clone()
    nearly[1, 2] += 1e-6
    assert known.unknown((nearly, flags)) == [1]


def test_a_view_is_the_row_that_it_shows() -> None:
    rows = torch.arange(12, dtype=torch.bfloat16).reshape(4, 3)
    assert evaluated(rows).unknown((rows.t().contiguous().t(),)) == []
    assert evaluated(torch.arange(4)).unknown((torch.tensor([3, 4]),)) == [1]


def test_an_empty_batch_has_no_rows() -> None:
    assert evaluated(ROWS[:0]).unknown((ROWS[:2],)) == [0, 1]


def test_a_golden_set_of_no_rows_is_told_where_inputs_are_kept_to_quantise_with_too(tmp_path: Path) -> None:
    here = f"{__name__}:golden"
    spec = {"reference": here, "project": str(Path(__file__).parents[2]), "needed": 1, "calibration_samples": 5}
    with pytest.raises(DataError, match="the golden set has 0 rows"):
        prepare.run(spec, tmp_path, lambda _event: None)


golden = EmptyGoldenPair()


# ---- which, and how many ---------------------------------------------------------------------------------------------
def test_no_more_than_was_asked_for_are_kept_none_of_them_next_to_another(tmp_path: Path) -> None:
    many = torch.arange(1000.0).reshape(1000, 1)
    found = keep(loader(many), tmp_path, most=90)
    positions = [row[0] for row in kept_rows(found)]
    assert (found.samples, len(positions)) == (90, 90)
    assert positions[0] == 0
    assert min(after - before for before, after in pairwise(positions)) > 1


def test_they_are_spread_over_the_whole_set(tmp_path: Path) -> None:
    many = torch.arange(1000.0).reshape(1000, 1)
    positions = [row[0] for row in kept_rows(keep(loader(many), tmp_path, most=90))]
    assert max(after - before for before, after in pairwise([*positions, 1000.0])) < 30


def test_what_overlaps_is_made_up_for_by_others(tmp_path: Path) -> None:
    many = torch.arange(1000.0).reshape(1000, 1)
    assert keep(loader(many), tmp_path, many[::4], most=90).samples == 90


def test_the_last_row_can_be_among_them(tmp_path: Path) -> None:
    assert kept_rows(keep(loader(), tmp_path))[-1] == ROWS[-1].tolist()


def test_a_stream_gives_its_first_ones_and_is_read_no_further(tmp_path: Path) -> None:
    def endless() -> Iterator[Any]:
        position = 0.0
        while True:
            yield torch.tensor([[position, 0.0], [position + 1, 0.0]]), torch.zeros(2)
            position += 2

    assert [row[0] for row in kept_rows(keep(endless(), tmp_path, most=5))] == [0, 1, 2, 3, 4]
    found = keep(DataLoader(Stream(ROWS), batch_size=3), tmp_path, ROWS[:1], most=5)
    assert kept_rows(found) == ROWS[1:6].tolist()


def test_a_stream_that_knows_its_length_is_a_stream(tmp_path: Path) -> None:
    assert kept_rows(keep(DataLoader(SizedStream(ROWS), batch_size=3), tmp_path, most=5)) == ROWS[:5].tolist()


def test_a_set_of_twenty_million_rows_is_read_to_its_end(tmp_path: Path) -> None:
    class Vast(Dataset[Any]):
        def __len__(self) -> int:
            return 20_000_000

        def __getitem__(self, position: int) -> tuple[Tensor, int]:
            if position >= len(self):
                raise IndexError(position)
            return torch.tensor([float(position // 1000), float(position % 1000)]), 0

    found = keep(DataLoader(Vast(), batch_size=4), tmp_path, torch.full((1, 2), -1.0), most=5)
    assert found.samples == 5


def test_inputs_of_several_shapes_are_kept_in_groups(tmp_path: Path) -> None:
    batches = [(torch.ones(3, 2), torch.zeros(3)), (torch.ones(2, 5), torch.zeros(2))]
    found = keep(batches, tmp_path, torch.ones(1, 7))
    assert found.file is not None
    assert [tuple(group[0].shape) for group in load_groups(Path(found.file))] == [(3, 2), (2, 5)]
    assert found.samples == 5


# ---- the digest ------------------------------------------------------------------------------------------------------
def test_the_same_data_gives_the_same_digest_however_it_is_batched_or_shuffled(tmp_path: Path) -> None:
    digests = set()
    for number, training in enumerate(
        (loader(), loader(batch_size=7), loader(shuffle=True), DataLoader(Stream(ROWS), batch_size=3))
    ):
        (tmp_path / str(number)).mkdir()
        digests.add(keep(training, tmp_path / str(number), ROWS[:1], most=10).digest)
    assert len(digests) == 2, "a stream gives its first rows, a set is spread"
    assert all(len(digest) == 64 for digest in digests)


def test_other_content_another_order_type_shape_or_number_has_another_digest(tmp_path: Path) -> None:
    changed = ROWS.clone()
    changed[19, 1] += 1e-4
    others = [ROWS, changed, ROWS.flip(0), ROWS.view(torch.int32), ROWS.reshape(20, 1, 2), ROWS[:19]]
    assert len({keep(loader(rows), tmp_path).digest for rows in others}) == len(others)
    assert keep(loader(), tmp_path).digest != keep(loader(), tmp_path, ROWS[:1]).digest


# ---- none at all -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("training", "words"),
    [
        (loader(), "all 20 training inputs are in an evaluation set"),
        (loader(ROWS[:0]), "no training inputs"),
        ([], "no training inputs"),
        (OSError("disk\n gone"), "the training loader cannot be read: OSError: disk gone"),
        ([ROWS], "a batch of type Tensor has no targets"),
    ],
    ids=["overlap", "empty set", "empty stream", "unreadable", "no targets"],
)
def test_where_there_is_nothing_to_keep_it_says_why_and_writes_no_file(
    training: Any, words: str, tmp_path: Path
) -> None:
    found = keep(training, tmp_path, ROWS)
    assert (found.file, found.digest, found.samples, found.reason) == (None, "", 0, words)
    assert list(tmp_path.iterdir()) == []
    assert found.to_json()["reason"] == words


def test_what_was_kept_is_written_as_plain_json(tmp_path: Path) -> None:
    found = keep(loader(), tmp_path, ROWS[:2])
    plain = found.to_json()
    assert plain == {
        "file": str(tmp_path / "calibration.safetensors"),
        "digest": found.digest,
        "samples": 18,
        "overlapping": 2,
        "reason": "",
    }
