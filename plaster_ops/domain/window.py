"""Which data a retrain may see: a window over the order of arrival, with its held-out tail."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Watermark = int | float | str
"""A position in the order of arrival: a row count, a time stamp in seconds, an ISO 8601 text (later is greater), or a
frontier as text (`domain.frontier`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """`(learned, cut]` is trained on, `(cut, end]` is the newest labelled data and is held out.

    `learned`: newest position the champion was trained on, None for the first retrain. `seen`: newest position at the
    last finished retrain, promoted or not. `end`: newest position that has arrived. `cut`: end of the training part,
    which becomes `learned` only if this retrain is promoted. `lookback`: which old rows are trained on again, as
    `durations.parse_lookback` reads it. `replay_ratio`: of those only a draw of so many times the new rows; None: all.
    """

    learned: Watermark | None
    seen: Watermark | None
    cut: Watermark | None
    end: Watermark | None
    lookback: str = "all"
    replay_ratio: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain mapping; what is as usual of the last two is left out."""
        usual = {"lookback": "all", "replay_ratio": None}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Window":
        """The window that `to_json` wrote, in an earlier release too."""
        return cls(
            learned=fields["learned"],
            seen=fields["seen"],
            cut=fields["cut"],
            end=fields["end"],
            lookback=fields.get("lookback", "all"),
            replay_ratio=fields.get("replay_ratio"),
        )
