"""Where a control plane keeps its database. Only the control plane itself makes one; everyone else must find it there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from connector.control.store.database import normal_url
from connector.errors import BadInput, ControlFailed

SQLITE: Final = "control.sqlite"  # in the state directory, unless another database is named
_SCHEME: Final = "sqlite:///"
_VERSIONS: Final = "alembic_version"  # the first table that a control plane makes


def database_url(state: Path, database: str = "") -> str:
    """The URL of the database of this state directory. `database`: the one that was named, if any."""
    return normal_url(database or f"{_SCHEME}{state.resolve() / SQLITE}")


def existing(state: Path, database: str = "") -> str:
    """The same, of a database that a control plane has made. Raises `BadInput` if there is none; it makes nothing."""
    url = database_url(state, database)
    if (file := sqlite_file(url)) is None:
        if _VERSIONS not in tables(url):
            raise BadInput(
                "no control plane has used this database",
                on="--database",
                remedy="check its address and name",
            )
    elif not file.is_file():
        raise BadInput(
            "there is no database of a control plane here",
            on=str(file),
            remedy="if it is in PostgreSQL, name it with --database or --config; else check --state",
        )
    return url


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for PostgreSQL."""
    return Path(url.removeprefix(_SCHEME)) if url.startswith(_SCHEME) else None


def tables(url: str) -> list[str]:
    """The names of the tables in a PostgreSQL database. Raises `ControlFailed` if it does not answer."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return sa.inspect(connection).get_table_names()
    except sa.exc.OperationalError as failed:
        raise ControlFailed(
            "the database does not answer", on="--database", remedy="check its address and that it runs"
        ) from failed
    finally:
        engine.dispose()
