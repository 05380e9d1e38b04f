"""`TableSource` on a real PostgreSQL: types, late commits, errors, and what counting a million rows takes.

PLASTER_BENCH_PG=postgresql+psycopg://user:password@host:port/db python -m benchmarks.table_postgres

Makes the table `plaster_bench` in that database anew and drops it at the end. Needs psycopg. One line a check; exit 1
where one failed.
"""

import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from plaster_ops.data.table import TableSource
from plaster_ops.domain.window import Window
from plaster_ops.errors import DataError

VARIABLE = "PLASTER_BENCH_PG"
MANY = 1_000_000
NOW = datetime(2026, 11, 28, tzinfo=UTC).timestamp()
ROW = "insert into plaster_bench (at, load, price, kind, label) values (:at, :load, 1.25, 'a', 1)"
FAILED: list[str] = []


def check(what: str, right: bool, told: object = "") -> None:
    """One line."""
    print(f"{'ok  ' if right else 'FAIL'} {what} {told}".rstrip())
    if not right:
        FAILED.append(what)


def source(**changed: Any) -> TableSource:
    given: dict[str, Any] = {"name": "bench", "url_env": VARIABLE, "table": "plaster_bench", "order": "id"}
    return TableSource(**{**given, "time": "at", "label": "label", "holdout": "2d", "now": lambda: NOW, **changed})


def window(of: TableSource, learned: Any = None) -> Window:
    end = of.newest()
    return Window(learned=learned, seen=None, cut=of.cut(learned, end), end=end)


def day(number: int) -> datetime:
    return datetime(2026, 11, number, tzinfo=UTC)


def late_commits(engine: sa.Engine) -> None:
    """A transaction that took its id first and commits last."""
    with engine.begin() as there:
        there.execute(sa.text(ROW), [{"at": day(d), "load": float(d)} for d in range(1, 21)])
    with engine.connect() as slow:
        slow.execute(sa.text(ROW), {"at": day(5), "load": 55.0})  # takes id 21
        with engine.begin() as quick:
            quick.execute(sa.text(ROW), {"at": day(21), "load": 21.0})
        first = window(source())
        check("the position ends at the quick row", str(first.end).startswith("22@2026-11-21"), first.end)
        trained = source().train_rows(first)
        check("timestamptz, numeric and text are read", trained.num_rows == 19, trained.schema.types)
        slow.commit()
    told = source().remarks(first.cut)
    check("the late commit is told", len(told) == 1, told)
    check("it counts as new", source().count(first.cut, source().newest()) == 3)
    second = window(source(), learned=first.cut)
    loads = source().train_rows(second).column("load").to_pylist()
    check("it is trained on next time", 55.0 in loads)
    check("then all is quiet", source().remarks(second.cut) == [])
    check("settle keeps back the ids that may be open", source(settle=2).newest().startswith("20@"))


def refused(what: str, words: str, of: TableSource, secret: str) -> None:
    try:
        of.newest()
    except DataError as error:
        told = error.message
        check(what, words in told and secret not in told + error.next_step, told[:150])
    else:
        check(what, False, "nothing was raised")


def errors(engine: sa.Engine, address: str) -> None:
    url = sa.make_url(address)
    secret = str(url.password)
    wrong = url.set(password="not-" + secret).render_as_string(hide_password=False)
    closed = url.set(port=1).render_as_string(hide_password=False)
    refused("wrong password", "cannot be reached", source(url_env=None, url=wrong), secret)
    refused("no server", "cannot be reached", source(url_env=None, url=closed), secret)
    refused("no such table", "there is no table", source(table="plaster_none"), secret)
    with engine.begin() as there:
        there.execute(sa.text("alter table plaster_bench rename column at to happened"))
    refused("a column that is gone", "no column 'at'", source(), secret)
    with engine.begin() as there:
        there.execute(sa.text("alter table plaster_bench rename column happened to at"))


def speed(engine: sa.Engine) -> None:
    with engine.begin() as there:
        there.execute(
            sa.text(
                "insert into plaster_bench (at, load, price, kind, label) select timestamptz '2025-11-01 00:00Z' +"
                " n * interval '30 seconds', n, n % 7, 'b', n % 2 from generate_series(1, :n) n"
            ),
            {"n": MANY},
        )
        there.execute(sa.text("create index on plaster_bench (at)"))
    began = time.monotonic()
    made = window(source())
    counted = source().count(None, made.cut)
    print(f"     positions and count of {counted} rows: {time.monotonic() - began:.2f} s")
    began = time.monotonic()
    rows = source(columns=["load", "price", "label"]).train_rows(made).num_rows
    print(f"     reading {rows} rows of 3 columns: {time.monotonic() - began:.2f} s")
    check("counted is read", rows == counted)


def main() -> int:
    address = os.environ.get(VARIABLE)
    if not address:
        print(f"set {VARIABLE}", file=sys.stderr)
        return 2
    engine = sa.create_engine(address)
    with engine.begin() as there:
        print(there.execute(sa.text("show server_version")).scalar())
        there.execute(sa.text("drop table if exists plaster_bench"))
        there.execute(
            sa.text(
                "create table plaster_bench (id bigserial primary key, at timestamptz, load double precision,"
                " price numeric(10, 2), kind text, label int)"
            )
        )
    try:
        late_commits(engine)
        errors(engine, address)
        speed(engine)
    finally:
        with engine.begin() as there:
            there.execute(sa.text("drop table plaster_bench"))
        engine.dispose()
    return 1 if FAILED else 0


if __name__ == "__main__":
    raise SystemExit(main())
