"""The daemon is killed at random moments; nothing is lost, repeated or out of order."""

from pathlib import Path

import pytest

from bench.crash import session
from bench.sessions import Session


@pytest.mark.timeout(300)
async def test_kill_nine_at_random_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    found = await session(tmp_path, tasks=6, kills=8, seed=7, lines=25)
    assert found.statuses == {"COMPLETED": 6}
    assert found.wrong_threads == []
    assert found.repeated_messages == []
    assert found.wrong_commits == []
    assert found.runs == 6, "a run was begun again although its supervisor lived"


@pytest.mark.timeout(120)
async def test_a_dead_supervisor_is_noticed_and_the_task_runs_again(tmp_path: Path) -> None:
    one = Session(tmp_path)
    one.prepare()
    with one.running():
        await one.set_up(slots=1, lines=100, pause=0.05)
        one.say("task add p write first please")
        await one.until(lambda s: s.query("SELECT 1 FROM task WHERE status = 'IN_PROGRESS'"))
        one.kill()
        one.end_agents()
        one.start()
        await one.until(lambda s: s.query("SELECT 1 FROM run WHERE epoch = 2 AND ended_at IS NULL"))
        assert one.query("SELECT outcome FROM run WHERE epoch = 1") != [("",)]
