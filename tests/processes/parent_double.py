"""A parent that waits for a child that waits for ever; prints what it has started, exits with the error's code."""

import json
import os
import signal
import sys
from pathlib import Path

from plaster_ops.errors import PlasterError
from plaster_ops.processes import member
from plaster_ops.processes.gang import Limits, run_stage
from plaster_ops.processes.signals import stop_on_signals


def main() -> None:
    folder, spec = Path(sys.argv[1]), json.loads(sys.argv[2])
    member.ENTRY = "stage_doubles"
    if spec.get("sigint_ignored"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals():
            run_stage(
                spec.get("stage", "wait"),
                spec,
                folder=folder,
                limits=Limits(timeout_s=60, idle_s=None, grace_s=spec.get("grace_s", 1.0)),
                on_event=lambda event: print(json.dumps(event), flush=True),
                project=folder,
                env={"PYTHONPATH": os.environ["PYTHONPATH"]},
            )
    except PlasterError as error:
        sys.exit(int(error.exit_code))


if __name__ == "__main__":
    main()
