"""Which window a retrain works on, or why there is nothing to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plaster_ops.domain.window import Watermark, Window
from plaster_ops.ports import Source

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What is there for a retrain. `skip` is empty where there is work; `new_samples` no champion has learned."""

    window: Window
    new_samples: int | None
    fresh_samples: int | None
    arrived_at: float | None
    skip: str = ""
    report: Mapping[str, Any] | None = None
    """What the source tells of its files; None where it tells nothing."""


def open_window(
    source: Source | None,
    *,
    seen: Watermark | None,
    learned: Watermark | None,
    needed: int,
    lookback: str = "all",
) -> Arrival:
    """The window `(learned, newest]` with its held-out tail.

    Skips where fewer than `needed` samples arrived since `seen`, the newest position of the last finished retrain,
    promoted or not. A pipeline without a source has no watermark: every retrain takes what its data module gives.
    """
    if source is None:
        nothing = Window(learned=None, seen=None, cut=None, end=None, lookback=lookback)
        return Arrival(window=nothing, new_samples=None, fresh_samples=None, arrived_at=None)
    newest, fresh = arrived(source, seen)
    window = Window(learned=learned, seen=seen, cut=source.cut(learned, newest), end=newest, lookback=lookback)
    report = source.report(window) if hasattr(source, "report") else None
    skip = ""
    if newest is None or fresh == 0:
        skip = f"nothing new arrived since {seen}" if seen is not None else "no data has arrived yet"
    elif seen is not None and fresh < needed:
        skip = f"{fresh} new samples since {seen}, fewer than min_new_samples = {needed}"
    if skip:
        skip += _set_aside(report)
    return Arrival(
        window=window,
        new_samples=source.count(learned, newest),
        fresh_samples=fresh,
        arrived_at=source.arrived_at(newest),
        skip=skip,
        report=report,
    )


class Counted(Protocol):
    """The part of a source that counts."""

    def newest(self) -> Watermark | None: ...

    def count(self, after: Watermark | None, upto: Watermark | None) -> int: ...


def arrived(source: Counted, since: Watermark | None) -> tuple[Watermark | None, int]:
    """The newest position, and how many samples came after `since`: the one count of a retrain and of who waits."""
    newest = source.newest()
    return newest, 0 if newest is None else source.count(since, newest)


def lookout_of(source: Any) -> Counted:
    """What can be asked again and again without a trace: the source's own `lookout()`, else the source itself."""
    own: Counted = source.lookout() if hasattr(source, "lookout") else source
    return own


def _set_aside(report: Mapping[str, Any] | None) -> str:
    """Files that did not count, by name; empty where there are none."""
    told = []
    for state in ("quarantined", "waiting"):
        names = [str(row.get("file")) for row in (report or {}).get("set_aside", ()) if row.get("state") == state]
        count = (report or {}).get("files", {}).get(state, len(names))
        if names:
            more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
            told.append(f"{count} {state} ({', '.join(names[:_MOST_NAMED])}{more})")
    return f"; files not taken: {', '.join(told)}" if told else ""
