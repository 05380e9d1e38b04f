"""torch's elastic agent in a child of ours: starts this node's ranks, hears them, dies with its parent, they with it.

Runs in the stage `agent` only. Rank numbers are ours (static rendezvous): torch's own would deal them out by host
name, and the node that keeps the record could end up without rank 0.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from plaster_ops.ports import EventSink
from plaster_ops.processes import handover
from plaster_ops.processes.adopted import AGENT, describe_agent
from plaster_ops.processes.events import EventLines
from plaster_ops.processes.member import ENTRY

_CHUNK = 65536
_JOIN_S = 120
_LAST_WORDS_S = 1.0


def run_agent(spec: Mapping[str, Any], *, emit: EventSink) -> dict[str, Any]:
    """Runs the ranks `spec["ranks"]` to their end, once; returns `{"endings": {rank: exit code}}` of those that failed.

    An exit code is negative for a signal. Raises what torch raises where the nodes do not find each other.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    ranks, folder = list(spec["ranks"]), Path(spec["folder"])
    for rank in ranks:
        _prepare(folder / f"rank{rank}", spec["fit"])
    alive_fd, _held = os.pipe()  # its other end stays open here and is the ranks' sign that this process lives
    ears = [_Ear(rank, emit) for rank in ranks]
    os.environ[AGENT] = describe_agent(alive_fd, [ear.write_fd for ear in ears])
    config = LaunchConfig(
        min_nodes=spec["nodes"],
        max_nodes=spec["nodes"],
        nproc_per_node=len(ranks),
        run_id=spec["run_id"],
        rdzv_backend="static",
        rdzv_endpoint=_endpoint(spec["address"], spec["port"]),
        rdzv_configs={"rank": spec["node"], "timeout": _JOIN_S},
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle="SIGINT",  # SIGTERM is ours
    )
    signal.signal(signal.SIGTERM, _ask_ranks)
    try:
        elastic_launch(config, sys.executable)("-P", "-m", ENTRY, "fit", str(folder))
    except ChildFailedError as error:
        return {"endings": {str(rank): failure.exitcode for rank, failure in error.failures.items()}}
    finally:
        for ear in ears:
            ear.close()
    return {"endings": {}}


def _ask_ranks(number: int, _frame: FrameType | None) -> None:
    """Passes SIGTERM on and waits for the ranks as before: they write a checkpoint first, for which torch's own handler
    would leave them what a rank has that lost its neighbour. Without ranks it ends the process."""
    import psutil

    ranks = psutil.Process().children()
    if not ranks:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    for rank in ranks:
        with contextlib.suppress(psutil.Error):
            rank.terminate()


def _prepare(folder: Path, spec: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    handover.clear(folder)
    handover.write_json(folder / handover.SPEC, spec)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class _Ear:
    """A pipe of one rank's own; what comes out of it is passed on with the rank."""

    def __init__(self, rank: int, emit: EventSink) -> None:
        self._read_fd, self.write_fd = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, args=(rank, emit), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hears what is left; a process that the rank left behind may hold the pipe open, and is not waited for."""
        os.close(self.write_fd)
        self._thread.join(_LAST_WORDS_S)

    def _pass_on(self, rank: int, emit: EventSink) -> None:
        lines = EventLines()
        while chunk := os.read(self._read_fd, _CHUNK):
            for event in lines.feed(chunk):
                emit({**event, "rank": rank})
