"""20 streaming tasks, the daemon killed 50 times: what was lost, repeated or out of order."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.crash import session


def main() -> int:
    """Run the session and print what it came to; the exit code says whether everything held."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(session(Path(folder), tasks=20, kills=kills, seed=seed, lines=60))
    print(f"{found.kills} kills, {time.monotonic() - begun:.0f} s, {found.runs} runs, {found.statuses}")
    for name in ("wrong_threads", "repeated_messages", "wrong_commits"):
        print(f"{name.replace('_', ' ')}: {len(getattr(found, name))}", *getattr(found, name)[:5])
    return 0 if found.faultless else 1


if __name__ == "__main__":
    sys.exit(main())
