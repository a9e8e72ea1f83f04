"""The messages of frontends whose platform is this daemon itself (the terminal chat)."""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from orchestrator.store.database import Row, Signal, Tx, insert_new
from orchestrator.store.schema import transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message, an edit of one (`content["edits"]` is its id) or a deletion (`content["deletes"]`)."""

    seq: int = 0
    transport: str
    id: str
    channel: str
    root: str | None
    key: str
    author: str
    content: dict[str, Any]
    at: float


def _line(row: Row) -> Line:
    return Line(**row)


async def add(tx: Tx, line: Line) -> str:
    """Store a message once by its key; returns the id of the one that is stored."""
    values = {k: v for k, v in asdict(line).items() if k != "seq"}
    if await tx.execute(insert_new(transcript).values(**values)) > 0:
        tx.signals.add(Signal.TRANSCRIPT)
        return line.id
    stored: str = await tx.scalar(
        sa.select(transcript.c.id).where(
            transcript.c.transport == line.transport, transcript.c.key == line.key
        )
    )
    return stored


async def since(tx: Tx, transport: str, seq: int, limit: int = 500) -> list[Line]:
    """Messages after *seq*, oldest first."""
    rows = await tx.all(
        sa.select(transcript)
        .where(transcript.c.transport == transport, transcript.c.seq > seq)
        .order_by(transcript.c.seq)
        .limit(limit)
    )
    return [_line(row) for row in rows]


async def last_seq(tx: Tx, transport: str, back: int = 0) -> int:
    """The number of the latest message, or of the one *back* messages before it."""
    found = await tx.scalar(
        sa.select(transcript.c.seq)
        .where(transcript.c.transport == transport)
        .order_by(transcript.c.seq.desc())
        .offset(back)
        .limit(1)
    )
    return int(found or 0)


async def thread(tx: Tx, transport: str, channel: str, root: str, limit: int = 1000) -> list[Line]:
    """The last messages of a thread, oldest first."""
    rows = await tx.all(
        sa.select(transcript)
        .where(
            transcript.c.transport == transport, transcript.c.channel == channel, transcript.c.root == root
        )
        .order_by(transcript.c.seq.desc())
        .limit(limit)
    )
    return [_line(row) for row in reversed(rows)]


async def by_key(tx: Tx, transport: str, key: str) -> list[str]:
    """The ids of the messages stored under *key*."""
    return await tx.column(
        sa.select(transcript.c.id).where(transcript.c.transport == transport, transcript.c.key == key)
    )


async def channels(tx: Tx, transport: str) -> list[str]:
    """Every channel in which something was said."""
    return await tx.column(
        sa.select(transcript.c.channel).where(transcript.c.transport == transport).distinct()
    )
