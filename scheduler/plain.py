"""Slots and snapshots as plain values for `--json` and /api/status: schema 1, docs/json.md has every key."""

from typing import Any

from plaster_ops.domain.schedule import iso
from plaster_ops.domain.slots import Slot
from plaster_ops.tracking.slots import Pause
from scheduler.coming import Coming
from scheduler.findings import Finding
from scheduler.heartbeat import Service
from scheduler.status import PipelineStatus, Retrain, Snapshot

SCHEMA = 1


def plain_snapshot(told: Snapshot) -> dict[str, Any]:
    """All of it, as `schedule list --json` and /api/status answer."""
    return {
        "schema": SCHEMA,
        "at": iso(told.at_s),
        "project": told.project,
        "service": plain_service(told.service),
        "devices": {"total": told.devices, "busy": told.busy},
        "findings": [plain_finding(finding) for finding in told.findings],
        "pipelines": [plain_pipeline(pipeline) for pipeline in told.pipelines],
    }


def plain_service(service: Service) -> dict[str, Any]:
    """The service, as far as its heartbeat tells."""
    return {
        "state": service.state.value,
        "reason": service.reason,
        "pid": service.pid,
        "host": service.host,
        "started_at": _iso(service.started_s),
        "heard_at": _iso(service.at_s),
    }


def plain_pipeline(pipeline: PipelineStatus) -> dict[str, Any]:
    """One pipeline."""
    return {
        "pipeline": pipeline.name,
        "state": list(pipeline.words),
        "cadence": pipeline.cadence,
        "triggers": pipeline.triggers,
        "timezone": pipeline.zone,
        "declared": pipeline.is_declared,
        "next": None if pipeline.next is None else plain_coming(pipeline.next, pipeline.zone),
        "running": None if pipeline.running is None else plain_slot(pipeline.running),
        "usual_s": pipeline.usual_s,
        "waiting": [plain_slot(slot) for slot in pipeline.waiting],
        "last": None if pipeline.last is None else plain_slot(pipeline.last),
        "tried": None if pipeline.tried is None else plain_slot(pipeline.tried),
        "paused": None if pipeline.pause is None else plain_pause(pipeline.pause),
        "findings": [plain_finding(finding) for finding in pipeline.findings],
        "conditions": [
            {"name": each.name, "since": iso(each.since_s), "reason": each.reason} for each in pipeline.conditions
        ],
        "strip": [
            {"planned": iso(slot.planned_s), "state": slot.state.value, "verdict": slot.verdict}
            for slot in pipeline.strip
        ],
        "newest": _plain_retrain(pipeline.newest),
        "champion": _plain_retrain(pipeline.champion),
    }


def plain_slot(slot: Slot) -> dict[str, Any]:
    """One row of the ledger."""
    return {
        "pipeline": slot.pipeline,
        "cause": slot.cause.value,
        "planned": iso(slot.planned_s),
        "due": iso(slot.due_s),
        "state": slot.state.value,
        "reason": slot.reason,
        "was_missed": slot.was_missed,
        "attempts": slot.attempts,
        "not_before": _iso(slot.not_before_s),
        "started": _iso(slot.started_s),
        "ended": _iso(slot.ended_s),
        "exit_code": slot.exit_code,
        "verdict": slot.verdict,
        "run": slot.run,
    }


def plain_coming(slot: Coming, zone: str) -> dict[str, Any]:
    """One slot to come; `local` is the planned instant in the time zone of its cadence."""
    return {
        "pipeline": slot.pipeline,
        "planned": iso(slot.planned_s),
        "local": iso(slot.planned_s, zone),
        "timezone": zone,
        "due": iso(slot.due_s),
        "jitter_s": round(slot.jitter_s, 3),
    }


def plain_pause(pause: Pause) -> dict[str, Any]:
    """Since when, by whom, why."""
    return {"since": iso(pause.at_s), "by": pause.by, "reason": pause.reason}


def plain_finding(finding: Finding) -> dict[str, Any]:
    """One thing that is wrong."""
    return {
        "pipeline": finding.pipeline,
        "kind": finding.kind.value,
        "since": iso(finding.since_s),
        "message": finding.message,
        "next_step": finding.next_step,
    }


def _plain_retrain(retrain: Retrain | None) -> dict[str, Any] | None:
    if retrain is None:
        return None
    return {
        "index": retrain.index,
        "verdict": retrain.verdict,
        "score": retrain.score,
        "ended_at": retrain.ended_at,
    }


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else iso(at_s)
