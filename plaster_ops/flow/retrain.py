"""One retrain, top to bottom: what arrived, train, optimise, measure, compare, decide, record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.artifact import verify
from plaster_ops.engines.ladder import needs_calibration
from plaster_ops.errors import ExitCode
from plaster_ops.flow import record as records
from plaster_ops.flow.baseline import Baseline, Baselines, choose_baseline
from plaster_ops.flow.candidates import Opponent
from plaster_ops.flow.closing import close
from plaster_ops.flow.compact_record import keep_compact
from plaster_ops.flow.context import Context
from plaster_ops.flow.curve import learning_curve
from plaster_ops.flow.decide import decide_engine
from plaster_ops.flow.judge import Found, judge
from plaster_ops.flow.optimise import Built, optimise, rebuild
from plaster_ops.flow.promote import narrowed_exit_code, overtaken, promotion_of
from plaster_ops.flow.sections import input_shapes
from plaster_ops.flow.sidebyside import SideBySide, measure, reopen
from plaster_ops.flow.sketches import inspection_spec
from plaster_ops.flow.train import train
from plaster_ops.flow.watching import as_stored, with_alarms
from plaster_ops.plaster.profiles import find_profile
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal_rows import RunRow
from plaster_ops.training.nodes.part import Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asked for."""

    compare: str | None = None
    scratch: bool = False
    devices: int | None = None
    part: Part = field(default_factory=Part)
    """Which node of how many this is."""
    launcher: str | None = None
    profile: str | None = None
    measure: bool = True
    promote: bool = True
    fail_on: frozenset[str] = frozenset()
    trigger: str = "manual"
    slot: str | None = None
    ladder: bool = False
    estimate_energy: bool = False
    server: bool = False

    def applied_to(self, pipeline: PipelineSettings) -> PipelineSettings:
        """The settings with what was asked for in place of what they say."""
        changes: dict[str, Any] = {"start": "scratch"} if self.scratch else {}
        train = {k: v for k, v in (("devices", self.devices), ("launcher", self.launcher)) if v is not None}
        if train:
            changes["train"] = pipeline.train.model_copy(update=train)
        asked = {"profile": self.profile, "estimate_energy": self.estimate_energy, "server": self.server}
        measure = {name: value for name, value in asked.items() if value}
        if measure:
            changes["measure"] = pipeline.measure.model_copy(update=measure)
        return pipeline.model_copy(update=changes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a retrain ended; `record` is None for a skip."""

    verdict: Verdict
    exit_code: ExitCode
    reasons: tuple[str, ...]
    prepared: Mapping[str, Any]
    record: RunRecord | None = None


def retrain(ctx: Context, row: RunRow, request: Request, baselines: Baselines) -> Outcome:
    """Runs or resumes the retrain of `ctx`; what is finished already is taken from the journal.

    Raises the `PlasterError` of the stage that failed; the journal then holds how far it came.
    """
    prepared = ctx.once("prepare", Phase.DATA, lambda: prepare(ctx))
    if prepared["skip"]:
        return _skip(ctx, prepared)
    trained = train(ctx, prepared, baselines.champion)
    prepared = dict(trained.prepared)
    built = optimise(
        ctx,
        weights=trained.weights,
        prepared=prepared,
        decided=ctx.once("decide", Phase.OTHER, lambda: _decide(ctx, request)),
        opponents_of=lambda exported: _opponents(ctx, baselines, exported, prepared),
    )
    accepted_s = ctx.once("accepted", Phase.OTHER, lambda: {"cycle_s": ctx.timeline.cycle_s()})["cycle_s"]
    trained = replace(trained, curve=learning_curve(ctx, trained, prepared))
    measured = _measure(ctx, request, built, prepared)
    with ctx.timeline.phase(Phase.MEASURE):
        found = Found(prepared=prepared, trained=trained, built=built, measured=measured, accepted_s=accepted_s)
        told = judge(ctx, baselines, found, may_promote=request.promote)
    gate, faults = ctx.timeline.now(), ctx.timeline.faults()
    with ctx.timeline.phase(Phase.DEPLOY):
        return _finish(
            ctx, row, told, baselines.champion, request, partial(close, ctx, slot=row.slot, gate=gate, faults=faults)
        )


def _skip(ctx: Context, prepared: Mapping[str, Any]) -> Outcome:
    ctx.journal.skip_run(ctx.uid, reason=prepared["skip"], seen=prepared["window"]["seen"])
    return Outcome(verdict=Verdict.SKIPPED, exit_code=ExitCode.DONE, reasons=(prepared["skip"],), prepared=prepared)


def _finish(
    ctx: Context,
    row: RunRow,
    told: records.Measured,
    champion: Baseline | None,
    request: Request,
    closed: Callable[[records.Measured], records.Measured],
) -> Outcome:
    """Stores the record and swaps the champion in one transaction; held where another run was promoted meanwhile."""
    if told.decision.promotes:
        verify(told.built.folder)  # reloaded in fresh processes before: here only that it is still the same
    ctx.journal.remember_engine(ctx.uid, records.manifest_digest(told.built), told.built.folder)
    expected = champion.record.uid if champion else None
    exit_code = narrowed_exit_code(told.decision, told.rows, request.fail_on)
    record = _finished(ctx, row, closed(told), exit_code)
    kept = keep_compact(ctx, told, record)
    if not ctx.journal.finish_run(ctx.uid, record, promotion_of(told.decision, expected), evidence=kept):
        told = replace(told, decision=overtaken(told.decision))
        exit_code = told.decision.exit_code
        record = _finished(ctx, row, closed(told), exit_code)
        ctx.journal.finish_run(ctx.uid, record, evidence=keep_compact(ctx, told, record))
    return Outcome(
        verdict=told.decision.verdict,
        exit_code=exit_code,
        reasons=told.decision.reasons,
        prepared=told.prepared,
        record=_told_of_alarms(ctx, as_stored(ctx.journal, record)),
    )


def _told_of_alarms(ctx: Context, record: RunRecord) -> RunRecord:
    for alarm in ctx.journal.alarms_of_run(record.uid):
        ctx.tell({"event": "note", "text": f"alarm {alarm.id}: {alarm.sentence}; plaster-ops drift has more"})
    return record


def _finished(ctx: Context, row: RunRow, told: records.Measured, exit_code: ExitCode) -> RunRecord:
    """The record, with the alarms that its card raises."""
    return with_alarms(ctx.journal, records.finished(ctx, row, told, exit_code), ctx.pipeline.margins())


def choose_baselines(ctx: Context, request: Request) -> Baselines:
    """The champion, and what `--compare` names (the last finished retrain where it names nothing)."""
    shown = choose_baseline(ctx.journal, ctx.name, request.compare or "last")
    champion = choose_baseline(ctx.journal, ctx.name, "champion")
    return Baselines(champion=champion, shown=shown)


def prepare(ctx: Context) -> dict[str, Any]:
    """The data stage, with the watermarks of the journal."""
    spec = ctx.data_spec(arrived=True, calibration_samples=calibration_samples(ctx))
    spec["inspect"] = inspection_spec(ctx)
    prepared = ctx.child("prepare", spec, timeout_s=ctx.pipeline.train.timeout_s)
    return {**prepared, "times": _with_what_was_learned(ctx, prepared.get("times"))}


def _with_what_was_learned(ctx: Context, times: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The newest row that is trained on may be one that the champion has learned: new ones may all have come late."""
    champion = ctx.journal.champion(ctx.name)
    record = None if champion is None else ctx.journal.record(champion.uid)
    before = None if record is None else record.data.get("newest_trained_at")
    if times is None or before is None:
        return None if times is None else dict(times)
    newest = times.get("newest_trained")
    return {**times, "newest_trained": before if newest is None else max(newest, before)}


def _decide(ctx: Context, request: Request) -> dict[str, Any]:
    """Ladder or not, against the engine of the last finished retrain."""
    last = choose_baseline(ctx.journal, ctx.name, "last")
    return decide_engine(ctx, last, force_ladder=request.ladder)


def calibration_samples(ctx: Context) -> int:
    """How many inputs to put aside for quantisation; 0 where no candidate needs any."""
    engine = ctx.pipeline.engine
    return engine.calibration_samples if needs_calibration(engine.backends, engine.precisions) else 0


def _opponents(
    ctx: Context, baselines: Baselines, exported: Mapping[str, Any], prepared: Mapping[str, Any]
) -> Sequence[Opponent]:
    """The engines of the baselines that can still run on today's inputs; one that is gone is rebuilt."""
    found = []
    for baseline in baselines.distinct():
        recorded = Fingerprint.from_json(baseline.record.fingerprint).input_shapes
        if recorded != input_shapes(exported):
            ctx.tell({"event": "note", "text": f"run {baseline.record.index} took other inputs: {recorded}"})
            continue
        if baseline.engine_folder is not None:
            found.append(Opponent(label=baseline.label, folder=baseline.engine_folder))
            continue
        rebuilt = rebuild(ctx, baseline, prepared)
        if rebuilt is not None:
            found.append(rebuilt)
    return found


def _measure(ctx: Context, request: Request, built: Built, prepared: Mapping[str, Any]) -> SideBySide | None:
    if not request.measure:
        return None
    profile = find_profile(ctx.pipeline.measure.profile)

    def work() -> dict[str, Any]:
        engines = [Opponent(label="now", folder=built.folder), *built.opponents]
        measured = measure(
            ctx,
            engines,
            samples=prepared["samples"],
            eager=Path(built.export["eager"]),
            device=built.manifest["spec"]["device"],
        )
        return {"folders": [str(folder) for folder in measured.folders]}

    result = ctx.once("measure", Phase.MEASURE, work)
    with ctx.timeline.phase(Phase.MEASURE):
        return reopen([Path(folder) for folder in result["folders"]], profile.name)
