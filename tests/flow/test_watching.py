"""A retrain that ends holds its card against the pipeline's history, and stores what left its level."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.run import RunRecord
from plaster_ops.flow.watching import as_stored, histories_of, with_alarms
from plaster_ops.tracking.journal import Journal
from tests.tracking.samples import make_record, start

P50 = "latency/e2e_p50_ms"


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    with Journal.open(tmp_path / "mlruns") as opened:
        yield opened


def record_of(uid: str, index: int, value: float, **changed: Any) -> RunRecord:
    record = make_record(uid, index)
    rows = tuple({**row, "value": value} for row in record.card if row["key"] == P50)
    return replace(record, card=rows, **changed)


def retrain(journal: Journal, value: float, **changed: Any) -> RunRecord:
    row = start(journal)
    record = with_alarms(journal, record_of(row.uid, row.index or 0, value, **changed), {})
    assert journal.finish_run(row.uid, record)
    return as_stored(journal, record)


def nights(journal: Journal, n: int, level: float, **changed: Any) -> list[RunRecord]:
    return [retrain(journal, level * (1 + 0.01 * (night % 3 - 1)), **changed) for night in range(n)]


def test_a_step_is_told_by_one_retrain_and_stored_with_it(journal: Journal) -> None:
    quiet = nights(journal, 12, 1.0)
    assert all(record.assessment["alarms"] == [] for record in quiet)
    slow = nights(journal, 8, 1.3, params={"start": "scratch"})
    told = [record for record in slow if record.assessment["alarms"]]
    assert len(told) == 1
    (alarm,) = told[0].assessment["alarms"]
    assert (alarm["index"], alarm["raised_index"], alarm["id"]) == (13, told[0].index, 1)
    assert alarm["worse"]
    assert {"kind": "params", "name": "start", "then": "warm", "now": "scratch"} in alarm["candidates"]
    assert [each.id for each in journal.alarms("digits")] == [1]


def test_another_machine_and_another_method_are_other_histories(journal: Journal) -> None:
    nights(journal, 12, 1.0)
    other = {"device": "Other CPU", "digest": "0" * 16}
    assert not any(record.assessment["alarms"] for record in nights(journal, 6, 1.3, fingerprint=other))
    assert not any(record.assessment["alarms"] for record in nights(journal, 4, 1.0))
    row = start(journal)
    again = record_of(row.uid, row.index or 0, 5.0)
    again = replace(again, card=tuple({**each, "method": "latency.other.v2"} for each in again.card))
    assert with_alarms(journal, again, {}).assessment["alarms"] == []


def test_what_else_was_concluded_stays(journal: Journal) -> None:
    record = record_of("u", 1, 1.0, assessment={"overall": "same"})
    assert with_alarms(journal, record, {}).assessment == {"overall": "same", "alarms": []}


def test_a_metric_that_was_not_measured_is_not_looked_at(journal: Journal) -> None:
    nights(journal, 12, 1.0)
    record = record_of("u", 13, 9.0)
    rows = tuple({**row, "status": "not_measured", "value": None} for row in record.card)
    assert with_alarms(journal, replace(record, card=rows), {}).assessment["alarms"] == []


@pytest.mark.parametrize(("status", "is_told"), [("unstable", True), ("estimated", False), ("suspect", False)])
def test_what_did_not_settle_was_measured_and_a_guess_was_not(journal: Journal, status: str, *, is_told: bool) -> None:
    for value in [*[1.0, 1.01, 0.99] * 4, *[1.3, 1.31, 1.29] * 2]:
        row = start(journal)
        record = record_of(row.uid, row.index or 0, value)
        record = replace(record, card=tuple({**each, "status": status} for each in record.card))
        assert journal.finish_run(row.uid, with_alarms(journal, record, {}))
    assert [(alarm.index, alarm.worse) for alarm in journal.alarms("digits")] == ([(13, True)] if is_told else [])
    assert {point.is_settled for point in journal.points("digits", P50)} == ({False} if is_told else set())


def test_the_history_of_an_earlier_retrain_ends_with_it(journal: Journal) -> None:
    records = nights(journal, 4, 1.0)
    (found,), uids = histories_of(journal, records[1], is_stored=True)
    assert (list(found.indices), set(uids)) == ([1, 2], {1, 2})


def test_a_retrain_that_is_stored_already_is_in_its_history_once(journal: Journal) -> None:
    """A run that was cut off after its record was stored looks again when it is resumed."""
    records = nights(journal, 3, 1.0)
    (found,), _ = histories_of(journal, records[2], is_stored=False)
    assert list(found.indices) == [1, 2, 3]


def test_a_new_method_begins_a_new_history(journal: Journal) -> None:
    nights(journal, 3, 1.0)
    row = start(journal)
    again = record_of(row.uid, row.index or 0, 5.0)
    again = replace(again, card=tuple({**each, "method": "latency.other.v2"} for each in again.card))
    (found,), _ = histories_of(journal, again, is_stored=False)
    assert (list(found.indices), list(found.values)) == ([4], [5.0])


@pytest.mark.parametrize("status", ["estimated", "suspect", "failed"])
def test_a_guess_has_no_history(journal: Journal, status: str) -> None:
    nights(journal, 3, 1.0)
    record = record_of("u", 4, 9.0)
    guess = replace(record, card=tuple({**each, "status": status} for each in record.card))
    assert histories_of(journal, guess, is_stored=False)[0] == []


def test_a_count_that_changed_just_now_is_told_with_what_changed_just_now(journal: Journal) -> None:
    """The newest retrain is in no journal yet, and its own changes are the candidates."""
    told: list[dict[str, Any]] = []
    for number, size in enumerate([4096.0] * 9 + [8192.0], 1):
        row = start(journal)
        record = make_record(row.uid, number, params={"width": str(int(size))})
        card = tuple({**each, "value": size} for each in record.card if each["key"] == "size/engine_bytes")
        record = with_alarms(journal, replace(record, card=card), {})
        told = record.assessment["alarms"]
        assert journal.finish_run(row.uid, record)
    assert [(alarm["index"], alarm["raised_index"]) for alarm in told] == [(10, 10)]
    assert told[0]["candidates"] == [{"kind": "params", "name": "width", "then": "4096", "now": "8192"}]
