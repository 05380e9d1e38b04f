"""Ten thousand retrains without training: a journal through the code of retrains, and an MLflow store row by row.

The rows of MLflow are those of the plan that the real tracker carries out (`tracking.layout`), written into its tables
in bulk; the first retrain is recorded by the real tracker, and `differences` holds the two against each other.
"""

import json
import math
import random
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading, Row, Unmeasured
from plaster_ops.domain.compact import CompactKind, CompactRow, pack, to_document
from plaster_ops.domain.histogram import LogHistogram
from plaster_ops.domain.metrics import CATALOGUE, E2E_P50_MS, Better, Letter
from plaster_ops.domain.run import RunRecord
from plaster_ops.flow.compact_record import COMPACT, RECORD
from plaster_ops.ports import Tracked
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_restore import LedgerLine, rebuilding, restore_promotions, restore_run
from plaster_ops.tracking.journal_rows import to_json
from plaster_ops.tracking.journal_runs import PATHS
from plaster_ops.tracking.layout import plan_record, to_ms
from plaster_ops.tracking.mlflow_store import MlflowTracker
from plaster_ops.tracking.names import experiment_name, registered_name
from plaster_ops.tracking.plans import LEDGER, PARENT, UID, Point, RecordPlan, RunPlan
from plaster_ops.tracking.store_reader import local_folder

FIRST = datetime(2025, 1, 1, tzinfo=UTC)
_SKIPPED_TAGS = ("plaster.pid", "plaster.pid_started", "plaster.host", "mlflow.user", "mlflow.note.content")


_VARIANTS = 8
"""Different cards of one level: what they say varies, what it costs to make them does not count here."""


@cache
def card_rows(is_slower: bool, variant: int) -> tuple[dict[str, Any], ...]:
    """The rows of one of the cards."""
    return tuple(card(60 if is_slower else 1, random.Random(variant)).to_json())


def card(index: int, source: random.Random) -> Card:
    """As a CPU without counters gives it: nothing of energy, 3 % of noise, and p50 8 % slower from retrain 60 on."""
    rows: list[Row] = []
    for place, metric in enumerate(CATALOGUE.values()):
        better = Better.HIGHER if metric.better is Better.DECLARED else None
        if metric.letter is Letter.ENERGY or (place % 4 == 3 and not metric.headline):
            rows.append(Unmeasured(metric=metric, reason="engine runs on the CPU, no RAPL, no NVML", better=better))
            continue
        value = (place + 1) * math.exp(source.gauss(0.0, 0.03))
        value *= 1.08 if metric is E2E_P50_MS and index >= 60 else 1.0
        value = round(value) if metric.unit in ("count", "bytes") else value
        interval = None if metric.margin is None else (value * 0.97, value * 1.03)
        rows.append(Reading(metric=metric, value=value, ci95=interval, n=2000, better=better))
    return Card.of(rows)


def record(number: int, pipelines: int, project: Path) -> RunRecord:
    """The retrain of that number, from 0: pipelines take turns, one every fifteen minutes."""
    source, index = random.Random(number), number // pipelines + 1
    began = FIRST + timedelta(minutes=15 * number)
    uid = uuid.UUID(int=source.getrandbits(128)).hex
    promoted = index == 1 or source.random() < 0.5
    rows = card_rows(index >= 60, source.randrange(_VARIANTS))
    judged = [fields for fields in rows if CATALOGUE[fields["key"]].margin is not None and fields["value"] is not None]
    return RunRecord(
        uid=uid,
        pipeline=f"pipeline{number % pipelines:02d}",
        index=index,
        trigger="cron",
        slot=began.isoformat(),
        started_at=began.isoformat(timespec="milliseconds"),
        ended_at=(began + timedelta(minutes=4)).isoformat(timespec="milliseconds"),
        verdict="baseline" if index == 1 else "promoted" if promoted else "held",
        exit_code=0,
        reasons=("accuracy same, latency better",),
        fingerprint={"device": "AMD EPYC", "device_count": 1, "threads": 2, "input_shapes": [], "digest": "f" * 16},
        baseline={"index": index - 1, "id": uid, "which": "last", "how": "remeasured"} if index > 1 else None,
        card=rows,
        comparison=tuple(_compared(fields) for fields in judged) if index > 1 else (),
        phases={"wait_s": 0.0, "fit_s": 90.0, "measure_s": 60.0, "other_s": 0.1, "cycle_s": 240.0},
        engine={
            "backend": "openvino",
            "precision": "fp32",
            "decision": "refit",
            "tried": [{"ok": True, "build_s": 2.0}],
        },
        data={"source": "folder", "new_samples": 200, "absorbed_samples": 150, "newest_trained_at": began.timestamp()},
        start={"used": "warm", "why": "asked for"},
        datasets=({"name": "d", "context": "eval", "digest": "b" * 64, "source": "replay://d", "samples": 360},),
        curves=tuple({"key": "loss", "step": step, "value": 1.0 / step, "timestamp_ms": step} for step in range(1, 11)),
        params={"ref": "m:p", "start": "warm", "train.max_epochs": "20", "train.seed": "0", "train.devices": "1"},
        tags={"plaster.graph_digest": "a" * 64, "plaster.weights_digest": uid * 2, "plaster.version": "0.1.0"},
        artifacts=str(project / "mlruns" / "runs" / "kept" / uid),
        engine_folder=str(project / "mlruns" / "runs" / "pruned" / uid),
        learned=900 + index,
        seen=1260 + index,
    )


