"""Which data a retrain may see: a window over the order of arrival, with its held-out tail."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Watermark = int | float | str
"""A position in the order of arrival: a row count, a time stamp in seconds, or an ISO 8601 text. Later is greater."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """`(learned, cut]` is trained on, `(cut, end]` is the newest labelled data and is held out.

    `learned`: newest position the champion was trained on, None for the first retrain. `seen`: newest position at the
    last finished retrain, promoted or not. `end`: newest position that has arrived. `cut`: end of the training part,
    which becomes `learned` only if this retrain is promoted.
    """

    learned: Watermark | None
    seen: Watermark | None
    cut: Watermark | None
    end: Watermark | None

    def to_json(self) -> dict[str, Any]:
        """A plain mapping."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Window":
        """The window that `to_json` wrote."""
        return cls(learned=fields["learned"], seen=fields["seen"], cut=fields["cut"], end=fields["end"])
