"""`compare A B`: two engines of the past, measured now side by side; nothing is recorded, nothing is promoted.

Here is what recorded numbers alone can answer, at once; measuring again is `remeasured`'s, and loaded only for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plaster_ops.domain.card import Card
from plaster_ops.domain.compare import Evidence, compare_cards
from plaster_ops.domain.earlier import Earlier
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.judgement import Comparison, Judgement
from plaster_ops.domain.tradeoff import overall
from plaster_ops.errors import EngineGone, NotComparable
from plaster_ops.flow.assessment import Against, assess
from plaster_ops.flow.baseline import Baseline, choose_baseline, recorded_baseline
from plaster_ops.flow.earlier import earlier_values
from plaster_ops.flow.promote import failing
from plaster_ops.flow.stored_pairs import stored_pairs
from plaster_ops.flow.wiring import Ports, open_to_look
from plaster_ops.ports import EventSink
from plaster_ops.report.json_text import run_payload
from plaster_ops.settings import Settings
from plaster_ops.settings_sections import PipelineSettings
from plaster_ops.tracking.journal import Journal


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """What a comparison found. `how`: remeasured or stored. `note`: why it was not measured, though it was asked."""

    card: Card
    rows: Sequence[Comparison]
    against: Against
    how: str = "stored"
    phases: Mapping[str, float] | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Run `now`, the one it is compared with, and the settings of their pipeline."""

    now: Baseline
    then: Baseline
    pipeline: PipelineSettings
    history: Mapping[str, Earlier]
    """Of `now`: the retrains before it."""


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
    fail_on: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Compares run `pair[0]` (now) with `pair[1]` (then) and returns a `--json` object; `verdict` sums the rows up.

    Where one of the engines is gone for good, recorded numbers are compared, and `reasons` says so. `fail_on`: words of
    headline rows that make `exit_code` 3, 4 or 5. Raises `UsageError` for a run that does not exist, `NotComparable`
    where the two have no common ground.
    """
    found, pipeline = settings.pipeline(name)
    asked = {"profile": profile, "server": server or pipeline.measure.server}
    pipeline = pipeline.model_copy(update={"measure": pipeline.measure.model_copy(update=asked)})
    choose = recorded_baseline if stored else choose_baseline
    with open_to_look(settings) as ports:
        now, then = (choose(ports.journal, found, which) for which in pair)
        missing = pair[0] if now is None else pair[1] if then is None else None
        if now is None or then is None:
            raise NotComparable(f"{missing!r} names no run of {found!r}", f"see: plaster-ops history {found}")
        _check_common_ground(now, then)
        digest = str(now.record.fingerprint.get("digest") or "")
        history = earlier_values(ports.journal, found, fingerprint=digest, before=now.record.index)
        chosen = Pair(now=now, then=then, pipeline=pipeline, history=history)
        compared = _from_records(ports.journal, chosen) if stored else _measured(ports, found, chosen, tell, start_s)
        return _payload(_mlflow_section(ports, now), chosen, compared, fail_on)


def _check_common_ground(now: Baseline, then: Baseline) -> None:
    mine, theirs = (Fingerprint.from_json(b.record.fingerprint) for b in (now, then))
    if mine.input_shapes != theirs.input_shapes:
        raise NotComparable(
            f"run {now.record.index} takes {mine.input_shapes}, run {then.record.index} takes {theirs.input_shapes}",
            "engines with other inputs cannot answer the same queries",
        )


def _measured(ports: Ports, name: str, pair: Pair, tell: EventSink, start_s: float) -> Compared:
    """Measured again; from the records where an engine is gone and cannot be built again."""
    for baseline in (pair.now, pair.then):
        weights = baseline.record.weights_file
        if baseline.engine_folder is None and not (weights and Path(weights).is_file()):
            return _from_records(ports.journal, pair, _gone(baseline, "its weights are gone too"))
    from plaster_ops.flow.remeasured import remeasure
    from plaster_ops.flow.scratch import scratch_context

    try:
        with scratch_context(ports, name, pair.pipeline, purpose="compare", tell=tell, start_s=start_s) as ctx:
            return remeasure(ctx, pair)
    except EngineGone as error:
        return _from_records(ports.journal, pair, error.message)


def _gone(baseline: Baseline, why: str) -> str:
    return f"the engine of run #{baseline.record.index} is gone, and {why}"


def _from_records(journal: Journal, pair: Pair, note: str = "") -> Compared:
    now, then = pair.now, pair.then
    mine, theirs = (Fingerprint.from_json(b.record.fingerprint) for b in (now, then))
    rows = compare_cards(
        now.card,
        then.card,
        Evidence(ratios={}, differences=stored_pairs(journal, now.record.uid, then.record.uid)),
        margins=pair.pipeline.margins(),
        history=pair.history,
        differing=mine.differences(theirs),
        how="stored",
    )
    return Compared(card=now.card, rows=rows, against=Against(record=then.record), note=note)


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


def _payload(mlflow: Mapping[str, Any], pair: Pair, compared: Compared, fail_on: frozenset[str]) -> dict[str, Any]:
    now, then, rows = pair.now, pair.then, compared.rows
    note = (f"{compared.note}: recorded numbers are compared",) if compared.note else ()
    record = replace(
        now.record,
        verdict=overall(rows).value,
        exit_code=int(failing(rows, fail_on)),
        reasons=(_sum_up(rows, now, then), *note),
        baseline=then.to_json(compared.how),
        card=tuple(compared.card.to_json()),
        comparison=tuple(row.to_json() for row in rows),
        assessment=assess(now.record, rows, compared.against, pair.pipeline.margins()),
        phases=dict(compared.phases or {}),
    )
    return run_payload(record, mlflow)


def _sum_up(rows: Sequence[Comparison], now: Baseline, then: Baseline) -> str:
    heads = [row for row in rows if row.metric.headline]
    counts = {word: sum(row.judgement is word for row in heads) for word in Judgement}
    told = ", ".join(f"{count} {word.value.replace('_', ' ')}" for word, count in counts.items() if count)
    return f"run #{now.record.index} against #{then.record.index}: {told}"
