"""Which cadence a past speaks for."""

import random
import statistics

import pytest

from plaster_ops.domain.cadence import FEWEST, Slot, answer

DAY_S = 86_400.0


def past(slots: int, lost_by_age: list[float], *, noise: float = 0.0, seed: int = 0) -> list[Slot]:
    """`slots` pieces of data on which a model of age a scores 0.9 less `lost_by_age[a - 1]`, days being uneven."""
    draw = random.Random(seed)
    found = []
    for index in range(slots):
        day = draw.gauss(0, 0.05)
        ages = lost_by_age[:index]
        by_age = tuple(0.9 + day - lost + draw.gauss(0, noise) for lost in ages)
        found.append(Slot(index=index + 1, by_age=by_age, stale_s=tuple(DAY_S * (age + 2) for age in range(len(ages)))))
    return found


def test_a_model_that_does_not_age_is_retrained_as_seldom_as_the_history_can_tell() -> None:
    told = answer(past(60, [0.0] * 60, noise=0.002), margin=0.005)
    assert told.suggested == max(row.every for row in told.rows) == 10
    assert all(abs(row.loss) < 0.002 for row in told.rows)


def test_a_model_that_ages_fast_is_retrained_each_time() -> None:
    told = answer(past(60, [0.02 * age for age in range(60)], noise=0.002), margin=0.005)
    assert told.suggested == 1
    assert all(row.sure_ratio < 0.05 for row in told.rows if row.every > 1)


def test_the_slowest_cadence_within_the_margin_is_suggested_and_its_loss_is_the_mean_over_ages() -> None:
    told = answer(past(60, [0.002 * age for age in range(60)], noise=0.0005), margin=0.005)
    losses = {row.every: row.loss for row in told.rows}
    for every, loss in losses.items():
        assert loss == pytest.approx(statistics.fmean(0.002 * age for age in range(every)), abs=3e-4)
    assert told.suggested == 5
    assert not next(row for row in told.rows if row.every == 7).is_within(0.005)


def test_uneven_days_do_not_widen_the_loss_because_cadences_meet_the_same_days() -> None:
    told = answer(past(60, [0.001 * age for age in range(60)], noise=0.0), margin=0.005)
    for row in told.rows:
        assert row.loss_ci95[1] - row.loss_ci95[0] < 1e-9


def test_noise_makes_the_answer_careful() -> None:
    quiet = answer(past(60, [0.001 * age for age in range(60)], noise=0.001), margin=0.005)
    noisy = answer(past(60, [0.001 * age for age in range(60)], noise=0.05), margin=0.005)
    assert quiet.suggested is not None
    assert noisy.suggested is not None
    assert noisy.suggested < quiet.suggested


def test_a_loss_that_is_not_there_is_seldom_excluded_by_its_interval() -> None:
    missed = 0
    for seed in range(60):
        told = answer(past(60, [0.0] * 60, noise=0.02, seed=seed), margin=0.005)
        row = next(row for row in told.rows if row.every == 3)
        missed += not row.loss_ci95[0] <= 0 <= row.loss_ci95[1]
    assert missed <= 8


def test_ageing_that_is_worse_for_a_while_widens_the_interval_of_slow_cadences() -> None:
    """Losses that are alike from slot to slot (0.7 from one to the next); single slots taken for 60 would miss 62."""
    missed = 0
    for seed in range(200):
        draw, slow = random.Random(seed), [0.0]
        for _ in range(80):
            slow.append(0.7 * slow[-1] + draw.gauss(0, 0.01))
        slots = [
            Slot(index=j, by_age=(0.9, *(0.9 - slow[j + 20] + draw.gauss(0, 0.002) for _ in range(29))))
            for j in range(60)
        ]
        row = next(row for row in answer(slots, margin=0.005).rows if row.every == 10)
        missed += not row.loss_ci95[0] <= 0 <= row.loss_ci95[1]
    assert missed <= 25


def test_a_cadence_is_suggested_only_if_all_faster_ones_are_within_the_margin() -> None:
    draw = random.Random(0)
    slots = [Slot(index=j, by_age=(0.9, 0.7, 1.1, *(0.9 + draw.gauss(0, 1e-4) for _ in range(27)))) for j in range(60)]
    told = answer(slots, margin=0.005)
    assert [row.every for row in told.rows if row.is_within(0.005)] == [1, 3, 5, 7, 10, 14]
    assert told.suggested == 1


def test_a_short_history_gives_no_answer_and_says_what_it_lacks() -> None:
    told = answer(past(FEWEST, [0.0] * 60), margin=0.005)
    assert told.suggested is None
    assert f"{FEWEST} are needed" in told.reason
    assert answer(past(FEWEST + 1, [0.0] * 60), margin=0.005).suggested == 1


def test_staleness_is_the_95th_percentile_over_the_ages_in_service() -> None:
    told = answer(past(60, [0.0] * 60), margin=0.005)
    by_every = {row.every: row.stale_p95_s for row in told.rows}
    assert by_every[1] == 2 * DAY_S
    assert by_every[7] == 8 * DAY_S


def test_cadences_are_compared_on_slots_that_all_of_them_have_a_model_for() -> None:
    told = answer(past(60, [0.0] * 60), margin=0.005)
    assert told.slots == 60 - max(row.every for row in told.rows)
