"""A retrain from outside: lock, journal, resume, failure, and the record's way to MLflow."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from plaster_ops.domain.run import Verdict
from plaster_ops.domain.timeline import Phase, Timeline
from plaster_ops.engines.ladder import check_candidates, engine_device
from plaster_ops.errors import Interrupted, PlasterError, Postponed, Unexpected, UsageError
from plaster_ops.flow import record as records
from plaster_ops.flow.alerting import alerts_after
from plaster_ops.flow.baseline import Baselines, check_name, choose_baseline
from plaster_ops.flow.compact_record import keep_record
from plaster_ops.flow.context import Context
from plaster_ops.flow.lock import device_lock, pipeline_lock, slug
from plaster_ops.flow.nodes import leading
from plaster_ops.flow.pages import write_page
from plaster_ops.flow.publish import publish
from plaster_ops.flow.retrain import Outcome, Request, choose_baselines, retrain
from plaster_ops.flow.sections import data_section
from plaster_ops.flow.spending import open_ledger
from plaster_ops.flow.takeover import note_resume, why_not_continued, why_other_data
from plaster_ops.flow.train import check_train
from plaster_ops.flow.wiring import Ports, open_ports
from plaster_ops.ports import EventSink
from plaster_ops.report.json_text import bare_payload, run_payload
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal_rows import RunRow, RunState
from plaster_ops.tracking.journal_runs import how_to_resume
from plaster_ops.tracking.liveness import started_at_s, this_host

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where the clock of this command began: seconds of the monotonic clock and of the epoch, at process start."""

    monotonic_s: float
    epoch_s: float


def run_retrain(
    settings: Settings, name: str | None, request: Request, *, start: Start, tell: EventSink, resume: str | None = None
) -> dict[str, Any]:
    """Runs one retrain and returns its `--json` object. Raises the error of a retrain that failed, after recording it.

    The raised error carries the object as `payload`.
    """
    found, pipeline = settings.pipeline(name)
    pipeline = request.applied_to(pipeline)
    check_candidates(pipeline.engine.backends, pipeline.engine.options)
    engine_device(pipeline.engine.device, pipeline.engine.backends)
    with (
        open_ports(settings) as ports,
        alerts_after(ports, found, tell),
        pipeline_lock(settings.memory / "locks", found, slug(found)),
        device_lock(settings.scheduler.lock_folder(settings.memory), settings.scheduler.device_count),
        leading(settings, found, pipeline.train, request.part) as nodes,
    ):
        ports.journal.close_stale(found)
        row, ctx, resumed = _open(ports, found, pipeline, request, start, tell, resume)
        try:
            ctx = replace(ctx, part=request.part, nodes=nodes)
            return _finish(ctx, ports, _attempt(ctx, ports, row, request, resumed=resumed), request)
        except (Interrupted, Postponed) as error:
            _record_interruption(ctx, row, error)
            raise


def _attempt(ctx: Context, ports: Ports, row: RunRow, request: Request, *, resumed: bool) -> Outcome:
    """The retrain, and the record of one that fails."""
    try:
        with _counted(ctx):
            return _retrain(ctx, row, request, resumed=resumed)
    except (Interrupted, Postponed):
        raise
    except PlasterError as error:
        _record_failure(ctx, row, error)
        tracked = publish(ctx, ports) if ports.journal.record(ctx.uid) is not None else None
        error.payload = _failed_payload(ctx, error, tracked)
        raise


@contextmanager
def _counted(ctx: Context) -> Iterator[None]:
    """Gives the run's energy counters back at the end."""
    try:
        yield
    finally:
        if ctx.ledger is not None:
            ctx.ledger.close()


def _retrain(ctx: Context, row: RunRow, request: Request, *, resumed: bool) -> Outcome:
    """The retrain itself; what nobody foresaw becomes `Unexpected`, so that the run is closed like any other."""
    try:
        with ctx.timeline.phase(Phase.WAIT):
            baselines = _baselines(ctx, request, resumed=resumed)
        return retrain(ctx, row, request, baselines)
    except PlasterError:
        raise
    except Exception as error:
        _log.exception("retrain of %s", ctx.name)
        message = f"unexpected {type(error).__name__}: {error}"
        raise Unexpected(message, "please report it with the lines above; the champion is untouched") from error


