"""`compare A B`: two engines of the past, measured now side by side; nothing is recorded, nothing is promoted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card, Reading
from plaster_ops.domain.compare import Evidence, compare_cards
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.timeline import Phase
from plaster_ops.errors import NotComparable
from plaster_ops.flow import record as records
from plaster_ops.flow.baseline import Baseline, choose_baseline
from plaster_ops.flow.candidates import Opponent, evaluate, evaluation_spec
from plaster_ops.flow.context import Context
from plaster_ops.flow.noise import calibrated, device_of, noise_of, on_this_machine
from plaster_ops.flow.optimise import rebuild
from plaster_ops.flow.scratch import scratch_context
from plaster_ops.flow.sidebyside import SideBySide, card_then, is_remeasured, measure, paired_evidence, reopen
from plaster_ops.flow.stored_pairs import stored_pairs
from plaster_ops.flow.wiring import Ports, open_ports
from plaster_ops.plaster.noise import noise_rows
from plaster_ops.ports import EventSink
from plaster_ops.report.json_text import run_payload
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings


def compare_runs(
    settings: Settings,
    name: str | None,
    pair: tuple[str, str],
    *,
    profile: str,
    server: bool = False,
    stored: bool,
    tell: EventSink,
    start_s: float,
) -> dict[str, Any]:
    """Compares run `pair[0]` (now) with `pair[1]` (then) and returns a `--json` object; `verdict` sums the rows up.

    Raises `UsageError` for a run that does not exist, `NotComparable` where the two have no common ground.
    """
    found, pipeline = settings.pipeline(name)
    asked = {"profile": profile, "server": server or pipeline.measure.server}
    pipeline = pipeline.model_copy(update={"measure": pipeline.measure.model_copy(update=asked)})
    with open_ports(settings) as ports:
        now = choose_baseline(ports.journal, found, pair[0])
        then = choose_baseline(ports.journal, found, pair[1])
        missing = pair[0] if now is None else pair[1] if then is None else None
        if now is None or then is None:
            raise NotComparable(f"{missing!r} names no run of {found!r}", f"see: plaster-ops history {found}")
        _check_common_ground(now, then)
        mlflow = _mlflow_section(ports, now)
        if stored:
            return _stored(ports, mlflow, now, then, pipeline)
        with scratch_context(ports, found, pipeline, purpose="compare", tell=tell, start_s=start_s) as ctx:
            return _remeasured(ctx, mlflow, now, then)


def _check_common_ground(now: Baseline, then: Baseline) -> None:
    mine, theirs = (Fingerprint.from_json(b.record.fingerprint) for b in (now, then))
    if mine.input_shapes != theirs.input_shapes:
        raise NotComparable(
            f"run {now.record.index} takes {mine.input_shapes}, run {then.record.index} takes {theirs.input_shapes}",
            "engines with other inputs cannot answer the same queries",
        )


def _remeasured(ctx: Context, mlflow: Mapping[str, Any], now: Baseline, then: Baseline) -> dict[str, Any]:
    engines, prepared, evaluation = _examine(ctx, now, then)
    profile = ctx.pipeline.measure.profile
    device = device_of(now.record)
    folders = ctx.once(
        "measure", Phase.MEASURE, lambda: _folders(measure(ctx, engines, samples=prepared["samples"], device=device))
    )
    margins = ctx.pipeline.margins()
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
            history=records.history_values(ctx.journal, ctx.name, before=now.record.index),
        )
    widths = noise_of(measured.evidence, ("now",), margins, noise)
    return _payload(mlflow, now, then, _shown(card_now, now, widths), rows, "remeasured", ctx.timeline.to_json())


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
        raise NotComparable(
            f"the engine of run {baseline.record.index} is gone and could not be rebuilt",
            "compare the recorded numbers with --stored",
        )
    return replace(rebuilt, label=label)


def _stored(
    ports: Ports, mlflow: Mapping[str, Any], now: Baseline, then: Baseline, pipeline: PipelineSettings
) -> dict[str, Any]:
    mine, theirs = (Fingerprint.from_json(b.record.fingerprint) for b in (now, then))
    rows = compare_cards(
        now.card,
        then.card,
        Evidence(ratios={}, differences=stored_pairs(ports.journal, now.record.uid, then.record.uid)),
        margins=pipeline.margins(),
        history=records.history_values(ports.journal, now.record.pipeline, before=now.record.index),
        differing=mine.differences(theirs),
        how="stored",
    )
    return _payload(mlflow, now, then, now.card, rows, "stored", {})


def _mlflow_section(ports: Ports, now: Baseline) -> dict[str, Any]:
    """Where the record of run `now` is; a comparison itself is recorded nowhere."""
    row = ports.journal.run(now.record.uid)
    return {
        "tracking_uri": row.tracking_uri or ports.settings.tracking_uri,
        "experiment": row.experiment or f"plaster/{row.pipeline}",
        "run_id": row.mlflow_run_id,
        "model_version": row.model_version,
        "spooled": None,
    }


def _payload(
    mlflow: Mapping[str, Any],
    now: Baseline,
    then: Baseline,
    card: Card,
    rows: Sequence[Comparison],
    how: str,
    phases: dict[str, float],
) -> dict[str, Any]:
    verdict = overall(rows)
    record = replace(
        now.record,
        verdict=verdict.value,
        exit_code=0,
        reasons=(_sum_up(rows, now, then),),
        baseline=then.to_json(how),
        card=tuple(card.to_json()),
        comparison=tuple(row.to_json() for row in rows),
        phases=phases,
    )
    return run_payload(record, mlflow)


def overall(rows: Sequence[Comparison]) -> Judgement:
    """worse if any headline is worse; better if one is better and none worse; same if all that count are the same."""
    words = [row.judgement for row in rows if row.metric.headline and row.judgement is not Judgement.NOT_COMPARABLE]
    if not words:
        return Judgement.NOT_COMPARABLE
    for word in (Judgement.WORSE, Judgement.BETTER, Judgement.INCONCLUSIVE):
        if word in words:
            return word
    return Judgement.SAME


def _sum_up(rows: Sequence[Comparison], now: Baseline, then: Baseline) -> str:
    heads = [row for row in rows if row.metric.headline]
    counts = {word: sum(row.judgement is word for row in heads) for word in Judgement}
    told = ", ".join(f"{count} {word.value.replace('_', ' ')}" for word, count in counts.items() if count)
    return f"run #{now.record.index} against #{then.record.index}: {told}"