def _compared(fields: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: fields[name] for name in ("letter", "key", "unit", "better", "headline")}
    return shown | {
        "now": fields["value"],
        "then": fields["value"] * 1.01,
        "change_ratio": -0.01,
        "change_difference": None,
        "ci95": [-0.03, 0.01],
        "limit": 0.05,
        "verdict": "same",
        "reason": None,
        "p_value": 0.3,
        "p_adjusted": 0.6,
        "how": "remeasured",
    }


def evidence(number: int) -> tuple[CompactRow, ...]:
    """Three restarts of ten time blocks of 200 queries, single stream and batched; some 6 kB."""
    source = random.Random(number)
    told = {
        "warmup_queries": 100,
        "warmup_s": 0.5,
        "is_steady": True,
        "sensor": "none",
        "sensor_reason": "",
        "turns": 20,
    }
    told |= {"idle_w": None, "notes": [], "suspect": "", "concurrency": 1}
    rows = []
    for process in range(3):
        for kind, batch in (("single", 1), ("throughput", 8)):
            blocks = []
            for _ in range(10):
                taken = [round(80_000 * batch * source.lognormvariate(0, 0.15)) for _ in range(200)]
                seconds = sum(taken) * 1e-9
                plain = LogHistogram.of(taken).to_json()
                blocks.append({**plain, "window_s": seconds, "items": 200 * batch, "cpu_s": seconds, "energy": None})
            content = {**told, "batch": batch, "blocks": blocks}
            rows.append(CompactRow(kind=CompactKind.TIMED, label=kind, process=process, body=pack(content)))
    return tuple(rows)


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
            bulk = _Bulk(db, project)
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


