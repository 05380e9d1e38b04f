"""Plans of records written into MLflow's tables row by row, as the real tracker would leave them."""

import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.run import RunRecord
from plaster_ops.ports import Tracked
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.layout import plan_record, to_ms
from plaster_ops.tracking.names import experiment_name, registered_name
from plaster_ops.tracking.plans import PARENT, UID, Point, RecordPlan, RunPlan

_SKIPPED_TAGS = ("plaster.pid", "plaster.pid_started", "plaster.host", "mlflow.user", "mlflow.note.content")


class BulkTables:
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
