"""Eight agents stream 1,000 lines each into eight Matrix threads: what their reader gets, and when.

`default` and `relaxed` name the homeserver's limits, `--encrypted` makes the room so; without a name both are run.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from agent_queue import synapse
from agent_queue.synapse import Homeserver
from bench.matrix import Streams, house, stream

MEMORY = "/dev/shm"
AGENTS, LINES = 8, 1000
SECONDS = {"default": 240.0, "relaxed": 20.0}
"""How long each agent prints; with default limits long enough for the burst to be kept in reserve again."""
FINAL = {"default": 15.0, "relaxed": 3.0}
"""Seconds after its agent's end in which a final answer is to be there."""
QUESTION = {"default": 10.0, "relaxed": 3.0}
REFUSALS = {"default": AGENTS + 1, "relaxed": 0}
"""Refused sends that are no storm: at the first limit, one for each thread that spoke just then, and for the room."""


async def measure(limits: str, *, encrypted: bool) -> Streams:
    """Run the streams on a homeserver of their own."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        homeserver = Homeserver(Path(folder) / "homeserver", relaxed=limits == "relaxed")
        async with homeserver.running(), house(Path(folder), homeserver, encrypted=encrypted) as one:
            return await stream(one, agents=AGENTS, count=LINES, seconds=SECONDS[limits])


def told(found: Streams, limits: str) -> list[str]:
    """Print what was found; returns the bounds that were not kept."""
    whole = (
        f"all {AGENTS} threads show every line once and in order"
        if not found.wrong
        else f"WRONG: {found.wrong}"
    )
    print(
        f"{whole}: {found.events} events ({found.edits} of them edits), {found.refusals} refused for their pace"
    )
    final = ", ".join(f"{seconds:.1f}" for seconds in found.final)
    print(f"final answers, seconds after their agents' ends: {final} (aim: at most {FINAL[limits]:g})")
    print(f"the question was there after {found.question:.1f} s (aim: at most {QUESTION[limits]:g})")
    print(f"everything was said {found.seconds:.0f} s after the first agent's end")
    broken = list(found.wrong)
    if max(found.final) > FINAL[limits]:
        broken.append(f"a final answer took {max(found.final):.1f} s")
    broken += found.late
    if found.question > QUESTION[limits]:
        broken.append(f"the question took {found.question:.1f} s")
    if found.refusals > REFUSALS[limits]:
        broken.append(f"{found.refusals} sends were refused")
    return broken


def main() -> int:
    """Print what a reader gets; the exit code says whether every bound was kept."""
    if synapse.python() is None:
        print("Synapse is not installed: make synapse")
        return 0
    encrypted = "--encrypted" in sys.argv
    broken: list[str] = []
    for limits in [one for one in SECONDS if one in sys.argv] or SECONDS:
        room = "an encrypted room" if encrypted else "a plain room"
        print(f"{AGENTS} agents, {LINES} lines each over {SECONDS[limits]:g} s, {limits} limits, {room}:")
        broken += told(asyncio.run(measure(limits, encrypted=encrypted)), limits)
    for words in broken:
        print(f"not kept: {words}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
