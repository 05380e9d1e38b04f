"""The page of one experiment in MLflow: its description with links, and the prepared views, kept as they should be.

What is written is remembered in a tag of the experiment, so that nothing is sent where nothing changed, and what a
person wrote or deleted there since is left alone.
"""

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import Any, Self

from plaster_ops.domain.run import RunRecord
from plaster_ops.errors import TrackingUnavailable
from plaster_ops.tracking.connection import Location
from plaster_ops.tracking.experiment_note import REMEMBERED, Pages, describe_experiment
from plaster_ops.tracking.names import experiment_name
from plaster_ops.tracking.plans import NOTE
from plaster_ops.tracking.views import prepared_views

log = logging.getLogger(__name__)

_GONE = "deleted"


@dataclass(slots=True)
class ExperimentPage:
    """One experiment and its tags as they were when it was opened, and as this object changed them since."""

    client: Any
    pipeline: str
    experiment_id: str
    tags: dict[str, str]

    @classmethod
    def open(cls, client: Any, location: Location, pipeline: str) -> Self:
        """Made where it does not exist. Raises `TrackingUnavailable` where it was deleted."""
        from mlflow.exceptions import MlflowException

        name = experiment_name(pipeline)
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                client.create_experiment(
                    name,
                    artifact_location=location.artifact_root,
                    tags={NOTE: describe_experiment(pipeline), "plaster.pipeline": pipeline},
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(name)
        if found.lifecycle_stage == _GONE:
            raise TrackingUnavailable(
                f"the experiment {name} was deleted in MLflow, so nothing can be recorded in it",
                f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}; then: plaster-ops sync",
            )
        return cls(client, pipeline, str(found.experiment_id), dict(found.tags))

    @classmethod
    def find(cls, client: Any, pipeline: str) -> Self | None:
        """The pipeline's experiment; None where there is none to be seen."""
        found = client.get_experiment_by_name(experiment_name(pipeline))
        if found is None or found.lifecycle_stage == _GONE:
            return None
        return cls(client, pipeline, str(found.experiment_id), dict(found.tags))

    @property
    def pages(self) -> Pages:
        """What is remembered of it."""
        return Pages.read(self.tags.get(REMEMBERED))

    def add(self, record: RunRecord, run_id: str, cadence_run_id: str | None, *, has_report: bool) -> None:
        """The page shows that retrain."""
        self._keep(self.pages.after(record, run_id, cadence_run_id, has_report=has_report))

    def crown(self, champion: tuple[int, int] | None) -> None:
        """The page shows that champion: its version and the number of its retrain."""
        self._keep(replace(self.pages, champion=champion))

    def _keep(self, pages: Pages) -> None:
        """Sends what differs; what is remembered goes first, with the old digest beside the new one, so that being cut
        off in between is not taken for a person's hand."""
        wanted = {NOTE: describe_experiment(self.pipeline, self.experiment_id, pages), **prepared_views()}
        ours = {key: text for key, text in wanted.items() if self._is_ours(key)}
        wrote = {
            key: [*[old for old in pages.wrote.get(key, ()) if old != _digest(text)][-1:], _digest(text)]
            for key, text in ours.items()
        }
        kept = {key: list(digests) for key, digests in pages.wrote.items()}
        changed = {key: text for key, text in ours.items() if self.tags.get(key) != text}
        kept |= {key: wrote[key] for key in ours if key in changed or key not in kept}
        self._set({REMEMBERED: replace(pages, wrote=kept).written()} | changed)

    def _is_ours(self, key: str) -> bool:
        digests = self.pages.wrote.get(key)
        return digests is None or (key in self.tags and _digest(self.tags[key]) in digests)

    def _set(self, tags: dict[str, str]) -> None:
        """A page that the store will not take is logged and left: the numbers are worth more than it."""
        from mlflow.exceptions import MlflowException

        for key, text in tags.items():
            if self.tags.get(key) == text:
                continue
            try:
                self.client.set_experiment_tag(self.experiment_id, key, text)
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                log.warning("MLflow does not take the tag %s of an experiment: %s", key, error.message)
            self.tags[key] = text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
