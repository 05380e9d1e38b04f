"""Compiled models kept for the next process that loads the same engine: a bounded folder of files under our own keys.

A file is used only while its SHA-256 is the one written beside it; what is cut short or changed is removed and made
anew. Nothing is kept where PLASTER_CACHE does not say where.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "PLASTER_CACHE"
_MOST_FILES = 8


def cache_folder(backend: str) -> Path | None:
    """Where a backend may keep files; None where nobody said where."""
    base = os.environ.get(CACHE_VARIABLE)
    return Path(base).resolve() / backend if base else None


def blob_key(**parts: Any) -> str:
    """SHA-256 over everything that the blob depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def read_blob(folder: Path | None, key: str) -> bytes | None:
    """The blob of that key, checked; None where there is none that may be used."""
    if folder is None:
        return None
    file = folder / f"{key}.blob"
    try:
        content = file.read_bytes()
        known = file.with_suffix(".sha256").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(content).hexdigest() != known:
        with suppress(OSError):
            _remove(file)
        return None
    with suppress(OSError):
        os.utime(file)
    return content


def keep_blob(folder: Path | None, key: str, content: bytes) -> None:
    """Keeps the blob, and of all in the folder the eight used last. A folder that cannot be written is no error."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{key}.blob"
        _write_whole(file.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())
        _write_whole(file, content)
        newest = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest[_MOST_FILES:]:
            _remove(old)
    except OSError:
        return


def file_digests(folder: Path) -> Mapping[str, str] | None:
    """SHA-256 of each file as the folder's manifest has it; None for a folder that has no manifest yet."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return {str(file["name"]): str(file["sha256"]) for file in manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_whole(file: Path, content: bytes) -> None:
    handle, draft = tempfile.mkstemp(prefix=".", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(draft).replace(file)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise


def _remove(file: Path) -> None:
    for path in (file, file.with_suffix(".sha256")):
        path.unlink(missing_ok=True)
