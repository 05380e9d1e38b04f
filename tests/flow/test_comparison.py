"""`compare A B`: two past runs measured again, nothing recorded, nothing promoted."""

from typing import Any

import pytest

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import E2E_P50_MS, E2E_P90_MS, ENGINE_BYTES, INFERENCES_PER_J, ROLLING_SCORE, Metric
from plaster_ops.domain.tradeoff import overall
from plaster_ops.errors import NotComparable, UsageError
from plaster_ops.flow import remeasured
from plaster_ops.flow.comparison import compare_runs
from plaster_ops.flow.sidebyside import card_then
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from tests.conftest import SteppedClock
from tests.flow.conftest import Retrain
from tests.flow.walk import Walk


@pytest.fixture
def two_runs(retrain: Retrain, walk: Walk) -> Walk:
    """A baseline and a promoted second run."""
    retrain()
    walk.arrived = 14
    retrain()
    walk.calls.clear()
    return walk


def compare(
    settings: Settings,
    clock: SteppedClock,
    *pair: str,
    stored: bool = False,
    fail_on: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    return compare_runs(
        settings,
        None,
        (pair[0], pair[1]),
        profile="smoke",
        stored=stored,
        tell=lambda _event: None,
        start_s=clock.monotonic_s(),
        fail_on=fail_on,
    )


def test_both_engines_are_measured_now_on_the_same_inputs(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    two_runs.slower = 0.2
    told = compare(settings, clock, "2", "1")
    assert (told["verdict"], told["run"]["index"], told["baseline"]["index"]) == ("worse", 2, 1)
    assert told["baseline"]["how"] == "remeasured"
    assert {row["label"] for row in two_runs.specs["measure"]["engines"]} == {"now", "then-run1"}
    assert two_runs.calls["fit"] == two_runs.calls["build"] == 0
    p50 = next(row for row in told["comparison"] if row["key"] == "latency/e2e_p50_ms")
    assert p50["verdict"] == "worse"
    assert "run #2 against #1: " in told["reasons"][0]
    assert "worse" in told["reasons"][0]


def test_a_run_against_itself_is_the_same_letter_by_letter(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    del two_runs
    told = compare(settings, clock, "2", "2")
    verdicts = {row["key"]: row["verdict"] for row in told["comparison"] if row["headline"]}
    assert (
        verdicts["latency/e2e_p50_ms"] == verdicts["accuracy/engine_score"] == verdicts["size/engine_bytes"] == "same"
    )


def test_a_value_of_each_retrain_is_judged_by_the_retrains_before_it_and_not_by_itself(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    del two_runs
    for stored in (False, True):
        rows = {row["key"]: row for row in compare(settings, clock, "2", "1", stored=stored)["comparison"]}
        assert rows["learning/train_to_engine_s"]["reason"].startswith("no_history: 1 earlier retrain has")


def test_the_card_says_of_each_row_whether_it_is_of_today(
    retrain: Retrain, walk: Walk, settings: Settings, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = retrain(measure=True)
    monkeypatch.setattr(remeasured, "noise_of", lambda *_: {E2E_P50_MS.key: 0.07})
    recorded = {row["key"]: row for row in first["card"]}
    told = compare(settings, clock, "1", "1")
    card = {row["key"]: row for row in told["card"]}
    assert walk.calls["measure"] == 5
    for key in ("size/engine_bytes", "size/peak_host_bytes", "programmability/speedup_vs_eager_ratio"):
        assert card[key]["value"] == recorded[key]["value"]
        assert card[key]["reason"].startswith("as run #1 recorded it")
    for key in ("latency/e2e_p50_ms", "latency/samples_count", "accuracy/engine_score", "env/aa_latency_ratio"):
        assert not (card[key]["reason"] or "").startswith("as run")
    assert (recorded["env/aa_latency_ratio"]["value"], card["env/aa_latency_ratio"]["value"]) == (None, 0.07)
    assert recorded["programmability/engines_count"]["value"] == 1
    assert isinstance(card["programmability/engines_count"]["value"], int)


def test_a_run_that_the_tracker_has_is_named_by_its_id_there(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    del two_runs
    for stored in (False, True):
        told = compare(settings, clock, "2", "1", stored=stored)
        assert told["run"]["id"] == told["mlflow"]["run_id"] == f"memory-{told['run']['uid']}"
        assert told["mlflow"]["model_version"] == 2
        assert told["mlflow"]["experiment"] == "plaster/digits"


def test_a_comparison_leaves_no_trace(two_runs: Walk, settings: Settings, clock: SteppedClock) -> None:
    del two_runs
    with Journal.open(settings.memory) as journal:
        before = journal.history(), journal.promotions("digits"), journal.pending()
        compare(settings, clock, "2", "1")
        assert (journal.history(), journal.promotions("digits"), journal.pending()) == before
    assert list((settings.memory / "work").iterdir()) == []


def test_stored_numbers_are_compared_at_once_and_time_decides_nothing(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    told = compare(settings, clock, "2", "1", stored=True)
    assert two_runs.calls == {}
    rows = {row["key"]: row for row in told["comparison"]}
    assert rows["size/engine_bytes"]["verdict"] == "same"
    assert rows["accuracy/engine_score"]["reason"].startswith("stored: the two engines were not scored side by side")
    assert told["baseline"]["how"] == "stored"
    assert told["phases"] == {}


def test_every_second_of_a_comparison_has_its_phase(two_runs: Walk, settings: Settings, clock: SteppedClock) -> None:
    del two_runs
    phases = compare(settings, clock, "last", "champion")["phases"]
    cycle_s = phases.pop("cycle_s")
    assert sum(phases.values()) == pytest.approx(cycle_s)
    assert phases["other_s"] == pytest.approx(0.0)
    assert phases["measure_s"] > 0


def test_a_run_that_does_not_exist_is_named(two_runs: Walk, settings: Settings, clock: SteppedClock) -> None:
    del two_runs
    with pytest.raises(UsageError, match="no run '9'"):
        compare(settings, clock, "2", "9")


def test_a_pipeline_without_runs_has_nothing_to_compare(walk: Walk, settings: Settings, clock: SteppedClock) -> None:
    del walk
    with pytest.raises(NotComparable, match="'last' names no run of 'digits'") as caught:
        compare(settings, clock, "last", "champion")
    assert int(caught.value.exit_code) == 4


def test_engines_with_other_inputs_are_not_compared(
    two_runs: Walk, settings: Settings, clock: SteppedClock, retrain: Retrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = [{"name": "images", "dtype": "float32", "shape": [3, 8, 8], "ranges": []}]
    monkeypatch.setattr("tests.flow.walk.INPUTS", wider)
    two_runs.arrived = 18
    third = retrain()
    assert third["baseline"]["how"] == "stored"
    assert [row["label"] for row in two_runs.specs["evaluate"]["engines"]] == ["now"]
    with pytest.raises(NotComparable, match=r"float32\[3, 8, 8\]"):
        compare(settings, clock, "3", "2")


def lose_engine(settings: Settings, *, weights: bool) -> None:
    """The first run's engine, and with it the weights it could be built again from."""
    for path in settings.memory.glob("runs/digits/00001-*/*/weights.safetensors"):
        if weights:
            path.unlink()
    (engine,) = settings.memory.glob("runs/digits/00001-*/engine-*")
    engine.rename(settings.project / "elsewhere")


def test_an_engine_that_is_gone_for_good_leaves_its_numbers_to_compare_at_once(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    lose_engine(settings, weights=True)
    told = compare(settings, clock, "2", "1")
    assert two_runs.calls == {}
    assert told["baseline"]["how"] == "stored"
    assert told["reasons"][1] == (
        "the engine of run #1 is gone, and its weights are gone too: recorded numbers are compared"
    )
    p50 = next(row for row in told["comparison"] if row["key"] == "accuracy/engine_score")
    assert (p50["verdict"], p50["reason_code"], p50["how"]) == ("inconclusive", "stored", "stored")


def test_an_engine_that_cannot_be_built_again_leaves_its_numbers_too(
    two_runs: Walk, settings: Settings, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del two_runs
    lose_engine(settings, weights=False)
    monkeypatch.setattr(remeasured, "rebuild", lambda *_: None)
    told = compare(settings, clock, "2", "1")
    assert told["baseline"]["how"] == "stored"
    assert told["reasons"][1].startswith("the engine of run #1 is gone, and it could not be built again: ")


def test_the_words_previous_and_champion_name_the_champions(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    del two_runs
    told = compare(settings, clock, "champion", "previous", stored=True)
    assert (told["run"]["index"], told["baseline"]["index"]) == (2, 1)


@pytest.mark.parametrize(("fail_on", "code"), [((), 0), (("inconclusive",), 5), (("worse",), 0)])
def test_verdicts_that_shall_fail_give_the_exit_codes_of_a_retrain(
    two_runs: Walk, settings: Settings, clock: SteppedClock, fail_on: tuple[str, ...], code: int
) -> None:
    del two_runs
    told = compare(settings, clock, "2", "1", stored=True, fail_on=frozenset(fail_on))
    assert told["exit_code"] == code


def test_a_comparison_says_what_changed_what_was_traded_and_whose_it_is(
    two_runs: Walk, settings: Settings, clock: SteppedClock
) -> None:
    two_runs.slower = 0.2
    found = compare(settings, clock, "2", "1")["assessment"]
    assert found["overall"] == "worse"
    assert "(e2e_p50_ms +" in found["tradeoff"]
    assert found["environment"]["cause"] in ("model", "unknown")
    assert {"kind", "name", "then", "now"} == set(found["changed"][0])


# ---- one word for all letters --------------------------------------------------------------------------------------
W, B, S = Judgement.WORSE, Judgement.BETTER, Judgement.SAME
I, N = Judgement.INCONCLUSIVE, Judgement.NOT_COMPARABLE  # noqa: E741
HEADS = (E2E_P50_MS, ENGINE_BYTES, INFERENCES_PER_J)


def row(metric: Metric, judgement: Judgement) -> Comparison:
    return Comparison(metric=metric, judgement=judgement, now=1.0, then=1.0)


@pytest.mark.parametrize(
    ("words", "sum_of_them"),
    [((B, W, S), W), ((B, S, S), B), ((S, S, S), S), ((S, I, S), I), ((S, N, S), S), ((N, N, N), N)],
)
def test_the_letters_are_summed_up_in_one_word(words: tuple[Judgement, ...], sum_of_them: Judgement) -> None:
    assert overall([row(metric, word) for metric, word in zip(HEADS, words, strict=True)]) is sum_of_them


def test_only_headlines_are_summed_up() -> None:
    assert overall([row(E2E_P50_MS, S), row(E2E_P90_MS, W)]) is S


def test_an_earlier_score_is_of_todays_data_even_where_nothing_was_timed() -> None:
    recorded = Card.of([Reading(metric=ROLLING_SCORE, value=1.0), Reading(metric=E2E_P50_MS, value=2.0)])
    scored = {"value": 0.5, "ci95": None, "n": 48, "method": "t"}
    rolling = {"n": 48, "engines": {"now": scored, "then-1": scored}, "reference": None}
    evaluation = {"better": "higher", "sets": {"rolling": rolling, "golden": None}, "parity": {}}
    then = card_then(recorded, "then-1", None, evaluation)
    values = {row.metric: row.value for row in then if isinstance(row, Reading)}
    assert (values[ROLLING_SCORE], values[E2E_P50_MS]) == (0.5, 2.0)
    unknown = card_then(recorded, "then-9", None, evaluation).find(ROLLING_SCORE)
    assert isinstance(unknown, Reading)
    assert unknown.value == 1.0, "an engine that was not scored today has what was recorded"
