"""The kind of a change: where a step is not called a ramp, noise no noise, and a slow loss is tested as it must be."""

import numpy as np
import pytest

from plaster_ops.domain.alarm import AlarmShape
from plaster_ops.domain.metric import Better
from plaster_ops.domain.scan import scan
from plaster_ops.domain.scan_levels import BLOCK, find_creep, noise_grew, shape_of
from plaster_ops.domain.scan_splits import two_sample_t, two_sided_p
from tests.domain.histories import alike, noise, step, values


def test_a_step_with_noise_is_hardly_ever_called_a_ramp() -> None:
    shapes = [shape_of(step(noise(np.random.default_rng(seed), 24, 0.01), 12, 0.03), 12) for seed in range(100)]
    assert shapes.count(AlarmShape.RAMP) <= 4


def test_noise_that_grew_by_half_is_no_note_however_sure_it_is() -> None:
    rng = np.random.default_rng(1)
    grown = np.concatenate([np.sort(rng.uniform(-1, 1, 200)), rng.uniform(-1.6, 1.6, 20)])
    assert noise_grew(grown) is None
    assert noise_grew(np.concatenate([grown[:200], grown[200:] * 2])) is not None


def test_a_ratio_that_chance_explains_is_no_note() -> None:
    quiet_but_for_spikes = np.array([0.1, -0.1, 0.11, -0.11, 0.09, -0.09, 0.1, -0.1, 9.0, -9.0] * 2)
    wider = np.array([0.3, -0.3, 0.25, -0.25, 0.35, -0.35, 0.3, -0.3, 0.28, -0.28] * 2)
    assert noise_grew(np.concatenate([quiet_but_for_spikes, wider])) is None


def test_alpha_is_shared_by_the_blocks_that_the_best_was_chosen_from() -> None:
    y = noise(np.random.default_rng(2), 100, 0.01) + 0.02 * np.arange(100) / 100
    found = find_creep(y, is_worse_higher=True, alpha=1.0)
    assert found is not None
    assert find_creep(y, is_worse_higher=True, alpha=found.p_value) is None


def test_neighbours_that_are_alike_make_a_slow_loss_less_certain() -> None:
    y = alike(np.random.default_rng(3), 120, 0.01, phi=0.7) + 0.03 * np.arange(120) / 120
    found = find_creep(y, is_worse_higher=True, alpha=1.0)
    assert found is not None
    blocks = (len(y) - BLOCK) // BLOCK
    naive = two_sided_p(two_sample_t(y[found.best], y[found.newest]), 2 * BLOCK - 2) * blocks
    assert found.p_value > 3 * naive


def test_a_slow_loss_begins_where_half_of_it_is_lost_for_good() -> None:
    y = np.concatenate([np.zeros(30), np.arange(30) * 0.01]) + noise(np.random.default_rng(4), 60, 0.001)
    found = find_creep(y, is_worse_higher=True, alpha=1.0)
    assert found is not None
    assert found.at == pytest.approx(43, abs=2)


def test_what_has_no_better_direction_has_no_slow_loss() -> None:
    series = values(noise(np.random.default_rng(8), 300, 0.01) - 0.08 * np.arange(300) / 300)
    asked = {"least": 0.09, "margin": 0.05}
    assert scan(series, **asked, better=Better.HIGHER).change is not None
    assert scan(series, **asked, better=Better.NEITHER).change is None


def test_the_place_of_a_slow_loss_is_that_of_the_values_as_they_were_given() -> None:
    series = values(noise(np.random.default_rng(8), 300, 0.01) + 0.08 * np.arange(300) / 300)
    asked = {"least": 0.09, "margin": 0.05, "better": Better.LOWER}
    plain = scan(series, **asked).change
    with_gaps = scan([None] * 7 + series, **asked).change
    assert plain is not None
    assert with_gaps is not None
    assert with_gaps.at == plain.at + 7
