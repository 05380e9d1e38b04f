"""MLflow as the shared memory: one record becomes runs, metrics, artifacts and a model version, exactly once.

`record` looks before it writes: everything is found again by the tag `plaster.uid`, the parent run is closed last, and
what an interrupted attempt left behind is completed. Doubles, made by a server that committed after it was given up on,
are deleted. Only `MlflowClient` is used: no active run, no global tracking URI.
"""

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plaster_ops.domain.run import RunRecord
from plaster_ops.ports import Tracked
from plaster_ops.tracking import liveness
from plaster_ops.tracking.connection import Location, open_client, set_wal, shown, translated
from plaster_ops.tracking.layout import plan_record
from plaster_ops.tracking.mlflow_models import Registry
from plaster_ops.tracking.mlflow_pages import ExperimentPage
from plaster_ops.tracking.names import MAX_METRICS_PER_BATCH, experiment_name, registered_name
from plaster_ops.tracking.plans import (
    CADENCE,
    HOST,
    KIND,
    LEDGER,
    NOTE,
    PARENT,
    RETRAIN,
    UID,
    DatasetPlan,
    Point,
    RecordPlan,
    RunPlan,
)
from plaster_ops.tracking.run_note import links_of, with_links

log = logging.getLogger(__name__)

_PID, _PID_STARTED = "plaster.pid", "plaster.pid_started"
_RUNNING = "RUNNING"


