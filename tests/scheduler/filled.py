"""A project whose ledger shows one pipeline of each kind: well, running, late, failing, missed, paused, never kept."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from plaster_ops.domain.slots import Cause, Slot, SlotState
from plaster_ops.settings import Settings, load_settings
from plaster_ops.tracking.journal import Journal
from plaster_ops.tracking.liveness import this_host
from plaster_ops.tracking.slots import Pause, SlotLedger
from scheduler.planner import cadence_text
from tests.tracking.samples import finish, make_card

NOW_S = 1_795_783_200.0
"""Friday, 2026-11-27 12:40 UTC."""
HOUR_S, DAY_S = 3600.0, 86_400.0

TOML = """
default = "churn"
[scheduler]
devices = 2
check_s = 900
[pipelines.churn]
ref = "models.churn:pipeline"
cadence = { cron = "0 2 * * *", timezone = "Europe/Paris", jitter_s = 60 }
trigger = { on_data = true, min_new_samples = 200 }
[pipelines.fraud]
ref = "models.fraud:pipeline"
cadence = { every = "1h" }
[pipelines.ranking]
ref = "models.ranking:pipeline"
cadence = { cron = "30 */4 * * *" }
[pipelines.prices]
ref = "models.prices:pipeline"
cadence = { cron = "0 6 * * 1-5", missed = "skip" }
[pipelines.stock]
ref = "models.stock:pipeline"
cadence = { every = "6h" }
[pipelines.search]
ref = "models.search:pipeline"
cadence = { cron = "15 5 * * *", timezone = "America/New_York" }
[pipelines.speech]
ref = "models.speech:pipeline"
cadence = { cron = "@daily" }
[pipelines.vision]
ref = "models.vision:pipeline"
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """The open ledger and journal of a project, and its settings."""

    settings: Settings
    ledger: SlotLedger
    journal: Journal


def ran(pipeline: str, planned_s: float, *, took_s: float = 600.0, verdict: str = "promoted", code: int = 0) -> Slot:
    """A slot that ran to a verdict."""
    started_s = planned_s + 2.0
    return Slot(
        pipeline=pipeline,
        planned_s=planned_s,
        due_s=planned_s,
        state=SlotState.RAN,
        attempts=1,
        started_s=started_s,
        ended_s=started_s + took_s,
        exit_code=code,
        verdict=verdict,
        reason="accuracy same, latency better" if verdict == "promoted" else "nothing new arrived since 903",
    )


def failed(pipeline: str, planned_s: float, code: int = 10, reason: str = "the loss of epoch 3 is NaN") -> Slot:
    """A slot whose retrain failed, three times."""
    slot = replace(ran(pipeline, planned_s), state=SlotState.FAILED, exit_code=code, verdict=None)
    return replace(slot, reason=reason, attempts=3)


def due(pipeline: str, planned_s: float, **changed: object) -> Slot:
    """A slot that waits."""
    return replace(Slot(pipeline=pipeline, planned_s=planned_s, due_s=planned_s), **changed)  # type: ignore[arg-type]


def running(pipeline: str, planned_s: float, started_s: float) -> Slot:
    """A slot whose retrain is at work."""
    return due(pipeline, planned_s, state=SlotState.RUNNING, attempts=1, started_s=started_s, owner="somebody")


def slots_of_all(now_s: float = NOW_S) -> Iterator[Slot]:
    """Rows of each pipeline but speech, up to `now_s`."""
    today_s = before(now_s, DAY_S)
    for day in range(19, -1, -1):
        verdict = "skipped" if day % 5 == 4 else "held" if day == 3 else "promoted"
        yield ran("churn", today_s - day * DAY_S + HOUR_S, took_s=2400.0 + 60 * day, verdict=verdict)
    for hour in range(19, 0, -1):
        slot = ran("fraud", before(now_s, HOUR_S) - hour * HOUR_S, took_s=1500.0)
        yield replace(slot, state=SlotState.SKIPPED, reason="overlap: it ran", started_s=None) if hour == 7 else slot
    yield running("fraud", before(now_s, HOUR_S), before(now_s, HOUR_S) + 2.0)
    yield from _slots_in_trouble(now_s)
    for day in range(12, -1, -1):
        planned_s = today_s - day * DAY_S + 10.25 * HOUR_S
        reason = "paused by ann@ml1: labels are mended"
        skip = due("search", planned_s, state=SlotState.SKIPPED, reason=reason, ended_s=planned_s)
        yield ran("search", planned_s) if day > 3 else skip
    yield replace(ran("vision", now_s - 3 * DAY_S, took_s=5400.0), cause=Cause.HAND)


def _slots_in_trouble(now_s: float) -> Iterator[Slot]:
    last_s = before(now_s - 1800.0, 4 * HOUR_S) + 1800.0
    for number in range(8, 3, -1):
        yield ran("ranking", last_s - number * 4 * HOUR_S)
    for number in range(3, 0, -1):
        yield failed("ranking", last_s - number * 4 * HOUR_S)
    again = {"not_before_s": now_s + 120.0, "reason": "attempt 1 ended with 10; again in 240 s"}
    yield due("ranking", last_s, attempts=1, started_s=last_s + 2.0, **again)
    six_s = before(now_s, DAY_S) + 6 * HOUR_S
    for day in range(5, 0, -1):
        yield ran("prices", six_s - day * DAY_S)
    missed = due("prices", six_s, state=SlotState.MISSED, was_missed=True, ended_s=now_s - 4 * HOUR_S)
    yield replace(missed, reason="dropped, as missed slots of this pipeline are")
    for number in range(9, 0, -1):
        yield ran("stock", before(now_s, 6 * HOUR_S) - number * 6 * HOUR_S, took_s=300.0)
    yield due("stock", before(now_s, 6 * HOUR_S))


def before(now_s: float, every_s: float) -> float:
    """The newest multiple of it."""
    return now_s // every_s * every_s


@contextmanager
def filled(folder: Path, now_s: float = NOW_S, *, has_service: bool = True) -> Iterator[Filled]:
    """The project, made in `folder`."""
    file = folder / "plaster.toml"
    file.write_text(TOML, encoding="utf-8")
    os.utime(file, (now_s - DAY_S, now_s - DAY_S))
    settings = load_settings(folder)
    if has_service:
        beat(settings, now_s)
    with Journal.open(settings.memory) as journal:
        ledger = SlotLedger(journal.file)
        with ledger.write() as write:
            write.add(slots_of_all(now_s))
            for name, pipeline in settings.pipelines.items():
                if name != "speech":
                    write.account(name, cadence_text(pipeline.cadence.cadence()), now_s)
            pause = Pause(at_s=now_s - 4 * DAY_S, by="ann@ml1", reason="labels are mended")
            write.pause("search", pause)
            write.set_condition("churn", "drifting", now_s - 2 * DAY_S, "accuracy fell by 0.012 over six retrains")
        for score in (0.941, 0.938, 0.952):
            finish(journal, "churn", card=tuple(make_card(score).to_json()))
        finish(journal, "fraud", card=tuple(make_card(0.873).to_json()))
        yield Filled(settings=settings, ledger=ledger, journal=journal)


def beat(settings: Settings, at_s: float, **changed: object) -> None:
    """The heartbeat of a service that is this process."""
    file = settings.memory / "scheduler" / "heartbeat.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "pid": os.getpid(),
        "host": this_host(),
        "started_s": at_s - 3 * DAY_S,
        "at_s": at_s,
        "devices": 2,
        "busy": 1,
    }
    file.write_text(json.dumps(told | changed), encoding="utf-8")
