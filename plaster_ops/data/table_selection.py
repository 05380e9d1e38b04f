"""Which rows of a table's training part a window asks for: all, the newest of them, or what is new and a part of the
rest.
"""

from typing import TYPE_CHECKING, Any

from plaster_ops.data.spread import evenly
from plaster_ops.data.table_position import TablePosition
from plaster_ops.domain.durations import Lookback, parse_lookback
from plaster_ops.domain.window import Window

if TYPE_CHECKING:
    from plaster_ops.data.table_look import Look


def chosen(look: "Look", begin: TablePosition | None, end: TablePosition, window: Window) -> Any:
    """The rows up to `end` that the window wants: all that are new since `begin`, and old ones.

    `window.lookback` bounds the old ones: "all", a duration before the end ("90d"), or "last 50000", new ones counted.
    `replay_ratio` r: of those r times as many as are new, spread evenly. Where rows came late nobody can tell which
    ones of the past they are, so then all old ones are taken and none is lost. All rows are new to a first retrain.
    """
    import pyarrow as pa
    import sqlalchemy as sa

    lookback, ratio = parse_lookback(window.lookback), window.replay_ratio
    if begin is None or look.late(begin):
        return look.read(look.upto(end))
    new = look.new(begin, end)
    fresh = look.read(new)
    room = None if lookback.rows is None else max(0, lookback.rows - fresh.num_rows)
    old = look.read(sa.and_(_recent(look, end, lookback), sa.not_(new)), room)
    if ratio is not None:
        old = old.take(pa.array(evenly(old.num_rows, round(ratio * fresh.num_rows)), type=pa.int64()))
    return pa.concat_tables([old, fresh], promote_options="permissive")


def _recent(look: "Look", end: TablePosition, lookback: Lookback) -> Any:
    import sqlalchemy as sa

    if lookback.age_us is None:
        return look.upto(end)
    return sa.and_(look.upto(end), look.by > look.before(end, lookback.age_us / 1e6))
