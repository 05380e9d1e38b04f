"""A cadence and its triggers as a sentence a person reads. The words of crontab lines are cronsim's."""

from datetime import datetime
from functools import lru_cache

from cronsim import CronSim

from plaster_ops.domain.schedule import Cadence, in_numbers
from plaster_ops.settings_schedule import CadenceSettings, TriggerSettings
from scheduler.spans import show_span


@lru_cache(maxsize=4096)
def cadence_of(settings: CadenceSettings) -> Cadence | None:
    """The cadence of those settings, made once: a status page asks for a thousand of them again and again."""
    return settings.cadence()


def cadence_words(slots: Cadence | None) -> str:
    """`at 02:00 every day (Europe/Paris)`, `every 6 h`; `by hand` where no clock makes it due."""
    if slots is None:
        return "by hand"
    if slots.cron is not None:
        return f"{_cron_words(slots.line)} ({slots.timezone})"
    return f"every {show_span(slots.every_s or 0.0)}"


def trigger_words(trigger: TriggerSettings) -> str:
    """`on new data`, `on drift of accuracy, latency`; empty where nothing but the clock and a hand make it due."""
    told = []
    if trigger.on_data:
        samples = "" if trigger.min_new_samples == 1 else f" ({trigger.min_new_samples} samples)"
        told.append(f"on new data{samples}")
    if trigger.on_drift:
        told.append(f"on drift of {', '.join(trigger.on_drift)}")
    return "; ".join(told)


@lru_cache(maxsize=4096)
def _cron_words(line: str) -> str:
    words = CronSim(in_numbers(line), datetime(2000, 1, 1)).explain()
    return words[:1].lower() + words[1:]
