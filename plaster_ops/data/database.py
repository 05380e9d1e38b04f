"""A connection to the rows of a table or query, chunks of them as Arrow, and what goes wrong said without a secret.
Knows nothing of windows.
"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from plaster_ops.errors import DataError

_CHUNK = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the rows are. `what` names the source in messages; exactly one of `url_env`, `url` and one of `table`,
    `query` is given. A relative SQLite path is relative to `project`."""

    what: str
    url_env: str | None
    url: str | None
    table: str | None
    query: str | None
    project: Path | None

    @property
    def rows_from(self) -> str:
        """The table or the query in words."""
        return f"table {self.table!r}" if self.table else "its query"


@dataclass(frozen=True, slots=True)
class Rows:
    """An open connection and what is selected from. `names`: its columns."""

    place: Place
    connection: Any
    source: Any
    names: tuple[str, ...]

    def column(self, name: str) -> Any:
        """A column by name, quoted by SQLAlchemy. Raises `DataError` where it is not there."""
        if name not in self.names:
            close = difflib.get_close_matches(name, self.names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(
                f"{self.place.what}: {self.place.rows_from} has no column {name!r}{hint}",
                f"its columns are {', '.join(self.names)}; name one of them, or bring the column back",
            )
        return self.source.c[name]

    def one(self, statement: Any) -> Any:
        """The single value that a statement gives, None without rows."""
        with _told(self.place):
            return self.connection.execute(statement).scalar()

    def all(self, statement: Any) -> list[Any]:
        """All rows that a statement gives: for few."""
        with _told(self.place):
            return list(self.connection.execute(statement))

    def table(self, statement: Any, names: Sequence[str]) -> Any:
        """What a statement gives as a `pyarrow.Table`, read in chunks. Decimals become floats."""
        import pyarrow as pa

        chunks, read = [], 0
        with _told(self.place):
            found = self.connection.execution_options(stream_results=True).execute(statement)
            for rows in found.partitions(_CHUNK):
                columns = [self._array(pa, name, [row[k] for row in rows], read) for k, name in enumerate(names)]
                chunks.append(pa.Table.from_arrays(columns, names=list(names)))
                read += len(rows)
        if not chunks:
            return pa.table({name: pa.nulls(0) for name in names})
        try:
            return pa.concat_tables(chunks, promote_options="permissive")
        except pa.ArrowException as error:
            raise self._mixed(str(error)) from None

    def _array(self, pa: Any, name: str, values: Sequence[Any], first: int) -> Any:
        try:
            return pa.array([float(value) if isinstance(value, Decimal) else value for value in values])
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise self._mixed(f"column {name!r}, rows {first} to {first + len(values) - 1}: {error}") from None

    def _mixed(self, text: str) -> DataError:
        return DataError(
            f"{self.place.what}: {self.place.rows_from} holds values of types that do not go together: {text}",
            "mend those rows, or cast the column in a query",
        )


@contextmanager
def open_rows(place: Place) -> Iterator[Rows]:
    """A connection for as long as the block runs; nothing is written through it."""
    import sqlalchemy as sa

    url = _address(place)
    with _told(place):
        engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with _told(place):
            connection = engine.connect()
        with connection:
            with _told(place):
                source, names = _selectable(place, connection)
            yield Rows(place, connection, source, names)
    finally:
        engine.dispose()


def _address(place: Place) -> Any:
    import sqlalchemy as sa

    text = os.environ.get(place.url_env) if place.url_env else place.url
    if not text:
        raise DataError(
            f"{place.what}: the environment variable {place.url_env} is not set",
            f"export {place.url_env}=dialect://user:password@host/database before the retrain",
        )
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        given = f"what {place.url_env} holds" if place.url_env else "its url"
        raise DataError(
            f"{place.what}: {given} is no database URL", "give dialect[+driver]://user:password@host/database"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        file = (place.project or Path(os.environ.get("PLASTER_PROJECT") or Path.cwd())) / url.database
        if not file.is_file():  # SQLite would make an empty one
            raise DataError(f"{place.what}: there is no SQLite file {url.database!r}", f"looked for {file}")
        url = url.set(database=str(file))
    return url


def _selectable(place: Place, connection: Any) -> tuple[Any, tuple[str, ...]]:
    import sqlalchemy as sa

    if place.query:
        plain = sa.text(place.query)
        names = tuple(connection.execute(sa.select(sa.text("*")).select_from(_bare(plain)).limit(0)).keys())
        return plain.columns(*(sa.column(name) for name in names)).subquery("plaster_rows"), names
    schema, _, name = str(place.table).rpartition(".")
    table = sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection)
    return table, tuple(column.name for column in table.columns)


def _bare(plain: Any) -> Any:
    return plain.columns().subquery("plaster_rows")


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Errors of the database as `DataError`; passwords do not get through."""
    import sqlalchemy as sa

    try:
        yield
    except sa.exc.NoSuchTableError:
        raise DataError(
            f"{place.what}: there is no {place.rows_from} in the database", "name an existing table, with its schema"
        ) from None
    except (sa.exc.NoSuchModuleError, ImportError) as error:
        raise DataError(
            f"{place.what}: no driver for the database: {_without_secret(place, error)}",
            "pip install the driver, and name it in the URL: postgresql+psycopg://...",
        ) from None
    except sa.exc.OperationalError as error:
        raise DataError(
            f"{place.what}: the database cannot be reached or cannot answer: {_without_secret(place, error)}",
            "check that it runs, the address and the rights, then run the command again",
        ) from None
    except sa.exc.SQLAlchemyError as error:
        raise DataError(
            f"{place.what}: {place.rows_from} cannot be read: {_without_secret(place, error)}",
            "try the statement in the database's own shell",
        ) from None


def _without_secret(place: Place, error: Exception) -> str:
    """The driver's own words in one line; whatever of the URL could be secret is struck out."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    given = (os.environ.get(place.url_env) if place.url_env else place.url) or ""
    user_part = re.search(r"//[^/@]*:([^@]+)@", given)
    secrets = [user_part.group(1)] if user_part else []
    secrets += re.findall(r"(?i)[?&](?:password|passwd|pwd|token|secret)[^=]*=([^&]+)", given)
    for secret in (given, *secrets):
        text = text.replace(secret, "***") if secret else text
    return text
