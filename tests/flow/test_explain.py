"""One number is explained from the journal alone, down to restarts and time blocks."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from plaster_ops.domain.compact import CompactRow
from plaster_ops.domain.metrics import (
    E2E_P50_MS,
    ENGINE_BYTES,
    INFERENCES_PER_J,
    ROLLING_SCORE,
    SAMPLES_TO_TARGET_COUNT,
    TRAIN_TO_ENGINE_S,
)
from plaster_ops.domain.sample import PairedRatios
from plaster_ops.errors import UsageError
from plaster_ops.flow.explain import explain
from plaster_ops.plaster.compact import curve_row, paired_row, timed_rows
from plaster_ops.report.explain_text import explain_markdown, explain_text
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from tests.domain.alarms import alarm
from tests.plaster.test_compact import measured, right
from tests.tracking.samples import make_record, start

RATIOS = PairedRatios(key=E2E_P50_MS.key, per_process=(0.1, 0.12, 0.08), within_se=(0.01,) * 3, pairs=(12,) * 3)


def compared(key: str, how: str, **more: object) -> dict[str, object]:
    plain: dict[str, object] = {"key": key, "how": how, "now": 1.1, "then": 1.0, "change_ratio": 0.105, "limit": 0.05}
    plain |= {"change_difference": None, "ci95": [0.07, 0.14], "p_value": 1e-4, "p_adjusted": 2e-3, "verdict": "worse"}
    return plain | {"reason": None} | more


COMPARISON = (
    compared(
        E2E_P50_MS.key,
        "remeasured",
        history={"verdict": "same", "change": 0.01, "ci95": [-0.02, 0.04], "n": 5, "reason": "within_seed_spread"},
    ),
    compared(TRAIN_TO_ENGINE_S.key, "history", reason="(against 5 | earlier <retrains>)"),
)


def kept() -> list[CompactRow]:
    curve = curve_row({"points": [{"epoch": 1, "step": 5, "samples": 50, "fit_s": 1.0, "score": 0.9}], "target": None})
    assert curve is not None
    beside = paired_row("run1", [RATIOS], [], {E2E_P50_MS.key: 0.015})
    return [*timed_rows(measured(), "now"), *right([1.0, 0.0, 1.0]), beside, curve]


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Six retrains; the last has compact rows and a comparison."""
    with Journal.open(settings.memory) as journal:
        for number in range(1, 7):
            row = start(journal)
            rows: Sequence[CompactRow] = kept() if number == 6 else ()
            record = make_record(row.uid, number, comparison=COMPARISON if number == 6 else ())
            journal.finish_run(row.uid, record, evidence=rows)
    return settings


def test_every_time_block_of_every_restart_is_told_with_what_it_gave(filled: Settings) -> None:
    found = explain(filled, None, "last", "latency/e2e_p50_ms").to_json()
    assert [restart["process"] for restart in found["restarts"]] == [0, 1, 2]
    assert [len(restart["blocks"]) for restart in found["restarts"]] == [10, 10, 10]
    values = [restart["value"] for restart in found["restarts"]]
    assert values == sorted(values)  # each restart of the double is slower than the last
    assert all(block["value"] == block["p50_ms"] for restart in found["restarts"] for block in restart["blocks"])
    assert found["histogram"]["n"] == sum(found["histogram"]["counts"]) == 3 * 24 * 40
    assert len(found["histogram"]["edges_ms"]) == len(found["histogram"]["counts"]) + 1
    assert found["again"]["n"] == 3 * 24 * 40


def test_the_arithmetic_of_the_verdict_is_laid_open(filled: Settings) -> None:
    section = explain(filled, None, "6", E2E_P50_MS.key).comparison
    assert section is not None
    assert section["arithmetic"]["per_process_log_ratio"] == [0.1, 0.12, 0.08]
    assert section["noise_half_width"] == 0.015
    assert section["row"]["verdict"] == "worse"
    assert section["what_would_change"]
    history = explain(filled, None, "6", TRAIN_TO_ENGINE_S.key).comparison
    assert history is not None
    assert history["arithmetic"]["earlier"] == 5


def test_the_arithmetic_rests_on_the_retrains_that_the_verdict_rested_on(filled: Settings) -> None:
    """#4 was on another machine, #5 measured by another method; #7 told that the level had changed at #3, which #8 knew
    and #6 did not."""
    told = alarm(3, key=TRAIN_TO_ENGINE_S.key, raised_index=7).to_json()
    with Journal.open(filled.memory) as journal:
        for number, more in ((7, {"assessment": {"alarms": [told]}}), (8, {"comparison": COMPARISON[1:]})):
            row = start(journal)
            journal.finish_run(row.uid, make_record(row.uid, number, **more))
        with journal.file.write() as db:
            db.execute("UPDATE runs SET fingerprint = 'elsewhere' WHERE number = 4")
            of_five = "seq = (SELECT seq FROM runs WHERE number = 5)"
            db.execute(f"UPDATE readings SET method = 'learning.v0' WHERE {of_five}")
    rested = {}
    for number in ("6", "8"):
        section = explain(filled, None, number, TRAIN_TO_ENGINE_S.key).comparison
        assert section is not None
        rested[number] = (section["arithmetic"]["earlier"], section["arithmetic"]["level"])
    assert rested == {
        "6": (3, pytest.approx((1.01 * 1.02 * 1.03) ** (1 / 3))),
        "8": (3, pytest.approx((1.03 * 1.06 * 1.07) ** (1 / 3))),
    }


