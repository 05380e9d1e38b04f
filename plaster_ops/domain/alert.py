"""One alert: what is told when a condition of a pipeline begins to hold, or ends. Kept and sent as it was then."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SCHEMA = 1


class AlertState(StrEnum):
    """Which change it tells of."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertMessage:
    """What a receiver is sent; docs/json.md has every key. `id` is the same each time it is sent again.

    `since`: when the condition began, `at`: when it changed, ISO 8601. `run`: index and id of the retrain it speaks of.
    `link`: an address to open, `look`: a folder or a command to look at; either may be None.
    """

    id: str
    project: str
    pipeline: str
    condition: str
    state: AlertState
    reason: str
    since: str
    at: str
    run: Mapping[str, Any] | None = None
    link: str | None = None
    look: str | None = None
    test: bool = False

    @property
    def headline(self) -> str:
        """`digits is regressed`, `digits is no longer late`."""
        if self.test:
            return f"TEST: an alert of {self.pipeline} would look like this"
        return headline(self.pipeline, self.condition, self.state)

    def to_json(self) -> dict[str, Any]:
        """The payload of a webhook, schema 1."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "AlertMessage":
        """The message that `to_json` wrote."""
        known = {name: value for name, value in plain.items() if name != "schema"}
        return cls(**(known | {"state": AlertState(known["state"])}))


def headline(pipeline: str, condition: str, state: AlertState) -> str:
    """`digits is regressed`, `digits is no longer late`."""
    return f"{pipeline} is {'' if state == AlertState.FIRING else 'no longer '}{condition.replace('_', ' ')}"
