"""An embedded MLflow store read back from its SQLite file and its artifact folder: no mlflow is imported."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from plaster_ops.errors import TrackingUnavailable
from plaster_ops.tracking.plans import KIND, LEDGER, RETRAIN, UID
from plaster_ops.tracking.store_reader import FoundRun, read_text

_PAGE = 500
_RUNS = (
    "SELECT runs.run_uuid, experiments.name, runs.start_time, runs.end_time, runs.artifact_uri"
    " FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid"
    " JOIN experiments ON experiments.experiment_id = runs.experiment_id"
    " WHERE tags.key = ? AND tags.value = ? AND runs.lifecycle_stage = 'active' AND runs.status != 'RUNNING'"
    " ORDER BY runs.start_time, runs.run_uuid"
)


class StoreFile:
    """A `StoreReader` of `mlflow.db`, opened for reading only. Raises `TrackingUnavailable` where it cannot be read."""

    def __init__(self, database: Path) -> None:
        self._database = database
        try:
            self._db = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=20.0)
            self._db.execute("SELECT 1 FROM runs LIMIT 1")
        except sqlite3.Error as error:
            why = error if database.exists() else "there is no such file"
            raise TrackingUnavailable(
                f"{database} cannot be read as a tracking store: {why}", "set tracking_uri to where the runs are"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def pages(self) -> Iterator[Sequence[FoundRun]]:
        """Runs that are closed; one that is being written waits for `sync`."""
        with closing(self._db.execute(_RUNS, (KIND, RETRAIN))) as rows:
            while page := rows.fetchmany(_PAGE):
                yield [self._found(*row) for row in page]

    def _found(self, run_id: str, experiment: str, start_ms: int, end_ms: int | None, artifact_uri: str) -> FoundRun:
        return FoundRun(
            run_id=run_id,
            experiment=experiment,
            start_ms=start_ms,
            end_ms=end_ms,
            artifact_uri=artifact_uri,
            tags=self._pairs("tags", run_id),
            params=self._pairs("params", run_id),
        )

    def _pairs(self, table: str, run_id: str) -> dict[str, str]:
        return dict(self._db.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", (run_id,)))

    def metrics(self, found: FoundRun) -> Mapping[str, float]:
        """From the table of newest values; what is not a number is left out."""
        rows = self._db.execute(
            "SELECT key, value FROM latest_metrics WHERE run_uuid = ? AND NOT is_nan", (found.run_id,)
        )
        return dict(rows)

    def texts(self, found: Sequence[FoundRun], name: str) -> list[str | None]:
        """Straight from the artifact folders."""
        return [read_text(run.artifact_uri, name) for run in found]

    def versions(self) -> Mapping[str, int]:
        """The oldest version of each run, as `Registry.version_of` has it."""
        rows = self._db.execute(
            "SELECT run_id, MIN(version) FROM model_versions WHERE run_id IS NOT NULL GROUP BY run_id"
        )
        return {str(run_id): int(version) for run_id, version in rows}

    def aliases(self) -> Mapping[str, Mapping[str, str]]:
        """By the uid among the tags of the version that an alias points at."""
        rows = self._db.execute(
            "SELECT model.value, alias.alias, uid.value FROM registered_model_aliases AS alias"
            " JOIN model_version_tags AS uid ON uid.name = alias.name AND uid.version = alias.version AND uid.key = ?"
            " JOIN registered_model_tags AS model ON model.name = alias.name AND model.key = 'plaster.pipeline'",
            (UID,),
        )
        found: dict[str, dict[str, str]] = {}
        for pipeline, alias, uid in rows:
            found.setdefault(pipeline, {})[alias] = uid
        return found

    def ledgers(self) -> Mapping[str, str]:
        """The longest of each pipeline's cadence runs."""
        rows = self._db.execute(
            "SELECT pipeline.value, runs.artifact_uri FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid"
            " JOIN tags AS pipeline ON pipeline.run_uuid = runs.run_uuid AND pipeline.key = 'plaster.pipeline'"
            " WHERE tags.key = ? AND tags.value = 'cadence' AND runs.lifecycle_stage = 'active'",
            (KIND,),
        )
        found: dict[str, str] = {}
        for pipeline, artifact_uri in rows.fetchall():
            text = read_text(artifact_uri, LEDGER) or ""
            if len(text) > len(found.get(pipeline, "")):
                found[pipeline] = text
        return found
