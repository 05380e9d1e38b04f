"""An MLflow server's store read back page by page, its artifacts eight at a time."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plaster_ops.tracking.connection import Location, open_client, translated
from plaster_ops.tracking.plans import KIND, LEDGER, RETRAIN, UID
from plaster_ops.tracking.store_reader import FoundRun, local_folder, read_text

_PAGE = 200
_AT_ONCE = 8


class StorePages:
    """A `StoreReader` of any store that MLflow's client reaches. Raises `TrackingUnavailable` where it cannot be."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._client: Any = open_client(location)
        self._kept = tempfile.TemporaryDirectory(prefix="plaster-rebuild-")
        with translated(location):
            found = self._all(
                lambda token: self._client.search_experiments(
                    filter_string="name LIKE 'plaster/%'", max_results=1000, page_token=token
                )
            )
        self._experiments = {experiment.experiment_id: experiment.name for experiment in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.cleanup()

    def pages(self) -> Iterator[Sequence[FoundRun]]:
        """Runs that are closed, over all experiments."""
        condition = f"tags.`{KIND}` = '{RETRAIN}' AND attributes.status != 'RUNNING'"
        for page in self._search(condition, ["attributes.start_time ASC"]):
            yield [self._found(run) for run in page]

    def _search(self, condition: str, order: list[str]) -> Iterator[Sequence[Any]]:
        token, ids = None, list(self._experiments)
        while ids:
            with translated(self._location):
                page = self._client.search_runs(
                    ids, filter_string=condition, max_results=_PAGE, order_by=order, page_token=token
                )
            yield page
            token = page.token
            if not token:
                return

    def _found(self, run: Any) -> FoundRun:
        return FoundRun(
            run_id=run.info.run_id,
            experiment=self._experiments[run.info.experiment_id],
            start_ms=run.info.start_time,
            end_ms=run.info.end_time,
            artifact_uri=run.info.artifact_uri,
            tags=dict(run.data.tags),
            params=dict(run.data.params),
            metrics={key: value for key, value in run.data.metrics.items() if value - value == 0},
        )

    def metrics(self, found: FoundRun) -> Mapping[str, float]:
        """They came with the page."""
        return found.metrics or {}

    def texts(self, found: Sequence[FoundRun], name: str) -> list[str | None]:
        """From a shared folder where the server keeps them in one; else downloaded."""
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            return list(pool.map(lambda run: self._text(run.run_id, run.artifact_uri, name), found))

    def _text(self, run_id: str, artifact_uri: str, name: str) -> str | None:
        from mlflow.exceptions import MlflowException

        folder = local_folder(artifact_uri)
        if folder is not None and folder.is_dir():
            return read_text(artifact_uri, name)
        place = Path(self._kept.name) / run_id
        place.mkdir(exist_ok=True)
        try:
            file = Path(self._client.download_artifacts(run_id, name, str(place)))
            text = file.read_text(encoding="utf-8")
        except (MlflowException, OSError):
            return None
        file.unlink()
        return text

    def versions(self) -> Mapping[str, int]:
        """The oldest version of each run."""
        found: dict[str, int] = {}
        for version in self._versions():
            number = int(version.version)
            if version.run_id:
                found[version.run_id] = min(number, found.get(version.run_id, number))
        return found

    def aliases(self) -> Mapping[str, Mapping[str, str]]:
        """By the uid among the tags of the version that an alias points at."""
        found: dict[str, dict[str, str]] = {}
        with translated(self._location):
            models = self._all(lambda token: self._client.search_registered_models(max_results=100, page_token=token))
            for model in models:
                pipeline = model.tags.get("plaster.pipeline")
                for alias, number in (model.aliases or {}).items() if pipeline else ():
                    uid = self._client.get_model_version(model.name, str(number)).tags.get(UID)
                    if uid:
                        found.setdefault(pipeline, {})[alias] = uid
        return found

    def ledgers(self) -> Mapping[str, str]:
        """The longest of each pipeline's cadence runs."""
        found: dict[str, str] = {}
        for page in self._search(f"tags.`{KIND}` = 'cadence'", []):
            for run in page:
                pipeline = run.data.tags.get("plaster.pipeline", "")
                text = self._text(run.info.run_id, run.info.artifact_uri, LEDGER) or ""
                if len(text) > len(found.get(pipeline, "")):
                    found[pipeline] = text
        return found

    def _versions(self) -> Sequence[Any]:
        with translated(self._location):
            return self._all(lambda token: self._client.search_model_versions(max_results=1000, page_token=token))

    def _all(self, ask: Any) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = ask(token)
            found += page
            token = page.token
            if not token:
                return found
