"""Runs that are started and stopped at random moments, and what must be left of them: nothing."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.sessions import Session
from orchestrator.runs import process
from orchestrator.runs.folder import RunFolder

AGENT = """
import os, random, sys, time
sys.stdin.read()
def hide(env):
    if os.fork():
        return os.wait()
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.execve("/bin/sleep", ["sleep", "7337"], env)
hide(dict(os.environ))
hide({"AGENT_QUEUE_HID": sys.argv[1]})
print("at work", flush=True)
time.sleep(random.choice([0.1, 600]))
"""
"""Leaves a process that forked twice, and one that cleared its environment too; then it ends, or never does."""


@dataclass(frozen=True, slots=True)
class Left:
    """What was left. Empty is what is wanted."""

    runs: int
    ended_by: dict[str, int]
    marked: list[int]
    """Processes that carry the mark of one of the runs."""
    hidden: list[int]
    """Processes that had cleared their environment."""
    worktrees: list[str]
    groups: list[str]
    """Control groups of the runs."""
    seconds: float


async def session(folder: Path, *, runs: int, seed: int, at_once: int = 8) -> Left:
    """Start *runs* runs, so many at once, end each at a random moment in a random way, and look for what is left."""
    begun, chance = time.monotonic(), random.Random(seed)
    one = Session(folder)
    one.prepare()
    config = json.loads(one.config.read_text()) | {"runs": {"memory_max": "4G"}}  # a group for each
    one.config.write_text(json.dumps(config))
    (folder / "agent.py").write_text(AGENT)
    ways: Counter[str] = Counter()
    with one.running():
        await one.set_up(slots=at_once, lines=folder.name, pause="", more="retries:0")
        turns = asyncio.Semaphore(at_once)

        async def turn(number: int) -> None:
            async with turns:
                ways[await _start_and_stop(one, number, chance)] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(runs):
                group.create_task(turn(number))
        await one.until(lambda s: not s.query("SELECT 1 FROM run WHERE ended_at IS NULL"), 120)
        await one.until(lambda s: not s.query("SELECT 1 FROM workspace"), 120)
        ids = {row[0] for row in one.query("SELECT id FROM run")}
        return Left(
            runs=len(ids),
            ended_by=dict(ways),
            marked=[s.id.pid for s in process.every() if process.mark_of(s.id.pid) in ids],
            hidden=[s.id.pid for s in process.every() if _hid(s.id.pid, folder.name)],
            worktrees=[str(path) for path in (folder / "data" / "worktrees").glob("*/*")],
            groups=[str(path) for path in map(RunFolder.read_group, _all(one)) if path and path.exists()],
            seconds=time.monotonic() - begun,
        )


async def _start_and_stop(one: Session, number: int, chance: random.Random) -> str:
    """Add a task, and end its run at some moment; returns how."""
    way = chance.choice(["task stop", "task stop", "supervisor killed", "agent killed", "left alone"])
    answer = await one.answered(one.say(f"task add p number {number}"), 120)
    task = answer["wire"]["data"]["id"]
    moment = chance.uniform(0.0, 1.5)
    if way != "task stop":
        await one.until(lambda s: s.query(f"SELECT 1 FROM run WHERE task_id = '{task}'"))
    await asyncio.sleep(moment)
    if way == "supervisor killed":
        _kill_supervisor(one, task)
    elif way == "agent killed":
        _kill_agent(one, task)
    await asyncio.sleep(chance.uniform(0.0, 0.5))
    await one.answered(one.say(f"task stop {task}"), 120)
    return way


def _all(one: Session) -> list[RunFolder]:
    return [RunFolder(path) for path in (one.folder / "data" / "runs").glob("*")]


def _folders(one: Session, task: str) -> list[RunFolder]:
    rows = one.query(f"SELECT id FROM run WHERE task_id = '{task}' AND ended_at IS NULL")
    return [RunFolder(one.folder / "data" / "runs" / row[0]) for row in rows]


def _kill_supervisor(one: Session, task: str) -> None:
    for folder in _folders(one, task):
        supervisor = folder.read_supervisor()
        if supervisor is not None and process.alive(supervisor):
            os.kill(supervisor.pid, signal.SIGKILL)


def _kill_agent(one: Session, task: str) -> None:
    for folder in _folders(one, task):
        for found in process.every():
            if process.mark_of(found.id.pid) == folder.path.name and process.alive(found.id):
                os.kill(found.id.pid, signal.SIGKILL)
                break


def _hid(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() == f"AGENT_QUEUE_HID={name}\0".encode()
    except OSError:
        return False
