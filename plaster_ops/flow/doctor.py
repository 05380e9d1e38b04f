"""What can be measured here and what is in order, row by row; and the repairs that are asked for."""

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from plaster_ops.alerts.targets import targets_of
from plaster_ops.engines.ladder import check_candidates, engine_device
from plaster_ops.engines.registry import find_backend, known_backends
from plaster_ops.errors import NotRecorded, PlasterError
from plaster_ops.flow.wiring import Ports, has_journal, open_to_look
from plaster_ops.plaster.preflight import what_can_be_measured
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.alert_queue import OLDEST_S, AlertQueue
from plaster_ops.tracking.moved import detect_move, repair_move
from plaster_ops.tracking.schema import inspect_store, upgrade

_PACKAGES = (
    "torch",
    "pytorch-lightning",
    "lightning",
    "torchmetrics",
    "mlflow",
    "openvino",
    "apscheduler",
    "nvidia-ml-py",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One row: `ok` None means information only. `next_step` says what to do where it is not ok."""

    topic: str
    what: str
    ok: bool | None
    detail: str
    next_step: str = ""


def examine(settings: Settings, *, fix: bool) -> list[Finding]:
    """Looks at everything; with `fix`, upgrades an MLflow store that is behind (after a backup) and repairs a move."""
    rows = [*_machine(), *_packages(), *_engines(), *_settings(settings)]
    if not has_journal(settings):
        rows.append(_no_journal(settings))
    try:
        with open_to_look(settings) as ports:
            rows += [*_store(ports, fix=fix), *_outbox(ports), *_alert_queue(ports)]
    except NotRecorded as error:
        rows.append(Finding(topic="journal", what="journal", ok=False, detail=error.message, next_step=error.next_step))
    return rows


def _machine() -> Iterator[Finding]:
    yield Finding(topic="machine", what="python", ok=sys.version_info >= (3, 11), detail=platform.python_version())
    for what, ok, detail in what_can_be_measured():
        yield Finding(topic="machine", what=what, ok=ok if ok else None, detail=detail)


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        try:
            yield Finding(topic="packages", what=name, ok=True, detail=metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(topic="packages", what=name, ok=None, detail="not installed")


def _engines() -> Iterator[Finding]:
    for name in known_backends():
        try:
            found = find_backend(name).probe()
            versions = ", ".join(f"{k} {v}" for k, v in found.versions)
            yield Finding(topic="engines", what=name, ok=True if found.ok else None, detail=found.reason or versions)
        except PlasterError as error:
            yield Finding(topic="engines", what=name, ok=False, detail=error.message, next_step=error.next_step)


def _settings(settings: Settings) -> Iterator[Finding]:
    where = str(settings.file) if settings.file else f"none in {settings.project} or above: defaults"
    yield Finding(topic="project", what="settings", ok=True, detail=where)
    for name, pipeline in settings.pipelines.items():
        module = pipeline.ref.partition(":")[0]
        there = _module_exists(module, settings.project)
        yield Finding(
            topic="project",
            what=f"pipeline {name}",
            ok=there,
            detail=pipeline.ref if there else f"module {module!r} is not found from {settings.project}",
            next_step="" if there else f"mend ref of [pipelines.{name}]",
        )
        try:
            check_candidates(pipeline.engine.backends, pipeline.engine.options)
            engine_device(pipeline.engine.device, pipeline.engine.backends)
        except PlasterError as error:
            yield Finding(
                topic="project", what=f"engines of {name}", ok=False, detail=error.message, next_step=error.next_step
            )
        yield from _alerts(name, pipeline)


def _alerts(name: str, pipeline: PipelineSettings) -> Iterator[Finding]:
    """Each target of a pipeline, ready or not; nothing is sent."""
    for target in targets_of(pipeline.alerts):
        trouble = target.why_not_ready(os.environ)
        yield Finding(
            topic="project",
            what=f"alert {target.name} of {name}",
            ok=not trouble,
            detail=trouble or "ready",
            next_step=f"set {target.url_env} where retrains are started from, see docs/scheduler.md" if trouble else "",
        )


def _module_exists(module: str, project: Path) -> bool:
    file = project.joinpath(*module.split("."))
    if file.with_suffix(".py").is_file() or (file / "__init__.py").is_file():
        return True
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _no_journal(settings: Settings) -> Finding:
    """Whether the first retrain could make one; nothing is made here."""
    memory = settings.memory
    place = next(folder for folder in (memory, *memory.parents) if folder.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        detail = f"none yet; the first retrain makes {memory}"
        return Finding(topic="journal", what="journal", ok=None, detail=detail)
    detail, step = f"{place} cannot be written", f"make {memory} writable"
    return Finding(topic="journal", what="journal", ok=False, detail=detail, next_step=step)


def _store(ports: Ports, *, fix: bool) -> Iterator[Finding]:
    database = ports.settings.memory / "mlflow.db"
    if not ports.settings.tracking_uri.startswith("sqlite:") or not database.exists():
        yield Finding(
            topic="store", what="MLflow", ok=None, detail=f"{ports.settings.tracking_uri}: nothing local to check"
        )
        return
    yield _schema(database, fix=fix)
    moved = detect_move(ports.journal, database)
    if moved is None:
        yield Finding(topic="store", what="place", ok=True, detail=str(ports.settings.project))
    elif fix:
        backup = repair_move(moved, ports.journal, database)
        yield Finding(topic="store", what="place", ok=True, detail=f"paths moved to {moved.new} (backup {backup})")
    else:
        detail = f"the project was moved from {moved.old} to {moved.new}"
        yield Finding(topic="store", what="place", ok=False, detail=detail, next_step="plaster-ops doctor --fix")


def _schema(database: Path, *, fix: bool) -> Finding:
    state = inspect_store(database)
    if not state.behind:
        return Finding(topic="store", what="MLflow schema", ok=True, detail=f"revision {state.current}")
    if not fix:
        detail = f"revision {state.current} is behind {state.expected} of the installed MLflow"
        return Finding(
            topic="store", what="MLflow schema", ok=False, detail=detail, next_step="plaster-ops doctor --fix"
        )
    backup = upgrade(database)
    return Finding(
        topic="store", what="MLflow schema", ok=True, detail=f"upgraded to {state.expected}, backup {backup}"
    )


def _outbox(ports: Ports) -> Iterator[Finding]:
    waiting = ports.journal.pending()
    detail = f"{len(waiting)} records wait" + (f": {waiting[0].error}" if waiting and waiting[0].error else "")
    yield Finding(
        topic="store",
        what="records for MLflow",
        ok=not waiting,
        detail=detail if waiting else "all sent",
        next_step="plaster-ops sync" if waiting else "",
    )


def _alert_queue(ports: Ports) -> Iterator[Finding]:
    queue = AlertQueue(ports.journal.file)
    waiting, dropped = queue.waiting(), queue.dropped_since(ports.clock.now_utc() - OLDEST_S)
    if not waiting and not dropped:
        return
    told = [f"{len(waiting)} wait" + next((f": {each.error}" for each in waiting if each.error), "")] if waiting else []
    told += [f"{dropped} given up in the last week"] if dropped else []
    yield Finding(
        topic="store",
        what="alerts",
        ok=False,
        detail=", ".join(told),
        next_step="try their targets: plaster-ops schedule alert-test PIPELINE",
    )
