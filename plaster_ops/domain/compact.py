"""What is kept of a run's raw samples for ever: a few kilobytes of rows, each a versioned body of bytes.

What the bodies mean is written and read in `plaster.compact`; here is only how they are carried.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plaster_ops.errors import RecordsGone

VERSION = 1
"""The first byte of a body. After it: JSON, compressed with zlib."""

FORMAT = 1
"""Of the artifact `compact.json`."""


class CompactKind(StrEnum):
    """What a row holds: timed turns, which samples were right, two engines side by side, how the fit went."""

    TIMED = "timed"
    RIGHT = "right"
    PAIRED = "paired"
    CURVE = "curve"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactRow:
    """One row. `label`: kind of the turns, name of the set, or the engine beside; `process`: which restart, from 0."""

    kind: CompactKind
    label: str
    process: int
    body: bytes

    def content(self) -> dict[str, Any]:
        """What the body says. Raises `RecordsGone` for bytes that this release did not write."""
        return unpack(self.body)


def pack(content: Mapping[str, Any]) -> bytes:
    """The body of a plain mapping without NaN."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return bytes([VERSION]) + zlib.compress(text.encode(), 9)


def unpack(body: bytes) -> dict[str, Any]:
    """The mapping that `pack` was given. Raises `RecordsGone` for anything else."""
    if not body or body[0] != VERSION:
        found = body[0] if body else "nothing"
        raise RecordsGone(
            f"a compact record has version {found}, this release reads {VERSION}",
            "read it with the release that wrote it: the tag plaster.version",
        )
    try:
        content = json.loads(zlib.decompress(body[1:]))
    except (zlib.error, ValueError) as error:
        raise RecordsGone(
            f"a compact record is damaged: {error}", "the run's artifact compact.json has it too"
        ) from error
    if not isinstance(content, dict):
        raise RecordsGone("a compact record is damaged: it holds no mapping", "see the run's artifact compact.json")
    return content


def to_document(rows: Iterable[CompactRow]) -> dict[str, Any]:
    """The artifact `compact.json`: bodies as base64."""
    plain = [
        {
            "kind": row.kind.value,
            "label": row.label,
            "process": row.process,
            "body": base64.b64encode(row.body).decode(),
        }
        for row in rows
    ]
    return {"format": FORMAT, "rows": plain}


def from_document(document: Any) -> tuple[CompactRow, ...]:
    """The rows of that artifact. Raises `RecordsGone` for one of another format."""
    try:
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, this release reads {FORMAT}")
        return tuple(
            CompactRow(
                kind=CompactKind(row["kind"]),
                label=str(row["label"]),
                process=int(row["process"]),
                body=base64.b64decode(row["body"], validate=True),
            )
            for row in document["rows"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordsGone(f"compact.json cannot be read: {error}", "it is among the artifacts of the run") from error
