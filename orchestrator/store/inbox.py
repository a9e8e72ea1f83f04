"""The inbox in the store: each event of a platform once, under the platform's own id."""

from typing import Any

import sqlalchemy as sa

from orchestrator.store.database import Row, Signal, Tx, insert_new, upsert
from orchestrator.store.schema import inbox, watermark

NEW, DONE = "new", "done"


async def accept(
    tx: Tx, transport: str, event_id: str, lane: str, event: dict[str, Any], now: float, state: str = NEW
) -> bool:
    """Store an event; False where it was known."""
    row = {
        "transport": transport,
        "event_id": event_id,
        "lane": lane,
        "event": event,
        "at": now,
        "state": state,
    }
    stored = await tx.execute(insert_new(inbox).values(**row)) > 0
    if stored and state == NEW:
        tx.signals.add(Signal.INBOX)
    return stored


async def pending(tx: Tx, after: int, limit: int = 200) -> list[Row]:
    """Unhandled events with an id above *after*, oldest first."""
    query = sa.select(inbox).where(sa.text("state = 'new'"), inbox.c.id > after)
    return list(await tx.all(query.order_by(inbox.c.id).limit(limit)))


async def waiting(tx: Tx, row_id: int) -> dict[str, Any] | None:
    """An event as it reads now, while it is not handled; then None."""
    found: dict[str, Any] | None = await tx.scalar(
        sa.select(inbox.c.event).where(inbox.c.id == row_id, inbox.c.state == NEW)
    )
    return found


async def find(tx: Tx, transport: str, event_id: str) -> Row | None:
    """The event under the platform's id, or None: id, event, state."""
    where = (inbox.c.transport == transport, inbox.c.event_id == event_id)
    return await tx.first(sa.select(inbox.c.id, inbox.c.event, inbox.c.state).where(*where))


async def change(tx: Tx, row_id: int, event: dict[str, Any]) -> bool:
    """Let an event that is not handled yet read otherwise; False where it is."""
    where = (inbox.c.id == row_id, inbox.c.state == NEW)
    return bool(await tx.execute(inbox.update().where(*where).values(event=event)))


async def done(tx: Tx, row_id: int) -> bool:
    """Mark an event as handled; False where it was."""
    return bool(
        await tx.execute(inbox.update().where(inbox.c.id == row_id, inbox.c.state == NEW).values(state=DONE))
    )


async def get_watermark(tx: Tx, transport: str, scope: str) -> str | None:
    """How far a platform's events are known, in the platform's own terms."""
    found: str | None = await tx.scalar(
        sa.select(watermark.c.value).where(watermark.c.transport == transport, watermark.c.scope == scope)
    )
    return found


async def set_watermark(tx: Tx, transport: str, scope: str, value: str) -> None:
    """Store how far a platform's events are known."""
    row = {"transport": transport, "scope": scope, "value": value}
    await tx.execute(upsert(watermark, row, {"value": value}))


async def prune(tx: Tx, before: float, limit: int = 1000) -> int:
    """Forget handled events older than *before*, but not the last: its number must not be given again."""
    last = sa.select(sa.func.max(inbox.c.id)).scalar_subquery()
    old = sa.select(inbox.c.id).where(inbox.c.state == DONE, inbox.c.at < before, inbox.c.id < last)
    old = old.limit(limit)
    return await tx.execute(inbox.delete().where(inbox.c.id.in_(old)))
