"""Every logged number is had once more from the records, and a record that was changed is found out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plaster_ops.domain.histogram import LARGEST_ERROR_RATIO
from plaster_ops.domain.metrics import CATALOGUE, E2E_P50_MS
from plaster_ops.errors import RecordsGone, UsageError
from plaster_ops.flow.recompute import Recomputed, recompute
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import to_json
from tests.flow.conftest import Retrain
from tests.flow.walk import Walk

Again = Callable[..., Recomputed]


@pytest.fixture
def again(retrain: Retrain, walk: Walk, settings: Settings) -> Again:
    """Two retrains, the second compared with the first; recomputes the last, or another."""
    retrain(measure=True)
    walk.arrived, walk.slower = 14, 0.2
    retrain(measure=True)

    def run(which: str = "last") -> Recomputed:
        return recompute(settings, None, which)

    return run


def artifacts(settings: Settings, number: int = 2) -> Path:
    (folder,) = settings.memory.glob(f"runs/digits/{number:05d}-*/artifacts")
    return folder


def test_every_number_of_card_and_comparison_is_the_same_to_the_last_digit(again: Again) -> None:
    found = again()
    assert found.differing == ()
    assert found.run == 2
    keys = {number.key for number in found.numbers}
    assert {"latency/e2e_p50_ms", "size/engine_bytes", "accuracy/engine_score", "learning/cycle_s"} <= keys
    assert {"programmability/engine_flops_ratio", "throughput/slo_samples_per_s"} <= keys
    assert len(keys) > 40
    whats = {number.what for number in found.numbers if number.key == E2E_P50_MS.key}
    assert {"value", "ci95", "n", "status", "comparison verdict", "comparison change_ratio"} <= whats
    assert again("1").differing == ()


@pytest.mark.parametrize("measure", [True, False])
def test_every_metric_of_the_catalogue_has_a_value_or_a_reason(retrain: Retrain, measure: bool) -> None:
    card = retrain(measure=measure)["card"]
    assert {row["key"] for row in card} == set(CATALOGUE)
    assert [row["key"] for row in card if row["value"] is None and not row["reason"]] == []


def test_a_raw_sample_that_was_changed_shows_in_the_numbers_it_carries(again: Again, settings: Settings) -> None:
    file = artifacts(settings) / "samples" / "p0" / "raw.npz"
    with np.load(file) as stored:
        columns = {name: stored[name] for name in stored.files}
    columns["latencies_ns"] = columns["latencies_ns"] * 2
    np.savez_compressed(file, **columns)
    found = again()
    changed = {number.key for number in found.differing}
    assert E2E_P50_MS.key in changed
    assert "size/engine_bytes" not in changed
    assert found.to_json()["equal"] is False


def test_a_fact_that_was_changed_shows_too(again: Again, settings: Settings) -> None:
    file = artifacts(settings) / "working.json"
    text = file.read_text()
    assert text.count('"params_count": 100') == 1
    file.write_text(text.replace('"params_count": 100', '"params_count": 99'))
    (number,) = [n for n in again().differing if n.what == "value"]
    assert (number.key, number.logged, number.again) == ("size/params_count", 100, 99)


def test_a_number_without_working_is_no_recomputed_number(again: Again, settings: Settings) -> None:
    file = artifacts(settings) / "working.json"
    working: dict[str, Any] = json.loads(file.read_text())
    working["card"] = [step for step in working["card"] if step["reader"] != "latency:read"]
    file.write_text(json.dumps(working))
    assert {(n.key, n.again) for n in again().differing if n.what == "value"} >= {(E2E_P50_MS.key, None)}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("working.json", "[]", "it has no format"),
        ("working.json", '{"format": 1}', "it has no card, terms"),
        ("working.json", '{"format": 1, "card": [3], "terms": null}', "does not go through: TypeError"),
        ("working.json", '{"format": 1, "card": [], "terms": null}', "does not go through: TypeError"),
        ("evaluation.json", "{}", "it has no better, sets"),
        ("evaluation.json", "null", "it has no better, sets"),
        ("evaluation.json", "", "JSONDecodeError"),
        ("samples/p1/raw.npz", "", "EOFError"),
        ("samples/p1/raw.npz", "PK", "p1"),
        ("samples/p0/result.json", "{}", "KeyError"),
        ("answers.npz", "", "answers.npz"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    again: Again, settings: Settings, name: str, content: str, told: str
) -> None:
    file = artifacts(settings) / name
    file.write_text(content)
    with pytest.raises(RecordsGone) as caught:
        again()
    assert told in caught.value.message
    assert (name.rsplit("/", 1)[0] if "/" in name else name) in caught.value.message


def test_answers_that_a_run_kept_and_that_are_gone_are_missed(again: Again, settings: Settings) -> None:
    file = artifacts(settings) / "working.json"
    working: dict[str, Any] = json.loads(file.read_text())
    assert working["answers"] is False  # nothing was asked in this walk, as in a run of an older release
    file.write_text(json.dumps(working | {"answers": True}))
    with pytest.raises(RecordsGone, match=r"answers\.npz: .*No such file"):
        again()


def test_where_raw_samples_are_gone_the_compact_record_gives_the_timed_numbers_nearly(
    again: Again, settings: Settings
) -> None:
    shutil.rmtree(artifacts(settings))
    found = again()
    assert (found.source, found.differing) == ("compact", ())
    by_key = {(number.key, number.what): number for number in found.numbers}
    p50 = by_key[E2E_P50_MS.key, "value"]
    assert p50.again == pytest.approx(p50.logged, rel=LARGEST_ERROR_RATIO)
    assert by_key[E2E_P50_MS.key, "n"].logged == by_key[E2E_P50_MS.key, "n"].again
    assert by_key[E2E_P50_MS.key, "comparison ci95"].is_equal
    assert {"throughput/slo_samples_per_s", "energy/cpu_time_per_inference_s"} <= {key for key, _ in by_key}
    assert "size/engine_bytes" in found.not_kept
    assert found.to_json()["error_ratio"] == pytest.approx(LARGEST_ERROR_RATIO)


def test_a_number_outside_the_error_of_the_compact_record_is_found_out(again: Again, settings: Settings) -> None:
    shutil.rmtree(artifacts(settings))
    with Journal.open(settings.memory) as journal:
        (row,) = journal.history("digits", 1)
        record = journal.record(row.uid)
        assert record is not None
        card = [dict(fields) for fields in record.card]
        for fields in card:
            fields["value"] = fields["value"] * 1.02 if fields["key"] == E2E_P50_MS.key else fields["value"]
        with journal.file.write() as db:
            text = to_json(record.to_json() | {"card": card})
            db.execute("UPDATE records SET record = ? WHERE uid = ?", (text, row.uid))
    assert [(number.key, number.what) for number in again().differing] == [(E2E_P50_MS.key, "value")]


def test_a_sentence_that_a_later_release_words_anew_is_no_other_number(again: Again, settings: Settings) -> None:
    with Journal.open(settings.memory) as journal:
        (row,) = journal.history("digits", 1)
        record = journal.record(row.uid)
        assert record is not None
        rows = [dict(fields) for fields in record.comparison]
        worded = [fields for fields in rows if (fields.get("history") or {}).get("reason")]
        for fields in worded:
            fields["history"] = {**fields["history"], "reason": "in other words"}
        with journal.file.write() as db:
            text = to_json(record.to_json() | {"comparison": rows})
            db.execute("UPDATE records SET record = ? WHERE uid = ?", (text, row.uid))
    assert worded
    assert again().differing == ()


def test_raw_samples_that_are_gone_are_missed_and_the_folder_is_told(again: Again, settings: Settings) -> None:
    folder = artifacts(settings)
    shutil.rmtree(folder / "samples")
    with Journal.open(settings.memory) as journal, journal.file.write() as db:
        db.execute("DELETE FROM evidence")  # a run of a release that kept no compact record
    with pytest.raises(RecordsGone, match=f"raw samples that are not there.*{folder.name}"):
        again()


def test_without_a_finished_run_the_command_says_so(settings: Settings, walk: Walk) -> None:
    del walk
    with pytest.raises(UsageError, match="has no finished run yet"):
        recompute(settings, None, "last")


def test_records_that_are_gone_or_foreign_are_named(again: Again, settings: Settings) -> None:
    file = artifacts(settings) / "working.json"
    file.write_text(json.dumps({"format": 7}))
    with pytest.raises(RecordsGone, match="format 7"):
        again()
    file.unlink()
    with pytest.raises(RecordsGone, match="cannot be read"):
        again()
    with pytest.raises(UsageError, match="no run '9'"):
        again("9")
