"""The database: one writer at a time, transactions that wake those whom their changes concern.

The dialect's differences (SQLite's pragmas and its way to begin a transaction) are all in this file.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

T = TypeVar("T")


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


async def _to_its_end(work: Awaitable[T]) -> tuple[asyncio.Future[T], bool]:
    """Let *work* come to its end whatever happens to us; returns it, and whether we were cancelled meanwhile.

    A statement that is left in the middle would keep the write lock on a connection that nobody holds.
    """
    future = asyncio.ensure_future(work)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    return future, cancelled


class Tx:
    """An open transaction. What it signals is told only after it is committed."""

    def __init__(self, connection: AsyncConnection, *, writes: bool = False) -> None:
        self._connection = connection
        self._writes = writes
        self.signals: set[Signal] = set()
        self.afterwards: list[Callable[[], None]] = []
        """Called after the commit, and not where there is none."""

    async def _run(
        self, statement: sa.Executable, rows: Sequence[dict[str, Any]] | None = None
    ) -> sa.CursorResult[Any]:
        if not self._writes:
            return await self._connection.execute(statement, rows)
        done, cancelled = await _to_its_end(self._connection.execute(statement, rows))
        if cancelled:
            done.exception()
            raise asyncio.CancelledError
        return done.result()

    async def execute(self, statement: sa.Executable, rows: Sequence[dict[str, Any]] | None = None) -> int:
        """Run *statement* and return the number of rows it changed."""
        result = await self._run(statement, rows)
        return int(result.rowcount)

    async def insert_id(self, statement: sa.Insert) -> int | None:
        """Run a single-row insert and return the new integer key, or None if the row was there already."""
        result = await self._run(statement)
        if not result.rowcount or result.rowcount < 0:
            return None
        key = result.inserted_primary_key
        return int(key[0]) if key else None

    async def all(self, statement: sa.Select[Any]) -> Sequence[Row]:
        """Return all rows of *statement*."""
        rows: Sequence[Row] = (await self._run(statement)).mappings().all()
        return rows

    async def first(self, statement: sa.Select[Any]) -> Row | None:
        """Return the first row of *statement*, or None."""
        row: Row | None = (await self._run(statement)).mappings().first()
        return row

    async def scalar(self, statement: sa.Select[Any]) -> Any:
        """Return the first column of the first row, or None."""
        return (await self._run(statement)).scalar()

    async def column(self, statement: sa.Select[Any]) -> list[Any]:
        """Return the first column of all rows."""
        return list((await self._run(statement)).scalars())


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
        async with self._writer:
            block = self._write.begin()
            begun, cancelled = await _to_its_end(block.__aenter__())
            if cancelled and begun.exception() is not None:
                raise asyncio.CancelledError
            tx = Tx(begun.result(), writes=True)
            try:
                if cancelled:
                    raise asyncio.CancelledError
                yield tx
            except BaseException as fault:
                _, cancelled = await _to_its_end(block.__aexit__(type(fault), fault, fault.__traceback__))
                if cancelled:
                    raise asyncio.CancelledError from fault
                raise
            ended, cancelled = await _to_its_end(block.__aexit__(None, None, None))
            if cancelled and ended.exception() is not None:
                raise asyncio.CancelledError
            ended.result()
        self._tell(tx)
        if cancelled:
            raise asyncio.CancelledError

    def _tell(self, tx: Tx) -> None:
        """Wake those whom a committed transaction concerns."""
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
