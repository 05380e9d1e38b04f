"""Every question that a retrain or a command asks of the journal goes along an index, however long the history is."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from plaster_ops.domain.metrics import E2E_P50_MS
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_file import JournalFile

KEY = E2E_P50_MS.key
QUESTIONS: dict[str, Callable[[Journal], Any]] = {
    "history": lambda j: j.history("digits", 20),
    "last_finished": lambda j: j.last_finished("digits"),
    "last_ended": lambda j: j.last_ended("digits"),
    "newest_finished": lambda j: j.newest_finished("digits", 20),
    "best": lambda j: j.best("digits", KEY, "lower"),
    "find by number": lambda j: j.find_run("digits", "7"),
    "find by uid": lambda j: j.find_run("digits", "digits1000"),
    "unfinished": lambda j: j.unfinished("digits"),
    "taken": lambda j: j.taken("digits"),
    "record": lambda j: j.record("nobody"),
    "evidence": lambda j: j.evidence("digits7"),
    "series": lambda j: j.series("digits", KEY),
    "points": lambda j: j.points("digits", KEY),
    "measured_keys": lambda j: j.measured_keys("digits"),
    "alarms": lambda j: j.alarms("digits"),
    "champion": lambda j: j.champion("digits"),
    "challenger": lambda j: j.challenger("digits"),
    "aliases": lambda j: j.aliases("digits"),
    "promotions": lambda j: j.promotions("digits"),
    "cycles_s": lambda j: j.cycles_s("digits", 20),
    "promoted": lambda j: j.promoted("digits"),
    "ended": lambda j: j.ended("digits"),
    "fit_readings": lambda j: j.fit_readings("digits", KEY),
    "starts": lambda j: j.starts("digits"),
    "noise_floors": lambda j: j.noise_floors("digits", "f", "smoke"),
    "pending": lambda j: j.pending(),
    "pipelines": lambda j: j.pipelines(),
    "close_stale": lambda j: j.close_stale("digits"),
}


@pytest.fixture
def asked(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Sequence[Any]]]:
    """Every statement from here on, on a journal of two pipelines with a thousand retrains each."""
    names = [(f"{name}{n}", name, n) for n in range(1, 1001) for name in ("digits", "sequence")]
    with journal.file.write() as db:
        db.executemany(
            "INSERT INTO runs (uid, pipeline, number, state, trigger, started_at)"
            " VALUES (?, ?, ?, 'finished', 'cron', '')",
            names,
        )
        db.execute(
            "INSERT INTO readings (pipeline, key, seq, value, status) SELECT pipeline, ?, seq, number, 'measured'"
            " FROM runs",
            (KEY,),
        )
        db.execute("INSERT INTO records (uid, record) SELECT uid, '{}' FROM runs")
        db.execute("INSERT INTO outbox (uid, queued_at, sent_at) SELECT uid, '', '' FROM runs")
        db.execute(
            "INSERT INTO promotions (pipeline, uid, at, by, reason, forced)"
            " SELECT pipeline, uid, '2026-11-28T00:00:00+00:00', '', '', 0 FROM runs WHERE number % 2"
        )
        db.execute("ANALYZE")
    heard: list[tuple[str, Sequence[Any]]] = []
    rows = JournalFile.rows

    def listening(self: JournalFile, sql: str, values: Sequence[Any] = ()) -> Any:
        if not sql.startswith("EXPLAIN"):
            heard.append((sql, values))
        return rows(self, sql, values)

    monkeypatch.setattr(JournalFile, "rows", listening)
    return heard


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(
    journal: Journal, asked: list[tuple[str, Sequence[Any]]], question: str
) -> None:
    QUESTIONS[question](journal)
    assert asked
    for sql, values in asked:
        plan = [str(row["detail"]) for row in journal.file.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
        scans = [step for step in plan if step.startswith("SCAN") and "INDEX" not in step and "CONSTANT" not in step]
        assert scans == [], sql
