"""Claude Code under the daemon."""

import re
import time
from pathlib import Path

import pytest

from tests.agents import brands
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, asks_claude, at_work, of_plan
from tests.servers.models import script

pytestmark = pytest.mark.claude


CLAUDE = Kind("claude", brands.claude, subscribed=of_plan, question=asks_claude())


class TestClaude(AgentContract):
    kind = CLAUDE


@pytest.mark.timeout(240)
async def test_a_restart_with_eight_runs_streaming_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path, CLAUDE, monkeypatch, slots=8) as work:
        for number in range(8):
            lines = "\n".join(f"task-{number} says {line}" for line in range(60))
            await work.add(f"stream {number} " + script({"text": lines, "pieces": 60, "slow": 0.2}))
        await work.until(lambda s: s.statuses() == {"IN_PROGRESS": 8})
        begun = re.compile(r"^task-\d says [5-9]$", re.MULTILINE)
        await work.until(lambda _: len(begun.findall(work.thread())) >= 30)
        work.restart()
        await work.until(lambda s: "daemon.started" in s.log_end(400).rpartition("daemon.ending")[2])
        ready = time.time()
        await work.done(120)
        assert len(work.runs()) == 8, "none has died"
        told = "".join(work.thread().split())  # where the model paused, a line stands in two messages
        for number in range(8):
            assert "".join(f"task-{number}says{line}" for line in range(60)) in told
            # Those behind "n" or a quote are in the prompt, where a line's end is written out.
            starts = re.findall(rf'(?<![n"])task-{number}says', told)
            assert len(starts) == 60, "none twice"
        seen = work.session.seen()
        for root in {post["root"] for post in seen if post.get("root")}:
            after = [post["at"] for post in seen if post.get("root") == root and post["at"] > ready]
            assert after
            assert after[0] - ready < 15.0, "on an idle host within half a second"
