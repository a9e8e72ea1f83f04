"""From the stored command to the adapter's start, beside git's own time for the worktree, in one run."""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.sessions import Session, git

MEMORY = "/dev/shm"
"""Where there is a file system in memory, so that a slow disk does not drown what is measured."""
TASKS = 15
FILES = 2000


async def measure(tasks: int = TASKS, files: int = FILES) -> tuple[list[float], list[tuple[float, float]]]:
    """Milliseconds of each dispatch, and of git's bare fetch and worktree between them."""
    dispatched, bare = [], []
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        one = Session(Path(folder))
        one.prepare(files)
        with one.running():
            await one.set_up(slots=1, lines=1, pause=0)
            repo = one.folder / "data" / "repos" / "r.git"
            for number in range(tasks):
                bare.append(worktree_time(repo, one.folder / "bare" / str(number)))
                one.say(f"task add p write task-{number} please")
                await asyncio.sleep(1)  # and do not look meanwhile: that would cost what is measured
                done = number + 1
                await one.until(lambda s, done=done: s.statuses().get("COMPLETED", 0) == done)
                await asyncio.sleep(1)  # the workspace is gone, the next supervisor stands by
            dispatched = dispatch_times(one)
    return dispatched, bare


def worktree_time(repo: Path, path: Path) -> tuple[float, float]:
    """Milliseconds that git takes to fetch the main branch, and for a worktree of it."""
    begun = time.perf_counter()
    git(repo, "fetch", "--quiet", "--no-tags", "origin", "+refs/heads/main:refs/remotes/origin/main")
    fetched = time.perf_counter()
    git(repo, "worktree", "add", "--quiet", "--detach", str(path), "refs/remotes/origin/main")
    return (fetched - begun) * 1000, (time.perf_counter() - fetched) * 1000


def dispatch_times(one: Session) -> list[float]:
    """Milliseconds from each stored `task add` to the start of its adapter."""
    begun = dict(
        one.query(
            "SELECT run.id, inbox.at FROM run JOIN task ON task.id = run.task_id "
            "JOIN inbox ON json_extract(inbox.event, '$.text') LIKE 'task add p ' || task.title"
        )
    )
    times = []
    for run, at in begun.items():
        first = (one.folder / "data" / "runs" / run / "events.jsonl").read_text().splitlines()[0]
        times.append((json.loads(first)["at"] - at) * 1000)
    return times


def main() -> int:
    """Print the medians, and what we add to git's own time."""
    dispatched, bare = asyncio.run(measure())
    whole = statistics.median(dispatched)
    fetch, worktree = (statistics.median(times) for times in zip(*bare, strict=True))
    print(f"{len(dispatched)} dispatches with {FILES} files: median {whole:.0f} ms")
    print(f"git alone: fetch {fetch:.0f} ms, worktree add {worktree:.0f} ms")
    added = whole - fetch - worktree
    print(f"on top of git: {added:.0f} ms (aim: at most 60)")
    return 0 if added <= 60 else 1


if __name__ == "__main__":
    sys.exit(main())
