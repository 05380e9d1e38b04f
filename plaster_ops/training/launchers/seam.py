"""The seam between a fit and whatever starts its ranks. Standard library only."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from plaster_ops.ports import EventSink
from plaster_ops.processes.gang import Limits
from plaster_ops.training.devices import Devices
from plaster_ops.training.messages import FitSpec

STAGE = "fit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at a fit, as one node sees it. `devices` are this node's; every node has as many.

    `spec` is complete: `devices`, `nodes`, `accelerator`, `threads`, `resume_from`. Rank r works in `folder/rank{r}`,
    and `folder` is seen by all nodes. `address` and `port` are where rank 0's node listens; port 0: any free one, on
    one node only. `env`: what ranks are to have besides this process's own environment.
    """

    spec: FitSpec
    devices: Devices
    folder: Path
    limits: Limits
    on_event: EventSink
    node: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def ranks(self) -> range:
        """The ranks of this node."""
        first = self.node * self.devices.count
        return range(first, first + self.devices.count)

    @property
    def world_size(self) -> int:
        """Ranks of all nodes."""
        return self.spec.nodes * self.devices.count

    def rank_env(self) -> dict[str, str]:
        """What every rank of this node has in its environment, whoever starts it."""
        env = {
            "OMP_NUM_THREADS": str(self.spec.threads),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),  # waiting threads that spin starve others
        }
        if self.devices.visible:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices.visible)
        return {**env, **self.env}


class Launcher(Protocol):
    """Starts the ranks of one node, hears them, and leaves none behind.

    To come by: `training/launchers/local.py`, `torchrun.py`. Held to `tests/contracts/test_launchers.py`.
    """

    @property
    def spans_nodes(self) -> bool:
        """Whether it can start ranks that find those of other nodes."""

    def run(self, attempt: Attempt) -> list[dict[str, Any]]:
        """The results of this node's ranks in rank order, once all of them have succeeded.

        Rank r is the stage `fit` in `attempt.folder/rank{r}` (docs/workers.md), with RANK, LOCAL_RANK, WORLD_SIZE,
        LOCAL_WORLD_SIZE, NODE_RANK, MASTER_ADDR and MASTER_PORT set. Events carry `rank`. Raises what a rank said in
        `error.json`; `ChildFailed` with `kind` "exception", "signal" or "exit"; `TimedOut`; `Interrupted`. When it
        returns or raises, and soon after this process was killed, no process of the attempt is alive on this node.
        """