def _open(
    ports: Ports,
    name: str,
    pipeline: PipelineSettings,
    request: Request,
    start: Start,
    tell: EventSink,
    resume: str | None,
) -> tuple[RunRow, Context, bool]:
    """The run to work on, and whether it was begun before: by `--resume`, or because the last one was killed."""
    journal = ports.journal
    check_name(journal, name, request.compare or "last")
    if resume is not None:
        found = journal.unfinished(name) if resume == "last" else journal.find_run(name, resume)
        if found is None:
            raise UsageError(f"no unfinished retrain of {name!r} to resume", f"start one: plaster-ops retrain {name}")
        tell({"event": "note", "text": f"resuming run #{found.index} of {name}"})
        return *_go_on(ports, found, start, tell), True
    check_train(pipeline.train, request.part.nodes)
    earlier = journal.unfinished(name)
    if earlier is not None:
        taken = _take_over(ports, earlier, pipeline, start, tell)
        if taken is not None:
            return *taken, True
    row = journal.start_run(
        name,
        trigger=request.trigger,
        slot=request.slot,
        reference=pipeline.ref,
        settings_json=pipeline.model_dump_json(),
        **_who(),
    )
    return row, _context(ports, row, pipeline, start, tell, resumed=False), False


def _take_over(
    ports: Ports, earlier: RunRow, pipeline: PipelineSettings, start: Start, tell: EventSink
) -> tuple[RunRow, Context] | None:
    """The run that was killed before this one, where it can be continued; else it is closed with the reason."""
    journal = ports.journal
    why_not = why_not_continued(journal, earlier, pipeline, start.epoch_s)
    if not why_not:
        tell({"event": "note", "text": f"run #{earlier.index} of {earlier.pipeline} was cut off: continuing it"})
        row, ctx = _go_on(ports, earlier, start, tell)
        try:
            why_not = why_other_data(ctx)
        except Interrupted as error:
            _record_interruption(ctx, row, error)
            raise
        if not why_not:
            return row, ctx
        if ctx.ledger is not None:
            ctx.ledger.close()
    tell({"event": "note", "text": f"run #{earlier.index} of {earlier.pipeline} is not continued: {why_not}"})
    reason = f"a new retrain was started instead of resuming it: {why_not}"
    journal.fail_run(earlier.uid, Verdict.FAILED, [*earlier.reasons, reason], 1)
    return None


def _go_on(ports: Ports, found: RunRow, start: Start, tell: EventSink) -> tuple[RunRow, Context]:
    """That run in this process, with the settings it was started with."""
    row = ports.journal.resume_run(found.uid, **_who())
    pipeline = PipelineSettings.model_validate_json(ports.journal.settings_json(row.uid))
    note_resume(ports.journal, row.uid, start.epoch_s)
    return row, _context(ports, row, pipeline, start, tell, resumed=True)


def _who() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": this_host(), "pid_started": started_at_s(os.getpid())}


def _context(
    ports: Ports, row: RunRow, pipeline: PipelineSettings, start: Start, tell: EventSink, *, resumed: bool
) -> Context:
    timeline = Timeline(
        ports.clock.monotonic_s, start.monotonic_s, row.phases if resumed else None, start_utc_s=start.epoch_s
    )
    timeline.claim(Phase.WAIT, max(0.0, ports.clock.monotonic_s() - start.monotonic_s))
    folder = ports.settings.memory / "runs" / slug(row.pipeline) / f"{row.index:05d}-{row.uid[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    return Context(
        settings=ports.settings,
        name=row.pipeline,
        pipeline=pipeline,
        journal=ports.journal,
        clock=ports.clock,
        timeline=timeline,
        tell=tell,
        folder=folder,
        uid=row.uid,
        index=row.index or 0,
        ledger=open_ledger(ports.journal, row.uid, pipeline, resumed=resumed),
    )


