"""The points that one retrain adds to the lines of its pipeline's cadence run."""

from plaster_ops.domain.metrics import (
    CADENCE_ADHERENCE_RATIO,
    CPU_TIME_PER_INFERENCE_S,
    DATA_STALENESS_S,
    MISSED_SLOTS_COUNT,
    ROLLING_SCORE,
    STALENESS_P95_S,
)
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.tracking.markers import markers_of
from plaster_ops.tracking.names import MAX_TAG_CHARACTERS, cut, is_number
from plaster_ops.tracking.notes import cadence_id, describe_cadence
from plaster_ops.tracking.plans import CADENCE, KIND, NOTE, Point, RunPlan, to_ms

_AGEING = (
    CPU_TIME_PER_INFERENCE_S,
    ROLLING_SCORE,
    DATA_STALENESS_S,
    STALENESS_P95_S,
    CADENCE_ADHERENCE_RATIO,
    MISSED_SLOTS_COUNT,
)


def plan_cadence(record: RunRecord) -> RunPlan | None:
    """One more point on each line of the pipeline's cadence run on this device model.

    The measured headlines, CPU time, what shows a model that grows old or a schedule that is not kept, how the retrain
    ended, and which alarms it raised.

    The instant of a point is its slot's, where the retrain had one. Of a failed retrain only the verdict is shown, and
    only where its device is known.
    """
    failed = record.verdict == Verdict.FAILED
    if failed and not record.fingerprint.get("device"):
        return None
    device = str(record.fingerprint.get("device") or "unknown device")
    at = _planned_ms(record)
    lines = {metric.key for metric in _AGEING}
    rows = [row for row in record.card if (row.get("headline") or row["key"] in lines) and is_number(row.get("value"))]
    values = {row["key"]: row["value"] for row in rows if row["status"] != "estimated" and not failed}
    if not values and not failed:
        return None
    values |= dict(markers_of(record))
    points = tuple(Point(key, float(value), record.index, at) for key, value in values.items())
    return RunPlan(
        kind="cadence",
        name=f"cadence · {device}",
        start_ms=at,
        end_ms=max(at, to_ms(record.ended_at)),
        status="FINISHED",
        tags={
            KIND: "cadence",
            CADENCE: cadence_id(record.pipeline, device),
            "plaster.pipeline": record.pipeline,
            "plaster.device": cut(device, MAX_TAG_CHARACTERS),
            NOTE: describe_cadence(record.pipeline, device),
        },
        points=points,
    )


def _planned_ms(record: RunRecord) -> int:
    """The instant of its slot; of its start where it had none, or one that is no date (`--slot` takes any text)."""
    try:
        return to_ms(record.slot or record.started_at)
    except ValueError:
        return to_ms(record.started_at)
