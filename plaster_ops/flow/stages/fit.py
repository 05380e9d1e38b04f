"""Stage `fit`: one rank. The spec is a `FitSpec`, the result is what `training.worker.run_fit` returns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.flow.loading import load_pipeline
from plaster_ops.ports import EventSink
from plaster_ops.training.messages import FitSpec
from plaster_ops.training.worker import run_fit


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """Loads the pipeline and trains it."""
    fit_spec = FitSpec.from_json(spec)
    pipeline = load_pipeline(fit_spec.reference, Path(fit_spec.project))
    return run_fit(pipeline, fit_spec, folder=folder, emit=emit)
