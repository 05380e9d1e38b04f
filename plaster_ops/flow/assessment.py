"""What is concluded beside the rows of a comparison: one word, what was traded, what changed, whose the change is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from plaster_ops.domain.attribution import Attribution, attribute, measured_again
from plaster_ops.domain.card import Card
from plaster_ops.domain.changes import Change, ChangeKind, changes_between
from plaster_ops.domain.earlier import Earlier
from plaster_ops.domain.fingerprint import Fingerprint
from plaster_ops.domain.judgement import Comparison
from plaster_ops.domain.run import RunRecord
from plaster_ops.domain.tradeoff import overall, tradeoff


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """The run that a comparison is with. `today`: its card with its engine measured again, None where it was not.

    `history`: values of runs like it up to its own, for how far a value spreads from one run to the next. `noise`: this
    machine's A/A half-widths, as calibrated. `machine`: the machine of today, where no record tells it.
    """

    record: RunRecord
    today: Card | None = None
    history: Mapping[str, Earlier] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    machine: Fingerprint | None = None


def assess(
    now: RunRecord, rows: Sequence[Comparison], against: Against, margins: Mapping[str, float]
) -> dict[str, Any]:
    """The section `assessment` of `--json`, without alarms."""
    changed = changes_between(now, against.record)
    names = f"#{now.index}", f"#{against.record.index}"
    return {
        "overall": overall(rows).value,
        "tradeoff": tradeoff(rows, *names),
        "changed": [change.to_json() for change in changed],
        "environment": environment(now, rows, against, margins).to_json(),
    }


def environment(
    now: RunRecord, rows: Sequence[Comparison], against: Against, margins: Mapping[str, float]
) -> Attribution:
    """Whose the change is: the earlier engine as it was logged beside what it shows today."""
    then = against.record
    again = (
        measured_again(
            Card.from_json(then.card),
            against.today,
            margins=margins,
            history=against.history,
            noise=against.noise,
        )
        if against.today is not None
        else ()
    )
    here = now if against.machine is None else _as_measured(then, against.machine)
    return attribute(again, rows, then=f"run #{then.index}", changes=_of_the_machine(changes_between(here, then)))


def _of_the_machine(changes: Sequence[Change]) -> list[Change]:
    """Of the environment's fields those that an engine, once built, finds itself in; what must be equal first."""
    found = [change for change in changes if change.kind is ChangeKind.ENVIRONMENT]
    first = ("device", "device_count", "threads", "input_shapes")
    return sorted(found, key=lambda change: change.name not in first)


def _as_measured(then: RunRecord, machine: Fingerprint) -> RunRecord:
    """The earlier run's record on the machine of today; what that does not tell is taken as it was."""
    before = dict(then.fingerprint.get("environment") or {})
    plain = machine.to_json()
    plain["environment"] = before | plain["environment"]
    return replace(then, fingerprint=plain)
