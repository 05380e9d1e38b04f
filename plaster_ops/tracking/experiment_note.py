"""What an experiment's page says and links to, from the little that is remembered of it in the experiment's own tag."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from plaster_ops.domain.run import RunRecord
from plaster_ops.tracking import addresses
from plaster_ops.tracking.markdown import code, link, plain
from plaster_ops.tracking.names import registered_name
from plaster_ops.tracking.plans import REPORT

REMEMBERED = "plaster.pages"
_MOST_DEVICES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """What the page of one experiment links to. `newest`: number and MLflow id of the newest retrain.

    `champion`: version and number of the champion's retrain. `cadence`: by device model, the id of its cadence run.
    `wrote`: by tag, digests of the last two texts that were written there, so that what a person changed is known.
    """

    newest: tuple[int, str] | None = None
    verdict: str = ""
    has_report: bool = False
    champion: tuple[int, int] | None = None
    cadence: Mapping[str, str] = field(default_factory=dict)
    wrote: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> Self:
        """From the tag's text; empty where there is none or it cannot be read."""
        try:
            plain_values: dict[str, Any] = json.loads(text or "{}")
            for name in ("newest", "champion"):
                if plain_values.get(name) is not None:
                    first, second = plain_values[name]
                    plain_values[name] = (first, second)
            return cls(**plain_values)
        except (ValueError, TypeError):
            return cls()

    def written(self) -> str:
        """The tag's text."""
        return json.dumps(asdict(self), sort_keys=True)

    def after(self, record: RunRecord, run_id: str, cadence_run_id: str | None, *, has_report: bool) -> Self:
        """With that retrain in it; an older one than the newest changes only its cadence run."""
        device = str(record.fingerprint.get("device") or "unknown device")
        cadence = dict(self.cadence)
        if cadence_run_id is not None:
            cadence.pop(device, None)
            cadence = dict(list({**cadence, device: cadence_run_id}.items())[-_MOST_DEVICES:])
        if self.newest is not None and record.index < self.newest[0]:
            return replace(self, cadence=cadence)
        newest = (record.index, run_id)
        return replace(self, newest=newest, verdict=record.verdict, has_report=has_report, cadence=cadence)


def describe_experiment(pipeline: str, experiment_id: str = "", pages: Pages | None = None) -> str:
    """What the experiment holds, and where to go from there; no links before it has an id."""
    lines = [f"Retrains of {code(pipeline)}, kept by plaster-ops."] if pages is None else []
    if pages is not None:
        lines.append(f"{code(pipeline)}: {' · '.join(_links(pipeline, experiment_id, pages))}")
        cadences = (
            f"- cadence run: {link(device, addresses.lines_address(experiment_id, run_id))}"
            for device, run_id in pages.cadence.items()
        )
        lines += ["", *cadences]
    lines += [
        "",
        "- `#N date`: one retrain, with every comparable number on it; children are `train`, `build`, `measure`.",
        "- `cadence · device`: the seven PLASTER headlines, the score on the newest data, the staleness, how the"
        " schedule was kept, verdicts and alarms; the step is the retrain's number.",
        "",
        "A metric that could not be measured is absent, and the tag `plaster.<axis>.status` says so."
        " What is where: docs/mlflow.md of plaster-ops.",
    ]
    return "\n".join(lines)


def _links(pipeline: str, experiment_id: str, pages: Pages) -> Iterator[str]:
    """On one line and first: MLflow folds what is below the first."""
    yield link("drift over retrains", addresses.view_address(experiment_id, addresses.DRIFT_VIEW))
    yield link("table of retrains", addresses.view_address(experiment_id, addresses.RETRAINS_VIEW))
    if pages.newest is not None:
        number, run_id = pages.newest
        newest = link(f"#{number}", addresses.run_address(experiment_id, run_id))
        yield f"newest {newest}, {plain(pages.verdict)}"
        if pages.has_report:
            yield link("its report", addresses.artifact_address(experiment_id, run_id, REPORT))
    if pages.champion is not None:
        version, number = pages.champion
        there = link(f"version {version}", addresses.model_address(registered_name(pipeline), version))
        yield f"champion {there}, made by #{number}"
