"""A context that leaves no record: `compare`, `bench` and `--dry-run` work in a folder that is gone afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plaster_ops.domain.timeline import Timeline
from plaster_ops.flow.context import Context
from plaster_ops.flow.lock import slug
from plaster_ops.flow.wiring import Ports
from plaster_ops.ports import EventSink
from plaster_ops.settings_sections import PipelineSettings


@contextmanager
def scratch_context(
    ports: Ports, name: str, pipeline: PipelineSettings, *, purpose: str, tell: EventSink, start_s: float | None = None
) -> Iterator[Context]:
    """`purpose` begins the folder's name, under the project's own memory. `start_s` None: its clock starts now."""
    work = ports.settings.memory / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=f"{purpose}-{slug(name)}-") as folder:
        now_s = ports.clock.monotonic_s
        yield Context(
            settings=ports.settings,
            name=name,
            pipeline=pipeline,
            journal=ports.journal,
            clock=ports.clock,
            timeline=Timeline(now_s, now_s() if start_s is None else start_s),
            tell=tell,
            folder=Path(folder),
        )
