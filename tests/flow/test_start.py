"""How a retrain starts: the plan, a race of two starts in a whole retrain, and what the record says of it."""

import json
from typing import Any

import pytest

from plaster_ops.domain import metrics as m
from plaster_ops.errors import ChildFailed, Interrupted, TimedOut, UsageError, WeightsDiffer
from plaster_ops.flow.retrain import Request
from plaster_ops.flow.start import StartPlan, judge_race, plan_start
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import AutoSettings
from plaster_ops.tracking.journal import Journal
from tests.flow.conftest import Retrain
from tests.flow.walk import FIT_S, LAUNCH_S, SECONDS, Walk

WON_WARM, WON_SCRATCH = {"race": {"won": "warm"}}, {"race": {"won": "scratch"}}
NO_RACE: dict[str, Any] = {"race": None}


def plan(earlier: list[dict[str, Any]], every: int = 7) -> StartPlan:
    return plan_start("auto", has_champion=True, weights=True, earlier=earlier, every=every)


# ---- the plan --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("setting", "champion", "weights", "used"),
    [
        ("scratch", True, True, "scratch"),
        ("warm", True, True, "warm"),
        ("warm", False, False, "scratch"),
        ("auto", False, False, "scratch"),
        ("auto", True, False, "scratch"),
    ],
)
def test_only_auto_with_a_champion_races(setting: str, champion: bool, weights: bool, used: str) -> None:
    found = plan_start(setting, has_champion=champion, weights=weights, earlier=[{}], every=1)
    assert (found.used, found.race) == (used, False)


def test_the_first_retrain_with_a_champion_is_a_race_that_favours_warm() -> None:
    assert (plan([{}]).used, plan([{}]).race) == ("warm", True)


@pytest.mark.parametrize("since", range(1, 9))
def test_after_warm_has_won_a_race_comes_every_so_many_retrains(since: int) -> None:
    found = plan([{}, WON_WARM, *[NO_RACE] * (since - 1)])
    assert (found.used, found.race) == ("warm", since >= 7)


def test_after_scratch_has_won_retrains_start_from_scratch_and_every_second_is_a_race() -> None:
    assert plan([{}, WON_SCRATCH]) == StartPlan(
        used="scratch",
        race=False,
        why="scratch won the last race; the last race was one retrain ago, the next is due after 2",
    )
    assert (plan([{}, WON_SCRATCH, NO_RACE]).used, plan([{}, WON_SCRATCH, NO_RACE]).race) == ("scratch", True)
    assert plan([{}, WON_SCRATCH], every=1).race


def test_the_newest_race_counts() -> None:
    assert plan([WON_SCRATCH, WON_WARM]).used == "warm"
    assert plan([WON_WARM, WON_SCRATCH, NO_RACE]).used == "scratch"


# ---- who wins --------------------------------------------------------------------------------------------------------
def scored(delta: float, ci95: list[float] | None, better: str = "higher") -> dict[str, Any]:
    scores = {"warm": {"value": 0.8}, "scratch": {"value": 0.8 + delta}}
    return {"better": better, "scores": scores, "paired": {"warm": {"delta": delta, "ci95": ci95}}}


@pytest.mark.parametrize(
    ("delta", "ci95", "better", "won"),
    [
        (0.018, [0.008, 0.028], "higher", "scratch"),
        (0.004, [0.001, 0.007], "higher", "scratch"),
        (0.006, [-0.01, 0.02], "higher", "scratch"),
        (0.005, [-0.01, 0.02], "higher", "warm"),
        (0.0, [0.0, 0.0], "higher", "warm"),
        (-0.1, [-0.2, -0.05], "higher", "warm"),
        (0.1, [0.05, 0.2], "lower", "warm"),
        (-0.002, [-0.003, -0.001], "lower", "scratch"),
        (0.02, None, "higher", "scratch"),
        (0.001, None, "higher", "warm"),
    ],
)
def test_scratch_wins_by_the_margin_or_beyond_doubt_and_ties_are_warms(
    delta: float, ci95: list[float] | None, better: str, won: str
) -> None:
    assert judge_race(scored(delta, ci95, better), 0.005)[0] == won


@pytest.mark.parametrize(("spoilt", "won"), [("warm", "scratch"), ("scratch", "warm")])
def test_a_start_without_a_score_loses(spoilt: str, won: str) -> None:
    found = scored(0.0, None)
    found["scores"][spoilt]["value"] = None
    found["paired"]["warm"] = None
    assert judge_race(found, 0.005)[0] == won


# ---- in a whole retrain ----------------------------------------------------------------------------------------------
@pytest.fixture
def auto(settings: Settings) -> Settings:
    return with_settings(settings, start="auto", auto=AutoSettings(every=3, max_s=50.0))


def with_settings(settings: Settings, **changes: Any) -> Settings:
    train = changes.pop("train", {})
    pipeline = settings.pipelines["digits"]
    changed = pipeline.model_copy(update={**changes, "train": pipeline.train.model_copy(update=train)})
    return settings.model_copy(update={"pipelines": {"digits": changed}})


