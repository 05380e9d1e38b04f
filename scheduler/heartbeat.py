"""Whether a service keeps this project's schedule: what its heartbeat file says, and how far that can be believed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from plaster_ops.settings import Settings
from plaster_ops.tracking import liveness
from scheduler.spans import instant_text, show_span

STALE_S = 60.0
"""A heartbeat that is older says nothing of now."""


class ServiceState(StrEnum):
    """`GONE`: its process does not live on this host. `STALE`: it was not heard of for `STALE_S`."""

    NONE = "none"
    ALIVE = "alive"
    STALE = "stale"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The service of a project; instants in seconds UTC, None where it left no heartbeat.

    `devices`: how many retrains it runs at once, 0 where that is not known. `reason`: a sentence.
    """

    state: ServiceState
    reason: str
    pid: int | None = None
    host: str | None = None
    started_s: float | None = None
    at_s: float | None = None
    devices: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether it was heard of a moment ago."""
        return self.state is ServiceState.ALIVE


def heartbeat_file(settings: Settings) -> Path:
    """Where the service of a project tells that it lives."""
    return settings.memory / "scheduler" / "heartbeat.json"


def read_service(settings: Settings, now_s: float) -> Service:
    """What the heartbeat file says; one that cannot be read is as good as none."""
    try:
        told = json.loads(heartbeat_file(settings).read_text(encoding="utf-8"))
        return _judged(told, now_s)
    except FileNotFoundError:
        return Service(state=ServiceState.NONE, reason="no service is running")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Service(state=ServiceState.NONE, reason="the heartbeat file of the service cannot be read")


def _judged(told: Mapping[str, Any], now_s: float) -> Service:
    pid, host, at_s = int(told["pid"]), str(told["host"]), float(told["at_s"])
    if not math.isfinite(at_s):
        raise ValueError("no instant")
    who = f"process {pid} on {host}"
    state, reason = ServiceState.ALIVE, f"the service is {who}"
    if host == liveness.this_host() and not liveness.is_alive(pid, None):
        state, reason = ServiceState.GONE, f"the service, {who}, is gone; it was last heard of at {instant_text(at_s)}"
    elif now_s - at_s > STALE_S:
        state, reason = ServiceState.STALE, f"the service, {who}, was not heard of for {show_span(now_s - at_s)}"
    return Service(
        state=state,
        reason=reason,
        pid=pid,
        host=host,
        started_s=float(told["started_s"]),
        at_s=at_s,
        devices=_count(told.get("devices")),
    )


def _count(devices: Any) -> int:
    """How many there are, told as a number or one by one."""
    return len(devices) if isinstance(devices, (list, tuple, dict)) else int(devices or 0)
