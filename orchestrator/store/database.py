"""The database: one writer at a time, transactions that wake those whom their changes concern.

The dialect's differences (SQLite's pragmas and its way to begin a transaction) are all in this file.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool


class Signal(StrEnum):
    """What a committed transaction has changed, for those who wait for it."""

    INBOX = "inbox"
    OUTBOX = "outbox"
    WORK = "work"
    """A task, run, repo or agent: the cycle has something to look at."""
    MESSAGES = "messages"
    """Words or answers for a working agent."""
    TRANSCRIPT = "transcript"


Row = sa.RowMapping


class Tx:
    """An open transaction. What it signals is told only after it is committed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.signals: set[Signal] = set()
        self.afterwards: list[Callable[[], None]] = []
        """Called after the commit, and not where there is none."""

    async def execute(self, statement: sa.Executable, rows: Sequence[dict[str, Any]] | None = None) -> int:
        """Run *statement* and return the number of rows it changed."""
        result = await self._connection.execute(statement, rows)
        return int(result.rowcount)

    async def insert_id(self, statement: sa.Insert) -> int | None:
        """Run a single-row insert and return the new integer key, or None if the row was there already."""
        result = await self._connection.execute(statement)
        if not result.rowcount or result.rowcount < 0:
            return None
        key = result.inserted_primary_key
        return int(key[0]) if key else None

    async def all(self, statement: sa.Select[Any]) -> Sequence[Row]:
        """Return all rows of *statement*."""
        rows: Sequence[Row] = (await self._connection.execute(statement)).mappings().all()
        return rows

    async def first(self, statement: sa.Select[Any]) -> Row | None:
        """Return the first row of *statement*, or None."""
        row: Row | None = (await self._connection.execute(statement)).mappings().first()
        return row

    async def scalar(self, statement: sa.Select[Any]) -> Any:
        """Return the first column of the first row, or None."""
        return (await self._connection.execute(statement)).scalar()

    async def column(self, statement: sa.Select[Any]) -> list[Any]:
        """Return the first column of all rows."""
        return list((await self._connection.execute(statement)).scalars())


def insert_new(table: sa.Table) -> sqlite.Insert:
    """An insert that leaves an existing row as it is (the same clause in SQLite and PostgreSQL)."""
    return sqlite.insert(table).on_conflict_do_nothing()


def upsert(table: sa.Table, values: dict[str, Any], update: dict[str, Any]) -> sqlite.Insert:
    """An insert of *values* that applies *update* where the primary key exists."""
    statement = sqlite.insert(table).values(**values)
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=update)


def _engine(url: str, size: int, *, writes: bool) -> AsyncEngine:
    # A reader has no transaction to begin and to end, which would cost more than most of its statements.
    reading: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=size,
        max_overflow=0,
        json_serializer=lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        connect_args={"timeout": 30},
        **({} if writes else reading),
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if writes:

        @sa.event.listens_for(engine.sync_engine, "begin")
        def start(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class Database:
    """The store's file, its transactions and its signals."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write = _engine(self.url, 1, writes=True)
        self._read = _engine(self.url, 3, writes=False)
        self._writer = asyncio.Lock()
        self._listeners: dict[Signal, list[Callable[[], None]]] = {}

    @property
    def url(self) -> str:
        """The SQLAlchemy address of the database."""
        return f"sqlite+aiosqlite:///{self.path}"

    def on(self, signal: Signal, listener: Callable[[], None]) -> None:
        """Call *listener* after each commit that signalled *signal*."""
        self._listeners.setdefault(signal, []).append(listener)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Write: all of it is stored when the block ends, or none."""
        async with self._writer, self._write.begin() as connection:
            tx = Tx(connection)
            yield tx
        for signal in tx.signals:
            for listener in self._listeners.get(signal, ()):
                listener()
        for call in tx.afterwards:
            call()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """Read without waiting for writers. Each statement sees what is stored when it runs, and not the same."""
        async with self._read.connect() as connection:
            yield Tx(connection)

    async def close(self) -> None:
        """Close all connections."""
        await self._write.dispose()
        await self._read.dispose()
