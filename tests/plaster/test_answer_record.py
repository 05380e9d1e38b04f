"""What was answered is kept a sample at a time, and the set is judged again from that to the last digit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanSquaredError, R2Score

from plaster_ops.domain.metrics import Better
from plaster_ops.errors import RecordsGone
from plaster_ops.plaster import accuracy
from plaster_ops.plaster.answer_record import load_answers, save_answers
from plaster_ops.plaster.answers import Answers

Sets = dict[str, list[Answers]]


def classes(*wrong: int, n: int = 120) -> list[list[Answers]]:
    """Engines that have the first so many wrong, in two slices and in two parts."""
    truth = torch.arange(n) % 3
    found = []
    for count in wrong:
        said = truth.clone()
        said[:count] += 1
        logits = torch.nn.functional.one_hot(said % 3, 3) * 2.0 + torch.arange(3) * 0.1 + count * 0.01
        names = tuple(("even",) if number % 2 == 0 else ("odd", "rare")[: 1 + (number < 9)] for number in range(n))
        cut = n // 3
        rows = (slice(0, cut), slice(cut, n))
        found.append([Answers(outputs=logits[r], targets=truth[r], n=len(truth[r]), slices=names[r]) for r in rows])
    return found


def numbers(*off: float, n: int = 90) -> list[list[Answers]]:
    truth = torch.linspace(-1, 1, n)
    names = (("left",),) * (n // 2) + (("right",),) * (n - n // 2)
    return [[Answers(outputs=truth + by * (1 + truth), targets=truth, n=n, slices=names)] for by in off]


CASES: dict[str, tuple[Any, Callable[..., list[list[Answers]]], tuple[float, ...], str]] = {
    "right or wrong": (MulticlassAccuracy(num_classes=3, average="micro"), classes, (4, 10, 5), "proportion"),
    "a mean": (MeanSquaredError(), numbers, (0.1, 0.2, 0.11), "mean"),
    "resampled": (R2Score(), numbers, (0.1, 0.2, 0.11), "bootstrap"),
    "groups left out": (MulticlassF1Score(num_classes=3, average="macro"), classes, (4, 10, 5), "jackknife"),
}


@pytest.mark.parametrize("case", CASES)
def test_from_the_file_every_number_is_the_same_to_the_last_digit(case: str, tmp_path: Path) -> None:
    metric, engines, offs, method = CASES[case]
    now, then, eager = engines(*offs)
    record = accuracy.observe(
        metric, {"now": now, "of run #1": then}, reference=eager, budget_s=1e-9 if method == "jackknife" else 60.0
    )
    assert record.engines["now"].method == method
    told = accuracy.judge_again(record, "rolling", Better.HIGHER)
    save_answers({"rolling": record}, tmp_path / "answers.npz")
    evaluation = {"better": "higher", "sets": {"rolling": None, "golden": None}, "parity": None}
    again = accuracy.rejudged(evaluation, load_answers(tmp_path / "answers.npz"))
    assert again["sets"] == {"rolling": told, "golden": None}
    assert json.loads(json.dumps(told)) == told
    assert told["slices"]["worst"]
    assert told["paired"]["of run #1"]["delta"] != 0.0


def test_two_sets_lie_side_by_side_and_the_first_engine_stays_first(tmp_path: Path) -> None:
    metric = MulticlassAccuracy(num_classes=3, average="micro")
    records = {
        "rolling": accuracy.observe(metric, {"now": classes(4)[0]}),
        "golden": accuracy.observe(metric, {"z": classes(1, n=60)[0], "a": classes(2, n=60)[0]}),
    }
    save_answers(records, tmp_path / "answers.npz")
    found = load_answers(tmp_path / "answers.npz")
    assert list(found["golden"].engines) == ["z", "a"]
    assert found["golden"].engines["z"].value == 59 / 60
    assert found["rolling"].reference is None
    assert found["rolling"].nats is None


def test_an_answer_that_was_changed_shows_in_the_score(tmp_path: Path) -> None:
    record = accuracy.observe(MulticlassAccuracy(num_classes=3, average="micro"), {"now": classes(4)[0]})
    file = tmp_path / "answers.npz"
    save_answers({"rolling": record}, file)
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["rolling/scores/0"][-1] = 0.0
    np.savez_compressed(file, **arrays)
    assert record.engines["now"].value == 116 / 120
    assert load_answers(file)["rolling"].engines["now"].value == 115 / 120


def test_a_mean_is_taken_in_double_precision() -> None:
    metric = MulticlassAccuracy(num_classes=3, average="micro")
    (now,) = classes(1)
    assert float(metric(torch.cat([p.outputs for p in now]), torch.cat([p.targets for p in now]))) != 119 / 120
    assert accuracy.observe(metric, {"now": now}).engines["now"].value == 119 / 120


def test_a_file_that_is_no_record_is_named_and_never_unpickled(tmp_path: Path) -> None:
    file = tmp_path / "answers.npz"
    file.write_bytes(b"not an archive")
    with pytest.raises(RecordsGone, match=r"answers\.npz"):
        load_answers(file)
    np.savez(file, meta=np.zeros(9))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(RecordsGone, match="zip"):
        load_answers(file)
    np.savez(file, meta=np.array(json.dumps({"format": 9, "sets": {}})))
    with pytest.raises(RecordsGone, match="format 9, this release reads 1"):
        load_answers(file)
    np.savez(file, meta=np.array([{"format": 1}], dtype=object))
    with pytest.raises(RecordsGone, match="pickle"):
        load_answers(file)
