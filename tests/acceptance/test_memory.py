"""A ceiling of memory, in a daemon as a process: what people read, and what is left of the run's control group."""

import json
import os
import signal
from pathlib import Path

import pytest

from bench.sessions import Session
from orchestrator.runs import cgroups, process
from orchestrator.runs.folder import RunFolder

AGENT = """
import sys, time
text = sys.stdin.read()
print(text.split()[0], "at work", flush=True)
held = bytearray(2 << 30) if "grow" in text else b""
time.sleep(600)
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    if why := cgroups.why_none():
        pytest.skip(f"the kernel enforces nothing here: {why}")
    one = Session(tmp_path, cycle_seconds=1.0)
    one.prepare()
    config = json.loads(one.config.read_text()) | {"runs": {"memory_max": "64M", "stop_grace": 1}}
    one.config.write_text(json.dumps(config))
    (tmp_path / "agent.py").write_text(AGENT)
    return one


def groups(one: Session) -> list[Path]:
    folders = (RunFolder(path) for path in (one.folder / "data" / "runs").glob("*"))
    return [group for folder in folders if (group := folder.read_group()) is not None and group.exists()]


def said(one: Session, words: str) -> bool:
    return any(words in str(sent.get("wire", "")) for sent in one.seen())


async def test_a_task_whose_run_grew_too_much_fails_with_the_reason_in_its_thread(session: Session) -> None:
    with session.running():
        await session.set_up(more="retries:0")
        await session.answered(session.say("task add p grow"))
        await session.until(lambda s: s.statuses() == {"BLOCKED": 1})
        await session.until(lambda s: said(s, "it used more than 64 MiB of memory"))
        await session.until(lambda s: not s.query("SELECT 1 FROM workspace"))
        assert groups(session) == []


async def test_of_a_run_that_lost_its_daemon_and_its_supervisor_no_group_is_left(session: Session) -> None:
    with session.running():
        await session.set_up(more="retries:0")
        task = (await session.answered(session.say("task add p stay")))["wire"]["data"]["id"]
        await session.until(lambda s: said(s, "at work"))
        [group] = groups(session)
        session.kill()
        [folder] = [RunFolder(path) for path in (session.folder / "data" / "runs").glob("*")]
        keeper = folder.read_supervisor()
        assert keeper is not None
        os.killpg(keeper.pid, signal.SIGKILL)
        session.start()
        await session.until(lambda s: not group.exists())
        assert [one for one in process.every() if process.mark_of(one.id.pid) == folder.path.name] == []
        await session.answered(session.say(f"task stop {task}"))
        await session.until(lambda s: not s.query("SELECT 1 FROM workspace"))
        assert groups(session) == []
