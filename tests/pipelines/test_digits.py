"""The reference pipeline: real digits, writer by writer; the golden ones are in no window, the newest are held out."""

from pathlib import Path

import pytest
import torch

from pipelines.digits import Digits
from plaster_ops.data.batches import golden_loader, labelled_batches, rolling_loader
from plaster_ops.data.windows import open_window
from plaster_ops.domain.window import Window
from plaster_ops.ports import Pipeline

ROWS, GOLDEN, PIECES = 1438, 359, 13


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTER_PROJECT", str(tmp_path))


def images_of(digits: Digits, window: Window, which: str) -> set[bytes]:
    loader = getattr(digits.data(window), f"{which}_dataloader")()
    return {image.numpy().tobytes() for images, _ in loader for image in images}


def golden_images(digits: Digits) -> set[bytes]:
    return {image.numpy().tobytes() for image in digits.golden().tensors[0]}


def windows(digits: Digits) -> list[Window]:
    """Every window a project can come to: as each piece arrives, promoted or held."""
    source, found = digits.source, []
    for end in list(source.pieces)[source.initial - 1 :]:
        for learned in (None, source.cut(None, source.pieces[6])):
            found.append(Window(learned=learned, seen=None, cut=source.cut(learned, end), end=end))
    return found


def test_it_is_a_pipeline(digits: Digits) -> None:
    assert isinstance(digits, Pipeline)
    assert len(digits.rows) == ROWS
    assert len(digits.golden()) == GOLDEN
    assert len(digits.source.pieces) == PIECES


def test_no_golden_digit_is_in_any_window(digits: Digits) -> None:
    golden = golden_images(digits)
    assert len(golden) == GOLDEN
    for window in windows(digits):
        for which in ("train", "val", "test"):
            assert golden.isdisjoint(images_of(digits, window, which)), (window, which)


def test_the_newest_are_held_out_from_training_and_validation(digits: Digits) -> None:
    for window in windows(digits):
        held_out = images_of(digits, window, "test")
        assert len(held_out) == int(window.end or 0) - int(window.cut or 0)
        assert held_out.isdisjoint(images_of(digits, window, "train"))
        assert held_out.isdisjoint(images_of(digits, window, "val"))


def test_what_trains_does_not_validate_and_together_they_reach_to_the_cut(digits: Digits) -> None:
    for window in windows(digits):
        train, val = images_of(digits, window, "train"), images_of(digits, window, "val")
        assert train.isdisjoint(val)
        assert len(train) + len(val) == window.cut


def test_the_golden_set_is_frozen(digits: Digits) -> None:
    again = Digits().golden()
    assert torch.equal(again.tensors[0], digits.golden().tensors[0])
    assert torch.equal(again.tensors[1], digits.golden().tensors[1])
    assert set(digits.golden().tensors[1].tolist()) == set(range(10))


def test_seven_writers_are_there_and_two_more_arrive(digits: Digits) -> None:
    first = open_window(digits.source, seen=None, learned=None, needed=50)
    assert (first.skip, first.new_samples) == ("", digits.source.pieces[6])
    assert open_window(digits.source, seen=first.window.end, learned=first.window.cut, needed=50).skip
    before, now = digits.source.advance(2)
    later = open_window(digits.source, seen=first.window.end, learned=first.window.cut, needed=50)
    assert (later.skip, later.fresh_samples) == ("", now - before)
    assert later.window.learned == first.window.cut
    assert int(later.window.cut or 0) > int(first.window.cut or 0)


def test_the_data_can_be_read_as_the_stages_read_it(digits: Digits) -> None:
    window = Window(learned=None, seen=None, cut=553, end=774)
    example = digits.sample_batch(2)
    rolling = list(labelled_batches(rolling_loader(digits.data(window)), example, digits))
    golden = list(labelled_batches(golden_loader(digits), example, digits))
    assert sum(len(targets) for _, targets in rolling) == 774 - 553
    assert sum(len(targets) for _, targets in golden) == GOLDEN
    scores = digits.model().eval()(rolling[0][0])
    assert scores.shape == (len(rolling[0][1]), 10)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_sample_batch_has_as_many_samples_as_were_asked_for(digits: Digits, n: int) -> None:
    assert digits.sample_batch(n).shape == (n, 1, 8, 8)


def test_a_reference_pipeline_is_short(root: Path) -> None:
    for file in (root / "pipelines").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 120, file.name
