"""A child that a foreign launcher started: it finds its folder and its pipes through the agent that we started.

Such a launcher hands no open files on, so the child opens the agent's own, by their numbers, in /proc. What `liveness`
does then holds for it as for any other child, with the agent as its parent.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from plaster_ops.errors import PlasterError
from plaster_ops.processes import handover
from plaster_ops.processes.child import ALIVE_FD, EVENT_FD

AGENT = "PLASTER_AGENT"


def describe_agent(alive_fd: int, event_fds: Sequence[int]) -> str:
    """What the environment variable `AGENT` must hold: this process, and its pipes for local ranks 0, 1, ..."""
    return json.dumps({"pid": os.getpid(), "alive": alive_fd, "events": list(event_fds)})


def adopt(folder: Path) -> Path:
    """`folder` as it is; in a child of an agent the part of it that belongs to this rank, `folder/rank{RANK}`.

    The pipes are then as `child.serve` expects them, and both streams go to the rank's `log.txt`. Raises
    `PlasterError` where the agent is gone.
    """
    described = os.environ.pop(AGENT, "")
    if not described:
        return folder
    agent = json.loads(described)
    files = Path("/proc") / str(agent["pid"]) / "fd"
    try:
        alive_fd = os.open(files / str(agent["alive"]), os.O_RDONLY)
        events_fd = os.open(files / str(agent["events"][int(os.environ["LOCAL_RANK"])]), os.O_WRONLY)
    except OSError as error:
        raise PlasterError(f"the agent of this rank is gone: {error}") from error
    os.environ |= {ALIVE_FD: str(alive_fd), EVENT_FD: str(events_fd)}
    mine = folder / f"rank{os.environ['RANK']}"
    log_fd = os.open(mine / handover.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log_fd, stream.fileno())
    os.close(log_fd)
    return mine
