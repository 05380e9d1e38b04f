"""One retrain, top to bottom: what arrived, train, optimise, measure, compare, decide, record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.compare import Comparison
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.run import RunRecord, Verdict
from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import ExitCode
from plaster_ops.flow import record as records
from plaster_ops.flow.baseline import Baseline, choose_baseline
from plaster_ops.flow.cards import build_card, machine_fingerprint
from plaster_ops.flow.context import Context
from plaster_ops.flow.optimise import Built, Opponent, optimise, rebuild
from plaster_ops.flow.promote import Decision, decide, narrowed_exit_code, swap_champion
from plaster_ops.flow.sidebyside import SideBySide, compare_with, measure, reopen
from plaster_ops.flow.train import Trained, train
from plaster_ops.plaster.profiles import find_profile


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asked for."""

    compare: str | None = None
    scratch: bool = False
    devices: int | None = None
    nodes: int | None = None
    profile: str | None = None
    measure: bool = True
    promote: bool = True
    fail_on: frozenset[str] = frozenset()
    trigger: str = "manual"
    slot: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a retrain ended; `record` is None for a skip."""

    verdict: Verdict
    exit_code: ExitCode
    reasons: tuple[str, ...]
    record: RunRecord | None = None
    prepared: Mapping[str, Any] | None = None
    shown: Baseline | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Baselines:
    """The engine that gates and the one that is shown; often the same."""

    champion: Baseline | None
    shown: Baseline | None

    def distinct(self) -> list[Baseline]:
        """Both, once each."""
        found = [b for b in (self.champion, self.shown) if b is not None]
        return list({b.record.uid: b for b in found}.values())


def retrain(ctx: Context, request: Request, baselines: Baselines) -> Outcome:
    """Runs or resumes the retrain of `ctx`; what is finished already is taken from the journal.

    Raises the `PlasterError` of the stage that failed; the journal then holds how far it came.
    """
    prepared = ctx.once("prepare", Phase.DATA, lambda: prepare(ctx))
    if prepared["skip"]:
        ctx.journal.skip_run(ctx.uid, reason=prepared["skip"], seen=prepared["window"]["seen"])
        return Outcome(verdict=Verdict.SKIPPED, exit_code=ExitCode.DONE, reasons=(prepared["skip"],), prepared=prepared)
    trained = train(ctx, request, prepared, baselines.champion)
    opponents: list[Opponent] = []
    built = optimise(
        ctx,
        weights=trained.weights,
        prepared=prepared,
        opponents_of=lambda exported: opponents.extend(_opponents(ctx, baselines, exported, prepared)) or opponents,
    )
    accepted_s = ctx.timeline.cycle_s()
    measured = _measure(ctx, request, built, opponents, prepared)
    fingerprint = machine_fingerprint(ctx, built)
    card = build_card(ctx, prepared=prepared, trained=trained, built=built, measured=measured, accepted_s=accepted_s)
    compared = {
        baseline.record.uid: _compare(ctx, card, baseline, measured, built, fingerprint, opponents)
        for baseline in baselines.distinct()
    }
    champion, shown = baselines.champion, baselines.shown
    decision = decide(ctx.pipeline, compared[champion.record.uid] if champion else None, allowed=request.promote)
    expected = champion.record.uid if champion else None
    decision = swap_champion(ctx.journal, ctx.name, ctx.uid, expected, decision)
    rows = compared[shown.record.uid] if shown else ()
    exit_code = narrowed_exit_code(decision, rows, request.fail_on)
    record = records.finished(
        ctx,
        request_trigger=(request.trigger, request.slot),
        prepared=prepared,
        trained=trained,
        built=built,
        card=card,
        rows=rows,
        shown=(shown, _how(shown, opponents, measured)),
        fingerprint=fingerprint,
        decision=decision,
        exit_code=exit_code,
        measured=measured,
    )
    ctx.journal.remember_engine(ctx.uid, records.manifest_digest(built), str(built.folder))
    ctx.journal.finish_run(ctx.uid, record)
    return Outcome(
        verdict=decision.verdict,
        exit_code=exit_code,
        reasons=decision.reasons,
        record=record,
        prepared=prepared,
        shown=shown,
    )


def choose_baselines(ctx: Context, request: Request) -> Baselines:
    """The champion, and what `--compare` names (the last finished retrain where it names nothing)."""
    shown = choose_baseline(ctx.journal, ctx.name, request.compare or "last")
    champion = choose_baseline(ctx.journal, ctx.name, "champion")
    return Baselines(champion=champion, shown=shown)


def prepare(ctx: Context) -> dict[str, Any]:
    """The data stage, with the watermarks of the journal."""
    seen, learned = ctx.journal.watermarks(ctx.name)
    spec = {
        "reference": ctx.pipeline.ref,
        "project": str(ctx.project),
        "seen": seen,
        "learned": learned,
        "needed": ctx.pipeline.trigger.min_new_samples,
    }
    return ctx.child("prepare", spec, timeout_s=ctx.pipeline.train.timeout_s)


def _opponents(
    ctx: Context, baselines: Baselines, exported: Mapping[str, Any], prepared: Mapping[str, Any]
) -> Sequence[Opponent]:
    """The engines of the baselines that can still run on today's inputs; one that is gone is rebuilt."""
    found = []
    for baseline in baselines.distinct():
        recorded = Fingerprint.from_json(baseline.record.fingerprint).input_shapes
        if recorded != records.input_shapes(exported):
            ctx.tell({"event": "note", "text": f"run {baseline.record.index} took other inputs: {recorded}"})
            continue
        if baseline.engine_folder is not None:
            found.append(Opponent(label=baseline.label, folder=baseline.engine_folder))
            continue
        rebuilt = rebuild(ctx, baseline, prepared)
        if rebuilt is not None:
            found.append(rebuilt)
    return found


def _measure(
    ctx: Context, request: Request, built: Built, opponents: Sequence[Opponent], prepared: Mapping[str, Any]
) -> SideBySide | None:
    if not request.measure:
        return None
    profile = find_profile(ctx.pipeline.measure.profile)

    def work() -> dict[str, Any]:
        engines = [Opponent(label="now", folder=built.folder), *opponents]
        measured = measure(ctx, engines, samples=prepared["samples"])
        return {"folders": [str(folder) for folder in measured.folders]}

    result = ctx.once("measure", Phase.MEASURE, work)
    return reopen(records.as_paths(result["folders"]), profile.name)


def _compare(
    ctx: Context,
    card: Card,
    baseline: Baseline,
    measured: SideBySide | None,
    built: Built,
    fingerprint: Fingerprint,
    opponents: Sequence[Opponent],
) -> tuple[Comparison, ...]:
    ran = any(o.label == baseline.label for o in opponents)
    return compare_with(
        card,
        baseline,
        measured if ran else None,
        built.evaluation,
        margins=ctx.pipeline.margins(),
        history=records.history_values(ctx),
        fingerprint=fingerprint,
    )


def _how(shown: Baseline | None, opponents: Sequence[Opponent], measured: SideBySide | None) -> str:
    ran = shown is not None and any(o.label == shown.label for o in opponents)
    return "remeasured" if ran and measured is not None else "stored"


__all__ = ["Baselines", "Decision", "Outcome", "Request", "Trained", "choose_baselines", "prepare", "retrain"]
