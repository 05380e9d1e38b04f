"""The rows of R in a whole retrain without its processes: dates, spans, history, and a wall clock that is set."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.domain.metrics import CATALOGUE, Letter
from plaster_ops.domain.timeline import Instant
from plaster_ops.errors import Interrupted
from plaster_ops.flow.moments import due_s, schedule_delay
from plaster_ops.flow.retrain import Request
from plaster_ops.flow.session import Start, run_retrain
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.walk import FIT_S, LAUNCH_S, SECONDS, Walk


def rows(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in told["card"] if row["letter"] == "R"}


def value(told: dict[str, Any], metric: m.Metric) -> Any:
    return rows(told)[metric.key]["value"]


def reason(told: dict[str, Any], metric: m.Metric) -> Any:
    return rows(told)[metric.key]["reason"]


def moments(settings: Settings) -> dict[str, Any]:
    newest = max(settings.memory.glob("runs/digits/*/artifacts/timeline.json"))
    found: dict[str, Any] = json.loads(newest.read_text())
    return found


@pytest.fixture
def now(clock: SteppedClock) -> SteppedClock:
    """The journal dates promotions itself, so the clock begins where it is."""
    clock.epoch = time.time()
    return clock


def test_every_key_of_learning_is_on_a_card_with_a_value_or_a_reason(retrain: Retrain, walk: Walk) -> None:
    declared = {key for key, metric in CATALOGUE.items() if metric.letter is Letter.LEARNING}
    first = retrain(promote=False)
    walk.arrived = 14
    for told in (first, retrain()):
        assert rows(told).keys() == declared
        assert all(row["value"] is not None or row["reason"] for row in rows(told).values())


@pytest.mark.parametrize("hour_s", [3600.0, -3600.0])
@pytest.mark.parametrize("stage", ["fit", "export", "build", "evaluate"])
def test_a_wall_clock_that_is_set_in_the_middle_changes_no_number(
    retrain: Retrain, walk: Walk, clock: SteppedClock, settings: Settings, stage: str, hour_s: float
) -> None:
    walk.target_s = 4.0
    walk.times = {"samples": 10, "newest": clock.epoch - 70.0, "quantiles": {"0.5": clock.epoch - 80.0}}
    walk.times |= {"newest_trained": clock.epoch - 75.0}
    walk.times["quantiles"]["0.95"] = clock.epoch - 90.0
    undisturbed = retrain()
    moved = clock.monotonic - 100.0
    for key in ("newest", "newest_trained"):
        walk.times[key] += moved
    walk.times["quantiles"] = {q: at + moved for q, at in walk.times["quantiles"].items()}
    other = settings.model_copy(update={"project": settings.project.parent / "other"})
    other.project.mkdir()

    def set_the_clock() -> None:
        if not walk.errors.get("set"):
            walk.errors["set"] = RuntimeError()
            clock.epoch += hour_s

    walk.before = {stage: set_the_clock}
    disturbed = retrain(project=other)
    assert walk.errors
    for key, row in rows(undisturbed).items():
        again = rows(disturbed)[key]
        assert (again["value"], again["status"]) == (pytest.approx(row["value"]), row["status"]), key
    assert disturbed["phases"] == pytest.approx(undisturbed["phases"])
    ours, theirs = moments(settings)["moments"], moments(other)["moments"]
    assert {name: at["offset_s"] for name, at in theirs.items()} == pytest.approx(
        {name: at["offset_s"] for name, at in ours.items()}, nan_ok=True
    )


def test_the_timeline_tells_every_moment_in_order_or_why_not(
    retrain: Retrain, walk: Walk, settings: Settings, clock: SteppedClock
) -> None:
    walk.target_s = 4.0
    began = clock.epoch - 0.5
    retrain(slot="2026-11-18T01:46:30+00:00", trigger="cron")
    told = moments(settings)
    found = told["moments"]
    assert list(found) == [
        *("t_event", "t_arrival", "t_due", "t_trigger", "t_start", "t_data_ready", "t_train_start", "t_target"),
        *("t_train_end", "t_export", "t_engine", "t_gate", "t_deploy"),
    ]
    assert found["t_event"] == {
        "utc": None,
        "offset_s": None,
        "reason": "the source does not say when its samples came into being",
    }
    offsets = {name: at["offset_s"] for name, at in found.items() if name != "t_event"}
    accepted_s = (
        0.5 + LAUNCH_S + FIT_S + sum(SECONDS[stage] for stage in ("prepare", "export", "build", "trial", "evaluate"))
    )
    assert offsets == pytest.approx(
        {
            "t_arrival": 0.5 + SECONDS["prepare"] - 60.0,
            "t_due": 1_794_966_390.0 - began,
            "t_trigger": 0.0,
            "t_start": 0.5,
            "t_data_ready": 1.5,
            "t_train_start": 1.5 + LAUNCH_S,
            "t_target": 1.5 + LAUNCH_S + 4.0,
            "t_train_end": 1.5 + LAUNCH_S + FIT_S,
            "t_export": 1.5 + LAUNCH_S + FIT_S + SECONDS["export"],
            "t_engine": accepted_s,
            "t_gate": accepted_s,
            "t_deploy": accepted_s,
        }
    )
    assert found["t_trigger"]["utc"].startswith("2026-11-18T")
    assert (told["faults"], told["resumed"], told["phases"]["fit_s"]) == ([], 0, FIT_S)


def test_seconds_that_no_phase_has_make_the_cycle_suspect(settings: Settings, walk: Walk, clock: SteppedClock) -> None:
    """Whoever shows the progress takes two seconds after each stage."""
    notes: list[str] = []
    del walk

    def slow(event: Any) -> None:
        notes.append(str(event.get("text")))
        clock.step(2.0 if event.get("state") == "done" else 0.0)

    start = Start(monotonic_s=clock.monotonic, epoch_s=clock.epoch)
    told = run_retrain(settings, None, Request(measure=False), start=start, tell=slow)
    row = rows(told)[m.CYCLE_S.key]
    assert row["status"] == "suspect"
    assert "s are in no phase, more than 1%" in row["reason"]
    assert moments(settings)["faults"] == [row["reason"]]
    assert [note for note in notes if note.startswith("self-test: ")]


def test_a_slot_that_was_due_gives_the_delay(retrain: Retrain, clock: SteppedClock) -> None:
    clock.epoch = 1_795_000_030.5
    told = retrain(slot="2026-11-18T11:06:40+00:00", trigger="cron")
    assert value(told, m.SCHEDULE_DELAY_S) == pytest.approx(30.0)
    assert reason(told, m.CADENCE_ADHERENCE_RATIO) == "the pipeline has no cadence"


@pytest.mark.parametrize(
    ("slot", "words"),
    [
        (None, "the run was started for no slot"),
        ("at noon", "the slot 'at noon' is no date"),
        ("2026-11-18T11:07:40Z", "the slot lies 30 s ahead of the trigger"),
    ],
)
def test_a_slot_that_cannot_have_been_due_gives_no_delay(
    retrain: Retrain, clock: SteppedClock, slot: str | None, words: str
) -> None:
    clock.epoch = 1_795_000_030.5
    assert reason(retrain(slot=slot), m.SCHEDULE_DELAY_S) == words


def test_a_slot_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert due_s("2026-11-18T11:06:40") == due_s("2026-11-18T11:06:40+00:00") == due_s("2026-11-18T12:06:40+01:00")
    finally:
        monkeypatch.undo()
        time.tzset()
    trigger = Instant(offset_s=0.0, utc_s=1_794_999_999.5)
    assert schedule_delay("2026-11-18T11:06:40", trigger) == (0.0, "")


def test_a_held_run_deployed_nothing(retrain: Retrain, settings: Settings) -> None:
    told = retrain(promote=False)
    for metric in (m.DEPLOY_S, m.DATA_TO_DEPLOY_S, m.DATA_AGE_AT_DEPLOY_P50_S):
        assert reason(told, metric) == "not promoted: nothing was deployed"
    assert moments(settings)["moments"]["t_deploy"]["reason"] == "not promoted: nothing was deployed"
    assert (value(told, m.RETRAINS_DONE_PER_DAY), value(told, m.PROMOTION_RATIO)) == (0, 0.0)


def test_a_run_that_was_overtaken_deployed_nothing_either(retrain: Retrain, walk: Walk, settings: Settings) -> None:
    retrain()
    walk.arrived = 14
    retrain(promote=False)

    def promote_the_second() -> None:
        with Journal.open(settings.memory) as journal:
            first, second = journal.find_run("digits", "1"), journal.find_run("digits", "2")
            assert journal.promote("digits", second.uid, expected=first.uid, by="someone", reason="by hand")

    walk.arrived, walk.before = 18, {"export": promote_the_second}
    told = retrain()
    assert told["verdict"] == "held"
    assert reason(told, m.DATA_TO_DEPLOY_S) == "not promoted: nothing was deployed"


def test_a_resumed_run_counts_the_wait_for_the_data_but_not_for_the_cycle(
    retrain: Retrain, walk: Walk, clock: SteppedClock, settings: Settings
) -> None:
    walk.errors = {"build": Interrupted(15)}
    with pytest.raises(Interrupted):
        retrain()
    clock.step(3600.0)
    walk.errors = {}
    told = retrain(resume="last")
    assert value(told, m.CYCLE_S) < 60
    assert 3600 < value(told, m.DATA_TO_DEPLOY_S) < 3700
    found = moments(settings)
    assert (found["resumed"], found["moments"]["t_trigger"]["offset_s"]) == (1, 0.0)
    assert 1.5 < found["moments"]["t_engine"]["offset_s"] < 60


def test_data_from_the_future_is_a_wrong_clock_and_no_number(retrain: Retrain, walk: Walk, clock: SteppedClock) -> None:
    walk.before = {"prepare": lambda: setattr(clock, "epoch", clock.epoch + 7200.0)}
    told = retrain()
    assert value(told, m.DATA_TO_DEPLOY_S) is None
    assert "a clock is wrong" in reason(told, m.DATA_TO_DEPLOY_S)


def test_how_far_the_champion_was_behind_is_told_on_the_clock_of_the_data(retrain: Retrain, walk: Walk) -> None:
    walk.times = {"samples": 1, "newest": 1000.0, "quantiles": {}, "newest_trained": 900.0}
    first = retrain()
    assert (value(first, m.DATA_STALENESS_S), reason(first, m.DATA_STALENESS_S)) == (None, "there was no champion yet")
    walk.arrived = 14
    walk.times |= {"newest": 1300.0, "newest_trained": 1200.0}
    assert value(retrain(promote=False), m.DATA_STALENESS_S) == 400.0
    walk.arrived = 18
    walk.times = None
    assert "does not say when" in reason(retrain(), m.DATA_STALENESS_S)


def test_rows_that_came_late_make_no_model_older_than_its_champion(retrain: Retrain, walk: Walk) -> None:
    walk.times = {"samples": 1, "newest": 1000.0, "quantiles": {}, "newest_trained": 900.0}
    retrain()
    walk.arrived = 14
    walk.times |= {"newest_trained": 300.0}
    assert retrain()["data"]["newest_trained_at"] == 900.0
    walk.arrived = 18
    walk.times |= {"newest_trained": 950.0}
    assert retrain()["data"]["newest_trained_at"] == 950.0


def test_the_history_tells_the_pace(retrain: Retrain, walk: Walk, now: SteppedClock) -> None:
    walk.times = {"samples": 1, "newest": now.epoch, "quantiles": {}, "newest_trained": now.epoch - 500.0}
    first = retrain()
    assert (
        reason(first, m.STALENESS_P95_S)
        == "no champion before this one tells when its newest training datum came into being"
    )
    walk.arrived = 14
    retrain(promote=False)
    walk.arrived = 18
    third = retrain()
    assert (value(third, m.RETRAINS_DONE_PER_DAY), value(third, m.RETRAINS_DONE_WEEKLY_PER_DAY)) == (2, 2 / 7)
    assert value(third, m.PROMOTION_RATIO) == pytest.approx(2 / 3)
    assert value(third, m.LEARNED_SAMPLES_PER_DAY) == 8 + 8
    assert value(third, m.NEW_SAMPLES_COUNT) == 10
    cycle_s = max(told["phases"]["cycle_s"] for told in (first, third))
    assert value(third, m.RETRAINS_POSSIBLE_PER_DAY) == pytest.approx(86_400 / cycle_s)
    assert reason(third, m.RETRAINS_POSSIBLE_PER_DAY) == "fewer than 5 cycles: the longest counts"
    assert 500 < value(third, m.STALENESS_P95_S) < 700


def changed_fit(walk: Walk, retrain: Retrain, samples: int, before: Callable[[], None] | None = None) -> dict[str, Any]:
    walk.arrived += 4
    walk.target_s, walk.samples_to_target = 4.0, samples
    if before:
        before()
    return rows(retrain(promote=False))[m.SAMPLES_TO_TARGET_COUNT.key]


def test_a_fit_that_converges_as_no_other_did_is_suspect(retrain: Retrain, walk: Walk) -> None:
    walk.arrived = 6
    for count, samples in enumerate((1600, 1700, 1500, 1650, 1550)):
        row = changed_fit(walk, retrain, samples)
        assert row["status"] == "measured"
        assert f"convergence not checked: {count} earlier fits alike" in row["reason"]
    assert changed_fit(walk, retrain, 1620)["reason"].startswith("as usual")
    fast = changed_fit(walk, retrain, 90)
    assert (fast["status"], fast["reason"][:8], fast["value"]) == ("suspect", "too_fast", 90)


@pytest.mark.parametrize("step_samples", [32, 4_194_304])
def test_one_rank_of_earlier_gives_the_efficiency_of_two(
    retrain: Retrain, walk: Walk, monkeypatch: pytest.MonkeyPatch, step_samples: int
) -> None:
    from dataclasses import replace

    from plaster_ops.flow import train

    plain = walk.fit

    def fit_with(changed: dict[str, Any]) -> None:
        def fit(*args: Any, **more: Any) -> Any:
            outcome = plain(*args, **more)
            return replace(outcome, result=replace(outcome.result, **changed))

        monkeypatch.setattr(train, "fit", fit)

    fit_with({"step_samples": step_samples})
    alone = retrain()
    assert reason(alone, m.DDP_EFFICIENCY_RATIO) == "one rank"
    several = {"world_size": 2, "train_samples_per_s": 36.0, "rank_works_s": (4.0, 5.0)}
    fit_with({"step_samples": 2 * step_samples, **several})
    walk.arrived = 14
    told = retrain()
    assert value(told, m.DDP_EFFICIENCY_RATIO) == 36.0 / (2 * 24.0)
    assert value(told, m.TRAIN_DEVICE_SAMPLES_PER_S) == 18.0
    assert value(told, m.DDP_RANK_SKEW_RATIO) == 1.25
    assert "the peak of" in reason(told, m.MFU_RATIO)
