"""The sections of plaster.toml that the scheduler goes by: cadence, triggers, alerts, and the scheduler itself."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from plaster_ops.domain.drift import DRIFT_WORDS
from plaster_ops.domain.durations import duration_us
from plaster_ops.domain.schedule import Cadence, zone_of
from plaster_ops.domain.slots import Rules
from plaster_ops.settings_base import FILLED, LIST, Section, nearest


class TriggerSettings(Section):
    """What makes a retrain due besides the clock."""

    min_new_samples: Annotated[int, Field(ge=1)] = 1
    """Fewer samples than this since the last finished retrain: a recorded skip."""
    on_data: bool = False
    """The scheduler looks every `poll_s` whether so many samples are there, and retrains once none came for
    `debounce_s`."""
    poll_s: Annotated[float, Field(ge=1)] = 60.0
    debounce_s: Annotated[float, Field(ge=0)] = 60.0
    on_drift: Annotated[tuple[str, ...], LIST] = ()
    """The scheduler retrains once where the newest retrain's record says that one of these drifts."""
    cooldown_s: Annotated[float, Field(ge=0)] = 86_400.0
    """After a retrain that drift made due, none is due by drift for so long."""

    @field_validator("on_drift")
    @classmethod
    def _known_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if word not in DRIFT_WORDS:
                raise ValueError(f"unknown word {word!r}; known: {', '.join(DRIFT_WORDS)}{nearest(word, DRIFT_WORDS)}")
        return tuple(dict.fromkeys(words))


class CadenceSettings(Section):
    """When a retrain is due by the clock, and what becomes of a slot that cannot run then. Read by the scheduler."""

    cron: str | None = None
    """Five fields of a crontab line, or @hourly, @daily, @weekly, @monthly, @yearly."""
    every: str | None = None
    """A duration instead (6h, 1d), counted from `start`, else from 1970."""
    timezone: str = "UTC"
    jitter_s: Annotated[float, Field(ge=0)] = 0.0
    """Each slot is due up to so much later than planned, always by the same part of it."""
    start: datetime | None = None
    end: datetime | None = None
    """No slot is before the first and after the second; without an offset in `timezone`."""
    missed: Literal["run_once", "run_all", "skip"] = "run_once"
    overlap: Literal["skip", "queue"] = "skip"
    late_s: Annotated[float, Field(ge=1)] = 60.0
    """A slot found later than this was missed."""
    priority: int = 0
    retries: Annotated[int, Field(ge=0)] = 2
    backoff_s: Annotated[float, Field(ge=0)] = 60.0
    """Before the first retry; each later one waits twice as long."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _known_cadence(self) -> Self:
        self.cadence()
        return self

    def cadence(self) -> Cadence | None:
        """The slots of it; None where it is due by nothing but data, drift or a hand. Raises `ValueError`."""
        if self.cron is None and self.every is None:
            zone_of(self.timezone)
            return None
        return Cadence(
            cron=self.cron,
            every_s=None if self.every is None else duration_us(self.every) / 1e6,
            timezone=self.timezone,
            jitter_s=self.jitter_s,
            start_s=self._instant_s(self.start),
            end_s=self._instant_s(self.end),
        )

    def rules(self) -> Rules:
        """What is done with slots that were missed or overlap."""
        return Rules(missed=self.missed, overlap=self.overlap, late_s=self.late_s)

    def _instant_s(self, at: datetime | None) -> float | None:
        if at is None:
            return None
        return (at if at.tzinfo is not None else at.replace(tzinfo=zone_of(self.timezone))).timestamp()


class SchedulerSettings(Section):
    """The scheduler of this project, whoever keeps it: the service, cron, systemd or Kubernetes."""

    devices: Annotated[int, Field(ge=1)] | Annotated[tuple[str, ...], FILLED] = 1
    """How many retrains may run at once on this machine; or a list, one an entry, each with CUDA_VISIBLE_DEVICES set
    to its entry ("0", "1,2", a UUID)."""
    lock_dir: str | None = None
    """Where the locks of the devices lie; projects of one machine that name the same folder take turns on them."""
    queue_max: Annotated[int, Field(ge=1)] = 10_000
    """So many slots may wait, of all pipelines; one more is skipped."""
    grace_s: Annotated[float, Field(ge=0)] = 600.0
    """SIGTERM to the service: what runs may end for so long, then it is stopped, to be continued later."""
    stop_s: Annotated[float, Field(ge=0)] = 60.0
    """A retrain that is stopped or timed out has so long between SIGTERM and SIGKILL."""
    listen: str = "127.0.0.1:8075"
    """Where /healthz, /metrics and the status page are served; "" for nowhere."""
    check_s: Annotated[float, Field(ge=0)] = 900.0
    """A slot that has not started so long after it was due is late: `schedule check` and alerts say so."""

    @property
    def device_count(self) -> int:
        """How many retrains may run at once."""
        return self.devices if isinstance(self.devices, int) else len(self.devices)

    def visible(self, number: int) -> str | None:
        """CUDA_VISIBLE_DEVICES of that device; None where it is left as it is."""
        return None if isinstance(self.devices, int) else self.devices[number]

    def lock_folder(self, memory: Path) -> Path:
        """Where the locks of the devices lie; a relative `lock_dir` is relative to the project."""
        return memory / "locks" if self.lock_dir is None else memory.parent / self.lock_dir


class Alert(Section):
    """Where to tell of a change of state; the address stands in an environment variable."""

    kind: Literal["webhook", "slack", "smtp"]
    url_env: str
    """Its name. For smtp: smtp[s]://user:password@host:port/?from=ADDRESS&to=ADDRESS."""

    @field_validator("url_env")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not value.isidentifier():
            raise ValueError("must be the name of an environment variable; the address itself never stands in settings")
        return value
