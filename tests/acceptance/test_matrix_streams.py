"""Agents stream into Matrix threads at the pace of a homeserver as it is installed."""

from pathlib import Path

import pytest

from agent_queue.synapse import Homeserver
from bench.matrix import house, stream

AGENTS = 4
PACE = 5.0
"""Seconds that the homeserver wants between two messages, once its burst is used up."""


@pytest.mark.timeout(240)
async def test_every_line_arrives_and_results_do_not_wait_behind_progress(
    tmp_path: Path, default_homeserver: Homeserver
) -> None:
    async with house(tmp_path, default_homeserver, aside=True) as one:
        found = await stream(one, agents=AGENTS, count=200, seconds=4, asks=False)
    assert not found.wrong, "each line once and in order, in messages or attached where they are summarised"
    late = [
        f"{took:.1f} s, {sent} messages"
        for took, sent in zip(found.final, found.between, strict=True)
        if took > PACE * sent + 5
    ]
    assert not late
    assert found.refusals <= AGENTS + 1, "one for each who spoke when the limit was met, and none after"
