"""Brings a database file to the present schema; cheap where it is there already."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from orchestrator.errors import UserError
from orchestrator.store.schema import metadata

HEAD = "0001"
_KNOWN = frozenset({"0001"})


_COLUMNS = (
    "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"
)


def _present(path: Path) -> str | None:
    if not path.exists():
        return None
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def _check(path: Path) -> None:
    """UserError where the database lacks what this version reads: before the first release its schema still moves."""
    wanted = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        lacking = wanted - set(connection.execute(_COLUMNS))
    if lacking:
        table, column = min(lacking)
        raise UserError(
            f"{path} was made by an unreleased version: it has no column {column} of {table}."
            " Move it away, and a new one is made; tasks and people have to be added again."
        )


def upgrade(path: Path) -> None:
    """Create or upgrade the database at *path*. Blocking; UserError where it is not one that we can read."""
    present = _present(path)
    if present == HEAD:
        _check(path)
        return
    if present is not None and present not in _KNOWN:
        raise UserError(f"{path} has schema {present}, this version knows up to {HEAD}: upgrade agent-queue")
    # Alembic is imported only when there is something to do: it costs a tenth of a second.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
    path.chmod(0o600)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # Before many connect, who would race to set it.
        connection.execute("PRAGMA journal_mode=WAL")


async def migrate(path: Path) -> None:
    """Create or upgrade the database at *path* without blocking the event loop."""
    await asyncio.to_thread(upgrade, path)
