"""Before an alias moves: does the engine, as it is registered, still answer what it answered when it was recorded?"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaster_ops.domain.run import RunRecord
from plaster_ops.engines.artifact import MANIFEST, read_manifest, verify
from plaster_ops.errors import ArtifactTampered, BuildFailed, ChildFailed, TimedOut, TrackingUnavailable
from plaster_ops.flow.context import adapter_files, worker_env
from plaster_ops.flow.wiring import Ports
from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits, run_stage
from plaster_ops.settings_sections import PipelineSettings

CANARY = "canary.safetensors"
"""The file of a run with a few real inputs and what its engine answered to them; it stays on this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """A canary that agreed. `source`: `registered`, MLflow's copy was tried; `local`, the run's own files, and `why`.

    `samples` is 0 where the run kept no answers: the engine was only loaded.
    """

    source: str
    why: str
    samples: int

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return {"source": self.source, "why": self.why or None, "samples": self.samples}

    @property
    def told(self) -> str:
        """One sentence."""
        what = "registered files" if self.source == "registered" else f"the run's own files ({self.why})"
        if not self.samples:
            return f"canary: {what} loaded in a fresh process; the run kept no answers to hold it against"
        return f"canary: {what} loaded in a fresh process answered {self.samples} recorded samples as before"


def try_engine(
    ports: Ports, name: str, pipeline: PipelineSettings, record: RunRecord, folder: Path, tell: EventSink
) -> Canary:
    """Loads the registered copy of the run's engine in a child process and asks it; `folder` has the local files,
    verified, for where MLflow has none yet or cannot be reached.

    Raises `BuildFailed` where the copy is not what the journal knows, does not load, or answers something else.
    """
    work = ports.settings.memory / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="canary-") as place:
        registered, why = _registered(ports, name, record.uid, Path(place) / "registered")
        kept = folder.parent / CANARY
        try:
            found = run_stage(
                "canary",
                {"engine": str(registered or folder), "answers": str(kept) if kept.is_file() else None},
                folder=Path(place) / "canary",
                limits=Limits(timeout_s=pipeline.engine.timeout_s, idle_s=None),
                on_event=tell,
                project=ports.settings.project,
                env=_environment(ports, pipeline),
            )
        except (ChildFailed, TimedOut) as error:
            raise BuildFailed(f"canary failed: the engine of #{record.index} does not load: {error.message}") from error
    if found["reason"]:
        raise BuildFailed(
            f"canary failed: the engine of #{record.index} answers otherwise than recorded: {found['reason']}",
            "the champion is untouched; look at the machine and the versions: plaster-ops doctor",
        )
    return Canary(source="registered" if registered else "local", why=why, samples=int(found["samples"]))


def _environment(ports: Ports, pipeline: PipelineSettings) -> dict[str, str]:
    adapters = adapter_files(ports.settings, pipeline)
    return worker_env(ports.settings) | ({"PLASTER_ADAPTERS": ":".join(adapters)} if adapters else {})


def _registered(ports: Ports, name: str, uid: str, place: Path) -> tuple[Path | None, str]:
    """The registered engine, its files held against the digest in the journal; None and why where there is none."""
    place.mkdir(parents=True)
    try:
        with ports.tracker() as tracker:
            found = tracker.fetch_engine(name, uid, place)
    except TrackingUnavailable as error:
        return None, error.message
    if found is None:
        return None, "MLflow does not have it yet"
    known = ports.journal.engine_digest(uid)
    manifest = read_manifest(found)
    if known is not None and manifest.digest != known.manifest_digest:
        raise ArtifactTampered(
            f"canary failed: the registered manifest has digest {manifest.digest[:12]}, recorded is"
            f" {known.manifest_digest[:12]}",
            "what is registered in MLflow is not what was measured; the champion is untouched",
        )
    _only(found, {file.name for file in manifest.files} | {MANIFEST})
    verify(found)
    return found, ""


def _only(folder: Path, names: set[str]) -> None:
    """Removes from the copy what the engine does not consist of: weights, and what MLflow put beside it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
