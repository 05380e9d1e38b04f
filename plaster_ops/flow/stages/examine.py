"""Stage `examine`: `prepare` and `evaluate` in one process, for comparisons: the user's imports are paid for once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.flow.stages import evaluate, prepare
from plaster_ops.ports import EventSink


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """spec: `prepare` and `evaluate` as those stages take them, the latter without window and samples.

    Result: `prepared`, and `evaluation` (None where there is nothing to work on).
    """
    prepared = prepare.run(spec["prepare"], folder, emit)
    if prepared["skip"]:
        return {"prepared": prepared, "evaluation": None}
    asked = {**spec["evaluate"], "window": prepared["window"], "samples": prepared["samples"]}
    return {"prepared": prepared, "evaluation": evaluate.run(asked, folder, emit)}
