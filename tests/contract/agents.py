"""What every agent must do under the daemon, whoever dies meanwhile: one suite over all adapters with real programs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar

import pytest

from bench.sessions import git
from tests.contract.agents_at_work import Kind, Work, at_work, marked
from tests.servers.models import script

Begin = Callable[..., AbstractAsyncContextManager[Work]]


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


@pytest.mark.timeout(240)
class AgentContract:
    """The suite; a class below it names the agent."""

    kind: ClassVar[Kind]

    @pytest.fixture
    def begin(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
        """Begins the daemon with this agent."""
        return lambda **more: at_work(tmp_path, self.kind, monkeypatch, **more)

    @pytest.fixture
    async def work(self, begin: Begin) -> AsyncIterator[Work]:
        async with begin() as one:
            yield one

    async def test_it_works_in_its_worktree_and_what_it_used_is_what_the_endpoint_counted(
        self, work: Work
    ) -> None:
        await work.add("Write " + script({"write": ["made.txt", "made\n"]}, {"text": "it is all done"}))
        await work.done()
        assert git(work.session.folder / "git" / "origin.git", "show", "main:made.txt") == "made\n"
        assert work.thread().count("it is all done") == 1
        assert work.runs()[0][3] == work.server.used("SCRIPT").tokens
        assert work.server.used("SCRIPT", aside=True).calls == 0  # for a title, say

    @pytest.mark.parametrize("choice", ["allow", "deny"])
    async def test_a_permission_is_answered_after_the_daemon_was_killed(
        self, work: Work, choice: str
    ) -> None:
        await work.add("Make " + script({"sh": "touch made.txt", "ask": True}, {"text": "that was all"}))
        await work.offered(choice)
        work.restart()
        await work.press(choice)
        await work.done()
        assert [run[2] for run in work.runs()] == ["done"]
        [(reason,)] = work.session.query("SELECT reason FROM task")
        assert ("changed no file" in reason) is (choice == "deny")
        assert "touch made.txt" in work.thread()

    async def test_a_question_is_answered_after_the_daemon_was_killed(self, work: Work) -> None:
        if self.kind.question is None:
            pytest.skip("it asks nobody")
        await work.add("Ask " + script(self.kind.question, {"text": "that was all"}))
        await work.offered("blue")
        work.restart()
        await work.press("blue")
        await work.done()
        assert any("blue" in str(body) for body in work.server.requests[-1:])

    @pytest.mark.parametrize("killed", KILLS)
    async def test_its_conversation_goes_on_after_a_kill(self, work: Work, killed: str) -> None:
        await work.add("Begin " + script({"write": ["begun.txt", "x"]}, {"gate": "go", "text": "it is done"}))
        await work.server.asked("SCRIPT", times=2)
        KILLS[killed](work)
        if work.session.process is None:
            work.session.start()
        if killed != "daemon":
            await work.until(lambda s: s.query("SELECT 1 FROM run WHERE epoch = 2"), 120)
        await work.server.release("go")
        await work.done(120)
        runs = work.runs()
        assert len(runs) == (1 if killed == "daemon" else 2)
        assert len({session for _, session, _, _ in runs}) == 1, "in the same conversation"
        assert work.thread().count("it is done") == 1

    async def test_a_limit_pauses_and_the_work_goes_on_at_the_told_second(self, begin: Begin) -> None:
        async with begin(subscribed=True) as work:
            shut = {"gate": "asked", "limit": "end", "then": {"text": "after the limit"}}
            await work.add("Do " + script(shut))
            await work.server.asked("SCRIPT")
            resets = work.server.moments["end"] = int(time.time()) + 15
            await work.server.release("asked")
            await work.until(lambda s: s.statuses() == {"PAUSED": 1})
            [(until,)] = work.session.query("SELECT not_before FROM task")
            late = self.kind.told_late
            assert late is None or 0 <= until - resets <= late, until - resets
            work.restart()
            await work.session.answered(work.session.say("version"))
            ready = time.time()
            await work.done(150)
            [_, (begun,)] = work.session.query("SELECT created_at FROM run ORDER BY epoch")
            assert begun - until >= 0, "not before the time"
            assert begun - max(until, ready) < 10, "on an idle host within half a second"
            assert "after the limit" in work.thread()

    async def test_words_interrupt_it(self, work: Work) -> None:
        await work.add("Wait " + script({"gate": "never", "text": "this is not said"}))
        await work.server.asked("SCRIPT")
        root = await work.root()
        work.session.say("!Rather " + script({"text": "this is said instead"}), root=root)
        await work.done()
        assert work.thread().count("this is said instead") == 1
        assert len(work.runs()) == 1

    async def test_words_reach_it_at_its_work(self, work: Work) -> None:
        if not self.kind.steers:
            pytest.skip("it takes nothing within its turn")
        await work.add(
            "Go "
            + script({"write": ["a.txt", "x"]}, {"gate": "go", "write": ["b.txt", "x"]}, {"text": "end"})
        )
        await work.server.asked("SCRIPT", times=2)
        [(task,)] = work.session.query("SELECT id FROM task")
        answer = await work.session.answered(work.session.say(f"task tell {task} use tabs please mode:steer"))
        assert answer["wire"]["verdict"] == "ok", answer
        await work.until(lambda s: s.query("SELECT 1 FROM message WHERE state = 'delivered'"))
        await work.server.release("go")
        following = await work.server.asked("SCRIPT", times=3)
        assert "use tabs please" in str(following), "with the work's next step, not after it"
        await work.done()
        assert len(work.runs()) == 1

    async def test_stopped_it_leaves_nothing_behind(self, work: Work) -> None:
        await work.add("Wait " + script({"gate": "never", "text": "this is not said"}))
        await work.server.asked("SCRIPT")
        [(task, run)] = work.session.query("SELECT task_id, id FROM run")
        answer = await work.session.answered(work.session.say(f"task stop {task}"))
        assert answer["wire"]["verdict"] == "ok"
        await work.until(lambda s: not s.query("SELECT 1 FROM workspace"))
        assert list(marked({run})) == []
        assert list((work.session.folder / "data" / "worktrees").glob("*/*")) == []
