"""Two engines of the past, measured now side by side, on the same inputs and in fresh processes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.compare import compare_cards
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import EngineGone, NotComparable
from plaster_ops.flow.assessment import Against
from plaster_ops.flow.baseline import Baseline
from plaster_ops.flow.candidates import Opponent, evaluate, evaluation_spec
from plaster_ops.flow.comparison import Compared, Pair
from plaster_ops.flow.context import Context
from plaster_ops.flow.earlier import earlier_values
from plaster_ops.flow.noise import calibrated, device_of, noise_of, on_this_machine
from plaster_ops.flow.optimise import rebuild
from plaster_ops.flow.sidebyside import SideBySide, card_then, is_remeasured, measure, paired_evidence, reopen
from plaster_ops.plaster.noise import noise_rows


def remeasure(ctx: Context, pair: Pair) -> Compared:
    """Both engines scored and timed. Raises `EngineGone` where one is not there and cannot be built again."""
    now, then = pair.now, pair.then
    engines, prepared, evaluation = _examine(ctx, now, then)
    profile = ctx.pipeline.measure.profile
    device = device_of(now.record)
    folders = ctx.once(
        "measure", Phase.MEASURE, lambda: _folders(measure(ctx, engines, samples=prepared["samples"], device=device))
    )
    margins = ctx.pipeline.margins()
    here = _here(ctx, then, device)
    noise = calibrated(ctx.journal, ctx.name, on_this_machine(now.record), profile)
    with ctx.timeline.phase(Phase.MEASURE):
        measured = reopen([Path(folder) for folder in folders["folders"]], profile)
        card_now = card_then(now.card, "now", measured.evidence, evaluation)
        card_before = card_then(then.card, _label(then), measured.evidence, evaluation)
        rows = compare_cards(
            card_now,
            card_before,
            paired_evidence(measured.evidence, evaluation, _label(then), margins, noise),
            margins=margins,
            history=pair.history,
            recorded=now.card,
        )
    widths = noise_of(measured.evidence, ("now",), margins, noise)
    digest = str(then.record.fingerprint.get("digest") or "")
    return Compared(
        card=_shown(card_now, now, widths),
        rows=rows,
        against=Against(
            record=then.record,
            today=card_before,
            history=earlier_values(ctx.journal, ctx.name, fingerprint=digest, before=then.record.index + 1),
            noise=noise,
            machine=here,
        ),
        how="remeasured",
        phases=ctx.timeline.to_json(),
    )


def _here(ctx: Context, then: Baseline, device: str) -> Fingerprint:
    """This machine, with the threads that engines run with today."""
    here = on_this_machine(then.record)
    return replace(here, threads=ctx.pipeline.engine.threads) if device == "cpu" else here


def _shown(card: Card, now: Baseline, widths: Mapping[str, float]) -> Card:
    """The card with the machine's noise of today; what no measurement of today gave says that it was recorded."""
    noise = noise_rows(widths, "too few turns to tell it from this measurement")
    of_today = {row.metric for row in noise}
    whence = f"as run #{now.record.index} recorded it"
    return Card.of(
        [
            *(
                replace(row, reason=f"{whence}: {row.reason}" if row.reason else whence)
                if isinstance(row, Reading) and not is_remeasured(row.metric)
                else row
                for row in card
                if row.metric not in of_today
            ),
            *noise,
        ]
    )


def _examine(
    ctx: Context, now: Baseline, then: Baseline
) -> tuple[list[Opponent], Mapping[str, Any], Mapping[str, Any]]:
    """Both engines and how they score on today's data; one process does it all where both engines are there."""
    found = [
        Opponent(label=label, folder=baseline.engine_folder)
        for label, baseline in (("now", now), (_label(then), then))
        if baseline.engine_folder is not None
    ]
    if len(found) == 2:
        spec = {"prepare": ctx.data_spec(), "evaluate": evaluation_spec(ctx, None, found)}
        told = ctx.once("examine", Phase.EVAL, lambda: ctx.child("examine", spec))
        _check_data(told["prepared"])
        return found, told["prepared"], told["evaluation"]
    asked = ctx.data_spec(calibration_samples=ctx.pipeline.engine.calibration_samples)  # one is built anew
    prepared = ctx.once("prepare", Phase.DATA, lambda: ctx.child("prepare", asked))
    _check_data(prepared)
    engines = [_engine(ctx, now, prepared, "now"), _engine(ctx, then, prepared, _label(then))]
    evaluation = ctx.once(
        "evaluate", Phase.EVAL, lambda: evaluate(ctx, weights=None, prepared=prepared, engines=engines)
    )
    return engines, prepared, evaluation


def _check_data(prepared: Mapping[str, Any]) -> None:
    if prepared["skip"]:
        raise NotComparable(f"there is no data to compare on: {prepared['skip']}", "let data arrive, then compare")


def _folders(measured: SideBySide) -> dict[str, Any]:
    return {"folders": [str(folder) for folder in measured.folders]}


def _label(then: Baseline) -> str:
    return f"then-{then.label}"


def _engine(ctx: Context, baseline: Baseline, prepared: Mapping[str, Any], label: str) -> Opponent:
    if baseline.engine_folder is not None:
        return Opponent(label=label, folder=baseline.engine_folder)
    rebuilt = rebuild(ctx, baseline, prepared)
    if rebuilt is None:
        raise EngineGone(
            f"the engine of run #{baseline.record.index} is gone, and it could not be built again",
            "compare the recorded numbers with --stored",
        )
    return replace(rebuilt, label=label)
