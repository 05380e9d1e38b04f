"""From trained weights to an accepted engine: last night's winner where nothing else is new, otherwise the ladder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plaster_ops.domain.timeline import Phase
from plaster_ops.engines.artifact import read_manifest
from plaster_ops.engines.ladder import Candidate
from plaster_ops.errors import BuildFailed, ChildFailed, MemoryLimit, TimedOut, UsageError
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.candidates import (
    FAILURES,
    Opponent,
    build_candidate,
    build_spec,
    engine_spec,
    evaluate,
    memory_limit,
    one_line,
)
from plaster_ops.flow.context import Context
from plaster_ops.flow.decide import instant
from plaster_ops.flow.ladder import climb


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The accepted engine: its folder and manifest, the facts of its graph, how it scored, and all that was tried.

    `decision`: build, refit or reuse; `how` says why, whether a ladder ran and what the refit cost. `opponents` are the
    engines that were scored beside it.
    """

    folder: Path
    manifest: Mapping[str, Any]
    export: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    tried: tuple[Mapping[str, Any], ...]
    opponents: tuple[Opponent, ...] = ()
    decision: str = "build"
    how: Mapping[str, Any] = field(default_factory=dict)

    def opponent_labels(self) -> tuple[str, ...]:
        """What the opponents are called."""
        return tuple(opponent.label for opponent in self.opponents)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What both ways to an engine need."""

    ctx: Context
    weights: str
    prepared: Mapping[str, Any]
    decided: Mapping[str, Any]
    exported: Mapping[str, Any]
    opponents: list[Opponent]

    @property
    def device(self) -> str:
        """Where the engine runs."""
        return str(self.decided["device"])

    def accept(self, folder: Path, name: str) -> dict[str, Any]:
        """The evaluation of the engine in `folder` beside its opponents, kept in the journal.

        Where that ends badly the opponents are left out, once and for all: an old engine may be the one that crashes.
        An engine that ends it alone is not accepted.
        """
        try:
            return self._evaluated(folder, name)
        except FAILURES as error:
            reason = one_line(error)
        if self.opponents:
            labels = ", ".join(opponent.label for opponent in self.opponents)
            self.opponents.clear()
            self.ctx.tell({"event": "note", "text": f"scored without {labels}: {reason}"})
            try:
                return self._evaluated(folder, f"{name}-alone")
            except FAILURES as error:
                reason = one_line(error)
        self.ctx.tell({"event": "note", "text": f"{name}: {reason}"})
        return {"accepted": False, "reason": reason}

    def _evaluated(self, folder: Path, name: str) -> dict[str, Any]:
        engines = [Opponent(label="now", folder=folder), *self.opponents]
        return self.ctx.once(
            f"evaluate {name}",
            Phase.EVAL,
            lambda: evaluate(
                self.ctx, weights=self.weights, prepared=self.prepared, engines=engines, folder=f"evaluate-{name}"
            ),
            within=(Phase.PARITY, "parity_s"),
        )

    def built(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        tried: Sequence[Mapping[str, Any]],
        how: Mapping[str, Any],
    ) -> Built:
        """The result."""
        return Built(
            folder=folder,
            manifest=manifest,
            export=self.exported,
            evaluation=evaluation,
            tried=tuple(tried),
            opponents=tuple(self.opponents),
            decision=str(how["decision"]),
            how={**how, "device": self.device, "stack": self.decided["stack"], "wanted": self.decided["wanted"]},
        )


def optimise(
    ctx: Context,
    *,
    weights: str,
    prepared: Mapping[str, Any],
    decided: Mapping[str, Any],
    opponents_of: Callable[[Mapping[str, Any]], Sequence[Opponent]],
) -> Built:
    """The engine of a retrain. `decided`: see `decide.decide_engine`.

    `opponents_of(exported)` gives the engines that the new one is scored against on the same samples. Raises
    `BuildFailed` with every candidate's reason where none may be used.
    """
    exported = ctx.once(
        "export",
        Phase.EXPORT,
        lambda: export(
            ctx, weights, prepared, eager=str(decided["device"]), previous=_previous(ctx, prepared, decided)
        ),
        within=(Phase.BUILD, "again_s"),
    )
    work = _Work(
        ctx=ctx,
        weights=weights,
        prepared=prepared,
        decided=decided,
        exported=exported,
        opponents=list(opponents_of(exported)),
    )
    failed: dict[str, str] = {}
    why = str(decided["why"])
    if decided["kind"] == "again":
        found, why = _again(work, failed)
        if found is not None:
            return found
    return _by_ladder(work, why, failed)


def export(
    ctx: Context,
    weights: str | None,
    prepared: Mapping[str, Any],
    folder: str = "export",
    *,
    eager: str | None,
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Exports the model with those weights, with an eager engine on the device `eager` beside it; the stage's result.

    A refit that kills the process costs one more export, without it.
    """

    def asked(again: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
        return ctx.child(
            "export",
            {
                "reference": ctx.pipeline.ref,
                "project": str(ctx.project),
                "weights": weights,
                "window": prepared["window"],
                "samples": prepared["samples"],
                "max_batch": ctx.pipeline.max_batch(),
                "eager": {"threads": ctx.pipeline.engine.threads, "device": eager} if eager else None,
                "previous": again,
            },
            folder=name,
            timeout_s=ctx.pipeline.engine.timeout_s,
            memory_bytes=memory_limit(ctx),
        )

    reason = ""
    try:
        result = asked(previous, folder)
    except (ChildFailed, TimedOut, MemoryLimit) as error:
        if previous is None or (isinstance(error, ChildFailed) and error.kind == "exception"):
            raise
        reason = f"the refit ended its process: {one_line(error)}"
        ctx.tell({"event": "note", "text": reason})
        result = asked(None, f"{folder}-again")
        result["again"] = {"decision": "rebuild", "reason": reason, "manifest": None, "stage_s": 0.0}
    return result | {"again_s": float((result.get("again") or {}).get("stage_s") or 0.0)}


def rebuild(ctx: Context, baseline: Baseline, prepared: Mapping[str, Any]) -> Opponent | None:
    """The engine of an earlier run built anew from its stored weights, on today's stack; None where that fails."""
    weights, engine = baseline.record.weights_file, baseline.record.engine
    if not weights or not Path(weights).is_file():
        return None
    name = f"rebuilt-{baseline.label}"
    ctx.tell(
        {"event": "note", "text": f"engine of run {baseline.record.index} is gone: rebuilding it from its weights"}
    )
    try:
        with ctx.timeline.phase(Phase.BUILD), ctx.spending(name, Phase.BUILD):
            exported = export(ctx, weights, prepared, folder=f"{name}-export", eager=None)
            folder = ctx.folder / name
            candidate = Candidate(backend=engine["backend"], precision=engine["precision"])
            device = str(engine.get("device") or "cpu")
            spec = build_spec(ctx, candidate, exported, prepared.get("calibration"), device, folder)
            timeout_s = ctx.pipeline.engine.timeout_s
            ctx.child("build", spec, folder=f"{name}-build", timeout_s=timeout_s, memory_bytes=memory_limit(ctx))
    except (BuildFailed, ChildFailed, TimedOut, UsageError, KeyError) as error:
        ctx.tell({"event": "note", "text": f"run {baseline.record.index} cannot be rebuilt: {error}"})
        return None
    return Opponent(label=baseline.label, folder=folder)


def _previous(ctx: Context, prepared: Mapping[str, Any], decided: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the export stage needs to try last night's engine once more."""
    last = decided["last"]
    if decided["kind"] != "again" or last is None:
        return None
    candidate = _candidate_of(last["engine"])
    return {
        "folder": last["folder"],
        "spec": engine_spec(ctx, candidate, prepared.get("calibration"), str(decided["device"])),
        "out": str(ctx.folder / f"engine-{candidate.label}-again"),
        "rebuild": decided["rebuild"],
    }


def _candidate_of(engine: Mapping[str, Any]) -> Candidate:
    return Candidate(
        backend=engine["backend"], precision=engine["precision"], last_resort=bool(engine.get("last_resort"))
    )


def _again(work: _Work, failed: dict[str, str]) -> tuple[Built | None, str]:
    """Last night's winner: reused, refitted or rebuilt; else None and why a ladder is needed. Fills `failed`."""
    ctx, last = work.ctx, work.decided["last"]
    engine = last["engine"]
    candidate, again = _candidate_of(engine), work.exported["again"]
    how = {"why": again["reason"], "ladder_at": engine["ladder_at"], "last": last["index"]}
    how |= {"full_build_stage_s": engine.get("full_build_stage_s")}
    if again["decision"] == "ladder":
        return None, str(again["reason"])
    if again["decision"] in ("reuse", "refit"):
        name = f"{candidate.label}-again"
        evaluation = work.accept(ctx.folder / f"engine-{name}", name)
        if evaluation["accepted"]:
            how |= {"decision": again["decision"], "stage_s": again["stage_s"], "call_s": again["call_s"]}
            ctx.tell({"event": "note", "text": f"{again['decision']} of the engine of #{last['index']}, accepted"})
            row = _row(candidate, again["manifest"], how)
            return work.built(ctx.folder / f"engine-{name}", again["manifest"], evaluation, [row], how), ""
        how["why"] = f"{again['decision']} refused: {evaluation['reason']}"
        ctx.tell({"event": "note", "text": f"{how['why']}; building anew"})
    elif again["reason"]:
        ctx.tell({"event": "note", "text": f"no refit: {again['reason']}"})
    found = build_candidate(ctx, candidate, work.exported, work.prepared.get("calibration"), work.device)
    reason = found["reason"]
    if found["manifest"] is not None:
        folder = Path(found["manifest"]["folder"])
        evaluation = work.accept(folder, candidate.label)
        reason = evaluation["reason"]
        if evaluation["accepted"]:
            how |= {"decision": "build", "stage_s": found["stage_s"], "full_build_stage_s": found["stage_s"]}
            row = _row(candidate, found["manifest"], how)
            return work.built(folder, found["manifest"], evaluation, [row], how), ""
    failed[candidate.label] = reason
    return None, f"the winner of #{last['index']} cannot be used: {reason}"


def _by_ladder(work: _Work, why: str, failed: Mapping[str, str]) -> Built:
    ctx = work.ctx
    ctx.tell({"event": "note", "text": f"ladder: {why}"})
    ladder = climb(ctx, work.exported, work.weights, work.prepared, work.device, failed)
    at = ctx.once("ladder", Phase.OTHER, lambda: {"at": instant(ctx.clock.now_utc())})["at"]
    rows = {(row["backend"], row["precision"]): row for row in ladder.rows}
    for rung in ladder.rungs:
        row = rows[rung.candidate.backend, rung.candidate.precision]
        evaluation = work.accept(rung.folder, rung.candidate.label)
        if not evaluation["accepted"]:
            row |= {"ok": False, "reason": evaluation["reason"]}
            continue
        row["chosen"] = True
        how = {
            "decision": "build",
            "why": why,
            "chosen": ladder.why,
            "ladder_at": at,
            "stage_s": rung.stage_s,
            "full_build_stage_s": rung.stage_s,
            "last_resort": rung.candidate.last_resort,
        }
        return work.built(rung.folder, rung.manifest, evaluation, ladder.rows, how)
    reasons = "; ".join(f"{row['backend']} {row['precision']}: {row['reason']}" for row in ladder.rows)
    raise BuildFailed(f"no engine could be used: {reasons}", f"see the logs under {ctx.folder}")


def _row(candidate: Candidate, manifest: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    """The one row of a night without a ladder."""
    stored = read_manifest(Path(manifest["folder"]))
    return {
        "backend": candidate.backend,
        "precision": candidate.precision,
        "ok": True,
        "reason": None,
        "chosen": True,
        "decision": how["decision"],
        "build_s": manifest["build_s"] if how["decision"] == "build" else None,
        "refit_s": how.get("call_s"),
        "stage_s": how["stage_s"],
        "engine_bytes": sum(file.bytes for file in stored.files),
        "effective_precision": stored.effective_precision,
    }