class _Bulk:
    """Writes plans into MLflow's tables; artifacts of bulk runs are where the record has them, not copied."""

    def __init__(self, db: sqlite3.Connection, project: Path) -> None:
        self._db, self._project = db, project
        self._experiments: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._cadences: dict[str, str] = {}
        self._plans: dict[Any, RecordPlan] = {}

    def write(self, found: RunRecord, run_id: str) -> str:
        """One retrain: parent, children, points of the cadence run, version. Returns the parent's run id."""
        plan = self._planned(found)
        experiment = self._experiment(plan.pipeline)
        uri = (Path(found.artifacts or "")).as_uri()
        self._run(plan.parent, run_id, experiment, uri)
        for place, child in enumerate(plan.children):
            child_id = f"{run_id[:-1]}{'abc'[place]}x"[-32:]
            self._run(child, child_id, experiment, uri, {PARENT: run_id})
        if plan.cadence is not None and run_id != "f" * 32:
            self._cadence(plan.cadence, plan.pipeline, experiment, uri)
            self._version(plan.pipeline, found, run_id)
        return run_id

    def _planned(self, found: RunRecord) -> RecordPlan:
        """The plan of an earlier retrain with the same card, told anew: points at this step and instant."""
        key = (id(found.card), found.verdict, bool(found.comparison), found.pipeline)
        if key not in self._plans:
            self._plans[key] = plan_record(found)
        kept, at = self._plans[key], to_ms(found.started_at)
        tags = {UID: found.uid, "plaster.index": str(found.index), "plaster.slot": found.slot or ""}
        tags |= {"plaster.learned": str(found.learned), "plaster.seen": str(found.seen)}
        tags |= {name: value for name, value in found.tags.items() if name in kept.parent.tags}
        if found.baseline:
            tags["plaster.baseline"] = f"#{found.baseline['index']}"

        def told(plan: RunPlan, name: str) -> RunPlan:
            steps = found.index if plan.kind in ("retrain", "cadence") else None
            points = plan.points
            if plan.kind != "train":
                points = tuple(Point(p.key, p.value, steps or p.step, at) for p in plan.points)
            mine = plan.tags if plan.kind == "cadence" else {k: tags.get(k, v) for k, v in plan.tags.items()}
            return replace(plan, name=name, start_ms=at, end_ms=to_ms(found.ended_at), points=points, tags=mine)

        return replace(
            kept,
            uid=found.uid,
            parent=told(kept.parent, f"#{found.index} {found.started_at[:10]}"),
            children=tuple(told(child, child.name) for child in kept.children),
            cadence=None if kept.cadence is None else told(kept.cadence, kept.cadence.name),
        )

    def tracked(self, found: RunRecord, run_id: str, location: Location) -> Tracked:
        """What the tracker would have answered."""
        name = experiment_name(found.pipeline)
        version = self._versions.get(found.pipeline)
        return Tracked(tracking_uri=location.tracking_uri, experiment=name, run_id=run_id, model_version=version)

    def forget(self, run_id: str) -> None:
        """Takes the compared twin out again."""
        like = run_id[:-2] + "%"
        for table in ("metrics", "latest_metrics", "tags", "params", "runs"):
            self._db.execute(f"DELETE FROM {table} WHERE run_uuid LIKE ? OR run_uuid LIKE 'fffffff%'", (like,))

    def _experiment(self, pipeline: str) -> int:
        name = experiment_name(pipeline)
        if name not in self._experiments:
            row = self._db.execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchone()
            if row is None:
                place = (self._project / "mlruns" / "artifacts").as_uri()
                at = self._db.execute(
                    "INSERT INTO experiments"
                    " (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
                    " VALUES (?, ?, 'active', 0, 0)",
                    (name, place),
                ).lastrowid
                row = (at,)
                self._db.execute(
                    "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('plaster.pipeline', ?, ?)",
                    (pipeline, at),
                )
            self._experiments[name] = int(row[0])
        return self._experiments[name]

    def _run(
        self, plan: RunPlan, run_id: str, experiment: int, uri: str, more: Mapping[str, str] | None = None
    ) -> None:
        self._db.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES"
            " (?, ?, 'UNKNOWN', '', '', 'me', ?, ?, ?, '', 'active', ?, ?)",
            (run_id, plan.name, plan.status, plan.start_ms, plan.end_ms, uri, experiment),
        )
        tags = {**plan.tags, "mlflow.runName": plan.name, **(more or {})}
        self._db.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(k, v, run_id) for k, v in tags.items()]
        )
        self._db.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            [(k, v, run_id) for k, v in plan.params.items()],
        )
        self._points(plan, run_id)

    def _points(self, plan: RunPlan, run_id: str) -> None:
        points = [(p.key, p.value, p.timestamp_ms, run_id, p.step) for p in plan.points]
        self._db.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)", points
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan)"
            " VALUES (?, ?, ?, ?, ?, 0)",
            points,
        )

    def _cadence(self, plan: RunPlan, pipeline: str, experiment: int, uri: str) -> None:
        if pipeline not in self._cadences:
            row = self._db.execute(
                "SELECT runs.run_uuid FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid"
                " WHERE tags.key = 'plaster.kind' AND tags.value = 'cadence' AND runs.experiment_id = ?",
                (experiment,),
            ).fetchone()
            self._cadences[pipeline] = row[0] if row else uuid.uuid5(uuid.NAMESPACE_URL, pipeline).hex
            if row is None:
                self._run(plan, self._cadences[pipeline], experiment, uri)
                return
        self._points(plan, self._cadences[pipeline])

    def _version(self, pipeline: str, found: RunRecord, run_id: str) -> None:
        name, at = registered_name(pipeline), 0
        if pipeline not in self._versions:
            self._versions[pipeline] = 0
            self._db.execute(
                "INSERT OR IGNORE INTO registered_models (name, creation_time, last_updated_time, workspace)"
                " VALUES (?, 0, 0, 'default')",
                (name,),
            )
            self._db.execute(
                "INSERT OR IGNORE INTO registered_model_tags (key, value, name, workspace)"
                " VALUES ('plaster.pipeline', ?, ?, 'default')",
                (pipeline, name),
            )
        self._versions[pipeline] += 1
        version = self._versions[pipeline]
        self._db.execute(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source,"
            " run_id, status, workspace) VALUES (?, ?, ?, ?, 'None', '', ?, 'READY', 'default')",
            (name, version, at, at, run_id),
        )
        self._db.executemany(
            "INSERT INTO model_version_tags (key, value, name, version, workspace) VALUES (?, ?, ?, ?, 'default')",
            [(UID, found.uid, name, version), ("plaster.index", str(found.index), name, version)],
        )


def differences(db: sqlite3.Connection, real: str, bulk: str) -> list[str]:
    """What the parent run of a bulk write has otherwise than that of the real tracker; empty where nothing."""
    found = []
    for table, columns in (
        ("runs", "name, status, start_time, end_time, lifecycle_stage, experiment_id"),
        ("params", "key, value"),
        ("metrics", "key, value, timestamp, step, is_nan"),
        ("latest_metrics", "key, value, timestamp, step, is_nan"),
        ("tags", "key, value"),
    ):
        mine, theirs = (
            {row for row in db.execute(f"SELECT {columns} FROM {table} WHERE run_uuid = ?", (run,)) if _counts(row)}
            for run in (bulk, real)
        )
        found += [f"{table}: {row}" for row in mine ^ theirs]
    return found


def _counts(row: tuple[Any, ...]) -> bool:
    return row[0] not in _SKIPPED_TAGS
