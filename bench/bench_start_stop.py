"""200 runs started and stopped at random moments: what is left of them."""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench.start_stop import session


def main() -> int:
    """Run the session and print what is left; the exit code says whether that is nothing."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        left = asyncio.run(session(Path(folder), runs=runs, seed=seed))
    print(f"{left.runs} runs of {runs} tasks in {left.seconds:.0f} s, ended by {left.ended_by}")
    processes = f"{len(left.marked)} marked processes, {len(left.hidden)} hidden ones"
    print(f"left: {processes}, {left.worktrees} worktrees, {left.groups} control groups")
    return 1 if left.marked or left.hidden or left.worktrees or left.groups else 0


if __name__ == "__main__":
    sys.exit(main())
