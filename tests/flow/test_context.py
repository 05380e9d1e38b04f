"""A stage is done once: what the journal holds is taken, what it does not hold is done and put there."""

from pathlib import Path
from typing import Any

import pytest

from plaster_ops.domain.timeline import Phase, Timeline
from plaster_ops.errors import BuildFailed
from plaster_ops.flow.context import Context
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal
from tests.conftest import SteppedClock
from tests.tracking.samples import start


def context(journal: Journal, clock: SteppedClock, uid: str, events: list[Any] | None = None) -> Context:
    settings = Settings(
        project=journal.folder.parent, file=None, tracking_uri="sqlite:///x.db", default=None, pipelines={}
    )
    return Context(
        settings=settings,
        name="digits",
        pipeline=PipelineSettings(ref="m:p"),
        journal=journal,
        clock=clock,
        timeline=Timeline(clock.monotonic_s, clock.monotonic_s()),
        tell=(events if events is not None else []).append,
        folder=journal.folder / "runs",
        uid=uid,
    )


def test_a_finished_stage_is_taken_from_the_journal(journal: Journal, clock: SteppedClock) -> None:
    uid, events = start(journal).uid, []
    first = context(journal, clock, uid).once("fit", Phase.FIT, lambda: {"epochs": 3})
    assert first == {"epochs": 3, "ended": {"offset_s": 0.0, "utc_s": None}}
    clock.step(9.0)

    def never() -> dict[str, Any]:
        raise AssertionError("the stage was done twice")

    again = context(journal, clock, uid, events)
    assert again.once("fit", Phase.FIT, never) == first
    assert again.timeline.spent_s(Phase.FIT) == 0.0
    assert events == [{"event": "stage", "stage": "fit", "state": "kept"}]


def test_a_stage_says_when_it_starts_and_how_long_it_took(journal: Journal, clock: SteppedClock) -> None:
    events: list[Any] = []
    ctx = context(journal, clock, start(journal).uid, events)

    def work() -> dict[str, Any]:
        clock.step(7.0)
        return {}

    ctx.once("fit", Phase.FIT, work)
    assert [event["state"] for event in events] == ["start", "done"]
    assert events[1]["seconds"] == ctx.timeline.spent_s(Phase.FIT) == 7.0


def test_result_and_seconds_are_in_the_journal_before_the_next_stage(journal: Journal, clock: SteppedClock) -> None:
    uid = start(journal).uid
    ctx = context(journal, clock, uid)

    def work() -> dict[str, Any]:
        clock.step(7.0)
        return {"epochs": 3, "gained_s": 5.0}

    ctx.once("fit", Phase.LAUNCH, work, within=(Phase.FIT, "gained_s"))
    ended = {"offset_s": 7.0, "utc_s": None}
    assert journal.stages(uid) == {"fit": {"epochs": 3, "gained_s": 5.0, "ended": ended}}
    phases = journal.run(uid).phases
    assert (phases["launch_s"], phases["fit_s"], phases["cycle_s"]) == (2.0, 5.0, 7.0)


def test_a_stage_that_failed_is_not_kept_but_its_seconds_count(journal: Journal, clock: SteppedClock) -> None:
    uid = start(journal).uid
    ctx = context(journal, clock, uid)

    def fail() -> dict[str, Any]:
        clock.step(2.0)
        raise BuildFailed("no engine")

    with pytest.raises(BuildFailed):
        ctx.once("build", Phase.BUILD, fail)
    assert journal.stages(uid) == {}
    assert ctx.timeline.spent_s(Phase.BUILD) == 2.0


def test_a_comparison_keeps_no_record(journal: Journal, clock: SteppedClock) -> None:
    ctx = context(journal, clock, uid="")
    assert [ctx.once("evaluate", Phase.EVAL, lambda: {"n": 1}) for _ in range(2)] == [{"n": 1}] * 2
    assert journal.history() == []


def test_caches_of_a_worker_stay_in_the_project_and_its_threads_are_stated(
    journal: Journal, clock: SteppedClock, tmp_path: Path
) -> None:
    ctx = context(journal, clock, "")
    env = ctx.stage_env(threads=2)
    assert Path(env["PLASTER_CACHE"]).is_relative_to(tmp_path / "project" / "mlruns")
    assert env["PLASTER_PROJECT"] == str(tmp_path / "project")
    assert {env[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"2"}
    assert "OMP_NUM_THREADS" not in ctx.stage_env()
