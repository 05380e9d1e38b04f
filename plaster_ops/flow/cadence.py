"""`cadence`: how often to retrain, from a pipeline's own past. Trains nothing; asks old models about newer data."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from plaster_ops.domain.cadence import CadenceAnswer, Slot, answer
from plaster_ops.domain.metrics import ROLLING_SCORE, Better
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError, UsageError
from plaster_ops.flow.context import Context
from plaster_ops.flow.lock import slug
from plaster_ops.flow.scratch import scratch_context
from plaster_ops.flow.wiring import Ports, open_to_look
from plaster_ops.ports import EventSink
from plaster_ops.settings import Settings
from plaster_ops.tracking.journal_rows import RunState

_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A retrain that would not have been needed: the model before it scored `score` on the new data, at target."""

    index: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the past of a pipeline says. `slot_s`: median seconds between two retrains' data; `train_s`: median seconds
    of training, starting the processes included. `gone`: what could not be asked any more, and why. `left_out` None:
    no target score is set. `series`: slot index and the score of the model made just before it, as the user's score
    counts. `is_complete` False: the time was over before everything was asked; asking again goes on."""

    pipeline: str
    runs: int
    better: Better
    answer: CadenceAnswer
    slot_s: float | None
    train_s: float
    target: float | None
    left_out: tuple[LeftOut, ...] | None
    series: tuple[tuple[int, float], ...]
    gone: tuple[str, ...] = ()
    is_complete: bool = True

    def to_json(self) -> dict[str, Any]:
        """The `--json` object."""
        sign = 1.0 if self.better is Better.HIGHER else -1.0
        rows = [
            {
                "every": row.every,
                "every_s": None if self.slot_s is None else row.every * self.slot_s,
                "score": sign * row.score,
                "loss": row.loss,
                "loss_ci95": list(row.loss_ci95),
                "within_margin": row.is_within(self.answer.margin),
                "sure_ratio": row.sure_ratio,
                "train_s_per_slot": self.train_s / row.every,
                "stale_p95_s": row.stale_p95_s,
            }
            for row in self.answer.rows
        ]
        return {
            "schema": 1,
            "pipeline": self.pipeline,
            "runs": self.runs,
            "slots": self.answer.slots,
            "slot_s": self.slot_s,
            "better": self.better.value,
            "margin": self.answer.margin,
            "rows": rows,
            "suggested_every": self.answer.suggested,
            "reason": self.answer.reason or None,
            "target": self.target,
            "left_out": None
            if self.left_out is None
            else [{"index": e.index, "score": e.score} for e in self.left_out],
            "series": [list(point) for point in self.series],
            "gone": list(self.gone),
            "complete": self.is_complete,
        }


@dataclass(slots=True)
class _Past:
    """Finished retrains, oldest first, and the scores known of them by (uid, slot's window)."""

    records: list[RunRecord]
    scores: dict[str, float] = field(default_factory=dict)
    better: str = Better.HIGHER.value
    gone: list[str] = field(default_factory=list)
    is_complete: bool = True

    def window(self, place: int) -> Window | None:
        """What arrived between the retrain before and this one, held out whole; None where nothing did."""
        data = self.records[place].data
        before, end = data.get("seen_before"), data.get("to")
        if before is None or end is None or before == end:
            return None
        return Window(learned=before, seen=before, cut=before, end=end)

    def key(self, model: int, place: int) -> str:
        data = self.records[place].data
        return f"{self.records[model].uid} {data.get('seen_before')} {data.get('to')}"


def cadence(
    settings: Settings,
    name: str | None,
    *,
    newest: int,
    margin: float | None,
    max_s: float,
    tell: EventSink,
    start_s: float | None = None,
) -> Found:
    """Scores every model of the newest retrains on all data that came after it, and compares cadences.

    Scores are kept in `mlruns/cache/cadence`, so that asking again asks about new retrains only. `margin`: loss of
    score that does not matter; None: 0.005, or the accuracy gate's where that is less: what a gate lets one retrain
    lose is no loss to live with. Raises `UsageError` where there are no two finished retrains with new data between
    them, `DataError` where none of their data can be had any more.
    """
    found, pipeline = settings.pipeline(name)
    usual = ROLLING_SCORE.margin or 0.0
    allowed = min(usual, pipeline.margins().get(ROLLING_SCORE.key, usual)) if margin is None else margin
    with open_to_look(settings) as ports:
        past = _Past(records=_finished(ports, found, newest))
        places = [place for place in range(1, len(past.records)) if past.window(place) is not None]
        if not places:
            raise UsageError(
                f"{found!r} has no two finished retrains with new data between them, of {len(past.records)}",
                f"the pipeline needs a source, and some retrains: plaster-ops retrain {found}",
            )
        with scratch_context(ports, found, pipeline, purpose="cadence", tell=tell, start_s=start_s) as ctx:
            _ask(ctx, past, places, max_s)
    slots = [_slot(past, place) for place in places]
    if past.gone and not any(slot.by_age for slot in slots):
        raise DataError(f"no model can be asked about later data: {past.gone[0]}", "keep the data that arrived")
    target = pipeline.train.target_score
    fits = [float(record.phases.get("fit_s", 0)) + float(record.phases.get("launch_s", 0)) for record in past.records]
    sign = 1.0 if past.better == Better.HIGHER.value else -1.0
    return Found(
        pipeline=found,
        runs=len(past.records),
        better=Better(past.better),
        answer=answer(slots, allowed),
        slot_s=_slot_s(past),
        train_s=statistics.median(fits),
        target=target,
        left_out=None if target is None else _left_out(slots, target, sign),
        series=tuple((slot.index, sign * slot.by_age[0]) for slot in slots if slot.by_age),
        gone=tuple(past.gone),
        is_complete=past.is_complete,
    )


def _finished(ports: Ports, pipeline: str, newest: int) -> list[RunRecord]:
    rows = [row for row in ports.journal.history(pipeline, _LIMIT) if row.state is RunState.FINISHED]
    records = [ports.journal.record(row.uid) for row in rows[-newest:]]
    return [record for record in records if record is not None]


def _ask(ctx: Context, past: _Past, places: Sequence[int], max_s: float) -> None:
    """Completes the scores: from the cache, and from the stage for what is not in it."""
    cache = ctx.settings.memory / "cache" / "cadence" / f"{slug(ctx.name)}.json"
    kept = _read(cache)
    past.scores = dict(kept.get("scores", {}))
    past.better = str(kept.get("better", past.better))
    slots = []
    for place in places:
        window = past.window(place)
        models = [
            {"uid": past.records[model].uid, "weights": past.records[model].weights_file}
            for model in range(place)
            if past.key(model, place) not in past.scores and past.records[model].weights_file
        ]
        if models and window is not None:
            slots.append({"slot": place, "window": window.to_json(), "models": models})
    if not slots:
        return
    spec = {"reference": ctx.pipeline.ref, "project": str(ctx.project), "slots": slots, "max_s": max_s}
    ctx.tell({"event": "stage", "stage": "ageing", "state": "start"})
    began_s = ctx.clock.monotonic_s()
    told = ctx.child("ageing", spec, timeout_s=2 * max_s + 600, threads=ctx.pipeline.engine.threads)
    ctx.tell({"event": "stage", "stage": "ageing", "state": "done", "seconds": ctx.clock.monotonic_s() - began_s})
    places_of = {record.uid: place for place, record in enumerate(past.records)}
    for row in told["scores"]:
        past.scores[past.key(places_of[row["uid"]], int(row["slot"]))] = float(row["score"])
    past.better, past.is_complete = told["better"], bool(told["complete"])
    past.gone = [_gone(past, each) for each in told["gone"]]
    cache.parent.mkdir(parents=True, exist_ok=True)
    draft = cache.with_suffix(".tmp")
    draft.write_text(json.dumps({"better": past.better, "scores": past.scores}), encoding="utf-8")
    draft.replace(cache)


def _gone(past: _Past, told: Mapping[str, Any]) -> str:
    if "slot" in told:
        return f"the new data of retrain #{past.records[int(told['slot'])].index}: {told['reason']}"
    index = next(record.index for record in past.records if record.uid == told["uid"])
    return f"the model of retrain #{index}: {told['reason']}"


def _read(cache: Path) -> dict[str, Any]:
    """What the cache holds; empty where it is not there or spoilt: everything is asked again."""
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _slot(past: _Past, place: int) -> Slot:
    """The scores of the models before this piece of data, newest first, up to the first that is not known."""
    sign = 1.0 if past.better == Better.HIGHER.value else -1.0
    end_s = past.records[place].data.get("newest_at")
    by_age: list[float] = []
    stale_s: list[float] = []
    for model in range(place - 1, -1, -1):
        value = past.scores.get(past.key(model, place))
        if value is None:
            break
        by_age.append(sign * value)
        born_s = past.records[model].data.get("newest_trained_at")
        if end_s is not None and born_s is not None and len(stale_s) == len(by_age) - 1:
            stale_s.append(float(end_s) - float(born_s))
    return Slot(index=past.records[place].index, by_age=tuple(by_age), stale_s=tuple(stale_s))


def _left_out(slots: Sequence[Slot], target: float, sign: float) -> tuple[LeftOut, ...]:
    at_target = [slot for slot in slots if slot.by_age and slot.by_age[0] >= sign * target]
    return tuple(LeftOut(index=slot.index, score=sign * slot.by_age[0]) for slot in at_target)


def _slot_s(past: _Past) -> float | None:
    """Median seconds between the newest data of two retrains; where data has no times, between their starts."""
    told = [record.data.get("newest_at") for record in past.records]
    ends = [float(end) for end in told if end is not None]
    if len(ends) < len(told):
        ends = [datetime.fromisoformat(record.started_at).timestamp() for record in past.records]
    gaps = [later - earlier for earlier, later in pairwise(ends) if later > earlier]
    return statistics.median(gaps) if gaps else None
