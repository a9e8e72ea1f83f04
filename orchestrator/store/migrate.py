"""Brings a database file to the present schema; cheap where it is there already."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from orchestrator.errors import OrchestratorError

HEAD = "0001"
_KNOWN = frozenset({"0001"})


class NewerDatabase(OrchestratorError):
    """The database was made by a newer version of this program."""


def _present(path: Path) -> str | None:
    if not path.exists():
        return None
    connection = sqlite3.connect(path)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return str(row[0]) if row else None


def upgrade(path: Path) -> None:
    """Create or upgrade the database at *path*. Blocking; NewerDatabase where it is ahead of us."""
    present = _present(path)
    if present == HEAD:
        return
    if present is not None and present not in _KNOWN:
        raise NewerDatabase(
            f"{path} has schema {present}, this version knows up to {HEAD}: upgrade agent-queue"
        )
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
    with contextlib.closing(
        sqlite3.connect(path)
    ) as connection:  # before many connect, who would race to set it
        connection.execute("PRAGMA journal_mode=WAL")


async def migrate(path: Path) -> None:
    """Create or upgrade the database at *path* without blocking the event loop."""
    await asyncio.to_thread(upgrade, path)
