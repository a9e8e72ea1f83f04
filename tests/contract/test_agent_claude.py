"""Claude Code under the daemon."""

import re
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agents import brands
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, asks_claude, at_work, of_plan, words
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
        killed = time.time()
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
        line = re.compile(r"^task-\d says \d", re.MULTILINE)
        lines_of = [post for post in seen if post.get("root") and line.search(words(post["wire"]))]
        threads = [
            [post["at"] for post in lines_of if post["root"] == root]
            for root in {post["root"] for post in lines_of}
        ]
        assert len(threads) == 8
        usual = max(
            later - at for times in threads for at, later in pairwise(at for at in times if at < killed)
        )
        for times in threads:
            again = next(at for at in times if at > ready)
            # On an idle host within half a second; a busy one is as slow to tell what is new at any time.
            assert again - ready < max(3.0, 5 * usual)
