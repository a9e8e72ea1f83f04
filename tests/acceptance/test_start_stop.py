"""Runs are started and stopped at random moments; nothing of them is left. bench/bench_start_stop.py does 200."""

from pathlib import Path

import pytest

from bench.start_stop import session


@pytest.mark.timeout(300)
async def test_of_runs_that_are_stopped_at_random_moments_nothing_is_left(tmp_path: Path) -> None:
    left = await session(tmp_path, runs=24, seed=5)
    assert left.runs >= 20
    assert left.marked == []
    assert left.hidden == []
    assert left.worktrees == []
    assert left.groups == []
