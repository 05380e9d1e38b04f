"""Ladder, or last night's winner once more? Decided before the export, from settings, stack and age, with a reason."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plaster_ops.engines.key import changes
from plaster_ops.engines.ladder import engine_device, stack
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.context import Context
from plaster_ops.settings_sections import PipelineSettings

_DAY_S = 86_400.0


def decide_engine(ctx: Context, last: Baseline | None, *, force_ladder: bool) -> dict[str, Any]:
    """`{"kind", "why", "rebuild", "device", "stack", "wanted", "last"}`; plain JSON for the journal.

    `kind`: `ladder`, or `again` for the winner of the last retrain. `rebuild`: why it is not even tried to refit it;
    empty where it may be. `last`: index, folder and the engine section of that retrain, or None.
    """
    settings = ctx.pipeline.engine
    device = engine_device(settings.device, settings.backends)
    found: dict[str, Any] = {
        "kind": "ladder",
        "why": "",
        "rebuild": "",
        "device": device,
        "stack": stack(settings.backends, device),
        "wanted": wanted_engine(ctx.pipeline, ctx.project, device),
        "last": None,
    }
    engine: Mapping[str, Any] = last.record.engine if last else {}
    found["why"] = _why_ladder(ctx, last, engine, found, force_ladder=force_ladder)
    if found["why"] or last is None:
        return found
    refits = int(engine.get("refits_since_build") or 0)
    if not settings.refit:
        found["rebuild"] = "engine.refit is off"
    elif settings.rebuild_every and refits >= settings.rebuild_every:
        found["rebuild"] = (
            f"{refits} refits since the last full build, engine.rebuild_every is {settings.rebuild_every}"
        )
    found["last"] = {"index": last.record.index, "folder": str(last.engine_folder), "engine": dict(engine)}
    return found | {"kind": "again", "why": f"nothing but the weights is new since #{last.record.index}"}


def wanted_engine(pipeline: PipelineSettings, project: Path, device: str) -> dict[str, Any]:
    """What the settings say about the choice of an engine; a change of it calls for a new ladder."""
    engine = pipeline.engine
    return {
        "backends": list(engine.backends),
        "precisions": list(engine.precisions),
        "objective": engine.objective,
        "retained_ratio": engine.retained_ratio,
        "max_lost_score": engine.max_lost_score,
        "inconclusive": engine.inconclusive,
        "max_batch": pipeline.max_batch(),
        "threads": engine.threads,
        "device": device,
        "options": dict(engine.options),
        "adapters": [f"{file} {_content(project / file)}" for file in engine.adapters],
    }


def _why_ladder(
    ctx: Context, last: Baseline | None, engine: Mapping[str, Any], found: Mapping[str, Any], *, force_ladder: bool
) -> str:
    if force_ladder:
        return "--ladder"
    if last is None:
        return "the first engine of this pipeline"
    if last.engine_folder is None or not engine.get("ladder_at"):
        return f"the engine of #{last.record.index} is gone"
    changed = changes(_texts(engine.get("wanted") or {}), _texts(found["wanted"]))
    if changed:
        return f"settings changed: {'; '.join(changed)}"
    moved = changes(engine.get("stack") or {}, found["stack"])
    if moved:
        return f"the stack changed: {'; '.join(moved)}"
    age_s = ctx.clock.now_utc() - datetime.fromisoformat(str(engine["ladder_at"])).timestamp()
    if age_s >= ctx.pipeline.engine.ladder_every_days * _DAY_S:
        return f"the last ladder was {age_s / _DAY_S:.1f} days ago"
    return ""


def _content(file: Path) -> str:
    """What the file holds, in short; an engine is built with it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else "missing"


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {f"engine.{name}": str(value) for name, value in values.items()}


def instant(seconds: float) -> str:
    """An instant as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
