"""Databases of the newest version that nobody has used. To copy one is ten times as fast as to make one by every version."""

from __future__ import annotations

import atexit
import functools
import secrets
import shutil
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from connector.control.store import Store
from connector.control.store.tables import epochs


def sqlite(file: Path) -> str:
    """Put one at `file`; answers its URL."""
    shutil.copy(_sqlite(), file)
    return _of_its_own(f"sqlite:///{file}")


def postgres(server: str) -> str:
    """Make one on `server`, the URL of any database there; answers its URL."""
    return _of_its_own(_created(server, f"TEMPLATE {_postgres(server)}"))


def empty_postgres(server: str) -> str:
    """One without a table."""
    return _created(server, "")


def _of_its_own(url: str) -> str:
    """No two databases are in one epoch: whoever remembers one must not take the other for it."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(epochs.update().values(id=secrets.token_hex(16)))
    engine.dispose()
    return url


def _created(server: str, more: str) -> str:
    name = f"db_{uuid.uuid4().hex}"
    engine = sa.create_engine(
        server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} {more}"))
    engine.dispose()
    return server.rsplit("/", 1)[0] + f"/{name}"


def drop(url: str) -> None:
    """Remove a database of a server, whoever is still connected. A file goes with its directory."""
    if url.startswith("sqlite"):
        return
    server, name = url.rsplit("/", 1)
    engine = sa.create_engine(
        f"{server}/postgres".replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    engine.dispose()


@functools.cache
def _sqlite() -> Path:
    folder = tempfile.mkdtemp(prefix="fresh-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder) / "control.sqlite"
    with closing(Store(f"sqlite:///{file}")):
        pass
    file.chmod(0o600)
    return file


@functools.cache
def _postgres(server: str) -> str:
    url = empty_postgres(server)
    Store(url).close()
    return url.rsplit("/", 1)[1]
