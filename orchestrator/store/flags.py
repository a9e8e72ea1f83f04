"""Small facts that outlive a restart: whether scheduling is paused, who waits for a restart's end."""

from typing import Any

import sqlalchemy as sa

from orchestrator.store.database import Signal, Tx, upsert
from orchestrator.store.schema import flag

PAUSED = "paused"
RESTARTED_BY = "restarted_by"


async def get(tx: Tx, name: str) -> Any:
    """The flag's value, or None."""
    return await tx.scalar(sa.select(flag.c.value).where(flag.c.name == name))


async def put(tx: Tx, name: str, value: Any) -> None:
    """Set a flag."""
    await tx.execute(upsert(flag, {"name": name, "value": value}, {"value": value}))
    tx.signals.add(Signal.WORK)


async def clear(tx: Tx, name: str) -> None:
    """Remove a flag."""
    await tx.execute(flag.delete().where(flag.c.name == name))
    tx.signals.add(Signal.WORK)
