"""What differs between two retrains, by name: what a human set, data, environment, code, engine."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.domain.run import RunRecord


class ChangeKind(StrEnum):
    """Where a difference lies."""

    PARAMS = "params"
    CODE = "code"
    ENVIRONMENT = "environment"
    ENGINE = "engine"
    DATA = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One named thing that two retrains differ in; None where one of them did not have it."""

    kind: ChangeKind
    name: str
    then: str | None
    now: str | None

    def to_json(self) -> dict[str, Any]:
        """A row of `assessment.changed` in `--json`, and of an alarm's candidates."""
        return {"kind": self.kind.value, "name": self.name, "then": self.then, "now": self.now}

    @property
    def sentence(self) -> str:
        """`engine.precision fp32 -> int8`."""
        return f"{self.name} {'none' if self.then is None else self.then} -> {'none' if self.now is None else self.now}"


CODE_TAGS = {"plaster.code_digest": "sources", "plaster.git": "git", "plaster.version": "plaster_ops"}
_MUST_BE_EQUAL = ("device", "device_count", "threads", "input_shapes")
_ENGINE = ("backend", "precision", "decision", "graph_digest")
_BUILDER, _OF_THE_DATA = "builder.", "data."
_DIGEST = re.compile(r"[0-9a-f]{32,}")
_DATA = ("source", "train_samples", "eval_samples", "golden_samples", "lookback", "replay_ratio")


def changes_between(now: RunRecord, then: RunRecord) -> tuple[Change, ...]:
    """Every named difference, in the order of `ChangeKind`: what a human did before what time brings."""
    return (
        *_differences(ChangeKind.PARAMS, now.params, then.params),
        *_differences(ChangeKind.CODE, _code(now), _code(then)),
        *_differences(ChangeKind.ENVIRONMENT, _environment(now), _environment(then)),
        *_differences(ChangeKind.ENGINE, _engine(now), _engine(then)),
        *_differences(ChangeKind.DATA, _data(now), _data(then)),
    )


def _differences(kind: ChangeKind, now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(now.keys() | then.keys()):
        mine, theirs = now.get(name), then.get(name)
        if mine != theirs:
            yield Change(kind=kind, name=name, then=_text(theirs), now=_text(mine))


def _text(value: Any) -> str | None:
    """The value as text; of a digest its first twelve digits."""
    if value is None:
        return None
    text = str(value)
    return text[:12] if _DIGEST.fullmatch(text) else text


def _code(record: RunRecord) -> dict[str, str]:
    return {name: record.tags[tag] for tag, name in CODE_TAGS.items() if record.tags.get(tag)}


def _environment(record: RunRecord) -> dict[str, Any]:
    """Without what the fingerprint also holds of the engine and of the data: they are changes of their own."""
    fingerprint = record.fingerprint
    asked = {
        tag.removeprefix("plaster.env."): value for tag, value in record.tags.items() if tag.startswith("plaster.env.")
    }
    fields = {
        name: value
        for name, value in dict(fingerprint.get("environment") or {}).items()
        if name not in _ENGINE and not name.startswith((_BUILDER, _OF_THE_DATA))
    }
    return {**_picked(fingerprint, _MUST_BE_EQUAL), **asked, **fields}


def _engine(record: RunRecord) -> dict[str, Any]:
    environment = dict(record.fingerprint.get("environment") or {})
    built = {name: value for name, value in environment.items() if name.startswith(_BUILDER)}
    return {**built, **_picked(record.engine, _ENGINE)}


def _data(record: RunRecord) -> dict[str, Any]:
    digests = {f"{row['name']}_digest": str(row["digest"])[:12] for row in record.datasets if row["name"] == "golden"}
    return {**_picked(record.data, _DATA), **digests}


def _picked(section: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: section[name] for name in names if section.get(name) is not None}
