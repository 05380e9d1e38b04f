"""Which window a retrain works on, or why there is nothing to do."""

from dataclasses import dataclass

from plaster_ops.domain.window import Watermark, Window
from plaster_ops.ports import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What is there for a retrain. `skip` is empty where there is work; `new_samples` no champion has learned."""

    window: Window
    new_samples: int | None
    fresh_samples: int | None
    arrived_at: float | None
    skip: str = ""


def open_window(source: Source | None, *, seen: Watermark | None, learned: Watermark | None, needed: int) -> Arrival:
    """The window `(learned, newest]` with its held-out tail.

    Skips where fewer than `needed` samples arrived since `seen`, the newest position of the last finished retrain,
    promoted or not. A pipeline without a source has no watermark: every retrain takes what its data module gives.
    """
    if source is None:
        nothing = Window(learned=None, seen=None, cut=None, end=None)
        return Arrival(window=nothing, new_samples=None, fresh_samples=None, arrived_at=None)
    newest = source.newest()
    window = Window(learned=learned, seen=seen, cut=source.cut(learned, newest), end=newest)
    fresh = source.count(seen, newest) if newest is not None else 0
    skip = ""
    if newest is None or fresh == 0:
        skip = f"nothing new arrived since {seen}" if seen is not None else "no data has arrived yet"
    elif seen is not None and fresh < needed:
        skip = f"{fresh} new samples since {seen}, fewer than min_new_samples = {needed}"
    return Arrival(
        window=window,
        new_samples=source.count(learned, newest),
        fresh_samples=fresh,
        arrived_at=source.arrived_at(newest),
        skip=skip,
    )
