"""Ranks as children of torch's elastic agent, which is a child of this process: what several nodes need.

This side loads no torch; `agent` is the other one. The agent makes one try: what comes after a death is decided by
the fit, for every launcher alike, and a new try is a new agent with a new store.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plaster_ops.errors import ChildFailed
from plaster_ops.processes import handover
from plaster_ops.processes.gang import explain, run_stage
from plaster_ops.processes.member import describe_ending
from plaster_ops.processes.sweep import MARK, sweep
from plaster_ops.training.launchers.local import reserved_port
from plaster_ops.training.launchers.seam import STAGE, Attempt

AGENT_STAGE = "agent"


class TorchrunLauncher:
    """One agent a node, an attempt."""

    spans_nodes = True

    def run(self, attempt: Attempt) -> list[dict[str, Any]]:
        """See `Launcher`."""
        with _with_port(attempt) as ready:
            try:
                report = run_stage(
                    AGENT_STAGE,
                    _agent_spec(ready),
                    folder=ready.folder / f"agent{ready.node}",
                    limits=ready.limits,
                    on_event=_from_ranks(ready),
                    project=Path(ready.spec.project),
                    env=_agent_env(ready),
                )
            except ChildFailed as error:
                raise _told_by_a_rank(ready) or _of_the_agent(ready, error) from error
            finally:
                sweep(ready.key)
        endings = {int(rank): code for rank, code in report["endings"].items()}
        ranks = [_Ended(rank=r, folder=ready.folder / f"rank{r}", ending=endings.get(r)) for r in ready.ranks]
        bad = [rank for rank in ranks if rank.ending is not None or not rank.has_result]
        if bad:
            raise explain(STAGE, ranks, min(bad, key=lambda rank: rank.ending or 0))
        return [handover.read_json(rank.folder / handover.RESULT) or {} for rank in ranks]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """A rank as the agent reported it; `ending` is None for one that did not end badly."""

    rank: int
    folder: Path
    ending: int | None

    @property
    def has_result(self) -> bool:
        return handover.read_json(self.folder / handover.RESULT) is not None

    def describe_ending(self) -> str:
        return describe_ending(self.rank, self.ending or 0)


@contextlib.contextmanager
def _with_port(attempt: Attempt) -> Iterator[Attempt]:
    if attempt.port:
        yield attempt
        return
    with reserved_port() as port:
        yield replace(attempt, port=port)


def _agent_spec(attempt: Attempt) -> dict[str, Any]:
    return {
        "fit": attempt.spec.to_json(),
        "folder": str(attempt.folder),
        "node": attempt.node,
        "nodes": attempt.spec.nodes,
        "ranks": list(attempt.ranks),
        "address": attempt.address,
        "port": attempt.port,
        "run_id": attempt.folder.name,
    }


def _agent_env(attempt: Attempt) -> dict[str, str]:
    return {
        **attempt.rank_env(),
        MARK: attempt.key,
        "NODE_RANK": str(attempt.node),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, round(attempt.limits.grace_s))),
        "TORCHELASTIC_USE_AGENT_STORE": "False",  # of a torchrun that started us; the agent sets the ranks' own
    }


def _from_ranks(attempt: Attempt) -> Any:
    """Passes on what ranks say, and nothing that the agent says of itself."""

    def tell(event: dict[str, Any]) -> None:
        if "rank" in event or event.get("event") == "note":
            attempt.on_event(event)

    return tell


def _of_the_agent(attempt: Attempt, error: ChildFailed) -> ChildFailed:
    """An agent's own trouble is none of the user's code, so another try may help."""
    if error.kind != "exception":
        return ChildFailed(STAGE, error.ending, error.log_tail, kind=error.kind)
    ending = f"the agent of node {attempt.node} failed: {error.ending}"
    return ChildFailed(STAGE, ending, error.log_tail, kind="exit")


def _told_by_a_rank(attempt: Attempt) -> Exception | None:
    """What a rank had said before its agent died of something else; None where none had."""
    ranks = [_Ended(rank=r, folder=attempt.folder / f"rank{r}", ending=1) for r in attempt.ranks]
    spoke = [rank for rank in ranks if (rank.folder / handover.ERROR).exists()]
    return explain(STAGE, ranks, spoke[0]) if spoke else None
