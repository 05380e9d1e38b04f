"""`prune`: removes files of old runs that nothing will ask for again; records, evidence and the ledger stay."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.errors import UsageError
from plaster_ops.flow.lock import pipeline_lock, promotion_lock, slug
from plaster_ops.flow.prunable import PRUNED, Piece, Plan, plan_pruning
from plaster_ops.flow.wiring import Ports, has_journal, open_ports
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.tracking.slots import SlotLedger

_OLD_WORK_S = 86_400.0
_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked for. `keep` None: as the settings say. `slots_older_than_days` None: slots stay."""

    keep: int | None = None
    dry_run: bool = False
    mlflow: bool = False
    slots_older_than_days: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What went, or would go. Bytes are those that the file system gets back: a file that something kept shares with
    what goes counts nothing."""

    pipeline: str
    dry_run: bool
    kept: tuple[tuple[int, str], ...]
    removed: tuple[tuple[Piece, int], ...]
    left_over_bytes: int = 0
    slots: int = 0
    registered: tuple[tuple[int, int], ...] = field(default=())
    """Index of a run and the bytes of its registered engine."""

    @property
    def total_bytes(self) -> int:
        """Of all of it."""
        return sum(size for _, size in (*self.removed, *self.registered)) + self.left_over_bytes

    def to_json(self) -> dict[str, Any]:
        """The answer of `--json`, schema 1."""
        return {
            "schema": 1,
            "pipeline": self.pipeline,
            "dry_run": self.dry_run,
            "kept": [{"index": index, "why": why} for index, why in self.kept],
            "removed": [
                {"index": piece.run.index, "what": piece.what, "path": str(piece.path), "bytes": size}
                for piece, size in self.removed
            ],
            "registered": [{"index": index, "bytes": size} for index, size in self.registered],
            "left_over_bytes": self.left_over_bytes,
            "slots": self.slots,
            "bytes": self.total_bytes,
        }

    def lines(self) -> list[str]:
        """The answer in words: a line a kind, with runs and bytes."""
        word = "would remove" if self.dry_run else "removed"
        told = []
        for what, name in (("engine", "engines"), ("samples", "raw samples"), ("stage", "folders of stages")):
            pieces = [(piece, size) for piece, size in self.removed if piece.what == what]
            runs = sorted({piece.run.index or 0 for piece, _ in pieces})
            if pieces:
                told.append(f"{word} {name} of {_runs(runs)}: {_megabytes(sum(size for _, size in pieces))}")
        if self.registered:
            runs = [index for index, _ in self.registered]
            size = sum(size for _, size in self.registered)
            told.append(f"{word} registered engines of {_runs(runs)} in MLflow: {_megabytes(size)}")
        if self.slots:
            told.append(f"{word} {self.slots} rows of the slot ledger")
        if self.left_over_bytes:
            told.append(f"{word} what commands that were killed left: {_megabytes(self.left_over_bytes)}")
        kept = "; ".join(f"#{index} {why}" for index, why in self.kept)
        return [*(told or ["nothing to remove"]), f"kept: {kept or 'no engine'}"]


def prune(settings: Settings, name: str | None, request: Request) -> Pruned:
    """Removes what `plan_pruning` says. Raises `Busy` while a retrain of the pipeline is going on."""
    found, _ = settings.pipeline(name)
    if not has_journal(settings):
        return Pruned(pipeline=found, dry_run=request.dry_run, kept=(), removed=())
    retention = settings.retention
    if request.keep is not None:
        retention = retention.model_copy(update={"keep_engines": request.keep})
    locks = settings.memory / "locks"
    with open_ports(settings) as ports, ExitStack() as held:
        if request.mlflow and ports.location().database is None:
            raise UsageError(
                "--mlflow prunes the embedded store only; this project's MLflow is a server's",
                "delete model versions there, by its own rules",
            )
        if not request.dry_run:
            held.enter_context(pipeline_lock(locks, found, slug(found)))
            held.enter_context(promotion_lock(locks, found))
        plan = plan_pruning(ports.journal, found, retention)
        freed = freed_bytes([piece.path for piece in plan.pieces])
        if not request.dry_run:
            for piece in plan.pieces:
                remove(piece.path)
        return Pruned(
            pipeline=found,
            dry_run=request.dry_run,
            kept=_kept(ports, plan),
            removed=tuple(zip(plan.pieces, freed, strict=True)),
            left_over_bytes=_clear_work(ports, dry_run=request.dry_run),
            slots=_prune_slots(ports, found, request),
            registered=_prune_registered(ports, found, plan.pruned, request) if request.mlflow else (),
        )


def remove(path: Path) -> None:
    """The file or folder is gone; a folder leaves under another name first, so that no half engine is ever found."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    leaving = path if path.name.startswith(PRUNED) else path.with_name(f"{PRUNED}{path.name}")
    if leaving != path:
        shutil.rmtree(leaving, ignore_errors=True)
        path.rename(leaving)
    shutil.rmtree(leaving)


def freed_bytes(paths: Iterable[Path]) -> list[int]:
    """For each path what its removal gives back, in this order: a file's bytes count where its last name goes."""
    seen: Counter[tuple[int, int]] = Counter()
    freed = []
    for path in paths:
        size = 0
        for file in [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]:
            stat = file.lstat()
            seen[stat.st_dev, stat.st_ino] += 1
            size += stat.st_size if seen[stat.st_dev, stat.st_ino] == stat.st_nlink else 0
        freed.append(size)
    return freed


def _runs(indices: Iterable[int]) -> str:
    shown = list(indices)
    return ", ".join(f"#{index}" for index in shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _kept(ports: Ports, plan: Plan) -> tuple[tuple[int, str], ...]:
    rows = ((ports.journal.run(uid), why) for uid, why in plan.kept.items())
    return tuple(sorted((row.index or 0, why) for row, why in rows if row.state.value == "finished"))


def _clear_work(ports: Ports, *, dry_run: bool) -> int:
    """What commands that were killed left in `mlruns/work`: nothing that is younger than a day."""
    work = ports.settings.memory / "work"
    limit_s = ports.clock.now_utc() - _OLD_WORK_S
    old = [path for path in work.glob("*") if path.lstat().st_mtime < limit_s] if work.is_dir() else []
    size = sum(freed_bytes(old))
    for path in () if dry_run else old:
        remove(path)
    return size


def _prune_slots(ports: Ports, name: str, request: Request) -> int:
    if request.slots_older_than_days is None:
        return 0
    before_s = ports.clock.now_utc() - request.slots_older_than_days * _DAY_S
    return SlotLedger(ports.journal.file).prune(name, before_s, dry_run=request.dry_run)


def _prune_registered(ports: Ports, name: str, rows: Iterable[RunRow], request: Request) -> tuple[tuple[int, int], ...]:
    root = os.path.realpath(ports.settings.memory)
    with ports.tracker() as tracker:
        found = ((row.index or 0, tracker.prune_engine(name, row.uid, root, dry_run=request.dry_run)) for row in rows)
        return tuple((index, size) for index, size in found if size)
