"""What waits in the queue goes to its targets: a few seconds at most, each target for itself, oldest first.

A target that does not answer costs one attempt; what waits for it is tried again on a later occasion (the next retrain,
the service's next look, `schedule check`), after waits that double, and given up in the end. Alerts of one pipeline
arrive in their order. A message is claimed before it is sent, so that two processes do not both send it; one that was
killed, or answered too late, is sent again under the same id.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from plaster_ops.alerts.answer import Answer
from plaster_ops.alerts.targets import Target
from plaster_ops.tracking.alert_queue import OLDEST_S, AlertQueue, Waiting

_log = logging.getLogger(__name__)

WITHIN_S = 5.0
"""All of it takes no longer, whatever the receivers do."""
_WAIT_S = 4.0
"""For each word of a receiver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """What became of what waited: how many were `sent`, are `left`, and were `dropped` for good."""

    sent: int = 0
    left: int = 0
    dropped: int = 0


@dataclass
class _Lane:
    """One target of any pipelines, spoken to by one thread at a time. `blocked`: pipelines that wait for their turn.
    `last_id`: the newest message that was looked at."""

    target: Target
    waiting: deque[Waiting] = field(default_factory=deque)
    blocked: set[str] = field(default_factory=set)
    last_id: int = 0
    is_down: bool = False


@dataclass
class Delivery:
    """`targets`: those of every pipeline in the settings. `now_s`: the wall clock, seconds UTC."""

    queue: AlertQueue
    targets: Mapping[str, Sequence[Target]]
    environment: Mapping[str, str]
    now_s: Callable[[], float]
    within_s: float = WITHIN_S
    _results: SimpleQueue[tuple[_Lane, Waiting, Answer]] = field(default_factory=SimpleQueue)
    _sent: int = 0
    _dropped: int = 0

    def run(self) -> Delivered:
        """Sends what is due. Raises `NotRecorded` where the queue cannot be written."""
        until_s = time.monotonic() + self.within_s
        lanes: dict[str, _Lane] = {}
        for alert, target in self._known():
            if self._is_ready(alert, target):
                lanes.setdefault(target.name, _Lane(target)).waiting.append(alert)
        begun = {name: self._next(lane) for name, lane in lanes.items()}
        flying = {name: alert for name, alert in begun.items() if alert is not None}
        while flying:
            try:
                lane, alert, answer = self._results.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                for silent in flying.values():
                    self._failed(silent, f"no answer within {self.within_s:g} s")
                break
            del flying[lane.target.name]
            self._take(lane, alert, answer)
            following = self._next(lane) if time.monotonic() < until_s else None
            if following is not None:
                flying[lane.target.name] = following
        return Delivered(sent=self._sent, left=self.queue.left(), dropped=self._dropped)

    def _known(self) -> list[tuple[Waiting, Target]]:
        """What waits for a target that is in the settings; for any other it is given up."""
        found = []
        for alert in self.queue.waiting():
            target = next((each for each in self.targets.get(alert.pipeline, ()) if each.name == alert.target), None)
            if target is not None:
                found.append((alert, target))
            else:
                self._drop(alert, f"{alert.target} is not among the alerts of {alert.pipeline} any more")
        return found

    def _is_ready(self, alert: Waiting, target: Target) -> bool:
        """Whether this process knows the address. What waits for one that nobody knows is told once, and kept a while;
        another process may know it."""
        trouble = target.why_not_ready(self.environment)
        if not trouble:
            return True
        if self.now_s() - alert.queued_s > OLDEST_S:
            self._drop(alert, trouble)
        elif alert.error != trouble:
            self.queue.note(alert, trouble)
            _log.warning("alert that %s: %s", alert.message.headline, trouble)
        return False

    def _next(self, lane: _Lane) -> Waiting | None:
        """The next message of that target is on its way, in a thread; None where none may be sent now."""
        if not lane.waiting:  # another process queued more meanwhile, and left it to this one
            lane.waiting.extend(self.queue.waiting(lane.target.name, lane.last_id))
        while lane.waiting and not lane.is_down:
            alert = lane.waiting.popleft()
            lane.last_id = alert.id
            if alert.pipeline in lane.blocked:
                continue
            if alert.is_due(self.now_s()) and self.queue.claim(alert, self.now_s()):
                threading.Thread(target=self._send, args=(lane, alert), daemon=True).start()
                return alert
            lane.blocked.add(alert.pipeline)
        return None

    def _send(self, lane: _Lane, alert: Waiting) -> None:
        answer = lane.target.send(alert.message, self.environment, min(_WAIT_S, self.within_s))
        self._results.put((lane, alert, answer))

    def _take(self, lane: _Lane, alert: Waiting, answer: Answer) -> None:
        if answer.ok:
            self.queue.sent(alert, self.now_s())
            self._sent += 1
            return
        lane.blocked.add(alert.pipeline)
        lane.is_down = answer.is_down
        self._failed(alert, answer.detail)

    def _failed(self, alert: Waiting, error: str) -> None:
        gone = self.queue.failed(alert, error, self.now_s())
        self._dropped += gone
        ending = "given up" if gone else "it is tried again later"
        _log.warning("alert that %s to %s: %s; %s", alert.message.headline, alert.target, error, ending)

    def _drop(self, alert: Waiting, error: str) -> None:
        self.queue.drop(alert, error, self.now_s())
        self._dropped += 1
        _log.warning("alert that %s is given up: %s", alert.message.headline, error)
