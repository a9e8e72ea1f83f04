"""From the stored command to the adapter's start, beside git's own time for the worktree, in one run."""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.sessions import Session, git

TASKS = 15
FILES = 2000


async def measure(tasks: int = TASKS, files: int = FILES) -> tuple[list[float], list[float]]:
    """Milliseconds of each dispatch, and of each bare `git worktree add` between them."""
    dispatched, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        one = Session(Path(folder))
        one.prepare(files)
        with one.running():
            await one.set_up(slots=1, lines=1, pause=0)
            repo = one.folder / "data" / "repos" / "r.git"
            for number in range(tasks):
                bare.append(worktree_time(repo, one.folder / "bare" / str(number)))
                await one.answered(one.say(f"task add p write task-{number} please"))
                done = number + 1
                await one.until(lambda s, done=done: s.statuses().get("COMPLETED", 0) == done)
                await asyncio.sleep(
                    0.3
                )  # let the workspace's removal end, so that it is not in the next figure
            dispatched = dispatch_times(one)
    return dispatched, bare


def worktree_time(repo: Path, path: Path) -> float:
    """Milliseconds that git takes for a worktree of the repository's main branch."""
    begun = time.perf_counter()
    git(repo, "worktree", "add", "--quiet", "--detach", str(path), "refs/remotes/origin/main")
    return (time.perf_counter() - begun) * 1000


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
    """Print both medians and their difference."""
    dispatched, bare = asyncio.run(measure())
    whole, own = statistics.median(dispatched), statistics.median(bare)
    print(
        f"{len(dispatched)} dispatches, {FILES} files: median {whole:.0f} ms, git worktree add {own:.0f} ms"
    )
    print(f"on top of git: {whole - own:.0f} ms (aim: at most 60)")
    return 0 if whole - own <= 60 else 1


if __name__ == "__main__":
    sys.exit(main())
