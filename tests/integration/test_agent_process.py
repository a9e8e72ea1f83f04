"""An agent's process: ended with its group, and with nobody else's."""

import asyncio
import os
import select
import shlex
import sys
from pathlib import Path
from uuid import uuid4

from adapters.process import AgentProcess
from orchestrator.runs.process import MARK


async def started(tmp_path: Path, script: str, mark: str) -> AgentProcess:
    env = {"PATH": os.defpath, MARK: mark}
    return await AgentProcess.start(["/bin/sh", "-c", script], cwd=str(tmp_path), env=env)


async def test_what_outlives_its_leader_is_ended_with_the_group(tmp_path: Path) -> None:
    up = tmp_path / "up"
    os.mkfifo(up)
    stubborn = "trap '' TERM; echo $$ > up; exec sleep 1000"
    process = await started(tmp_path, f"sh -c {shlex.quote(stubborn)} & exit 3", uuid4().hex)
    left = os.pidfd_open(int(await asyncio.to_thread(up.read_text)))
    assert await process.wait() == 3
    await process.end(1.0)
    ended, _, _ = await asyncio.to_thread(select.select, [left], [], [], 10)
    os.close(left)
    assert ended


async def test_a_group_whose_number_was_given_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    process = await started(tmp_path, "true", uuid4().hex)
    await process.wait()
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    process._process.pid = other.pid  # what the system may do once the number is free
    await process.end(0.1)
    await other.communicate(b"\n")
    assert other.returncode == 0
