"""R: what a fit, its spans and its deployment give, and what is said where they give nothing."""

from collections.abc import Sequence
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.card import Card, Reading, Row, Status
from plaster_ops.domain.timeline import Phase
from plaster_ops.plaster import learning
from plaster_ops.plaster.convergence import Convergence

FIT: dict[str, Any] = {
    "train_samples_per_s": 500.0,
    "epochs": 4,
    "time_to_target_s": 2.5,
    "epochs_to_target": 3,
    "samples_to_target": 303,
    "samples_learned": 404,
    "reached_target": True,
    "world_size": 2,
    "rank_works_s": (10.0, 12.5),
}
PHASES = {phase.value: 1.0 for phase in Phase} | {"cycle_s": 90.0}
TIMES = {"samples": 20, "newest": 950.0, "quantiles": {"0.5": 900.0, "0.95": 100.0}, "newest_trained": 940.0}


def find(rows: Sequence[Row], metric: m.Metric) -> Any:
    return next(row for row in rows if row.metric is metric)


def value(rows: Sequence[Row], metric: m.Metric) -> float | None:
    row = find(rows, metric)
    return row.value if isinstance(row, Reading) else None


def test_a_fit_tells_its_rate_its_samples_and_its_way_to_the_target() -> None:
    rows = learning.fit_rows(FIT, restarts=1, new_samples=220)
    assert value(rows, m.TRAIN_SAMPLES_PER_S) == 500.0
    assert value(rows, m.TRAIN_DEVICE_SAMPLES_PER_S) == 250.0
    assert value(rows, m.SAMPLES_LEARNED_COUNT) == 404
    assert (value(rows, m.TIME_TO_TARGET_S), value(rows, m.EPOCHS_TO_TARGET_COUNT)) == (2.5, 3)
    assert value(rows, m.SAMPLES_TO_TARGET_COUNT) == 303
    assert value(rows, m.DDP_RANK_SKEW_RATIO) == 1.25
    assert value(rows, m.RESTARTS_COUNT) == 1
    Card.of(rows)


@pytest.mark.parametrize(
    ("reached", "reason"), [(None, "no target score was set"), (False, "the target score was not reached")]
)
def test_a_target_that_was_not_reached_has_no_way_to_it(reached: bool | None, reason: str) -> None:
    nothing = {"time_to_target_s": None, "epochs_to_target": None, "samples_to_target": None}
    rows = learning.fit_rows(FIT | nothing | {"reached_target": reached})
    for metric in (m.TIME_TO_TARGET_S, m.EPOCHS_TO_TARGET_COUNT, m.SAMPLES_TO_TARGET_COUNT):
        assert find(rows, metric).reason == reason


def test_samples_that_cannot_be_told_from_repeats_are_no_samples_to_target() -> None:
    unknown = {"samples_learned": None, "samples_to_target": None, "learned_reason": "a stream does not say"}
    rows = learning.fit_rows(FIT | unknown)
    assert find(rows, m.SAMPLES_TO_TARGET_COUNT).reason == "a stream does not say"
    assert find(rows, m.SAMPLES_LEARNED_COUNT).reason == "a stream does not say"
    assert value(rows, m.EPOCHS_TO_TARGET_COUNT) == 3


def test_a_convergence_that_is_flagged_makes_the_samples_suspect() -> None:
    for flag, status in (("too_fast", Status.SUSPECT), ("", Status.MEASURED)):
        found = Convergence(flag=flag, note="so it is")
        row = find(learning.fit_rows(FIT, convergence=found), m.SAMPLES_TO_TARGET_COUNT)
        assert (row.value, row.status, row.reason) == (303, status, "so it is")


def test_what_a_fit_does_not_know_it_says() -> None:
    rows = learning.fit_rows({})
    assert all(not isinstance(row, Reading) and row.reason for row in rows)
    assert find(rows, m.DDP_RANK_SKEW_RATIO).reason == "one rank"
    assert "on a GPU works unseen" in find(learning.fit_rows(FIT | {"rank_works_s": ()}), m.DDP_RANK_SKEW_RATIO).reason


def test_spans_that_do_not_account_for_the_cycle_make_it_suspect() -> None:
    sound = find(learning.span_rows(train_to_engine_s=30.0, phases=PHASES), m.CYCLE_S)
    assert (sound.value, sound.status, sound.reason) == (90.0, Status.MEASURED, None)
    broken = find(learning.span_rows(train_to_engine_s=30.0, phases=PHASES, faults=("a", "b")), m.CYCLE_S)
    assert (broken.value, broken.status, broken.reason) == (90.0, Status.SUSPECT, "a; b")


def deployed(**changed: Any) -> list[Row]:
    known: dict[str, Any] = {
        "deploy_s": 0.5,
        "deployed_at_s": 1000.0,
        "arrived_at_s": 900.0,
        "read_at_s": 950.0,
        "times": TIMES,
        "new_samples": 20,
    }
    return learning.deploy_rows(**(known | changed))