def test_a_value_stands_beside_its_history_up_to_it(filled: Settings) -> None:
    series = explain(filled, None, "3", E2E_P50_MS.key).series
    assert series["runs_before"] == 2
    assert series["level"] == pytest.approx(1.015)
    assert [point["index"] for point in series["points"]] == [1, 2, 3, 4, 5, 6]
    assert series["rank_from_best"] == 3
    assert series["alarms"] == []


def test_scores_curves_and_joules_have_parts_of_their_own(filled: Settings) -> None:
    assert explain(filled, None, "6", ROLLING_SCORE.key).samples == {
        "set": "rolling",
        "n": 3,
        "right": 2,
        "holdout": "d" * 64,
    }
    curve = explain(filled, None, "6", SAMPLES_TO_TARGET_COUNT.key).curve
    assert curve is not None
    assert curve["points"][0]["score"] == 0.9
    joules = explain(filled, None, "6", INFERENCES_PER_J.key)
    assert joules.restarts[0]["joules"] > 0
    assert joules.restarts[0]["sensor"] == "rapl"


def test_what_is_not_kept_is_not_made_up(filled: Settings) -> None:
    found = explain(filled, None, "2", ENGINE_BYTES.key)
    assert (found.restarts, found.histogram, found.samples, found.again) == ([], None, None, None)
    assert found.records["recompute_gives"] == "nothing any more"
    assert explain(filled, None, "6", ENGINE_BYTES.key).records["recompute_gives"] == "timed numbers within 0.7 %"


@pytest.mark.parametrize("key", [E2E_P50_MS.key, TRAIN_TO_ENGINE_S.key, ROLLING_SCORE.key, INFERENCES_PER_J.key])
def test_all_forms_tell_it(filled: Settings, key: str) -> None:
    found = explain(filled, None, "6", key).to_json()
    plain = json.loads(json.dumps(found, allow_nan=False))
    for text in (explain_text(plain), explain_text(plain, unicode=False), explain_markdown(plain)):
        assert key.partition("/")[2].replace("_", "") in text.replace("\\_", "_").replace("_", "")
        assert "Records" in text
        assert ("against 5 earlier retrains: same" in text) is (key == E2E_P50_MS.key)
    assert explain_text(plain, unicode=False).isascii()
    assert "<retrains>" not in explain_markdown(plain)


def test_unknown_runs_and_metrics_are_named(filled: Settings) -> None:
    with pytest.raises(UsageError, match="has no run '9'"):
        explain(filled, None, "9", E2E_P50_MS.key)
    with pytest.raises(UsageError, match="no champion run yet"):
        explain(filled, None, "champion", E2E_P50_MS.key)
    with pytest.raises(UsageError, match="no metric is called"):
        explain(filled, None, "6", "latencies")


def test_values_of_another_machine_are_no_neighbours(filled: Settings) -> None:
    with Journal.open(filled.memory) as journal, journal.file.write() as db:
        db.execute("UPDATE runs SET fingerprint = 'elsewhere' WHERE number IN (1, 5)")
    series = explain(filled, None, "4", E2E_P50_MS.key).series
    assert [point["index"] for point in series["points"]] == [2, 3, 4, 6]
    assert (series["runs_before"], series["rank_from_best"]) == (2, 3)


def test_only_alarms_of_that_metric_are_beside_it(filled: Settings) -> None:
    told = [alarm(3, raised_index=7, key=key).to_json() for key in (E2E_P50_MS.key, TRAIN_TO_ENGINE_S.key)]
    with Journal.open(filled.memory) as journal:
        row = start(journal)
        journal.finish_run(row.uid, make_record(row.uid, 7, assessment={"alarms": told}))
    assert [each["key"] for each in explain(filled, None, "7", E2E_P50_MS.key).series["alarms"]] == [E2E_P50_MS.key]


def test_turns_side_by_side_are_not_laid_open_for_a_change_of_stored_numbers(filled: Settings) -> None:
    """The run was measured beside another one than the one it was shown against."""
    with Journal.open(filled.memory) as journal:
        row = start(journal)
        record = make_record(row.uid, 7, comparison=(compared(E2E_P50_MS.key, "stored"),))
        journal.finish_run(row.uid, record, evidence=kept())
    section = explain(filled, None, "7", E2E_P50_MS.key).comparison
    assert section is not None
    assert (section["arithmetic"], section["noise_half_width"]) == (None, None)


def test_raw_samples_are_there_only_where_their_folder_is(filled: Settings, tmp_path: Path) -> None:
    with Journal.open(filled.memory) as journal:
        row = start(journal)
        record = make_record(row.uid, 7, folder=tmp_path / "run")
        journal.finish_run(row.uid, record)
    assert explain(filled, None, "7", E2E_P50_MS.key).records["raw_samples"] is False
    (Path(record.artifacts or "") / "samples").mkdir()
    told = explain(filled, None, "7", E2E_P50_MS.key).records
    assert (told["raw_samples"], told["recompute_gives"]) == (True, "every number to the last digit")


def test_a_run_that_ended_without_a_card_has_nothing_to_explain(filled: Settings) -> None:
    with Journal.open(filled.memory) as journal:
        row = start(journal)
        journal.fail_run(row.uid, "failed", ["no"], 10, make_record(row.uid, 7, verdict="failed", card=()))
    with pytest.raises(UsageError, match="#7 of 'digits' ended without a card"):
        explain(filled, None, "7", E2E_P50_MS.key)


def test_the_level_beside_a_value_is_that_of_the_newest_twenty_before_it(settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        for number in range(1, 31):
            row = start(journal)
            journal.finish_run(row.uid, make_record(row.uid, number))
    series = explain(settings, None, "30", E2E_P50_MS.key).series
    assert (series["runs_before"], series["level"]) == (29, pytest.approx(1.195))