class MlflowTracker:
    """A `Tracker` on any MLflow store. The client is made at the first use, so that constructing costs nothing."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._client: Any = None
        self._pages: dict[str, ExperimentPage] = {}

    @classmethod
    def at(cls, tracking_uri: str, artifact_root: str | None = None) -> Self:
        """A tracker for an absolute URI; see `connection.resolve_uri` for the text of the settings."""
        return cls(Location(tracking_uri=tracking_uri, artifact_root=artifact_root))

    def record(self, run: RunRecord) -> Tracked:
        """The record is in MLflow when this returns, once, however often it is replayed.

        Raises `TrackingUnavailable` (try again later) or its subclass `RecordRefused` (this record will never pass).
        """
        plan = plan_record(run)
        client = self._open()
        with translated(self.location):
            page = self._page(plan.pipeline)
            parent, children, fresh = self._runs_of(plan, page.experiment_id)
            version: int | None = None
            if fresh or parent.info.status == _RUNNING:
                version = self._write(run, plan, page, parent, children, fresh=fresh)
            elif plan.model is not None:
                version = Registry(client, self.location).version_of(plan.pipeline, plan.uid)
        return Tracked(
            tracking_uri=shown(self.location),
            experiment=experiment_name(plan.pipeline),
            run_id=parent.info.run_id,
            model_version=version,
        )

    def point(self, pipeline: str, aliases: Mapping[str, str]) -> None:
        """`champion`, `challenger`, `previous` point at these uids' versions; one that is not named is removed."""
        client = self._open()
        with translated(self.location):
            champion = Registry(client, self.location).point(pipeline, aliases)
            page = self._pages.get(pipeline) or ExperimentPage.find(client, pipeline)
            if page is not None and page.pages.champion != champion:
                page.crown(champion)

    def ledger(self, pipeline: str, lines: Sequence[Mapping[str, Any]], since: int) -> None:
        """What is new after `since` as tags on the versions; all of it as `promotions.jsonl` of the cadence runs."""
        client = self._open()
        with translated(self.location):
            Registry(client, self.location).tell_promotions(pipeline, [line for line in lines if line["seq"] > since])
            experiment = client.get_experiment_by_name(experiment_name(pipeline))
            if experiment is None:
                return
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            for run in self._search(experiment.experiment_id, f"tags.`{KIND}` = 'cadence'"):
                client.log_text(run.info.run_id, text, LEDGER)

    def fetch_engine(self, pipeline: str, uid: str, folder: Path) -> Path | None:
        """The engine of that run as it is registered, copied below `folder`; None where it is not there."""
        client = self._open()
        with translated(self.location):
            return Registry(client, self.location).fetch(pipeline, uid, folder)

    def prune_engine(self, pipeline: str, uid: str, root: str, *, dry_run: bool) -> int:
        """Removes the registered files of that run below the folder `root`; their bytes, 0 where there are none."""
        client = self._open()
        with translated(self.location):
            return Registry(client, self.location).prune(pipeline, uid, root, dry_run=dry_run)

    def sweep_stale(self, host: str, owned: Collection[str] = ()) -> list[str]:
        """Closes as KILLED what dead processes of `host` left RUNNING, and returns the run ids.

        `owned` are uids that the journal will still complete; they are left alone.
        """
        client = self._open()
        killed: list[str] = []
        with translated(self.location):
            experiments = client.search_experiments(filter_string="name LIKE 'plaster/%'")
            ids = [experiment.experiment_id for experiment in experiments]
            for run in self._search(ids, f"attributes.status = '{_RUNNING}'") if ids else ():
                if _is_stale(run.data.tags, host, owned):
                    client.set_terminated(run.info.run_id, status="KILLED")
                    killed.append(run.info.run_id)
        return killed

    def close(self) -> None:
        """Lets go of the store's connections; the next call opens them again."""
        client, self._client = self._client, None
        if client is not None and self.location.database is not None:
            for store in (client._tracking_client.store, client._get_registry_client().store):
                store.engine.dispose()
        self._pages.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        if self._client is None:
            self._client = open_client(self.location)
            if self.location.database is not None:
                set_wal(self.location.database)
        return self._client

    def _page(self, pipeline: str) -> ExperimentPage:
        """The pipeline's experiment, made where it does not exist."""
        if pipeline not in self._pages:
            self._pages[pipeline] = ExperimentPage.open(self._client, self.location, pipeline)
        return self._pages[pipeline]

    def _runs_of(self, plan: RecordPlan, experiment_id: str) -> tuple[Any, dict[str, Any], bool]:
        """`(parent, children by kind, fresh)`: what is there of this record, doubles deleted; a fresh parent is new."""
        kept: dict[str, Any] = {}
        for run in self._search([experiment_id], f"tags.`{UID}` = '{plan.uid}'"):
            kind = run.data.tags.get(KIND, "")
            if kind in kept:
                log.warning("deleting a double of the %s run of %s", kind, plan.parent.name)
                self._client.delete_run(run.info.run_id)
            else:
                kept[kind] = run
        parent = kept.pop(RETRAIN, None)
        if parent is not None:
            return parent, kept, False
        return self._create(experiment_id, plan.parent), kept, True

    def _search(self, experiment_ids: Sequence[str], condition: str) -> list[Any]:
        """Runs in a fixed order: those that are closed first, then the oldest."""
        found = self._client.search_runs(list(experiment_ids), filter_string=condition, max_results=1000)
        return sorted(found, key=lambda run: (run.info.status == _RUNNING, run.info.start_time, run.info.run_id))

    def _create(self, experiment_id: str, plan: RunPlan, parent_id: str | None = None) -> Any:
        tags = dict(plan.tags)
        if plan.kind != "cadence":
            tags |= {HOST: liveness.this_host(), _PID: str(os.getpid())}
            tags[_PID_STARTED] = str(liveness.started_at_s(os.getpid()) or "")
        if parent_id is not None:
            tags[PARENT] = parent_id
        return self._client.create_run(experiment_id, start_time=plan.start_ms, tags=tags, run_name=plan.name)

    def _write(
        self,
        record: RunRecord,
        plan: RecordPlan,
        page: ExperimentPage,
        parent: Any,
        children: Mapping[str, Any],
        *,
        fresh: bool,
    ) -> int | None:
        """Everything but the parent's creation, in an order in which any prefix can be completed later."""
        run_id, experiment_id = parent.info.run_id, page.experiment_id
        inputs = [] if fresh else [(d.dataset.name, d.dataset.digest) for d in parent.inputs.dataset_inputs]
        self._log_inputs(run_id, [row for row in plan.datasets if (row.name, row.digest) not in inputs])
        registry = Registry(self._client, self.location)
        model_id, version = registry.register(plan, experiment_id, run_id, fresh=fresh)
        for child in plan.children:
            self._write_child(experiment_id, child, run_id, children.get(child.kind))
        cadence_id = None
        if plan.cadence is not None:
            cadence_id = self._write_cadence(experiment_id, plan.cadence, known_new=fresh)
        if plan.artifacts is not None:
            self._client.log_artifacts(run_id, str(plan.artifacts))
        page.add(record, run_id, cadence_id, has_report=plan.has_report)
        linked = plan.model.linked if plan.model is not None else frozenset()
        points = plan.parent.points if fresh else self._missing(run_id, plan.parent.points, parent.data.metrics)
        note = self._note(plan, experiment_id, run_id, version, cadence_id)
        self._log_points(run_id, points, plan.parent.params, model_id, linked, note)
        self._client.set_terminated(run_id, status=plan.parent.status, end_time=plan.parent.end_ms)
        return version

    def _note(
        self, plan: RecordPlan, experiment_id: str, run_id: str, version: int | None, cadence_id: str | None
    ) -> str:
        """The parent's description with its links; one search more where it was compared with a retrain."""
        compared = None
        if plan.compared is not None:
            index, uid = plan.compared
            found = self._search([experiment_id], f"tags.`{UID}` = '{uid}' AND tags.`{KIND}` = '{RETRAIN}'")
            compared = (index, found[0].info.run_id) if found else None
        links = links_of(
            plan.pipeline,
            experiment_id,
            run_id,
            has_report=plan.has_report,
            version=None if version is None else (registered_name(plan.pipeline), version),
            compared=compared,
            cadence_run_id=cadence_id,
        )
        return with_links(plan.parent.tags[NOTE], links)

    def _write_child(self, experiment_id: str, plan: RunPlan, parent_id: str, known: Any | None) -> None:
        if known is not None and known.info.status != _RUNNING:
            return
        run = known or self._create(experiment_id, plan, parent_id)
        points = plan.points if known is None else self._missing(run.info.run_id, plan.points, run.data.metrics)
        self._log_points(run.info.run_id, points, plan.params)
        self._client.set_terminated(run.info.run_id, status=plan.status, end_time=plan.end_ms)

    def _write_cadence(self, experiment_id: str, plan: RunPlan, *, known_new: bool) -> str:
        """A point more on each line; the run's id. Of two cadence runs (a server's late commit) the older stays."""
        found = self._search([experiment_id], f"tags.`{CADENCE}` = '{plan.tags[CADENCE]}'")
        for double in found[1:]:
            self._client.delete_run(double.info.run_id)
        run = found[0] if found else self._create(experiment_id, plan)
        there = {} if known_new or not found else run.data.metrics
        self._log_points(run.info.run_id, self._missing(run.info.run_id, plan.points, there))
        if run.info.status != plan.status:
            self._client.set_terminated(run.info.run_id, status=plan.status, end_time=plan.end_ms)
        return str(run.info.run_id)

    def _missing(self, run_id: str, points: Sequence[Point], there: Mapping[str, float]) -> list[Point]:
        """The points that the run does not have; only keys that it has at all are asked for in full."""
        had: set[tuple[str, int, int]] = set()
        for key in {point.key for point in points} & set(there):
            had |= {(key, old.step, old.timestamp) for old in self._client.get_metric_history(run_id, key)}
        return [point for point in points if (point.key, point.step, point.timestamp_ms) not in had]

    def _log_points(
        self,
        run_id: str,
        points: Sequence[Point],
        params: Mapping[str, str] | None = None,
        model_id: str | None = None,
        linked: Collection[str] = (),
        note: str | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [
            Metric(p.key, p.value, p.timestamp_ms, p.step, model_id=model_id if p.key in linked else None)
            for p in points
        ]
        rest = [Param(key, value) for key, value in (params or {}).items()]
        tags = [] if note is None else [RunTag(NOTE, note)]
        for at in range(0, max(len(metrics), 1 if rest or tags else 0), MAX_METRICS_PER_BATCH):
            batch = metrics[at : at + MAX_METRICS_PER_BATCH]
            self._client.log_batch(run_id, metrics=batch, params=rest, tags=tags, synchronous=True)
            rest, tags = [], []

    def _log_inputs(self, run_id: str, rows: Iterable[DatasetPlan]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(
                Dataset(
                    name=row.name,
                    digest=row.digest,
                    source_type="local" if "://" not in row.source else row.source.split("://")[0][:36],
                    source=row.source,
                    profile=None if row.samples is None else f'{{"num_rows": {row.samples}}}',
                ),
                [InputTag("mlflow.data.context", row.context)],
            )
            for row in rows
        ]
        if datasets:
            self._client.log_inputs(run_id, datasets)


def _is_stale(tags: Mapping[str, str], host: str, owned: Collection[str]) -> bool:
    """A run of ours, of that host, whose process is dead and which nobody will complete."""
    if tags.get(HOST) != host or tags.get(UID) in owned or not tags.get(_PID, "").isdecimal():
        return False
    started = tags.get(_PID_STARTED)
    return not liveness.is_alive(int(tags[_PID]), float(started) if started else None)
