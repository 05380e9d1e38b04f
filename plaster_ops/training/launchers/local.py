"""Ranks as children of this process: the gang. One node, race-free, and lighter than anything else by one process."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plaster_ops.processes.gang import run_gang
from plaster_ops.training.launchers.seam import STAGE, Attempt


class LocalLauncher:
    """One gang on this node."""

    spans_nodes = False

    def run(self, attempt: Attempt) -> list[dict[str, Any]]:
        """See `Launcher`."""
        with reserved_port() as port:
            return run_gang(
                STAGE,
                [attempt.spec.to_json()] * attempt.devices.count,
                folder=attempt.folder,
                limits=attempt.limits,
                on_event=attempt.on_event,
                project=Path(attempt.spec.project),
                envs=[_env(attempt, rank, port) for rank in attempt.ranks],
            )


def _env(attempt: Attempt, rank: int, port: int) -> dict[str, str]:
    return {
        **attempt.rank_env(),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(attempt.world_size),
        "LOCAL_WORLD_SIZE": str(attempt.devices.count),
        "NODE_RANK": "0",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "False",  # of a torchrun that started us: its store is not this gang's
    }


@contextmanager
def reserved_port(address: str = "127.0.0.1") -> Iterator[int]:
    """A port that is free to listen on, and that nobody else is given until the block is left."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((address, 0))
        yield holder.getsockname()[1]
