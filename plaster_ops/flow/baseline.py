"""What a run is compared with: chosen before the run opens, and trusted only if its files are what we wrote."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.metrics import ENGINE_SCORE
from plaster_ops.domain.run import RunRecord
from plaster_ops.engines.artifact import verify
from plaster_ops.errors import ArtifactTampered, NotComparable, OutdatedArtifact, UsageError
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState
from plaster_ops.tracking.journal_runs import how_to_resume, state_now

WORDS = ("last", "champion", "previous", "best")


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """An earlier run: its record, and its engine folder where the engine is still there."""

    which: str
    record: RunRecord
    engine_folder: Path | None

    @property
    def card(self) -> Card:
        """The card as it was recorded."""
        return Card.from_json(self.record.card)

    @property
    def label(self) -> str:
        """How its engine is called in the evidence."""
        return f"run{self.record.index}"

    def to_json(self, how: str) -> dict[str, Any]:
        """The section `baseline` of `--json`."""
        return {"index": self.record.index, "id": self.record.uid, "which": self.which, "how": how}


@dataclass(frozen=True, kw_only=True, slots=True)
class Baselines:
    """The engine that gates and the one that is shown; often the same."""

    champion: Baseline | None
    shown: Baseline | None

    def distinct(self) -> list[Baseline]:
        """Both, once each."""
        found = [b for b in (self.champion, self.shown) if b is not None]
        return list({b.record.uid: b for b in found}.values())


def choose_baseline(journal: Journal, pipeline: str, which: str) -> Baseline | None:
    """The baseline that `--compare` names: last, champion, previous (champion), best, or a run; None without one.

    Raises `UsageError` for a run that does not exist, `ArtifactTampered` where an engine file was changed.
    """
    row = _find(journal, pipeline, which)
    return open_baseline(journal, row, which) if row is not None else None


def recorded_baseline(journal: Journal, pipeline: str, which: str) -> Baseline | None:
    """The same run as it was recorded, its engine left alone: no file is opened, so it is there at once."""
    row = _find(journal, pipeline, which)
    return None if row is None else Baseline(which=which, record=_record(journal, row), engine_folder=None)


def check_name(journal: Journal, pipeline: str, which: str) -> None:
    """Raises the `UsageError` that `choose_baseline` would raise; opens no file."""
    _find(journal, pipeline, which)


def _find(journal: Journal, pipeline: str, which: str) -> RunRow | None:
    if which == "last":
        return journal.last_finished(pipeline)
    if which == "champion":
        return journal.champion(pipeline)
    if which == "previous":
        return journal.previous_champion(pipeline)
    if which == "best":
        return _best(journal, pipeline)
    row = journal.find_run(pipeline, which)
    record = journal.record(row.uid)
    if record is None or not record.engine_folder:
        raise _without_engine(row, which)
    return row


def _without_engine(row: RunRow, which: str) -> UsageError:
    state = state_now(row)
    if state is RunState.INTERRUPTED:
        return UsageError(f"run {which!r} of {row.pipeline!r} is unfinished ({state})", how_to_resume(row))
    if state is RunState.RUNNING:
        return UsageError(f"run {which!r} of {row.pipeline!r} is unfinished ({state})", "wait until it has ended")
    return UsageError(
        f"run {which!r} of {row.pipeline!r} ended without an engine ({row.verdict or state})",
        f"name a finished one: plaster-ops history {row.pipeline}",
    )


def _best(journal: Journal, pipeline: str) -> RunRow | None:
    """The finished run with the best headline score, in the direction that the newest run declares."""
    last = journal.last_finished(pipeline)
    record = journal.record(last.uid) if last else None
    if record is None:
        return None
    row = Card.from_json(record.card).find(ENGINE_SCORE)
    return journal.best(pipeline, ENGINE_SCORE.key, row.direction) if row else last


def _record(journal: Journal, row: RunRow) -> RunRecord:
    record = journal.record(row.uid)
    if record is None:
        raise NotComparable(f"run {row.label} has no record", "choose another run to compare with")
    return record


def open_baseline(journal: Journal, row: RunRow, which: str) -> Baseline:
    """The baseline of a finished row, its engine's files checked against their manifest and the journal's digest."""
    record = _record(journal, row)
    folder = Path(record.engine_folder) if record.engine_folder else None
    if folder is None or not folder.is_dir():
        return Baseline(which=which, record=record, engine_folder=None)
    try:
        manifest = verify(folder)
    except OutdatedArtifact:
        return Baseline(which=which, record=record, engine_folder=None)
    known = journal.engine_digest(row.uid)
    if known is not None and manifest.digest != known.manifest_digest:
        raise ArtifactTampered(
            f"{folder / 'manifest.json'}: digest {manifest.digest[:12]} is not the recorded"
            f" {known.manifest_digest[:12]}",
            f"remove {folder}: the engine is then rebuilt from its stored weights",
        )
    return Baseline(which=which, record=record, engine_folder=folder)