def row(told: dict[str, Any], metric: m.Metric) -> dict[str, Any]:
    return next(one for one in told["card"] if one["key"] == metric.key)


def notes(events: list[dict[str, Any]]) -> list[str]:
    return [str(event["text"]) for event in events if event["event"] == "note"]


def nights(retrain: Retrain, walk: Walk, project: Settings, count: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        found.append(retrain(project=project))
        walk.arrived += 4
    return found


def test_scratch_wins_when_warm_has_rotted_and_stays(
    retrain: Retrain, walk: Walk, auto: Settings, events: list[dict[str, Any]]
) -> None:
    walk.starts = {"warm": 0.8730, "scratch": 0.8912}
    walk.spread = 0.01
    told = nights(retrain, walk, auto, 4)
    assert [one["start"]["used"] for one in told] == ["scratch"] * 4
    assert [bool(one["start"]["race"]) for one in told] == [False, True, False, True]
    said = [text for text in notes(events) if text.startswith("scratch scored")]
    assert said[0] == (
        "scratch scored 0.8912, warm 0.8730 (difference +0.0182, 95 % +0.0082 to +0.0282):"
        " warm start had rotted, scratch is used until the next race"
    )
    assert told[1]["start"]["why"] == said[0]
    assert [spec.start for spec in walk.fits] == ["scratch", "warm", "scratch", "scratch", "scratch", "warm"]
    race = told[1]["start"]["race"]
    assert (race["scores"]["scratch"]["value"], race["scores"]["warm"]["value"]) == (0.8912, 0.8730)
    assert race["seconds"] == {"warm": FIT_S + LAUNCH_S, "scratch": FIT_S + LAUNCH_S}


def test_a_race_of_starts_and_one_of_engines_may_meet_in_one_retrain(
    retrain: Retrain, walk: Walk, auto: Settings
) -> None:
    pipeline = auto.pipelines["digits"]
    engine = pipeline.engine.model_copy(update={"precisions": ("int8", "fp32")})
    auto = auto.model_copy(update={"pipelines": {"digits": pipeline.model_copy(update={"engine": engine})}})
    nights(retrain, walk, auto, 1)
    told = retrain(project=auto, ladder=True)
    assert told["start"]["race"]["won"] == "warm"
    assert told["engine"]["why"].startswith("--ladder")
    raced = [row["p50_ms"] for row in told["engine"]["tried"] if row.get("p50_ms")]
    assert len(raced) == 2, "both engines were timed"


def test_a_start_that_holds_its_own_stays_warm_and_is_raced_again_after_so_many(
    retrain: Retrain, walk: Walk, auto: Settings
) -> None:
    told = nights(retrain, walk, auto, 5)
    assert [one["start"]["used"] for one in told] == ["scratch", "warm", "warm", "warm", "warm"]
    assert [bool(one["start"]["race"]) for one in told] == [False, True, False, False, True]
    assert (
        told[2]["start"]["why"] == "warm won the last race; the last race was one retrain ago, the next is due after 3"
    )


def test_warm_comes_back_when_a_race_says_so(retrain: Retrain, walk: Walk, auto: Settings) -> None:
    walk.starts = {"warm": 0.8, "scratch": 0.9}
    nights(retrain, walk, auto, 3)
    walk.starts = {"warm": 0.9, "scratch": 0.9}
    told = nights(retrain, walk, auto, 2)
    assert [one["start"]["used"] for one in told] == ["warm", "warm"]
    assert told[0]["start"]["warm_from"] == 3


def test_the_winners_weights_are_exported_and_the_next_champion_is_theirs(
    retrain: Retrain, walk: Walk, auto: Settings
) -> None:
    walk.starts = {"warm": 0.8, "scratch": 0.9}
    nights(retrain, walk, auto, 2)
    exported = walk.specs["export"]["weights"]
    assert exported.endswith("/fit-scratch/weights.safetensors")
    retrain(project=with_settings(auto, start="warm"))
    assert walk.fits[-1].warm_weights == exported


def test_a_race_books_its_seconds_and_the_phases_still_sum(retrain: Retrain, walk: Walk, auto: Settings) -> None:
    walk.start_s = {"scratch": 4.0}
    quiet, raced = nights(retrain, walk, auto, 2)
    phases = dict(raced["phases"])
    assert phases["fit_s"] == pytest.approx(FIT_S + 4.0)
    assert phases["launch_s"] == pytest.approx(2 * LAUNCH_S)
    assert phases["eval_s"] == pytest.approx(quiet["phases"]["eval_s"] + SECONDS["scores"], abs=3.0)
    assert sum(seconds for name, seconds in phases.items() if name != "cycle_s") == pytest.approx(phases["cycle_s"])
    assert row(raced, m.RACE_S)["value"] == pytest.approx(4.0 + LAUNCH_S + SECONDS["scores"])
    assert row(quiet, m.RACE_S)["reason"] == "the start was not raced"
    assert row(raced, m.OPTIMIZE_S)["value"] == pytest.approx(
        sum(phases[name] for name in ("export_s", "build_s", "parity_s", "eval_s")) - SECONDS["scores"]
    )


@pytest.mark.parametrize("error", [TimedOut("not done after 350 s", "raise it"), ChildFailed("fit", "killed", "")])
def test_a_second_fit_that_fails_costs_the_race_and_not_the_retrain(
    retrain: Retrain, walk: Walk, auto: Settings, error: Exception
) -> None:
    retrain(project=auto)
    walk.arrived += 4
    walk.starts["scratch"] = error
    told = retrain(project=auto)
    assert told["verdict"] == "promoted"
    assert told["start"]["used"] == "warm"
    assert told["start"]["race"]["why"].startswith("scratch gave no weights (")
    assert "scores" not in walk.calls


def test_the_second_fit_alone_is_bounded(retrain: Retrain, walk: Walk, auto: Settings) -> None:
    nights(retrain, walk, auto, 2)
    assert [(spec.start, spec.max_s) for spec in walk.fits] == [("scratch", None), ("warm", None), ("scratch", 50.0)]


def test_the_fits_of_a_race_share_no_folder(retrain: Retrain, walk: Walk, auto: Settings) -> None:
    nights(retrain, walk, auto, 2)
    _, warm, scratch = walk.fits
    assert warm.checkpoint_folder != scratch.checkpoint_folder
    assert warm.snapshot_folder != scratch.snapshot_folder
    assert warm.fit_id() != scratch.fit_id()


def test_a_race_that_is_cut_off_goes_on_with_the_fit_that_is_missing(
    retrain: Retrain, walk: Walk, auto: Settings
) -> None:
    retrain(project=auto)
    walk.arrived += 4
    walk.starts["scratch"] = Interrupted(15)
    with pytest.raises(Interrupted):
        retrain(project=auto)
    walk.starts["scratch"] = 0.99
    told = retrain(project=auto, resume="last")
    assert [spec.start for spec in walk.fits] == ["scratch", "warm", "scratch", "scratch"]
    assert told["start"]["used"] == "scratch"
    assert told["run"]["index"] == 2


def test_weights_that_do_not_fit_the_changed_model_mean_scratch_under_auto_and_an_error_else(
    retrain: Retrain, walk: Walk, auto: Settings, settings: Settings, events: list[dict[str, Any]]
) -> None:
    retrain(project=auto)
    walk.arrived += 4
    walk.starts["warm"] = WeightsDiffer("the model has changed, head.weight does not fit", "retrain with --scratch")
    with pytest.raises(WeightsDiffer):
        retrain(project=settings)
    told = retrain(project=auto)
    assert (told["start"]["used"], told["start"]["race"]) == ("scratch", None)
    assert told["start"]["why"] == "the model has changed, head.weight does not fit"
    assert "the model has changed, head.weight does not fit; from scratch" in notes(events)


def test_a_mistake_in_the_settings_ends_a_race_too(retrain: Retrain, walk: Walk, auto: Settings) -> None:
    walk.starts = {"warm": 0.8, "scratch": 0.9}
    nights(retrain, walk, auto, 3)
    walk.starts["warm"] = UsageError("train.tune names 'haed.*'", "the nearest are head.weight")
    with pytest.raises(UsageError, match="haed"):
        retrain(project=auto)


def test_warm_starts_alone_have_their_own_epochs_and_tuned_parameters(
    retrain: Retrain, walk: Walk, auto: Settings
) -> None:
    project = with_settings(auto, train={"warm_epochs": 4, "tune": ("head.*",), "patience": 2, "min_delta": 0.01})
    nights(retrain, walk, project, 2)
    found = [(spec.start, spec.max_epochs, spec.tune, spec.patience) for spec in walk.fits]
    assert found == [("scratch", 20, (), 2), ("warm", 4, ("head.*",), 2), ("scratch", 20, (), 2)]


def test_what_the_record_keeps_of_a_race(retrain: Retrain, walk: Walk, auto: Settings) -> None:
    told = nights(retrain, walk, auto, 2)[1]
    with Journal.open(auto.memory) as journal:
        record = journal.record(told["run"]["uid"])
        assert journal.starts("digits")[-1] == record.start  # type: ignore[union-attr]
    assert record is not None
    assert record.params["start"] == "warm"
    assert record.tags["plaster.start_race"] == "warm"
    assert record.tags["plaster.start_why"] == told["start"]["why"]
    (file,) = auto.memory.glob("runs/digits/00002-*/artifacts/start.json")
    assert json.loads(file.read_text()) == record.start


def test_a_dry_run_names_the_race(walk: Walk, retrain: Retrain, auto: Settings) -> None:
    from plaster_ops.flow.plan import describe_plan

    retrain(project=auto)
    walk.arrived += 4
    assert "start      warm from #1, raced against scratch: warm and scratch have never raced" in describe_plan(
        auto, None, Request()
    )
