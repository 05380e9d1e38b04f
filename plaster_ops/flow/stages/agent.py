"""Stage `agent`: torch's elastic agent of one node, which starts the ranks of the stage `fit` there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaster_ops.ports import EventSink
from plaster_ops.training.launchers.agent import run_agent


def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> dict[str, Any]:
    """Runs the ranks that `spec` names; `folder` holds the agent's own log."""
    del folder
    return run_agent(spec, emit=emit)
