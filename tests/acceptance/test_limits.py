"""Limits in a real daemon with real processes: the told second, a restart in the middle, failover there and back."""

import json
from pathlib import Path

import pytest

from tests.acceptance.test_tasks import House

LIMITED = """
import pathlib, sys, time
met = pathlib.Path('met')
if not met.exists():
    met.write_text('x')
    print('half of it is done')
    print(f'::limit resets_at={time.time() + SECONDS}::Enough for now')
    sys.exit(75)
print('told: ' + rest.replace('\\n', ' '))
"""
"""An agent that meets a limit in its first run."""


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A daemon whose cycle comes by itself once in ten minutes."""
    one = House(tmp_path)
    one.prepare()
    config = json.loads(one.config.read_text()) | {"cycle_seconds": 600, "runs": {"stop_grace": 1}}
    one.config.write_text(json.dumps(config))
    return one


async def test_a_limit_pauses_and_resumes_at_the_told_second_though_the_daemon_was_restarted(
    house: House,
) -> None:
    with house.running():
        await house.build()
        task = await house.add("work", LIMITED.replace("SECONDS", "20"))
        await house.status(task, "PAUSED")
        [paused] = house.query(f"SELECT not_before FROM task WHERE id = '{task}'")
        await house.until(lambda s: "at its limit until" in house.thread(task))
    with house.running():
        await house.status(task, "COMPLETED")
        runs = house.query(f"SELECT created_at FROM run WHERE task_id = '{task}' ORDER BY epoch")
        assert 0 <= runs[1][0] - paused[0] < 1.0
        assert house.query("SELECT state FROM agent_account") == [("ok",)]


async def test_another_agent_goes_on_with_the_work_and_the_words_of_the_limited_one(house: House) -> None:
    with house.running():
        await house.build(more="failover:yes")
        task = await house.add("work", LIMITED.replace("SECONDS", "3000"))
        await house.status(task, "PAUSED")
        [(argv,)] = house.query("SELECT config FROM agent")
        words = " ".join(json.loads(argv)["argv"])
        added = await house.answered(house.say(f"agent add other command account:team -- {words}"))
        assert added["wire"]["verdict"] == "ok"
        await house.status(task, "COMPLETED")
        await house.until(lambda s: "Agent worker worked on this before you" in house.thread(task))
        assert "half of it is done" in house.thread(task).split("told: ", 1)[1]
        assert "other takes over from worker" in house.thread(task)
