"""What becomes of a new engine: promoted, held or baseline, with the reasons and the exit code."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    E2E_P90_MS,
    ENGINE_SCORE,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    Better,
    Metric,
)
from plaster_ops.domain.run import Verdict
from plaster_ops.errors import ArtifactTampered, ExitCode
from plaster_ops.flow.promote import Decision, decide, narrowed_exit_code, overtaken, promotion_of
from plaster_ops.flow.retrain import Request, _finish
from plaster_ops.settings_sections import PipelineSettings
from tests.flow.champions import write_engine

GATES = {
    "accuracy": {"max_drop": 0.01},
    "latency": {"max_rise_ratio": 0.05},
    "energy": {"max_drop_ratio": 0.05},
}


def pipeline(**changed: object) -> PipelineSettings:
    return PipelineSettings.model_validate({"ref": "m:p", "gates": GATES} | changed)


def row(metric: Metric, judgement: Judgement, change: float | None = None, reason: str | None = None) -> Comparison:
    interval = None if change is None else (change - 0.001, change + 0.001)
    better = Better.HIGHER if metric.better is Better.DECLARED else metric.better
    return Comparison(
        metric=metric, judgement=judgement, now=1.0, then=1.0, change=change, ci95=interval, p_adjusted=0.001,
        reason=reason, better=better,
    )  # fmt: skip


SCORES = (row(ROLLING_SCORE, Judgement.SAME, 0.0), row(ENGINE_SCORE, Judgement.SAME, 0.0))
FINE = (*SCORES, row(E2E_P50_MS, Judgement.SAME, 0.001))
NO_JOULES = row(INFERENCES_PER_J, Judgement.NOT_COMPARABLE, reason="not measured now: no RAPL")
SLOW = row(E2E_P50_MS, Judgement.WORSE, 0.2)
OPEN = row(E2E_P50_MS, Judgement.INCONCLUSIVE, None, "stored: not measured side by side")


def test_the_first_engine_is_the_baseline_and_may_be_champion() -> None:
    decision = decide(pipeline(), None)
    assert (decision.verdict, decision.exit_code, decision.promotes) == (Verdict.BASELINE, ExitCode.DONE, True)


def test_an_engine_that_no_gate_stops_is_promoted_and_waived_gates_are_told() -> None:
    decision = decide(pipeline(), [*FINE, NO_JOULES])
    assert (decision.verdict, decision.exit_code) == (Verdict.PROMOTED, ExitCode.DONE)
    assert decision.reasons == ("no gate failed", "energy gate waived: not measured now: no RAPL")
    assert len(decision.gates) == 4


def test_without_a_golden_set_the_accuracy_gate_alone_judges_the_rolling_score() -> None:
    lower = (row(ROLLING_SCORE, Judgement.SAME, -0.06), row(ENGINE_SCORE, Judgement.WORSE, -0.06))
    wide = {"accuracy": {"max_drop": 0.1}}
    assert decide(pipeline(gates=wide), lower).verdict == Verdict.HELD
    assert decide(pipeline(gates=wide), lower, has_golden=False).verdict == Verdict.PROMOTED
    no_accuracy = {"latency": {"max_rise_ratio": 0.05}}
    assert decide(pipeline(gates=no_accuracy), lower, has_golden=False).verdict == Verdict.HELD


def test_one_failed_gate_holds_and_only_what_failed_is_the_reason() -> None:
    decision = decide(pipeline(), [*SCORES, SLOW, NO_JOULES])
    assert (decision.verdict, decision.exit_code, decision.promotes) == (Verdict.HELD, ExitCode.HELD, False)
    assert [reason.split()[0] for reason in decision.reasons] == ["latency"]


def test_a_failed_gate_weighs_more_than_one_that_was_not_measured() -> None:
    strict = pipeline(gates={**GATES, "energy": {"max_drop_ratio": 0.05, "required": True}})
    assert decide(strict, [*SCORES, SLOW, NO_JOULES]).exit_code is ExitCode.HELD
    assert decide(strict, [*FINE, NO_JOULES]).exit_code is ExitCode.NOT_MEASURED


@pytest.mark.parametrize(("setting", "verdict"), [("promote", Verdict.PROMOTED), ("hold", Verdict.HELD)])
def test_what_is_undecided_goes_as_the_settings_say_and_is_no_failure(setting: str, verdict: Verdict) -> None:
    decision = decide(pipeline(inconclusive=setting), [*SCORES, OPEN, NO_JOULES])
    assert (decision.verdict, decision.exit_code) == (verdict, ExitCode.DONE)
    assert "latency gate undecided: stored: not measured side by side" in decision.reasons


def test_no_promote_holds_what_would_have_passed_and_keeps_its_exit_code() -> None:
    decision = decide(pipeline(), FINE, allowed=False)
    assert (decision.verdict, decision.exit_code) == (Verdict.HELD, ExitCode.DONE)
    assert decision.reasons[0] == "held by --no-promote"
    assert decide(pipeline(), [*SCORES, SLOW], allowed=False).reasons[0].startswith("latency gate failed")


def test_a_score_far_below_the_golden_floor_is_held_though_that_gate_is_not_declared() -> None:
    fallen = row(ENGINE_SCORE, Judgement.WORSE, -0.2)
    decision = decide(pipeline(), [SCORES[0], fallen, row(E2E_P50_MS, Judgement.SAME, 0.0)])
    assert decision.verdict is Verdict.HELD
    assert decision.reasons[0].startswith("golden gate failed")


def test_a_pipeline_without_gates_says_so() -> None:
    assert decide(pipeline(gates={}), [*SCORES, SLOW]).reasons == ("no gates are declared",)


def test_the_swap_expects_the_champion_it_was_measured_against() -> None:
    decision = decide(pipeline(), FINE)
    swap = promotion_of(decision, "uid-of-champion")
    assert swap is not None
    assert (swap.expected, swap.forced) == ("uid-of-champion", False)
    assert swap.reason.startswith("no gate failed")
    assert swap.by
    assert promotion_of(decide(pipeline(), [*SCORES, SLOW]), "uid-of-champion") is None


def test_an_overtaken_run_is_held_whatever_its_gates_said() -> None:
    decision = overtaken(decide(pipeline(), FINE))
    assert (decision.verdict, decision.exit_code, decision.promotes) == (Verdict.HELD, ExitCode.HELD, False)
    assert len(decision.gates) == 4


@pytest.mark.parametrize(
    ("judgement", "fail_on", "code"),
    [
        (Judgement.WORSE, "worse", ExitCode.HELD),
        (Judgement.NOT_COMPARABLE, "not_comparable", ExitCode.NOT_COMPARABLE),
        (Judgement.INCONCLUSIVE, "inconclusive", ExitCode.INCONCLUSIVE),
        (Judgement.WORSE, "inconclusive", ExitCode.DONE),
        (Judgement.SAME, "worse", ExitCode.DONE),
        (Judgement.INCONCLUSIVE, "", ExitCode.DONE),
    ],
)
def test_fail_on_names_what_counts_as_failure(judgement: Judgement, fail_on: str, code: ExitCode) -> None:
    passed = Decision(verdict=Verdict.PROMOTED, reasons=(), exit_code=ExitCode.DONE)
    assert narrowed_exit_code(passed, [row(E2E_P50_MS, judgement)], frozenset({fail_on} - {""})) is code


def test_fail_on_looks_at_headlines_only_and_never_hides_a_failed_gate() -> None:
    passed = Decision(verdict=Verdict.PROMOTED, reasons=(), exit_code=ExitCode.DONE)
    beside = [row(E2E_P90_MS, Judgement.WORSE, 0.5)]
    assert narrowed_exit_code(passed, beside, frozenset({"worse"})) is ExitCode.DONE
    held = decide(pipeline(), [*SCORES, SLOW])
    assert narrowed_exit_code(held, [OPEN], frozenset({"inconclusive"})) is ExitCode.HELD


# ---- the first engine, and bounds -----------------------------------------------------------------------------------
def card(p50_ms: float) -> Card:
    return Card.of([Reading(metric=E2E_P50_MS, value=p50_ms)])


BOUNDED = {"latency": {"max_rise_ratio": 0.05, "ceiling": 7.0}}


def test_a_first_engine_beyond_a_bound_is_held_and_there_is_no_champion() -> None:
    decision = decide(pipeline(gates=BOUNDED), None, card=card(8.0))
    assert (decision.verdict, decision.exit_code, decision.promotes) == (Verdict.HELD, ExitCode.HELD, False)
    assert decision.reasons == (
        "latency gate failed: latency/e2e_p50_ms 8 is above its ceiling 7",
        "so this pipeline still has no champion",
    )
    assert promotion_of(decision, None) is None


def test_a_first_engine_within_its_bounds_is_the_baseline_with_a_sentence_a_gate() -> None:
    decision = decide(pipeline(gates=BOUNDED), None, card=card(6.0))
    assert decision.verdict is Verdict.BASELINE
    assert [outcome.sentence for outcome in decision.gates] == [
        "golden gate: there is no champion to be held against yet",
        "latency gate passed: latency/e2e_p50_ms 6, ceiling 7",
    ]


def test_a_required_bound_of_what_was_not_measured_holds_the_first_engine_with_6() -> None:
    strict = pipeline(gates={"energy": {"floor": 100.0, "required": True}})
    assert decide(strict, None, card=card(6.0)).exit_code is ExitCode.NOT_MEASURED
    limit = pipeline(gates={"energy": {"max_drop_ratio": 0.05, "required": True}})
    assert decide(limit, None, card=card(6.0)).verdict is Verdict.BASELINE


def test_a_first_engine_without_gates_says_that_there_are_none() -> None:
    assert "no gates are declared" in decide(pipeline(gates={}), None).reasons


def test_the_decision_keeps_whom_it_was_made_against() -> None:
    told = decide(pipeline(), FINE, against=(4, "u4")).to_json()
    assert told["against"] == {"index": 4, "uid": "u4"}
    assert [row["gate"] for row in told["outcomes"]] == ["golden", "accuracy", "latency", "energy"]
    assert decide(pipeline(), None).to_json()["against"] is None


def test_a_retrain_never_promotes_files_that_changed_after_they_were_measured(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    write_engine(engine)
    (engine / "model.bin").write_text("3")
    told = SimpleNamespace(decision=decide(pipeline(), FINE), built=SimpleNamespace(folder=engine))
    untouched = cast(Any, SimpleNamespace(journal=None))
    with pytest.raises(ArtifactTampered, match="was changed"):
        _finish(untouched, cast(Any, None), cast(Any, told), None, Request(), lambda found: found)
