"""A person's command to the bot's answer on Matrix, beside one person's words to another, in turn in one run."""

import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from agent_queue import synapse
from agent_queue.synapse import Homeserver
from bench.matrix import House, house, person_of
from tests.matrix.person import Person, arrive

MEMORY = "/dev/shm"
TIMES = 100
AIM = 100.0
"""Milliseconds that the median is to stay below."""


class Measured:
    """Milliseconds of each round trip, and of each message between people beside it."""

    def __init__(self) -> None:
        self.answered: list[float] = []
        self.raw: list[float] = []
        self.parts: list[tuple[float, ...]] = []
        """Of each round trip: until it was stored, until its answer was, until that was claimed, until it was seen."""
        self.cpu = 0.0
        """Processor milliseconds of the daemon for one answer."""


async def measure(*, encrypted: bool, times: int = TIMES) -> Measured:
    """Measure *times* of both on a homeserver of its own."""
    found = Measured()
    async with AsyncExitStack() as stack:
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        homeserver = await stack.enter_async_context(
            Homeserver(folder / "homeserver", relaxed=True).running()
        )
        one = await stack.enter_async_context(house(folder, homeserver, encrypted=encrypted, counted=False))
        friend = person_of(homeserver, await arrive(homeserver, "friend"), folder, encrypted=encrypted)
        await stack.enter_async_context(friend)
        room = await one.person.create_room(encrypted=encrypted, invite=[friend.user_id])
        await friend.join(room)
        for person in (one.person, friend):
            await person.sync()
        for number in range(-5, times):  # the first ones only warm up
            raw = await _raw(one.person, friend, room, number)
            used = _processor(one)
            answered, parts = await _answered(one)
            if number >= 0:
                found.cpu += (_processor(one) - used) * 1000 / times
                found.raw.append(raw)
                found.answered.append(answered)
                found.parts.append(parts)
            await asyncio.sleep(0.02)
    return found


async def _raw(ann: Person, friend: Person, room: str, number: int) -> float:
    """Milliseconds from where Ann begins to say something until her friend has it."""
    await friend.sync()
    words = f"number {number}"
    waiting = asyncio.create_task(
        friend.until(lambda p: any(m.body == words for m in p.messages(room)), what=words)
    )
    await asyncio.sleep(0.02)  # until the homeserver holds the friend's request
    begun = time.perf_counter()
    await ann.say(room, words)
    await waiting
    return (time.perf_counter() - begun) * 1000


async def _answered(one: House) -> tuple[float, tuple[float, ...]]:
    """Milliseconds from where a command begins to be said until its answer is there, and of its parts."""
    await asyncio.sleep(0.02)
    begun, clock = time.perf_counter(), time.time()
    answer = await one.ask("version")
    whole = (time.perf_counter() - begun) * 1000
    rows = one.session.query(
        "SELECT inbox.at, outbox.at, wire.sent_at FROM wire JOIN outbox ON outbox.id = wire.outbox_id "
        "JOIN inbox ON json_extract(outbox.post, '$.reply_to') = inbox.event_id "
        f"WHERE wire.remote_id = '{answer.id}'"
    )
    times = [clock, *rows[0], clock + whole / 1000] if rows else []
    return whole, tuple((b - a) * 1000 for a, b in itertools.pairwise(times))


def _processor(one: House) -> float:
    """Processor seconds that the daemon has used."""
    if one.session.process is None:
        return 0.0
    used = psutil.Process(one.session.process.pid).cpu_times()
    return float(used.user + used.system)


def told(name: str, times: Sequence[float]) -> str:
    """Times in words."""
    late = statistics.quantiles(times, n=20)[-1]
    return f"{name}: median {statistics.median(times):.0f} ms, p95 {late:.0f} ms, longest {max(times):.0f} ms"


def main() -> int:
    """Print the medians; the exit code says whether the answer's is below the aim."""
    if synapse.python() is None:
        print("Synapse is not installed: make synapse")
        return 0
    kept = True
    for encrypted in (False, True):
        found = asyncio.run(measure(encrypted=encrypted))
        median, raw = statistics.median(found.answered), statistics.median(found.raw)
        print(f"{len(found.answered)} round trips in {'an encrypted' if encrypted else 'a plain'} room")
        print(told("  command to answer", found.answered) + f" (aim: median below {AIM:g})")
        print(told("  person to person", found.raw))
        print(
            f"  {median / raw:.1f} times as long; {found.cpu:.0f} ms of processor time in the daemon for each"
        )
        parts = [statistics.median(part) for part in zip(*(p for p in found.parts if p), strict=True)]
        names = ("said until stored", "handled", "taken up to send", "sent until seen")
        print("  of it: " + ", ".join(f"{n} {ms:.1f} ms" for n, ms in zip(names, parts, strict=True)))
        kept &= median < AIM
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
