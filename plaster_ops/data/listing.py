"""The files of a folder or bucket as they stand now: names, sizes, times, and which of them are none of ours.

Any address that fsspec opens: a local path, `s3://...`, `gs://...`, `memory://...`.
"""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from plaster_ops.errors import DataError

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp")
_IDENTITY = ("ino", "created", "ETag", "etag", "generation")
_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A file. `path` is relative to the folder, with `/`; `stamp` changes whenever the file does."""

    path: str
    size: int
    modified_at: float | None
    landed_at: float | None
    stamp: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A place that files land in. `root` is its path as its file system knows it."""

    fs: Any
    root: str
    address: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def exists(self) -> bool:
        """Whether the folder is there; a bucket without objects is not. Raises `DataError` where it is a file."""
        if not self.fs.exists(self.root):
            return False
        if self.is_local and not self.fs.isdir(self.root):
            raise DataError(f"{self.address} is no folder", "name the folder that files land in")
        return True

    def full(self, path: str) -> str:
        """The path of one of its files for its file system."""
        return f"{self.root.rstrip('/')}/{path}"

    def open(self, path: str) -> BinaryIO:
        """One of its files, to read bytes from."""
        return cast(BinaryIO, self.fs.open(self.full(path), "rb"))

    def list(self) -> dict[str, Found]:
        """Every file under it that is not hidden, private or unfinished by name, in order of name."""
        self.fs.invalidate_cache()
        found = {}
        for full, info in sorted(self._all()):
            path = full[len(self.root.rstrip("/")) + 1 :]
            if not is_left_out(path):
                found[path] = _found(path, info)
        return found

    def _all(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if not self.exists():
            return
        for full, info in self.fs.find(self.root, detail=True).items():
            if info.get("type") == "file" and not info.get("islink"):
                yield full, info
            elif self.is_local and (linked := _linked(full)) is not None:
                yield full, linked


def open_folder(address: str | Path, project: Path, options: Mapping[str, Any] | None) -> Folder:
    """The folder at an address; relative paths are relative to the project."""
    text = str(address)
    if "://" not in text and "::" not in text:
        text = str((project / text).absolute())
    try:
        fs, root = fsspec.core.url_to_fs(text, **dict(options or {}))
    except (ValueError, ImportError) as error:
        raise DataError(
            f"{address} cannot be opened: {error}", "give a folder, or an address that fsspec has"
        ) from error
    return Folder(fs, str(root), text)


def is_left_out(path: str) -> bool:
    """Whether a part of the name begins with `.` or `_`, or the name ends as one that is still being written."""
    pure = PurePosixPath(path)
    return any(part.startswith((".", "_")) for part in pure.parts) or pure.name.lower().endswith(_UNFINISHED)


def _linked(full: str) -> Mapping[str, Any] | None:
    """What a symbolic link leads to, if that is a file; None for all else that is no file."""
    try:
        target = Path(full).stat()
    except OSError:
        return None
    if not stat.S_ISREG(target.st_mode):
        return None
    return {
        "size": target.st_size, "mtime": target.st_mtime, "created": target.st_ctime, "ino": target.st_ino,
    }  # fmt: skip


def _found(path: str, info: Mapping[str, Any]) -> Found:
    size = int(info.get("size") or 0)
    modified_at = next((_seconds(info[name]) for name in _MODIFIED if info.get(name) is not None), None)
    landed = [at for at in (modified_at, _seconds(info.get("created"))) if at is not None]
    identity = [str(info[name]) for name in _IDENTITY if info.get(name) is not None]
    stamp = "|".join([str(size), repr(modified_at), *identity])
    return Found(path=path, size=size, modified_at=modified_at, landed_at=max(landed) if landed else None, stamp=stamp)


def _seconds(value: Any) -> float | None:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return None if value is None else float(value)