def test_a_promoted_engine_tells_how_old_its_data_is() -> None:
    rows = deployed()
    assert (value(rows, m.DATA_TO_DEPLOY_S), value(rows, m.DEPLOY_S)) == (100.0, 0.5)
    assert (value(rows, m.DATA_AGE_AT_DEPLOY_P50_S), value(rows, m.DATA_AGE_AT_DEPLOY_P95_S)) == (100.0, 900.0)
    assert find(rows, m.DATA_AGE_AT_DEPLOY_P50_S).n == 20


@pytest.mark.parametrize(
    ("changed", "metric", "words"),
    [
        ({"arrived_at_s": None}, m.DATA_TO_DEPLOY_S, "does not say when data arrived"),
        ({"arrived_at_s": 960.0}, m.DATA_TO_DEPLOY_S, "arrived 10 s after it was read: a clock is wrong"),
        ({"arrived_at_s": 1010.0, "read_at_s": None}, m.DATA_TO_DEPLOY_S, "a clock is wrong"),
        ({"times": None}, m.DATA_AGE_AT_DEPLOY_P50_S, "does not say when its samples"),
        ({"times": TIMES | {"samples": 0}}, m.DATA_AGE_AT_DEPLOY_P50_S, "does not say when its samples"),
        ({"new_samples": 21}, m.DATA_AGE_AT_DEPLOY_P95_S, "times for 20 of 21 new samples"),
        ({"times": TIMES | {"newest": 1002.0}}, m.DATA_AGE_AT_DEPLOY_P95_S, "a clock is wrong"),
        ({"deployed_at_s": None}, m.DEPLOY_S, "not promoted"),
    ],
)
def test_what_is_not_known_of_the_data_is_said(changed: dict[str, Any], metric: m.Metric, words: str) -> None:
    row = find(deployed(**changed), metric)
    assert not isinstance(row, Reading)
    assert words in row.reason


def device_rows(**changed: Any) -> list[Row]:
    known: dict[str, Any] = {
        "fit": FIT | {"device_name": "NVIDIA H100 80GB HBM3"},
        "device": "NVIDIA H100 80GB HBM3",
        "precision": "bf16-mixed",
        "forward_flops": 989.4e9,
        "one_rank_rates": [1.0, 400.0, 200.0, 250.0, 300.0, 350.0],
    }
    known |= changed
    return learning.device_rows(known.pop("fit"), **known)


def test_devices_are_held_against_one_rank_and_against_their_peak() -> None:
    rows = device_rows()
    efficiency = find(rows, m.DDP_EFFICIENCY_RATIO)
    assert (efficiency.value, efficiency.n, efficiency.reason) == (500.0 / (2 * 300.0), 5, None)
    assert value(rows, m.MFU_RATIO) == pytest.approx(3 * 500 / 2 / 1000)


def test_the_median_of_two_earlier_fits_lies_between_them() -> None:
    assert find(device_rows(one_rank_rates=[200.0, 300.0]), m.DDP_EFFICIENCY_RATIO).value == 500.0 / (2 * 250.0)


@pytest.mark.parametrize(
    ("changed", "metric", "words"),
    [
        ({"one_rank_rates": []}, m.DDP_EFFICIENCY_RATIO, "no fit alike by one rank on NVIDIA H100"),
        ({"fit": FIT | {"world_size": 1}}, m.DDP_EFFICIENCY_RATIO, "one rank"),
        ({"fit": FIT | {"train_samples_per_s": None}}, m.DDP_EFFICIENCY_RATIO, "the rate is not known"),
        ({"fit": FIT | {"train_samples_per_s": None}}, m.MFU_RATIO, "the rate is not known"),
        ({"device": "some CPU"}, m.MFU_RATIO, "the peak of some CPU in bf16-mixed is not known"),
        ({"precision": "32-true"}, m.MFU_RATIO, "in 32-true is not known"),
        ({"forward_flops": None}, m.MFU_RATIO, "FLOPs were not counted"),
    ],
)
def test_without_a_peak_or_a_history_devices_are_not_judged(
    changed: dict[str, Any], metric: m.Metric, words: str
) -> None:
    row = find(device_rows(**changed), metric)
    assert not isinstance(row, Reading)
    assert words in row.reason


def test_ranks_on_one_cpu_are_said_to_share_it() -> None:
    assert "share the cores" in find(device_rows(fit=FIT), m.DDP_EFFICIENCY_RATIO).reason


def test_what_nobody_gave_is_filled_up_with_its_reason() -> None:
    some = learning.fit_rows(FIT)
    rest = learning.missing_rows(some, "bench trains nothing")
    assert {row.metric for row in (*some, *rest)} == set(m.LEARNING)
    assert {row.reason for row in rest} == {"bench trains nothing"}
