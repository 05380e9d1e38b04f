import json

import pytest
import torch
from torch import Tensor

from plaster_ops.engines.parity import LIMITS, ParityReport, compare_outputs, merge_reports
from plaster_ops.errors import SettingsError

NAN, INF = float("nan"), float("inf")


def one(reference: Tensor, got: Tensor, precision: str = "fp32") -> ParityReport:
    return compare_outputs([reference], [got], ["heads.0"], precision)


def test_equal_outputs_pass_with_error_zero() -> None:
    output = one(torch.eye(3), torch.eye(3)).outputs[0]
    assert (output.abs_err_max, output.rel_err, output.cosine_min, output.top1_agreement) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("precision", sorted(LIMITS))
def test_each_precision_has_its_limit_on_the_error_relative_to_the_largest_value(precision: str) -> None:
    reference = torch.tensor([[100.0, 0.0, -50.0]])
    allowed = 100.0 * LIMITS[precision]
    assert one(reference, reference + torch.tensor([[0.0, 0.9 * allowed, 0.0]]), precision).ok
    report = one(reference, reference + torch.tensor([[0.0, 1.1 * allowed, 0.0]]), precision)
    assert not report.ok
    assert "'heads.0'" in report.reasons[0]
    assert f"{1.1 * LIMITS[precision]:.2e}" in report.reasons[0]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(SettingsError, match="fp4"):
        one(torch.eye(2), torch.eye(2), "fp4")


@pytest.mark.parametrize(
    ("reference", "got", "words"),
    [
        (torch.ones(2, 3), torch.ones(3, 2), "shape"),
        (torch.ones(2), torch.ones(2).double(), "float64"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, NAN]), "NaN in the engine"),
        (torch.tensor([1.0, NAN]), torch.tensor([1.0, 2.0]), "NaN in the eager model"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, INF]), "differs"),
        (torch.tensor([1.0, -INF]), torch.tensor([1.0, INF]), "differs"),
        (torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.1]), "differs"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "1 of 2 whole-number"),
        (torch.tensor([True, False]), torch.tensor([False, True]), "2 of 2 whole-number"),
    ],
)
def test_what_must_fail_fails_in_words(reference: Tensor, got: Tensor, words: str) -> None:
    report = one(reference, got)
    assert not report.ok
    assert words in report.reasons[0]
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ok"] is False


@pytest.mark.parametrize(
    "same", [torch.tensor([1.0, NAN]), torch.tensor([[1.0, -INF, INF]]), torch.zeros(2, 3), torch.zeros(0, 3)]
)
def test_what_eager_answers_too_is_no_failure(same: Tensor) -> None:
    assert one(same, same.clone()).ok


def test_another_number_of_outputs_fails() -> None:
    report = compare_outputs([torch.ones(1)], [torch.ones(1)] * 2, ["a"], "fp32")
    assert report.reasons == ("the engine has 2 outputs, the model has 1",)


def test_top1_agreement_is_counted_per_sample_and_only_over_classes() -> None:
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.5], [1.0, 0.0]])
    flipped = reference.clone()
    flipped[2] = torch.tensor([0.5, 0.6])
    assert one(reference, flipped, "int8").outputs[0].top1_agreement == 0.75
    assert one(reference[:, :1], flipped[:, :1]).outputs[0].top1_agreement is None
    assert one(reference.reshape(2, 2, 2), flipped.reshape(2, 2, 2)).outputs[0].top1_agreement is None


def test_the_smallest_cosine_is_that_of_the_worst_sample() -> None:
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    turned = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert one(reference, turned).outputs[0].cosine_min == pytest.approx(0.5**0.5)
    zero = torch.zeros(2, 2)
    assert one(zero, zero).outputs[0].cosine_min == 1.0


def test_samples_of_one_number_are_one_vector_so_a_sign_near_zero_is_no_catastrophe() -> None:
    reference, got = torch.tensor([3.0, 1e-7]), torch.tensor([3.0, -1e-7])
    assert one(reference, got).outputs[0].cosine_min == pytest.approx(1.0)


def test_reports_of_batches_merge_to_the_worst_error_over_the_largest_value() -> None:
    first = one(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.5 + 1e-3]]))
    second = one(torch.tensor([[100.0, 0.0], [0.0, 100.0]]), torch.tensor([[100.0, 0.0], [0.0, 100.0]]))
    merged = merge_reports([first, second])
    assert not first.ok
    assert merged.ok
    assert merged.outputs[0].samples == 3
    assert merged.outputs[0].top1_agreement == 1.0
    assert merged.outputs[0].rel_err == pytest.approx(1e-5, rel=1e-3)


def test_one_bad_batch_spoils_the_merged_report() -> None:
    good, bad = one(torch.ones(2), torch.ones(2)), one(torch.ones(2), torch.ones(3))
    assert not merge_reports([good, bad, good]).ok
    assert not merge_reports([good, compare_outputs([torch.ones(1)], [], [], "fp32")]).ok
