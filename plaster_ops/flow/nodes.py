"""A retrain on several nodes: node 0 keeps the record and leads the fit, the others follow and record nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plaster_ops.flow.lock import slug
from plaster_ops.ports import EventSink
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import Train
from plaster_ops.training.launchers.registry import find_launcher
from plaster_ops.training.nodes.follower import follow
from plaster_ops.training.nodes.leader import Nodes, lead
from plaster_ops.training.nodes.part import Part


@contextmanager
def leading(settings: Settings, name: str, train: Train, part: Part) -> Iterator[Nodes | None]:
    """The other nodes for the length of a retrain; None where there are none."""
    if part.place is None:
        yield None
        return
    with lead(
        _board(settings, name),
        project=settings.project,
        nodes=part.nodes,
        place=part.place,
        node_timeout_s=train.node_timeout_s,
        job=part.job,
    ) as leader:
        yield leader


def run_follower(settings: Settings, name: str | None, launcher: str | None, part: Part, tell: EventSink) -> int:
    """Takes part in the fits of node 0 until its run is over; returns what `follow` does.

    Nothing is written but the board and the folders of this node's ranks. Raises `TrainingFailed` where node 0 is not
    there for `train.node_timeout_s`, `UsageError`, `Interrupted`.
    """
    found, pipeline = settings.pipeline(name)
    train = pipeline.train
    return follow(
        _board(settings, found),
        find_launcher(launcher or train.launcher, part.nodes),
        node=part.node,
        project=settings.project,
        node_timeout_s=train.node_timeout_s,
        tell=tell,
        job=part.job,
    )


def _board(settings: Settings, name: str) -> Path:
    return settings.memory / "nodes" / slug(name)
