"""A transaction is stored whole or not at all, whatever happens to whoever began it."""

import asyncio
import contextlib
import random

import sqlalchemy as sa

from orchestrator.store.database import Database, Signal
from orchestrator.store.schema import flag


async def put(database: Database, name: str) -> None:
    async with database.transaction() as tx:
        for part in range(3):
            await tx.execute(flag.insert().values(name=f"{name}.{part}", value=1))


async def names(database: Database) -> list[str]:
    async with database.read() as tx:
        return [row["name"] for row in await tx.all(sa.select(flag.c.name))]


async def test_whoever_is_cancelled_at_any_moment_leaves_no_lock_and_no_half(database: Database) -> None:
    draw = random.Random(5)
    for number in range(60):
        work = [asyncio.create_task(put(database, f"{number}.{n}")) for n in range(3)]
        for _ in range(draw.randrange(40)):
            await asyncio.sleep(0)
        work[draw.randrange(3)].cancel()
        await asyncio.sleep(draw.random() * 0.003)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    await asyncio.wait_for(put(database, "after"), 10)
    written = await names(database)
    assert all(f"{name[:-1]}{part}" in written for name in written for part in range(3))
    assert "after.0" in written


async def test_what_was_committed_while_its_author_was_cancelled_is_told(database: Database) -> None:
    told: list[str] = []
    database.on(Signal.WORK, lambda: told.append("work"))
    committing = asyncio.Event()

    async def author() -> None:
        async with database.transaction() as tx:
            await tx.execute(flag.insert().values(name="x", value=1))
            tx.signals.add(Signal.WORK)
            committing.set()

    task = asyncio.create_task(author())
    await committing.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert (await names(database) == ["x"]) == (told == ["work"])
