"""What a machine was when it measured: what must be equal to compare, and what is only recorded as environment."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """`device`, `device_count`, `threads` and `input_shapes` must be equal for two engines to be comparable.

    `environment` (driver, library and backend versions, precision, code) is shown as "what changed", never a reason
    to refuse. `input_shapes` are per sample, with "?" for a dynamic axis, the batch axis left out.
    """

    device: str
    device_count: int
    threads: int
    input_shapes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """Sixteen hex digits over the fields that must be equal."""
        text = json.dumps([self.device, self.device_count, self.threads, list(self.input_shapes)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: "Fingerprint") -> list[str]:
        """One phrase per must-equal field that differs, this one's value first."""
        fields = ("device", "device_count", "threads", "input_shapes")
        return [
            f"{name}: {getattr(self, name)} against {getattr(other, name)}"
            for name in fields
            if getattr(self, name) != getattr(other, name)
        ]

    def environment_changes(self, other: "Fingerprint") -> list[str]:
        """`name old -> new` for each environment field that changed since `other`."""
        mine, theirs = dict(self.environment), dict(other.environment)
        names = sorted(mine.keys() | theirs.keys())
        return [
            f"{name} {theirs.get(name, 'none')} -> {mine.get(name, 'none')}"
            for name in names
            if mine.get(name) != theirs.get(name)
        ]

    def to_json(self) -> dict[str, Any]:
        """A plain mapping, `digest` included."""
        return {
            "device": self.device,
            "device_count": self.device_count,
            "threads": self.threads,
            "input_shapes": list(self.input_shapes),
            "environment": dict(self.environment),
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Fingerprint":
        """The fingerprint that `to_json` wrote."""
        return cls(
            device=fields["device"],
            device_count=int(fields["device_count"]),
            threads=int(fields["threads"]),
            input_shapes=tuple(fields.get("input_shapes", ())),
            environment=tuple(sorted((str(k), str(v)) for k, v in fields.get("environment", {}).items())),
        )
