"""Slash commands on Slack and Discord: how soon they are acknowledged and answered, beside a bare client in one run.

First in quiet, each answer beside one of a bot that is the library alone; then while 8 agents stream and the database
holds 100,000 tasks. `slack` or `discord` as an argument runs that one alone.
"""

import asyncio
import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.chats import CHATS, ROOMS, Chat, Streams, rig
from bench.sessions import Session

MEMORY = "/dev/shm"
TIMES, TASKS, AGENTS = 60, 100_000, 8
LOADED = 45.0
"""Seconds for which agents stream."""
ANSWER, ACK = 100.0, 300.0
"""Milliseconds: the median of answers in quiet, and the 99th percentile of acknowledgements under load."""


async def answered(chat: Chat, *, bare: bool = False, aside: int = 0) -> tuple[float | None, float]:
    """Milliseconds until a command was acknowledged, and until its answer was there."""
    begun = time.perf_counter()
    acked, there = await chat.command(bare=bare, aside=aside)
    while not there():
        if time.perf_counter() > begun + 60:
            raise TimeoutError("no answer in a minute")
        await asyncio.sleep(0.002)
    return None if acked is None else acked * 1000, (time.perf_counter() - begun) * 1000


async def quiet(chat: Chat) -> tuple[list[float], list[float]]:
    """Milliseconds of answers, and of a bare client's beside them."""
    ours: list[float] = []
    bare: list[float] = []
    async with chat.bare():
        for number in range(-5, TIMES):  # the first ones only warm up
            for times, is_bare in ((bare, True), (ours, False)):
                await asyncio.sleep(1.1)  # Slack takes a message a second in a channel
                _, took = await answered(chat, bare=is_bare)
                if number >= 0:
                    times.append(took)
    return ours, bare


def fill(session: Session) -> None:
    """Give the database so many finished tasks, each like the one that is there."""
    with contextlib.closing(sqlite3.connect(session.database, timeout=60)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(task)")]
        values = [
            "'filler-' || n" if one == "id" else "'COMPLETED'" if one == "status" else one for one in columns
        ]
        connection.execute(
            f"WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {TASKS}) "
            f"INSERT INTO task ({', '.join(columns)}) SELECT {', '.join(values)} "
            "FROM count, (SELECT * FROM task LIMIT 1)"
        )


async def loaded(chat: Chat, session: Session) -> tuple[list[float | None], list[float]]:
    """Milliseconds of acknowledgements and of answers while agents stream over a full database."""
    streams = Streams(chat, session, agents=AGENTS, count=1000, seconds=LOADED)
    await streams.begin()
    await asyncio.to_thread(fill, session)
    watching = asyncio.create_task(streams.watch())
    acks: list[float | None] = []
    answers: list[float] = []
    try:
        while not watching.done():
            room = 1 + len(acks) % (
                ROOMS - 1
            )  # not where agents stream: answers would go before their results
            acked, took = await answered(chat, aside=room)
            acks.append(acked)
            answers.append(took)
            await asyncio.sleep(0.2)
        await watching
    finally:
        watching.cancel()
    return acks, answers


def told(name: str, times: Sequence[float]) -> str:
    """Times in words."""
    late = sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]
    return f"{name}: median {statistics.median(times):.0f} ms, p99 {late:.0f} ms, longest {max(times):.0f} ms"


async def measure(name: str) -> list[str]:
    """Measure one platform and tell; returns the bounds that were not kept."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        async with rig(name, Path(folder)) as (chat, session):
            ours, bare = await quiet(chat)
            acks, answers = await loaded(chat, session)
    acked = [one for one in acks if one is not None]
    median = statistics.median(ours)
    print(f"{name}, {TIMES} commands in quiet")
    print(told("  command to answer", ours) + f" (aim: median below {ANSWER:g})")
    print(
        told("  the library alone", bare) + f"; we take {median / statistics.median(bare):.1f} times as long"
    )
    print(f"{name}, {len(acks)} commands while {AGENTS} agents stream, {TASKS:,} tasks in the database")
    print(told("  acknowledged", acked) + f" (aim: p99 within {ACK:g}); {len(acks) - len(acked)} failed")
    print(told("  answered", answers))
    late = sorted(acked)[min(len(acked) - 1, int(len(acked) * 0.99))]
    broken = [f"{name}: the median answer took {median:.0f} ms"] if median > ANSWER else []
    broken += [f"{name}: the p99 of acknowledgements is {late:.0f} ms"] if late > ACK else []
    return broken + ([f"{name}: a command failed"] if len(acked) < len(acks) else [])


def main() -> int:
    """The exit code says whether every bound was kept."""
    broken = [
        words
        for name in CHATS
        if name in sys.argv or len(sys.argv) == 1
        for words in asyncio.run(measure(name))
    ]
    for words in broken:
        print(f"not kept: {words}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