def _baselines(ctx: Context, request: Request, *, resumed: bool) -> Baselines:
    """Chosen before anything else and kept, so that a resumed run is compared with what it was started against."""
    kept = ctx.journal.stages(ctx.uid).get("baselines") if resumed else None
    if kept is None:
        chosen = choose_baselines(ctx, request)
        found = {
            "champion": chosen.champion.record.uid if chosen.champion else None,
            "shown": chosen.shown.record.uid if chosen.shown else None,
            "trigger": ctx.timeline.trigger().to_json(),
            "ended": ctx.timeline.now().to_json(),
        }
        ctx.journal.stage_done(ctx.uid, "baselines", found, 0.0)
        return chosen

    def reopen(uid: str | None, which: str) -> Any:
        baseline = choose_baseline(ctx.journal, ctx.name, uid) if uid else None
        return replace(baseline, which=which) if baseline else None

    return Baselines(
        champion=reopen(kept["champion"], "champion"), shown=reopen(kept["shown"], request.compare or "last")
    )


def _record_failure(ctx: Context, row: RunRow, error: PlasterError) -> None:
    ctx.journal.save_progress(ctx.uid, ctx.timeline.to_json())
    if not ctx.journal.stages(ctx.uid).keys() - {"baselines"}:
        ctx.journal.fail_run(ctx.uid, Verdict.FAILED, [error.message], error.exit_code)
        return
    record = records.failed(ctx, row, error)
    ctx.journal.fail_run(ctx.uid, Verdict.FAILED, [error.message], error.exit_code, record)


def _record_interruption(ctx: Context, row: RunRow, error: Interrupted | Postponed) -> None:
    """The run waits to be resumed, unless it had ended already; the error tells what is known and how to go on."""
    ctx.journal.save_progress(ctx.uid, ctx.timeline.to_json())
    ctx.journal.interrupt_run(ctx.uid, error.message)
    called = ctx.name if ctx.name in ctx.settings.pipelines else ctx.pipeline.ref
    if ctx.journal.run(ctx.uid).state is RunState.INTERRUPTED:
        first = f"{error.next_step}; then " if isinstance(error, Postponed) else ""
        error.next_step = first + how_to_resume(row, called)
    else:
        error.next_step = f"the run had ended: plaster-ops history {called}; send what waits: plaster-ops sync"
    known = ctx.journal.record(ctx.uid) or records.failed(ctx, row, error)
    error.payload = run_payload(replace(known, exit_code=int(error.exit_code)), _mlflow_section(ctx, None))


def _finish(ctx: Context, ports: Ports, outcome: Outcome, request: Request) -> dict[str, Any]:
    if outcome.record is None:
        payload = bare_payload(
            ctx.name,
            verdict=outcome.verdict,
            exit_code=outcome.exit_code,
            reasons=list(outcome.reasons),
            mlflow=_mlflow_section(ctx, None),
            trigger=request.trigger,
        )
        payload["data"] |= data_section(outcome.prepared) | {"new_samples": 0}
        payload["phases"] = ctx.timeline.to_json()
        return payload
    keep_record(ctx, outcome.record)
    with ctx.timeline.phase(Phase.LOG):
        write_page(ctx, outcome.record)
        tracked = publish(ctx, ports)
    record = replace(outcome.record, phases=ctx.timeline.to_json())
    ctx.journal.save_progress(ctx.uid, record.phases)
    for fault in ctx.timeline.faults():
        ctx.tell({"event": "note", "text": f"self-test: {fault}"})
    keep_record(ctx, record)
    return run_payload(record, _mlflow_section(ctx, tracked))


def _failed_payload(ctx: Context, error: PlasterError, tracked: Mapping[str, Any] | None) -> dict[str, Any]:
    record = ctx.journal.record(ctx.uid)
    if record is None:
        return bare_payload(
            ctx.name,
            verdict=Verdict.FAILED,
            exit_code=error.exit_code,
            reasons=[error.message],
            mlflow=_mlflow_section(ctx, tracked),
            trigger="manual",
        )
    return run_payload(record, _mlflow_section(ctx, tracked))


def _mlflow_section(ctx: Context, tracked: Mapping[str, Any] | None) -> dict[str, Any]:
    empty = {
        "tracking_uri": ctx.settings.tracking_uri,
        "experiment": f"plaster/{ctx.name}",
        "run_id": None,
        "model_version": None,
        "spooled": None,
    }
    return empty | dict(tracked or {})
