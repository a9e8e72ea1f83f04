"""Real agents outlive everything: the daemon, their supervisor, their own death, a limit of their account."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.working import CLAUDE, KINDS, Kind, Work, at_work
from tests.servers.models import script

pytestmark = pytest.mark.timeout(240)
every_kind = pytest.mark.parametrize("kind", KINDS)


def _daemon(work: Work) -> None:
    work.session.kill()


def _everything(work: Work) -> None:
    work.session.kill()
    work.kill_supervisor()
    work.kill_agent()


KILLS: dict[str, Callable[[Work], None]] = {
    "daemon": _daemon,
    "supervisor": Work.kill_supervisor,
    "agent": Work.kill_agent,
    "all three": _everything,
}


@every_kind
@pytest.mark.parametrize("choice", ["allow", "deny"])
async def test_a_permission_is_answered_after_the_daemon_was_killed(
    kind: Kind, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path, kind, monkeypatch) as work:
        await work.add("Make it " + script({"sh": "touch made.txt", "ask": True}, {"text": "that was all"}))
        await work.offered(choice)
        work.restart()
        await work.press(choice)
        await work.done()
        [(_, _, outcome, _)] = work.runs()
        assert outcome == "done"
        [(reason,)] = work.session.query("SELECT reason FROM task")
        assert ("changed no file" in reason) is (choice == "deny")
        assert work.thread().count("touch made.txt") >= 1


@every_kind
@pytest.mark.parametrize("killed", KILLS)
async def test_its_conversation_goes_on_after_a_kill(
    kind: Kind, killed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path, kind, monkeypatch) as work:
        await work.add("Begin " + script({"write": ["begun.txt", "x"]}, {"gate": "go", "text": "it is done"}))
        await work.server.asked("SCRIPT", times=2)
        KILLS[killed](work)
        if work.session.process is None:
            work.session.start()
        await work.until(lambda s: s.query("SELECT 1 FROM run WHERE ended_at IS NULL"))
        await work.server.release("go")
        await work.done(120)
        runs = work.runs()
        assert len(runs) == (1 if killed == "daemon" else 2)
        assert len({session for _, session, _, _ in runs}) == 1, "in the same conversation"
        assert work.thread().count("it is done") == 1


@every_kind
async def test_a_limit_pauses_and_the_work_goes_on_at_the_told_second(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path, kind, monkeypatch, subscribed=True) as work:
        resets = int(time.time()) + 12
        await work.add("Do it " + script({"limit": resets, "then": {"text": "after the limit"}}))
        await work.until(lambda s: s.statuses() == {"PAUSED": 1})
        assert work.session.query("SELECT not_before FROM task") == [(float(resets),)]
        work.restart()
        await work.done()
        [_, (begun,)] = work.session.query("SELECT created_at FROM run ORDER BY epoch")
        assert 0 <= begun - resets < 2.0
        assert "after the limit" in work.thread()


@every_kind
async def test_what_was_used_is_what_the_endpoint_counted(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path, kind, monkeypatch) as work:
        steps = ({"write": ["a.txt", "hi"]}, {"sh": "ls"}, {"text": "all done"})
        prompt = script(*steps)
        await work.add("Count " + prompt)
        for _ in range(2):
            try:
                await work.press("allow")
            except TimeoutError:
                break
        await work.done()
        [(_, _, _, tokens)] = work.runs()
        assert tokens == work.server.used("SCRIPT").tokens


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
        lines_told = [line.strip() for line in work.thread().splitlines()]
        for number in range(8):
            told = [line for line in lines_told if line.startswith(f"task-{number} says")]
            assert told == [f"task-{number} says {line}" for line in range(60)]
        roots = {post["root"] for post in work.session.seen() if post.get("root")}
        for root in roots:
            after = [
                post["at"] for post in work.session.seen() if post.get("root") == root and post["at"] > ready
            ]
            assert after
            assert after[0] - ready < 15.0, "at once; on an idle host within half a second"
