"""Ten thousand retrains without training: a journal through the code of retrains, and an MLflow store row by row.

The rows of MLflow are those of the plan that the real tracker carries out (`tracking.layout`), written into its tables
in bulk; the first retrain is recorded by the real tracker, and `differences` holds the two against each other.
"""

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.scale_records import evidence, record
from benchmarks.scale_tables import BulkTables, differences
from plaster_ops.domain.compact import CompactRow, to_document
from plaster_ops.domain.run import RunRecord
from plaster_ops.flow.compact_record import COMPACT, RECORD
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_restore import LedgerLine, rebuilding, restore_promotions, restore_run
from plaster_ops.tracking.journal_rows import to_json
from plaster_ops.tracking.journal_runs import PATHS
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.plans import LEDGER
from plaster_ops.tracking.store_reader import local_folder


def fill(
    project: Path, location: Location, retrains: int, pipelines: int, most_s: float = math.inf
) -> tuple[list[str], int]:
    """Journal, artifacts and MLflow store of so many retrains, or of those that `most_s` seconds are enough for.

    Returns how bulk rows differ from the tracker's, and how many retrains it became.
    """
    stop_s = time.monotonic() + most_s
    made = 1
    few = [evidence(number) for number in range(8)]
    with Journal.open(project / "mlruns") as journal, rebuilding(journal):
        with MlflowTracker(location) as tracker:
            sample = record(0, pipelines, project)
            _write_artifacts(journal, sample, few[0])
            tracked = tracker.record(sample)
        with closing(sqlite3.connect(location.database or Path(), isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")
            later = db.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN"
                " ('metrics', 'latest_metrics', 'tags', 'params')"
            ).fetchall()
            db.execute("BEGIN")
            bulk = BulkTables(db, project)
            twin = bulk.write(sample, "f" * 32)
            found = differences(db, tracked.run_id, twin)
            bulk.forget(twin)
            restore_run(journal, sample, tracked, "host", few[0])
            for name, _ in later:
                db.execute(f"DROP INDEX {name}")
            for number in range(1, retrains):
                if time.monotonic() > stop_s:
                    break
                made += 1
                each = record(number, pipelines, project)
                _write_artifacts(journal, each, few[number % 8])
                run_id = bulk.write(each, each.uid)
                restore_run(journal, each, bulk.tracked(each, run_id, location), "host", few[number % 8])
            for _, sql in later:
                db.execute(sql)
            db.execute("COMMIT")
        restore_promotions(journal, _ledger(journal))
        for name in journal.pipelines():
            journal.mark_pointed(name, journal.aliases(name))
        tell_ledgers(journal, location.database or Path())
    return found, made


def tell_ledgers(journal: Journal, database: Path) -> None:
    """`promotions.jsonl` of every cadence run, as the tracker would have kept it promotion by promotion."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT pipeline.value, runs.artifact_uri FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid"
            " JOIN tags AS pipeline ON pipeline.run_uuid = runs.run_uuid AND pipeline.key = 'plaster.pipeline'"
            " WHERE tags.key = 'plaster.kind' AND tags.value = 'cadence'"
        ).fetchall()
    for pipeline, uri in rows:
        folder = local_folder(uri)
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in journal.ledger_lines(pipeline))
        (folder / LEDGER).write_text(text, encoding="utf-8")
        journal.mark_told_ledger(pipeline, journal.newest_promotion(pipeline))


def _ledger(journal: Journal) -> Iterator[LedgerLine]:
    for name in journal.pipelines():
        previous = None
        for row in reversed(journal.newest_finished(name, 1_000_000)):
            if row.verdict in ("baseline", "promoted"):
                at = row.ended_at or row.started_at
                yield LedgerLine(pipeline=name, uid=row.uid, previous=previous, at=at, by="me", reason="better")
                previous = row.uid


def _write_artifacts(journal: Journal, found: RunRecord, rows: tuple[CompactRow, ...]) -> None:
    folder = Path(found.artifacts or "")
    folder.mkdir(parents=True)
    plain = found.to_json()
    plain |= {name: journal.file.relative(plain[name]) for name in PATHS}
    (folder / RECORD).write_text(to_json(plain), encoding="utf-8")
    (folder / COMPACT).write_text(json.dumps(to_document(rows)), encoding="utf-8")
