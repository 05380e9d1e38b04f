"""An engine on disk: a folder of files and a manifest that says what they are and what they must be, byte for byte.

A folder appears whole or not at all, and is verified before anything in it is loaded. No torch is imported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plaster_ops.errors import ArtifactTampered, BuildFailed, OutdatedArtifact
from plaster_ops.ports import Coverage, EngineSpec, TensorSpec

MANIFEST = "manifest.json"
FORMAT = 2
_NEXT_STEP = "remove that folder: the engine is then rebuilt from its stored weights"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """One file of an engine: path relative to the folder, SHA-256 in hex, size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What an engine folder holds and how it came to be.

    `build_s`: exported graph in memory to files written, in the builder's process. `effective_precision`: read back
    from the loaded engine. `outputs`, `structure`: names of the flat outputs and how they nest (`export.unflatten`).
    `key`: `key.engine_key`. `refits`: how often weights were put in since the last full build; 0 for one. `refit_s`:
    seconds of the last such call, None for a full build. `calibrated_with`: inputs that a quantised engine saw.
    """

    spec: EngineSpec
    files: tuple[StoredFile, ...]
    versions: tuple[tuple[str, str], ...]
    build_s: float
    coverage: Coverage
    effective_precision: str
    weights_digest: str
    graph_digest: str
    outputs: tuple[str, ...] = ()
    structure: str = ""
    key: str = ""
    refits: int = 0
    refit_s: float | None = None
    calibrated_with: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 over everything in the manifest, so over every file too."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A plain mapping; `engine_bytes` is in it for readers, `from_json` derives it."""
        return {
            "format": FORMAT,
            "spec": spec_to_json(self.spec),
            "files": [asdict(file) for file in self.files],
            "versions": dict(self.versions),
            "build_s": self.build_s,
            "coverage": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self.coverage).items()
            },
            "effective_precision": self.effective_precision,
            "weights_digest": self.weights_digest,
            "graph_digest": self.graph_digest,
            "outputs": list(self.outputs),
            "structure": self.structure,
            "key": self.key,
            "refits": self.refits,
            "refit_s": self.refit_s,
            "calibrated_with": self.calibrated_with,
            "engine_bytes": engine_bytes(self),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Manifest:
        """The manifest that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        if fields["format"] != FORMAT:
            raise OutdatedArtifact(f"manifest format {fields['format']!r}, this version reads {FORMAT}", _NEXT_STEP)
        coverage: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields["coverage"].items()
        }
        return cls(
            spec=spec_from_json(fields["spec"]),
            files=tuple(StoredFile(**file) for file in fields["files"]),
            versions=tuple((str(k), str(v)) for k, v in fields["versions"].items()),
            build_s=float(fields["build_s"]),
            coverage=Coverage(**coverage),
            effective_precision=str(fields["effective_precision"]),
            weights_digest=str(fields["weights_digest"]),
            graph_digest=str(fields["graph_digest"]),
            outputs=tuple(fields["outputs"]),
            structure=str(fields["structure"]),
            key=str(fields["key"]),
            refits=int(fields["refits"]),
            refit_s=None if fields["refit_s"] is None else float(fields["refit_s"]),
            calibrated_with=int(fields["calibrated_with"]),
        )


def engine_bytes(manifest: Manifest) -> int:
    """Sum of the engine's own files; the manifest is not counted."""
    return sum(file.bytes for file in manifest.files)


def tensor_spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    """`{"name", "dtype", "shape", "ranges"}`; a dynamic axis is null in `shape`."""
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": list(spec.shape),
        "ranges": [list(bounds) for bounds in spec.ranges],
    }


def tensor_spec_from_json(fields: Mapping[str, Any]) -> TensorSpec:
    """The spec that `tensor_spec_to_json` wrote."""
    return TensorSpec(
        name=str(fields["name"]),
        dtype=str(fields["dtype"]),
        shape=tuple(None if size is None else int(size) for size in fields["shape"]),
        ranges=tuple((int(low), int(high)) for low, high in fields.get("ranges", ())),
    )


