"""Checkpoints of a fit under way. One counts only when its sidecar is there and its bytes are those named in it.

The sidecar is written last, so a process killed in the middle of a checkpoint leaves the one before it in force.
Standard library only: the parent looks here too.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A complete checkpoint. `epoch` epochs are done; `log` is what `FitLog` had counted by then."""

    path: Path
    epoch: int
    step: int
    log: Mapping[str, Any]

    @property
    def fit_s(self) -> float:
        """Seconds of training behind this checkpoint."""
        return float(self.log.get("fit_s", 0.0))


def unfinished_path(folder: Path) -> Path:
    """Where a checkpoint is written before it is complete."""
    return folder / "unfinished.ckpt"


def complete(folder: Path, *, epoch: int, step: int, fit_id: str, log: Mapping[str, Any]) -> Path:
    """Turns the unfinished checkpoint into one that counts, then removes all but the newest two."""
    path = folder / f"epoch-{epoch:06d}.ckpt"
    unfinished = unfinished_path(folder)
    facts = {
        "sha256": digest_of(unfinished),
        "bytes": unfinished.stat().st_size,
        "epoch": epoch,
        "step": step,
        "fit": fit_id,
        "log": log,
    }
    sidecar = _sidecar(path)
    sidecar.unlink(missing_ok=True)
    unfinished.replace(path)
    temporary = sidecar.with_suffix(".tmp")
    temporary.write_text(json.dumps(facts), encoding="utf-8")
    temporary.replace(sidecar)
    for old in sorted(folder.glob("epoch-*.ckpt"))[:-_KEPT]:
        _sidecar(old).unlink(missing_ok=True)
        old.unlink()
    return path


def newest_complete(folder: Path, fit_id: str) -> Checkpoint | None:
    """The newest checkpoint of this fit that is whole; None where there is none."""
    for path in sorted(folder.glob("epoch-*.ckpt"), reverse=True):
        found = read_checkpoint(path, fit_id)
        if found is not None:
            return found
    return None


def read_checkpoint(path: Path, fit_id: str) -> Checkpoint | None:
    """The checkpoint at `path` if it is complete and of this fit; its bytes are read and compared."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(_sidecar(path).read_text(encoding="utf-8"))
        whole = path.stat().st_size == facts["bytes"] and digest_of(path) == facts["sha256"]
        if whole and facts["fit"] == fit_id:
            return Checkpoint(path=path, epoch=facts["epoch"], step=facts["step"], log=facts["log"])
    return None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")
