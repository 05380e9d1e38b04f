"""The engine of a run in MLflow: a logged model with plain files, a registered version, and the aliases."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from plaster_ops.domain.run import Verdict
from plaster_ops.tracking import notes
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.names import MAX_VERSION_TAG_CHARACTERS, cut, logged_model_name, quoted, registered_name
from plaster_ops.tracking.plans import UID, ModelPlan, RecordPlan

log = logging.getLogger(__name__)

PRUNED = "plaster.pruned"
"""The tag of a version whose files were removed."""
ALIASES = ("champion", "challenger", "previous")


def promotion_tags(line: Mapping[str, Any]) -> dict[str, str]:
    """What a line of the ledger says of the version it made champion."""
    return {
        "plaster.promoted_at": str(line["at"]),
        "plaster.promoted_by": str(line["by"]),
        "plaster.promoted_how": str(line["kind"]),
        "plaster.promoted_from": "" if line["from"] is None else f"#{line['from']['index']}",
        "plaster.promoted_why": str(line["reason"]),
        "plaster.promoted_forced": str(bool(line["forced"])).lower(),
    }


class Registry:
    """Logged models and registered versions of one store. The caller translates MLflow's errors."""

    def __init__(self, client: Any, location: Location) -> None:
        self._client = client
        self._location = location

    def register(
        self, plan: RecordPlan, experiment_id: str, run_id: str, *, fresh: bool
    ) -> tuple[str | None, int | None]:
        """`(model id, version)` of the engine, uploaded and registered once; Nones for a run without one."""
        if plan.model is None:
            return None, None
        known = None if fresh else self._logged_model(experiment_id, plan.uid)
        model = known or self._create_logged_model(plan, plan.model, experiment_id, run_id)
        if str(model.status) != "READY":
            self._upload(model.model_id, plan.model)
            self._client.finalize_logged_model(model.model_id, "READY")
        version = None if fresh else self.version_of(plan.pipeline, plan.uid)
        if version is None:
            version = self._create_version(plan, plan.model, model, run_id)
        return str(model.model_id), version

    def version_of(self, pipeline: str, uid: str) -> int | None:
        """The number of the version that holds the engine of that uid; doubles of it are deleted, the oldest stays."""
        version = self._version(pipeline, uid)
        return None if version is None else int(version.version)

    def _version(self, pipeline: str, uid: str) -> Any | None:
        name = registered_name(pipeline)
        found = self._client.search_model_versions(f"name = {quoted(name)} AND tags.`{UID}` = '{uid}'", max_results=100)
        versions = sorted((one for one in found if one.name == name), key=lambda one: int(one.version))
        for double in versions[1:]:
            log.warning("deleting version %s of %s, a double of %s", double.version, name, versions[0].version)
            self._client.delete_model_version(name, str(double.version))
        return versions[0] if versions else None

    def point(self, pipeline: str, aliases: Mapping[str, str]) -> tuple[int, int] | None:
        """Sets what differs, removes what is not named. A uid without a version leaves its alias unset, logged.

        Returns the champion's version and the number of its retrain; None where there is none.
        """
        from mlflow.exceptions import MlflowException

        name = registered_name(pipeline)
        try:
            model = self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            log.warning("the registry has no model %s yet, so it has no aliases", name)
            return None
        now = {alias: int(version) for alias, version in model.aliases.items()}
        champion = None
        for alias in ALIASES:
            held = self._version(pipeline, aliases[alias]) if alias in aliases else None
            version = None if held is None else int(held.version)
            champion = held if alias == "champion" else champion
            if alias in aliases and version is None:
                log.warning("alias %s of %s: no version holds run %s", alias, name, aliases[alias])
            if version is None and alias in now:
                self._client.delete_registered_model_alias(name, alias)
            elif version is not None and now.get(alias) != version:
                self._client.set_registered_model_alias(name, alias, str(version))
        if champion is None:
            return None
        self._describe(model, pipeline, champion)
        return int(champion.version), int(champion.tags.get("plaster.index", 0))

    def _describe(self, model: Any, pipeline: str, champion: Any) -> None:
        """The model says which version is in use and why; a description that a person wrote stays."""
        told = (int(champion.version), str(champion.description or ""))
        was_held = champion.tags.get("plaster.verdict") == Verdict.HELD
        wanted = notes.describe_model(pipeline, told, was_held=was_held)
        if model.description == wanted or not notes.is_ours(model.description):
            return
        self._client.update_registered_model(model.name, wanted)

    def tell_promotions(self, pipeline: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Tags the version of each run with the newest of these lines that made it champion."""
        name = registered_name(pipeline)
        for uid, line in {str(line["uid"]): line for line in lines}.items():
            version = self.version_of(pipeline, uid)
            if version is None:
                log.warning("no version of %s holds run %s, so its promotion is told without it", name, uid)
                continue
            for tag, value in promotion_tags(line).items():
                self._client.set_model_version_tag(name, str(version), tag, cut(value, MAX_VERSION_TAG_CHARACTERS))

    def fetch(self, pipeline: str, uid: str, folder: Path) -> Path | None:
        """A copy of the files that were registered for that uid, below `folder`; None where there is no version."""
        from mlflow.artifacts import download_artifacts

        uri = self._model_uri(pipeline, uid)
        if uri is None:
            return None
        with self._own_store_as_default():
            return Path(
                download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=self._location.tracking_uri)
            )

    def _model_uri(self, pipeline: str, uid: str) -> str | None:
        """Where the files of that uid's logged model lie; None where no version holds it."""
        version = self.version_of(pipeline, uid)
        if version is None:
            return None
        found = self._client.get_model_version(registered_name(pipeline), str(version))
        model_id = found.model_id or str(found.source).removeprefix("models:/")
        return str(self._client.get_logged_model(model_id).artifact_location)

    def prune(self, pipeline: str, uid: str, root: str, *, dry_run: bool) -> int:
        """Removes the files of that uid's logged model where they lie below `root`; its version and tags stay.

        Returns their bytes; 0 where there are none.
        """
        folder = self._model_folder(pipeline, uid)
        if folder is None or not folder.is_dir() or not os.path.realpath(folder).startswith(root + os.sep):
            return 0
        size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
        if size and not dry_run:
            shutil.rmtree(folder)
            version = self.version_of(pipeline, uid)
            self._client.set_model_version_tag(registered_name(pipeline), str(version), PRUNED, "true")
        return size

    def _model_folder(self, pipeline: str, uid: str) -> Path | None:
        uri = self._model_uri(pipeline, uid)
        return None if uri is None or urlsplit(uri).scheme != "file" else Path(unquote(urlsplit(uri).path))

    def _logged_model(self, experiment_id: str, uid: str) -> Any | None:
        found = self._client.search_logged_models([experiment_id], filter_string=f"tags.`{UID}` = '{uid}'")
        models = sorted(
            found, key=lambda model: (str(model.status) != "READY", model.creation_timestamp, model.model_id)
        )
        for double in models[1:]:
            self._client.delete_logged_model(double.model_id)
        return models[0] if models else None

    def _create_logged_model(self, plan: RecordPlan, model: ModelPlan, experiment_id: str, run_id: str) -> Any:
        return self._client.create_logged_model(
            experiment_id,
            name=logged_model_name(model.name),
            source_run_id=run_id,
            tags=dict(model.tags),
            params=dict(plan.parent.params),
            model_type=model.model_type,
        )

    def _upload(self, model_id: str, model: ModelPlan) -> None:
        self._client.log_model_artifacts(model_id, str(model.folder))
        if model.weights is not None and not model.weights.is_relative_to(model.folder):
            self._client.log_model_artifact(model_id, str(model.weights))

    def _create_version(self, plan: RecordPlan, model: ModelPlan, logged: Any, run_id: str) -> int:
        from mlflow.exceptions import MlflowException

        name = registered_name(plan.pipeline)
        try:
            self._client.create_registered_model(
                name, tags={"plaster.pipeline": plan.pipeline}, description=notes.describe_model(plan.pipeline)
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        with self._own_store_as_default():
            version = self._client.create_model_version(
                name,
                source=f"models:/{logged.model_id}",
                run_id=run_id,
                tags=dict(model.tags),
                description=model.description,
                await_creation_for=0,
                model_id=logged.model_id,
            )
        return int(version.version)

    @contextmanager
    def _own_store_as_default(self) -> Iterator[None]:
        """MLflow's database registry resolves `models:/` in the process's default store; inside, that is this one."""
        if self._location.is_server:
            yield
            return
        before = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ["MLFLOW_TRACKING_URI"] = self._location.tracking_uri
        try:
            yield
        finally:
            if before is None:
                del os.environ["MLFLOW_TRACKING_URI"]
            else:
                os.environ["MLFLOW_TRACKING_URI"] = before