def spec_to_json(spec: EngineSpec) -> dict[str, Any]:
    """A plain mapping of every field; `options` is an object."""
    return {
        "backend": spec.backend,
        "precision": spec.precision,
        "device": spec.device,
        "inputs": [tensor_spec_to_json(tensor) for tensor in spec.inputs],
        "batch": list(spec.batch),
        "threads": spec.threads,
        "options": dict(spec.options),
        "calibration": spec.calibration,
    }


def spec_from_json(fields: Mapping[str, Any]) -> EngineSpec:
    """The spec that `spec_to_json` wrote; options are kept sorted by name."""
    smallest, usual, largest = (int(size) for size in fields["batch"])
    return EngineSpec(
        backend=str(fields["backend"]),
        precision=str(fields["precision"]),
        device=str(fields["device"]),
        inputs=tuple(tensor_spec_from_json(tensor) for tensor in fields["inputs"]),
        batch=(smallest, usual, largest),
        threads=int(fields.get("threads", 1)),
        options=tuple(sorted(dict(fields.get("options", {})).items())),
        calibration=str(fields.get("calibration", "")),
    )


@contextlib.contextmanager
def appearing_whole(target: Path) -> Iterator[Path]:
    """A fresh folder beside `target` to write in; it takes the place of `target` when the block ends well.

    Everything is on disk before the rename. When the block raises, the folder is removed and `target` is untouched.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)
        _write_through(draft)
        old = draft.with_name(f"{draft.name}-old")
        if target.exists():
            target.rename(old)
        draft.rename(target)
        _fsync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system cannot link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def hash_files(folder: Path) -> tuple[StoredFile, ...]:
    """Every file of an engine folder but the manifest, sorted by name. Raises `BuildFailed` where there is none."""
    files = tuple(_stored(folder, path) for path in _paths(folder))
    if not files:
        raise BuildFailed(f"the backend wrote no file into {folder}", "see the log of the build")
    return files


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` into the folder."""
    (folder / MANIFEST).write_text(json.dumps(manifest.to_json(), indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest, its files not yet checked. Raises `ArtifactTampered` where it is missing or damaged."""
    path = folder / MANIFEST
    try:
        return Manifest.from_json(json.loads(path.read_text()))
    except OutdatedArtifact as error:
        raise OutdatedArtifact(f"{path}: {error.message}", error.next_step) from error
    except FileNotFoundError as error:
        raise ArtifactTampered(f"engine folder {folder} has no {MANIFEST}", _NEXT_STEP) from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactTampered(f"{path} cannot be read: {type(error).__name__}: {error}", _NEXT_STEP) from error


def verify(folder: Path) -> Manifest:
    """The manifest of a folder that is exactly as it was built.

    Raises `ArtifactTampered` naming the first file that is missing, was added or was changed, with both digests.
    """
    manifest = read_manifest(folder)
    expected = {file.name: file for file in manifest.files}
    present = {path.relative_to(folder).as_posix(): path for path in _paths(folder)}
    for name, file in expected.items():
        path = present.pop(name, None)
        if path is None:
            raise ArtifactTampered(f"engine file {folder / name} is missing (sha256 {file.sha256})", _NEXT_STEP)
        if path.is_symlink():
            raise ArtifactTampered(f"engine file {path} has become a symbolic link", _NEXT_STEP)
        found = _stored(folder, path)
        if found != file:
            raise ArtifactTampered(
                f"engine file {path} was changed: expected sha256 {file.sha256} ({file.bytes} bytes),"
                f" found {found.sha256} ({found.bytes} bytes)",
                _NEXT_STEP,
            )
    if present:
        extra = min(present)
        found = _stored(folder, present[extra])
        raise ArtifactTampered(f"{folder / extra} is not part of the engine (sha256 {found.sha256})", _NEXT_STEP)
    return manifest


def _paths(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if (p.is_symlink() or not p.is_dir()) and p != folder / MANIFEST)


def _stored(folder: Path, path: Path) -> StoredFile:
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise ArtifactTampered(f"engine file {path} cannot be read: {error}", _NEXT_STEP) from error
    return StoredFile(name=path.relative_to(folder).as_posix(), sha256=sha256, bytes=size)


def _write_through(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
