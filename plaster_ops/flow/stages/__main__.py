"""`python -m plaster_ops.flow.stages <stage> <folder>`: the entry of every child. docs/workers.md is its contract."""

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from plaster_ops.errors import UsageError
from plaster_ops.flow.loading import load_adapters
from plaster_ops.importing import uncollected
from plaster_ops.ports import EventSink
from plaster_ops.processes.adopted import adopt
from plaster_ops.processes.child import serve


def main(arguments: list[str]) -> NoReturn:
    """Runs the stage named first in the folder named second; leaves the process with its exit code."""
    stage, folder = arguments
    project = os.environ.get("PLASTER_PROJECT")
    if project:
        sys.path.insert(0, project)  # pipelines and engine backends of the user's own; plaster_ops is imported already

    def run(spec: Mapping[str, Any], folder: Path, emit: EventSink) -> Mapping[str, Any]:
        if not stage.isidentifier():
            raise UsageError(f"stage {stage!r} is no module of plaster_ops.flow.stages")
        load_adapters(os.environ.get("PLASTER_ADAPTERS", ""))
        name = f"plaster_ops.flow.stages.{stage}"
        with uncollected(name):
            module = importlib.import_module(name)
        result: Mapping[str, Any] = module.run(spec, folder, emit)
        return result

    serve(stage, adopt(Path(folder)), run)


if __name__ == "__main__":
    main(sys.argv[1:])
