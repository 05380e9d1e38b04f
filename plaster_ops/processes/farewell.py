"""The parent was asked to stop: its children get time to put down what would be lost. Standard library only."""

import contextlib
import time
from collections.abc import Sequence

from plaster_ops.errors import PlasterError
from plaster_ops.ports import EventSink
from plaster_ops.processes.member import Member

_LOST_S = 2.0
"""A child that a signal ended had nothing to put down; those that wait for it are not waited for longer than this."""


def say_farewell(members: Sequence[Member], seconds: float, on_event: EventSink) -> None:
    """SIGTERM to every child, and up to `seconds` for them to end; their events are passed on meanwhile.

    What is left then is for the caller to kill. `seconds` 0: nothing happens here.
    """
    if seconds <= 0:
        return
    deadline_s = time.monotonic() + seconds
    running = [member for member in members if not member.has_ended()]
    for member in running:
        member.ask_to_end()
    while running and time.monotonic() < deadline_s:
        time.sleep(0.01)
        for member in running:
            _pass_on(member, on_event)
        for member in [member for member in running if member.has_ended()]:
            running.remove(member)
            if (member.ending or 0) < 0:
                deadline_s = min(deadline_s, time.monotonic() + _LOST_S)


def _pass_on(member: Member, on_event: EventSink) -> None:
    events, _ = member.read_events()
    for event in events:
        with contextlib.suppress(PlasterError):
            on_event(event)
