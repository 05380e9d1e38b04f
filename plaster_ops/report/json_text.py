"""`--json`, schema 1: one object on stdout, numbers as numbers, keys stable. docs/json.md describes every key."""

import json
from collections.abc import Mapping
from typing import Any

from plaster_ops.domain.run import RunRecord

SCHEMA = 1
_EMPTY_DATA = {"from": None, "to": None, "new_samples": None, "train_samples": None, "eval_samples": None}


def run_payload(record: RunRecord, mlflow: Mapping[str, Any]) -> dict[str, Any]:
    """The object of a retrain that ran to a verdict, or failed after it was opened."""
    return {
        "schema": SCHEMA,
        "pipeline": record.pipeline,
        "exit_code": record.exit_code,
        "verdict": record.verdict,
        "reasons": list(record.reasons),
        "run": {
            "index": record.index,
            "id": mlflow.get("run_id") or record.uid,
            "uid": record.uid,
            "trigger": record.trigger,
            "slot": record.slot,
            "fingerprint": record.fingerprint.get("digest"),
        },
        "baseline": dict(record.baseline) if record.baseline else None,
        "card": [dict(row) for row in record.card],
        "comparison": [dict(row) for row in record.comparison],
        "assessment": dict(record.assessment) or None,
        "gates": dict(record.gates) or None,
        "phases": dict(record.phases),
        "engine": dict(record.engine) or None,
        "data": _EMPTY_DATA | dict(record.data),
        "start": dict(record.start) or None,
        "curve": dict(record.curve) or None,
        "mlflow": dict(mlflow),
    }


def bare_payload(
    pipeline: str, *, verdict: str, exit_code: int, reasons: list[str], mlflow: Mapping[str, Any], trigger: str
) -> dict[str, Any]:
    """The object of a retrain that did not open a run: skipped, busy, or refused."""
    record = RunRecord(
        uid="",
        pipeline=pipeline,
        index=0,
        trigger=trigger,
        started_at="",
        ended_at="",
        verdict=verdict,
        exit_code=exit_code,
        reasons=tuple(reasons),
    )
    payload = run_payload(record, mlflow)
    payload["run"] = None
    return payload


def to_text(payload: Mapping[str, Any]) -> str:
    """One line of strict JSON: NaN and infinity are refused."""
    return json.dumps(payload, ensure_ascii=False, allow_nan=False)
