"""Which files of a pipeline's runs may go, and which stay for what reason. Looks only; removes nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plaster_ops.flow.canary import CANARY
from plaster_ops.plaster.answer_record import ANSWERS
from plaster_ops.plaster.raw_files import RAW
from plaster_ops.settings_sections import Retention
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.journal_rows import RunRow, RunState

PRUNED = ".pruned-"
"""How the name of a folder begins that is on its way out."""
EVERYTHING = 1_000_000
_STAGES = ("build-*", "trial-*", "race*", "evaluate*", "export", "checkpoints*", "prepare", "measure")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A file or folder that may go. `what`: engine, samples or stage."""

    run: RunRow
    what: str
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`kept`: why the engine of a run stays, by uid; `pieces`: what goes; `pruned`: the runs whose engine goes."""

    kept: Mapping[str, str]
    pieces: Sequence[Piece]
    pruned: Sequence[RunRow]


def plan_pruning(journal: Journal, name: str, retention: Retention) -> Plan:
    """What goes of that pipeline. Unfinished runs, and runs whose record MLflow does not have yet, stay whole."""
    rows = [row for row in journal.history(name, EVERYTHING) if row.index is not None][::-1]
    kept = kept_engines(journal, name, rows, retention.keep_engines)
    waiting = {pending.uid for pending in journal.pending()}
    pieces: list[Piece] = []
    pruned: list[RunRow] = []
    for place, row in enumerate(rows):
        if row.state in (RunState.RUNNING, RunState.INTERRUPTED) or row.uid in waiting:
            continue
        folder = run_folder(journal, row)
        if folder is None:
            continue
        if row.uid not in kept:
            engine = list(_engine(row, folder))
            pieces += [*engine, *_stages(journal, row, folder)]
            pruned += [row] if row.state is RunState.FINISHED else []
        if place >= retention.keep_samples:
            pieces += _samples(row, folder)
    return Plan(kept=kept, pieces=_outermost(pieces), pruned=pruned)


def kept_engines(journal: Journal, name: str, rows: Sequence[RunRow], newest: int) -> dict[str, str]:
    """Why an engine stays, by uid. `rows`: the pipeline's runs, newest first."""
    finished = [row for row in rows if row.state is RunState.FINISHED]
    challenger = journal.challenger(name)
    kept = {row.uid: f"one of the newest {newest}" for row in [*finished[:newest], *rows[:newest]]}
    kept |= {row.uid: "a baseline" for row in finished if row.verdict == "baseline"}
    kept |= {} if challenger is None else {challenger.uid: "the challenger"}
    kept |= {line.uid: "was champion" for line in journal.promotions(name)}
    champion, previous = journal.champion(name), journal.previous_champion(name)
    kept |= {} if previous is None else {previous.uid: "the champion before"}
    return kept | ({} if champion is None else {champion.uid: "the champion"})


def run_folder(journal: Journal, row: RunRow) -> Path | None:
    """The folder of the run below `mlruns/runs`; None where there is none any more."""
    record = journal.record(row.uid)
    if record is not None and record.artifacts is not None:
        folder = Path(record.artifacts).parent
        return folder if folder.is_dir() and folder.is_relative_to(journal.folder / "runs") else None
    found = list((journal.folder / "runs").glob(f"*/*-{row.uid[:8]}"))
    return found[0] if len(found) == 1 else None


def _engine(row: RunRow, folder: Path) -> Iterator[Piece]:
    for path in (*folder.glob("engine-*"), folder / CANARY, *folder.glob(f"{PRUNED}*")):
        if path.exists():
            yield Piece(run=row, what="engine", path=path)


def _stages(journal: Journal, row: RunRow, folder: Path) -> Iterator[Piece]:
    """Folders that only the run itself needed, and what the fit left but for the weights."""
    record = journal.record(row.uid)
    weights = None if record is None or record.weights_file is None else Path(record.weights_file)
    for path in (path for pattern in _STAGES for path in folder.glob(pattern)):
        if weights is None or not weights.is_relative_to(path):
            yield Piece(run=row, what="stage", path=path)


def _samples(row: RunRow, folder: Path) -> Iterator[Piece]:
    artifacts = folder / "artifacts"
    raw = (artifacts / "samples", artifacts / ANSWERS, *folder.glob(f"measure*/*/{RAW}"), *folder.glob(f"*/{ANSWERS}"))
    for path in dict.fromkeys(raw):
        if path.exists():
            yield Piece(run=row, what="samples", path=path)


def _outermost(pieces: Iterable[Piece]) -> list[Piece]:
    """Without what lies inside another piece."""
    found = {piece.path: piece for piece in pieces}
    return [piece for path, piece in found.items() if not any(parent in found for parent in path.parents)]
