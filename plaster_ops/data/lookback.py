"""Which rows of a table's training part a window asks for: all, the newest of them, or what is new and a part of the
rest.
"""

from typing import TYPE_CHECKING, Any

from plaster_ops.data.frontier import Frontier
from plaster_ops.data.spread import evenly
from plaster_ops.domain.window import Window

if TYPE_CHECKING:
    from plaster_ops.data.table_look import Look


def chosen(look: "Look", begin: Frontier | None, end: Frontier, window: Window) -> Any:
    """The rows up to `end`, cut by `window.lookback` ("all", "90d", "last 50000") and `window.replay_ratio`.

    `replay_ratio` r: all rows that are new since `begin`, and of the older ones r times as many, spread evenly. Where
    rows came late nobody can tell which ones, so then all older ones are taken and none is lost.
    """
    import pyarrow as pa
    import sqlalchemy as sa

    lookback, ratio = getattr(window, "lookback", "all"), getattr(window, "replay_ratio", None)
    where = look.upto(end)
    newest: int | None = None
    if lookback.startswith("last "):
        newest = int(lookback.removeprefix("last "))
    elif lookback != "all":
        where = sa.and_(where, look.by > look.before(end, lookback))
    if ratio is None or begin is None or look.late(begin):
        return look.read(where, newest)
    new = look.new(begin, end)
    fresh = look.read(new, newest)
    room = None if newest is None else newest - fresh.num_rows
    older = look.read(sa.and_(where, sa.not_(new)), room)
    kept = older.take(evenly(older.num_rows, round(ratio * fresh.num_rows)))
    return pa.concat_tables([kept, fresh], promote_options="permissive")
