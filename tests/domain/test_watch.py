"""From histories to alarms: which are raised, once each, with what changed and in which direction."""

from dataclasses import replace

import numpy as np
import pytest

from plaster_ops.domain.alarm import Alarm, AlarmShape, AlarmState
from plaster_ops.domain.changes import Change, ChangeKind
from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, HEADLINES, Better
from plaster_ops.domain.watch import WATCHED, find_alarms, least_change
from tests.domain.histories import history, noise, step, told, values

P50, BYTES, SCORE = "latency/e2e_p50_ms", "size/engine_bytes", "accuracy/engine_score"
STEPPED = values(step(noise(np.random.default_rng(1), 40, 0.01), 37, 0.2))


def test_headlines_and_whatever_has_a_margin_are_watched() -> None:
    assert {each.key for each in HEADLINES} <= {each.key for each in WATCHED}
    assert CPU_TIME_PER_INFERENCE_S in WATCHED


def test_a_step_becomes_an_open_alarm_that_says_who_raised_it() -> None:
    (alarm,) = find_alarms([history(P50, STEPPED)], told())
    assert (alarm.index, alarm.raised_index, alarm.shape) == (38, 40, AlarmShape.STEP)
    assert (alarm.worse, alarm.state, alarm.pipeline) == (True, AlarmState.OPEN, "digits")
    assert alarm.change == pytest.approx(0.22, abs=0.02)


@pytest.mark.parametrize(("better", "worse"), [(Better.LOWER, True), (Better.HIGHER, False), (Better.NEITHER, False)])
def test_worse_is_by_the_metrics_direction(better: Better, worse: bool) -> None:
    assert find_alarms([history(P50, STEPPED, better)], told())[0].worse is worse


def test_what_was_told_is_not_told_again_at_any_later_retrain() -> None:
    (first,) = find_alarms([history(P50, STEPPED)], told())
    longer = [*STEPPED, *values(noise(np.random.default_rng(2), 30, 0.01) + 0.2)]
    for n in range(40, 71):
        assert find_alarms([history(P50, longer[:n])], told(first, newest=n)) == []
    moved = replace(first, index=41)
    assert find_alarms([history(P50, STEPPED)], told(moved)) == [], "within five retrains it is the same one"


def test_a_step_back_is_an_alarm_of_its_own_and_says_whose_level_it_is() -> None:
    (first,) = find_alarms([history(P50, STEPPED)], told())
    back = [
        *STEPPED,
        *values(noise(np.random.default_rng(3), 5, 0.01) + 0.2),
        *values(noise(np.random.default_rng(4), 5, 0.01)),
    ]
    (alarm,) = find_alarms([history(P50, back)], told(first, newest=50))
    assert (alarm.index, alarm.worse, alarm.back_at) == (46, False, 37)
    assert first.back_at is None


def test_an_alarm_of_another_machine_is_another_one() -> None:
    (first,) = find_alarms([history(P50, STEPPED)], told())
    other = replace(history(P50, STEPPED), fingerprint="e" * 16)
    assert len(find_alarms([other], told(first))) == 1


def test_the_margin_of_the_settings_is_that_of_drift_too() -> None:
    metric = history(P50, STEPPED).metric
    assert (least_change(metric, {}), least_change(metric, {P50: 0.2})) == (0.025, 0.1)
    assert find_alarms([history(P50, STEPPED)], told(margins={P50: 0.6})) == []


def test_an_exact_metric_is_told_at_once_and_back_at_once() -> None:
    (first,) = find_alarms([history(BYTES, [100.0, 100.0, 110.0])], told(newest=3))
    assert (first.index, first.p_value, first.worse) == (3, None, True)
    (back,) = find_alarms([history(BYTES, [100.0, 100.0, 110.0, 100.0])], told(first, newest=4))
    assert (back.index, back.worse, back.back_at) == (4, False, 2)
    assert find_alarms([history(BYTES, [100.0, 100.0, 110.0, 100.0, 100.0])], told(first, back, newest=5)) == []


INT8 = Change(kind=ChangeKind.ENGINE, name="precision", then="fp32", now="int8")
ROWS = Change(kind=ChangeKind.DATA, name="train_samples", then="900", now="1100")


def test_what_changed_at_that_retrain_is_the_candidate() -> None:
    by_retrain = {38: (INT8, ROWS), 37: (ROWS,)}
    (alarm,) = find_alarms([history(P50, STEPPED)], told(candidates=lambda now, _: by_retrain.get(now, ())))
    assert alarm.candidates == (INT8, ROWS)


@pytest.mark.parametrize("beside", [36, 37, 39, 40])
def test_where_only_data_changed_what_changed_beside_it_is(beside: int) -> None:
    (alarm,) = find_alarms(
        [history(P50, STEPPED)], told(candidates=lambda now, _: (INT8,) if now == beside else (ROWS,))
    )
    assert alarm.candidates == (INT8,)


def test_an_alarm_is_the_same_after_json() -> None:
    (alarm,) = find_alarms([history(P50, STEPPED)], told(candidates=lambda *_: (INT8,)))
    (score,) = find_alarms([history(SCORE, [value / 20 for value in STEPPED], Better.HIGHER)], told())
    for each in (alarm, score):
        plain = each.to_json()
        assert Alarm.from_json(plain, each.fingerprint) == each
    assert alarm.to_json()["change_difference"] is None
    assert score.to_json()["change_ratio"] is None


def test_a_regime_begins_at_the_newest_of_several_alarms() -> None:
    (first,) = find_alarms([history(P50, STEPPED)], told())
    later, sooner = replace(first, index=30), replace(first, index=12)
    assert history(P50, STEPPED).start([later, sooner]) == 29


def test_alarms_of_several_metrics_come_in_order_of_the_retrains_at_which_they_lie() -> None:
    late = history(P50, STEPPED)
    early = history("latency/e2e_p99_ms", values(step(noise(np.random.default_rng(1), 40, 0.01), 20, 0.4)))
    assert [alarm.index for alarm in find_alarms([late, early], told())] == [21, 38]


def test_back_at_a_level_is_within_a_margin_of_it_and_only_after_it_was_left() -> None:
    (up,) = find_alarms([history(BYTES, [100.0, 100.0, 110.0])], told(newest=3))
    (near,) = find_alarms([history(BYTES, [100.0, 100.0, 110.0, 100.6])], told(up, newest=4))
    assert near.back_at == 2
    (down,) = find_alarms([history(BYTES, [100.0, 100.0, 110.0, 100.0])], told(up, newest=4))
    (drift,) = find_alarms([history(BYTES, [100.0, 100.0, 110.0, 100.0, 100.6])], told(up, down, newest=5))
    assert drift.back_at is None, "it was at that level all along"
