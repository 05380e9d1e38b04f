"""Checkpoints of a fit under way. One counts only when its sidecar is there and its bytes are those named in it.

The sidecar is written last, so a process killed in the middle of a checkpoint leaves the one before it in force. File,
sidecar and folder are flushed to the disk in that order, so that a power cut does the same.
Standard library only: the parent looks here too.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KEPT = 2
PATTERN = "epoch-*.ckpt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A complete checkpoint. `epoch` epochs are done, and `batch` batches a rank of the one after them.

    `step` counts steps of the optimiser, `world_size` ranks; `log` is what `FitLog` had counted by then.
    """

    path: Path
    epoch: int
    step: int
    log: Mapping[str, Any]
    batch: int = 0
    world_size: int = 0

    @property
    def fit_s(self) -> float:
        """Seconds of training behind this checkpoint."""
        return float(self.log.get("fit_s", 0.0))

    def is_further_than(self, other: "Checkpoint | None") -> bool:
        """Whether more was trained than there."""
        return other is None or (self.epoch, self.batch) > (other.epoch, other.batch)


def unfinished_path(folder: Path) -> Path:
    """Where a checkpoint is written before it is complete."""
    return folder / "unfinished.ckpt"


def complete(
    folder: Path,
    *,
    epoch: int,
    step: int,
    fit_id: str,
    log: Mapping[str, Any],
    batch: int = 0,
    world_size: int = 0,
    sha256: str | None = None,
) -> Path:
    """Turns the unfinished checkpoint into one that counts, then removes those that are no longer wanted.

    The newest two stay, and the newest of an epoch's end. `sha256`: its digest where that is known. Raises `OSError`
    where it could not be written; all that counted before counts still.
    """
    path = folder / f"epoch-{epoch:06d}-{batch:08d}.ckpt"
    unfinished = unfinished_path(folder)
    facts = {
        "sha256": sha256 or digest_of(unfinished),
        "bytes": unfinished.stat().st_size,
        "epoch": epoch,
        "batch": batch,
        "step": step,
        "world_size": world_size,
        "fit": fit_id,
        "log": log,
    }
    sidecar = _sidecar(path)
    temporary = sidecar.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(facts))
        file.flush()
        os.fsync(file.fileno())
    sidecar.unlink(missing_ok=True)
    unfinished.replace(path)
    temporary.replace(sidecar)
    _flush(folder)
    for old in _unwanted(folder):
        remove(old)
    return path


def newest_complete(folder: Path, fit_id: str, world_size: int | None = None) -> Checkpoint | None:
    """The newest checkpoint of this fit that is whole; None where there is none.

    Of another number of ranks than `world_size` only an epoch's end counts: in the middle of one each rank has had
    batches of its own.
    """
    for path in sorted(folder.glob(PATTERN), reverse=True):
        found = read_checkpoint(path, fit_id)
        if found is not None and (not found.batch or world_size in (None, found.world_size)):
            return found
    return None


def read_checkpoint(path: Path, fit_id: str) -> Checkpoint | None:
    """The checkpoint at `path` if it is complete and of this fit; its bytes are read and compared."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(_sidecar(path).read_text(encoding="utf-8"))
        whole = path.stat().st_size == facts["bytes"] and digest_of(path) == facts["sha256"]
        if whole and facts["fit"] == fit_id:
            return Checkpoint(
                path=path,
                epoch=facts["epoch"],
                step=facts["step"],
                log=facts["log"],
                batch=facts["batch"],
                world_size=facts["world_size"],
            )
    return None


def remove_older(folder: Path) -> int:
    """Removes all but the newest checkpoint that counts; returns how many went. For a disk that is full."""
    counting = [path for path in sorted(folder.glob(PATTERN)) if _sidecar(path).is_file()]
    for old in counting[:-1]:
        remove(old)
    return len(counting[:-1])


def remove(path: Path) -> None:
    """Takes a checkpoint out of force, then away."""
    _sidecar(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwanted(folder: Path) -> list[Path]:
    found = sorted(folder.glob(PATTERN))
    ends = [path for path in found if path.stem.endswith(f"-{0:08d}")]
    return [path for path in found[:-_KEPT] if path not in ends[-1:]]


def _flush(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
