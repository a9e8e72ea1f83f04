"""Eight agents stream 1,000 lines each into eight threads of Slack and of Discord: what a reader gets, and when.

`slack` or `discord` as an argument runs that one alone.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench.chats import CHATS, Streams, rig

MEMORY = "/dev/shm"
AGENTS, LINES, SECONDS = 8, 1000, 60.0
FINAL = 15.0
"""Seconds after its agent's end in which a final answer is to be there."""
QUESTION = 5.0


async def measure(name: str) -> list[str]:
    """Run the streams on one platform and tell what came of it; returns the bounds that were not kept."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        async with rig(name, Path(folder)) as (chat, session):
            streams = Streams(chat, session, agents=AGENTS, count=LINES, seconds=SECONDS)
            await streams.begin()
            await streams.watch()
            wrong, refused = streams.faults(), chat.refusals()
            final = sorted(streams.done.values())
            print(f"{name}: {AGENTS} agents, {LINES} lines each over {SECONDS:g} s")
            print(f"  {wrong or 'every line once and in order'}: {streams.messages()} messages")
            print(f"  final answers after {', '.join(f'{one:.1f}' for one in final)} s (aim: {FINAL:g})")
            print(f"  the question was there after {streams.asked:.1f} s (aim: {QUESTION:g})")
            print(f"  refused for their pace: {refused} (aim: at most one, which teaches the limit)")
    broken = [f"{name}: {one}" for one in wrong]
    broken += [f"{name}: a final answer took {final[-1]:.1f} s"] if final[-1] > FINAL else []
    broken += [f"{name}: the question took {streams.asked:.1f} s"] if streams.asked > QUESTION else []
    broken += [f"{name}: {refused} requests were refused"] if refused > 1 else []
    return broken


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
