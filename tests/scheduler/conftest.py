"""A ledger on disk, a planner over it on a clock that the test holds, and projects that are never imported."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plaster_ops.domain.schedule import Cadence
from plaster_ops.domain.slots import Rules, Slot, SlotState
from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal_file import JournalFile
from plaster_ops.tracking.slots import Pause, SlotLedger
from scheduler.clockwork import Plan
from scheduler.planner import Planner

HOUR_S = 3600.0
T0 = 1_800_000_000.0
"""A full hour."""


def hourly(*, minute: int = 0, **more: object) -> Plan:
    """A plan that is due each hour; `more` of its rules and of the plan."""
    rules = {name: more.pop(name) for name in ("missed", "overlap", "late_s") if name in more}
    return Plan(cadence=Cadence(cron=f"{minute} * * * *"), rules=Rules(**rules), **more)  # type: ignore[arg-type]


@dataclass
class Desk:
    """Planners over one ledger. `alive`: whose owners live."""

    ledger: SlotLedger
    alive: set[str] = field(default_factory=set)

    def planner(self, plans: Mapping[str, Plan], now_s: float = T0, *, owner: str = "me", **more: int) -> Planner:
        """A planner that took these settings at `now_s`."""
        made = Planner(ledger=self.ledger, owner=owner, is_alive=self.alive.__contains__, **more)
        made.load(plans, now_s)
        return made

    def pause(self, pipeline: str) -> None:
        """As the command does it, from another process."""
        with self.ledger.write() as write:
            write.pause(pipeline, Pause(at_s=0.0, by="ann", reason="moving house"))

    def resume(self, pipeline: str) -> None:
        """So too."""
        with self.ledger.write() as write:
            write.resume(pipeline)

    def rows(self, pipeline: str = "digits") -> list[Slot]:
        """All of its slots, oldest first."""
        return self.ledger.between(pipeline, -1.0, 1e12)

    def states(self, pipeline: str = "digits") -> list[str]:
        """How they stand."""
        return [str(slot.state) for slot in self.rows(pipeline)]

    def reasons(self, state: SlotState, pipeline: str = "digits") -> list[str]:
        """Why those are so."""
        return [slot.reason for slot in self.rows(pipeline) if slot.state is state]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    file = JournalFile(tmp_path / "mlruns", busy_timeout_s=0.0)
    file._connection.execute("PRAGMA synchronous = OFF")
    yield Desk(SlotLedger(file))
    file.close()


MakeProject = Callable[..., Settings]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """`make_project(scheduler, name=cadence)`: settings of a project with these pipelines."""

    def make(scheduler: str = "", **pipelines: str) -> Settings:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        sections = [f"[scheduler]\nlisten = ''\n{scheduler}"]
        sections += [f'[pipelines.{name}]\nref = "nowhere:pipeline"\n{text}' for name, text in pipelines.items()]
        (folder / "plaster.toml").write_text("\n".join(sections), encoding="utf-8")
        return load_settings(folder)

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SlotLedger]:
    """The ledger of that project."""
    file = JournalFile(tmp_path / "project" / "mlruns")
    yield SlotLedger(file)
    file.close()
