"""Slices that a pipeline declares, and the divergence of class probabilities."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import R2Score

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Reading, Unmeasured
from plaster_ops.domain.metrics import Better
from plaster_ops.errors import PipelineError
from plaster_ops.plaster import accuracy
from plaster_ops.plaster.answers import Answers
from plaster_ops.plaster.proportions import wilson_interval
from plaster_ops.plaster.score_pairs import divergences, mean_divergence
from plaster_ops.plaster.slices import slice_names, worst_slice

SCORE = MulticlassAccuracy(num_classes=2, average="micro")


def nats(now: list[Answers], reference: list[Answers]) -> float | None:
    found = divergences(now, reference)
    return None if found is None else mean_divergence(found, len(found))


def pipeline(slices: Any) -> Any:
    return SimpleNamespace(slices=slices)


def asked(labels: Any, n: int = 3) -> Any:
    return slice_names(pipeline(lambda _x, _y: labels), torch.rand(n, 2), torch.zeros(n), n)


def answered(right: dict[str, tuple[int, int]]) -> list[Answers]:
    """One part a slice: `right` of n samples are right."""
    parts = []
    for name, (good, n) in right.items():
        truth = torch.zeros(n, dtype=torch.long)
        said = (torch.arange(n) >= good).long()
        outputs = torch.nn.functional.one_hot(said, 2).float()
        parts.append(Answers(outputs=outputs, targets=truth, n=n, slices=((name,),) * n))
    return parts


def test_labels_are_text_numbers_tensors_or_several_columns() -> None:
    assert asked(["a", None, 2]) == (("a",), (), ("2",))
    assert asked(torch.tensor([1, 0, 1])) == asked(np.array([1, 0, 1])) == (("1",), ("0",), ("1",))
    assert asked({"by": [1, 2, None], "size": ["s", "s", "l"]}) == (("by=1", "size=s"), ("by=2", "size=s"), ("size=l",))
    assert slice_names(SimpleNamespace(), None, None, 3) == ()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a"], "gave 1 labels for 3 samples"),
        ("abc", "gave str, not a list of labels"),
        (torch.rand(3), "a float"),
        (torch.tensor(1), "gave Tensor, not a list"),
        ({"by": [1, 2]}, "gave by: 2 labels for 3 samples"),
    ],
)
def test_what_is_no_label_a_sample_is_the_pipelines_error(labels: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        asked(labels)


def test_an_error_in_the_users_function_says_so() -> None:
    with pytest.raises(PipelineError, match=r"slices\(inputs, targets\) of the pipeline fails: KeyError: 'writer'"):
        slice_names(pipeline(lambda x, _y: x["writer"]), {}, None, 3)
    with pytest.raises(PipelineError, match="is list, not a function"):
        slice_names(pipeline([1]), None, None, 3)


def test_the_worst_slice_is_scored_and_small_ones_are_named() -> None:
    parts = answered({"a": (38, 40), "b": (30, 40), "tiny": (0, 5)})
    section = accuracy.judge_set(SCORE, {"now": parts}, which="rolling")
    rows = accuracy.read({"better": "higher", "sets": {"rolling": section, "golden": None}})
    (row,) = [row for row in rows if row.metric is m.WORST_SLICE_SCORE]
    assert isinstance(row, Reading)
    assert (row.value, row.n, row.direction) == (0.75, 40, Better.HIGHER)
    assert row.ci95 == pytest.approx(wilson_interval(30, 40))
    assert row.reason == "worst: b (of 2 slices); fewer than 30 samples: tiny (5)"


def test_where_lower_is_better_the_worst_is_the_largest() -> None:
    def wrong(outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(dim=1) != targets).float().mean())

    assert worst_slice(wrong, answered({"a": (38, 40), "b": (30, 40)}), Better.LOWER)["worst"] == "b"


def test_no_slice_that_counts_is_a_reason() -> None:
    section = accuracy.judge_set(SCORE, {"now": answered({"tiny": (0, 5)})}, which="rolling")
    rows = accuracy.read({"better": "higher", "sets": {"rolling": section, "golden": None}})
    (row,) = [row for row in rows if row.metric is m.WORST_SLICE_SCORE]
    assert isinstance(row, Unmeasured)
    assert row.reason == "fewer than 30 samples: tiny (5)"


def test_a_slice_on_which_the_score_is_not_defined_is_named() -> None:
    truth = torch.cat([torch.zeros(40), torch.linspace(0, 1, 40)])
    names = (("flat",),) * 40 + (("steep",),) * 40

    def r2(outputs: Any, targets: Any) -> float:
        return 1 - float((outputs - targets).square().sum() / (targets - targets.mean()).square().sum())

    found = worst_slice(r2, [Answers(outputs=truth + 0.1, targets=truth, n=80, slices=names)], Better.HIGHER)
    assert (found["worst"], found["undefined"]) == ("steep", ["flat"])
    assert R2Score()(truth[40:] + 0.1, truth[40:]) == pytest.approx(found["score"]["value"], abs=1e-5)


def outputs_of(*rows: list[float]) -> list[Answers]:
    return [Answers(outputs=torch.tensor(rows), targets=torch.zeros(len(rows), dtype=torch.long), n=len(rows))]


def test_the_divergence_of_probabilities_and_of_their_logits_is_the_sum_by_hand() -> None:
    eager, engine = [0.7, 0.2, 0.1], [0.6, 0.3, 0.1]
    by_hand = 0.7 * math.log(0.7 / 0.6) + 0.2 * math.log(0.2 / 0.3)
    assert nats(outputs_of(engine), outputs_of(eager)) == pytest.approx(by_hand, rel=1e-5)
    logits = [[5 + math.log(p) for p in row] for row in (engine, eager)]
    found = nats(outputs_of(logits[0]), outputs_of(logits[1]))
    assert found == pytest.approx(by_hand, rel=1e-4)
    same = outputs_of(eager, engine)
    assert nats(same, same) == 0.0
    assert nats(outputs_of(eager, engine), outputs_of(eager, eager)) == pytest.approx(by_hand / 2, rel=1e-5)


def test_the_mean_divergence_of_a_set_is_over_its_answers_not_over_its_samples() -> None:
    """Two samples of three answers each, as a segmentation gives them: classes on axis 1."""
    eager, engine = torch.tensor([0.7, 0.3]), torch.tensor([0.6, 0.4])
    by_hand = 0.7 * math.log(0.7 / 0.6) + 0.3 * math.log(0.3 / 0.4)
    now, reference = (
        [Answers(outputs=row.reshape(1, 2, 1).repeat(2, 1, 3), targets=torch.zeros(2, 3, dtype=torch.long), n=2)]
        for row in (engine, eager)
    )
    section = accuracy.judge_set(SCORE, {"now": now}, which="rolling", reference=reference)
    assert section["kl_mean_nats"] == pytest.approx(by_hand, rel=1e-5)


def test_a_class_that_one_side_rules_out_has_no_number() -> None:
    sure, open_ = outputs_of([1.0, 0.0]), outputs_of([0.5, 0.5])
    assert nats(open_, sure) == pytest.approx(math.log(2))
    assert nats(sure, open_) == math.inf
    section = accuracy.judge_set(SCORE, {"now": sure}, which="rolling", reference=open_)
    rows = accuracy.read({"better": "higher", "sets": {"rolling": section, "golden": None}})
    (row,) = [row for row in rows if row.metric is m.OUTPUT_KL_MEAN_NATS]
    assert isinstance(row, Unmeasured)
    assert row.reason.startswith("not finite")
