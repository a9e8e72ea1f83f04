"""Failover there and back between two accounts, with Claude Code: whose conversation goes on, and when."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.sessions import git
from tests.contract.agents_at_work import Work, at_work, of_plan
from tests.contract.test_agent_claude import CLAUDE
from tests.servers.models import script

pytestmark = [pytest.mark.claude, pytest.mark.timeout(240)]

ONE = replace(
    CLAUDE,
    profile=lambda _: {"permission_mode": "acceptEdits"},
    subscribed=lambda env: of_plan(env) | {"CLAUDE_CODE_OAUTH_TOKEN": "one"},
)


@asynccontextmanager
async def two_accounts(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Work]:
    """Agent `a` on the account `one`, and `b`, of the same class, on `two`; `p` lets each stand in for the other."""
    other = {"permission_mode": "acceptEdits", "env": {"CLAUDE_CODE_OAUTH_TOKEN": "two"}}
    async with at_work(folder, ONE, patch, subscribed=True, profiles={"there": other}) as work:
        await said(work, "agent edit a account:one", "agent add b claude profile:there account:two")
        await said(work, "project edit p failover:yes max-agents:2")
        yield work


async def said(work: Work, *lines: str) -> dict[str, Any]:
    for line in lines:
        answer: dict[str, Any] = await work.session.answered(work.session.say(line))
        assert answer["wire"]["verdict"] == "ok", answer
    return answer


async def reason(work: Work, task: str) -> dict[str, Any]:
    """Why a task does not run."""
    found: dict[str, Any] = (await said(work, f"why {task}"))["wire"]["data"]["reasons"][0]
    return found


def runs(work: Work, task: str) -> list[tuple[Any, ...]]:
    """Every run of a task: agent, session, begun."""
    rows = f"SELECT agent_id, session_id, created_at FROM run WHERE task_id = '{task}' ORDER BY epoch"
    return work.session.query(rows)


def limited(resets: float) -> str:
    """Work of which account `one` does half before it is limited; any other, or a later run, does the rest."""
    rest = {"write": ["b.txt", "rest"]}
    half = {"write": ["a.txt", "half"]}
    return script(
        half, {"limit": resets, "account": "one", "then": rest}, {"gate": "end", "text": "all done"}
    )


async def test_another_goes_on_and_after_the_limit_each_has_its_own_work_and_conversation_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts(tmp_path, monkeypatch) as work:
        resets = int(time.time()) + 20
        task = (await said(work, f"task add p First {limited(resets)}"))["wire"]["data"]["id"]
        await work.until(lambda _: [run[0] for run in runs(work, task)] == ["a", "b"])
        await work.until(lambda _: "b takes over from a; it sees the work" in work.thread())
        await work.server.asked("Agent a worked on this before you")

        second = script({"text": "the second is done"})  # `b` is busy, and `a` is not asked before its time
        other = (await said(work, f"task add p Second {second}"))["wire"]["data"]["id"]
        await work.until(lambda _: "the second is done" in work.thread())
        [(agent, _, begun)] = runs(work, other)
        assert agent == "a"
        assert begun >= resets
        await work.until(lambda s: s.query("SELECT state FROM agent_account WHERE id = 'one'") == [("ok",)])

        await work.server.release("end")
        await work.done()
        files = git(tmp_path / "git" / "origin.git", "ls-tree", "--name-only", "main").split()
        assert {"a.txt", "b.txt"} <= set(files)
        await said(work, f"task restart {task}")
        await work.done()
        (_, first, _), (_, between, _), (agent, session, _) = runs(work, task)
        assert (agent, session) == ("a", first)
        assert between != first
        assert "a takes over from b; it sees the work, and goes on with its own conversation" in work.thread()
        await work.server.asked("Agent b worked on this before you")


async def test_where_it_is_switched_off_a_task_waits_for_its_own_agent_and_goes_on_in_its_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_accounts(tmp_path, monkeypatch) as work:
        resets = int(time.time()) + 30
        task = (await said(work, f"task add p Work {limited(resets)}"))["wire"]["data"]["id"]
        await work.server.asked("Agent a worked on this before you")
        await work.until(lambda s: s.statuses() == {"IN_PROGRESS": 1})
        await said(work, "project edit p failover:no")
        work.kill_agent()
        await work.until(lambda s: s.statuses() == {"READY": 1})
        passing = (
            "cooldown",
            "no_workspace",
        )  # after the failure that this was, and until its run is cleared away
        while (why := await reason(work, task))["code"] in passing:
            pass
        assert why["code"] == "limit"
        assert "account one is at its limit" in why["words"]
        await work.server.release("end")
        await work.done()
        (_, first, _), (between, _, _), (agent, session, begun) = runs(work, task)
        assert (between, agent, session) == ("b", "a", first)
        assert begun >= resets
