"""A session of streaming tasks, the daemon killed at random moments, and what must hold at its end."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.sessions import Session, git, lines_by_thread

FAULTS = {"lose_answer": 0.03, "later": 0.02, "duplicate_inbound": 0.2}


@dataclass(frozen=True, slots=True)
class Report:
    """What a session came to. Empty lists are what is wanted."""

    statuses: dict[str, int]
    kills: int
    wrong_threads: list[str]
    repeated_messages: list[str]
    wrong_commits: list[str]
    runs: int
    """Runs begun; one per task where no supervisor was killed."""

    @property
    def faultless(self) -> bool:
        """Whether everything held."""
        return not (self.wrong_threads or self.repeated_messages or self.wrong_commits)


async def session(folder: Path, *, tasks: int, kills: int, seed: int, lines: int = 20) -> Report:
    """Run *tasks* streaming tasks to their merges, killing the daemon *kills* times on the way."""
    chance = random.Random(seed)
    one = Session(folder, settings={"faults": FAULTS, "seed": seed})
    one.prepare()
    with one.running():
        await one.set_up(slots=4, lines=lines, pause=0.03)
        for number in range(tasks):
            one.say(f"task add p write task-{number} please")
        killed = 0
        while killed < kills:
            await asyncio.sleep(chance.uniform(0.05, 1.2))
            one.kill()
            killed += 1
            one.start()
        await one.until(lambda s: s.statuses() == {"COMPLETED": tasks}, 60 + 6 * tasks)
        await one.until(all_said, 60)
        return report(one, tasks, killed, lines)


def all_said(one: Session) -> bool:
    """Whether nothing is left to be said."""
    left = one.query(
        "SELECT 1 FROM outbox WHERE state = 'ready' UNION ALL "
        "SELECT 1 FROM wire WHERE state IN ('ready', 'sending', 'held') LIMIT 1"
    )
    return not left


def report(one: Session, tasks: int, kills: int, lines: int) -> Report:
    """Look at what the platform has seen and what the repository holds."""
    seen = one.seen()
    said = Counter(f"{m['op']} {m['key']}" for m in seen if m["op"] in ("post", "open"))
    wrong = []
    expected = {f"task-{n}": [f"task-{n} says {i}" for i in range(lines)] for n in range(tasks)}
    threads = {said_[0].split()[0]: said_ for said_ in lines_by_thread(seen).values() if said_}
    for name, wanted in expected.items():
        if threads.get(name) != wanted:
            wrong.append(f"{name}: {threads.get(name)}")
    log = git(
        one.folder / "git" / "origin.git",
        "log",
        "main",
        "--format=%(trailers:key=Task-Id,valueonly)%x00%s%x01",
    )
    commits = Counter(entry.split("\0")[1].strip() for entry in log.split("\x01") if "\0" in entry)
    commits.pop("seed", None)
    bad = [f"{subject}: {count}" for subject, count in commits.items() if count != 1]
    if len(commits) != 2 * tasks:
        bad.append(f"{len(commits)} subjects for {tasks} tasks: {sorted(commits)}")
    files = git(one.folder / "git" / "origin.git", "ls-tree", "--name-only", "main").split()
    bad += [f"{name}.txt is missing" for name in expected if f"{name}.txt" not in files]
    return Report(
        statuses=one.statuses(),
        kills=kills,
        wrong_threads=wrong,
        repeated_messages=[key for key, count in said.items() if count != 1],
        wrong_commits=bad,
        runs=int(one.query("SELECT count(*) FROM run")[0][0]),
    )
