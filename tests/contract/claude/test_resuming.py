"""Conversations that go on in another process, and what is counted of them."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

from orchestrator.agent import Outcome, Question, Result, SendMode, Session, Text, ToolCall, Usage
from tests.agents.drive import Gate, NewDrive
from tests.servers.models import TOKENS_PER_REQUEST, ModelServer, script

pytestmark = pytest.mark.claude


async def test_a_conversation_goes_on_in_a_new_process_and_only_its_new_turn_is_charged(
    drive: NewDrive, server: ModelServer
) -> None:
    first = drive(script({"sh": "true"}, {"sh": "true"}, {"text": "one"}, words="What came before."))
    await first.result_of_run()
    session = first.all(Session)[0].session_id
    second = drive(script({"text": "two"}), session_id=session)
    assert (await second.result_of_run()).text == "two"
    assert second.all(Session) == [Session(session)]
    assert "What came before." in json.dumps(server.requests[-1]["messages"])
    assert second.tokens == TOKENS_PER_REQUEST
    assert second.cost == pytest.approx(first.cost / 3)


async def test_usage_is_counted_once_where_the_agents_own_settings_say_where_conversations_lie(
    drive: NewDrive, tmp_path: Path
) -> None:
    env = {"CLAUDE_CONFIG_DIR": str(tmp_path / "elsewhere")}
    config = {"permission_mode": "bypassPermissions", "env": env}
    first = drive(script({"sh": "true"}, {"text": "one"}), config=config)
    await first.result_of_run()
    second = drive(script({"text": "two"}), config=config, session_id=first.all(Session)[0].session_id)
    await second.result_of_run()
    assert second.tokens == TOKENS_PER_REQUEST


async def test_an_unknown_conversation_is_begun_anew_and_that_is_said(
    drive: NewDrive, server: ModelServer
) -> None:
    gone = str(uuid4())
    run = drive(script({"text": "fresh"}), session_id=gone)
    assert await run.result_of_run() == Result(Outcome.DONE, "fresh")
    assert run.all(Session)[0].session_id != gone
    assert run.words().startswith("The earlier conversation with Claude Code is gone")
    assert "Look at the folder" in json.dumps(server.requests[-1]["messages"])


async def test_a_conversation_is_known_before_anything_happens_in_it(
    drive: NewDrive, server: ModelServer
) -> None:
    prompt = script({"hang": True})
    run = drive(prompt)
    await run.start()
    await server.asked(prompt[:40])
    assert isinstance(run.events[0], Session)


@pytest.mark.parametrize("at", ["tool", "question"])
async def test_a_killed_conversation_goes_on_and_is_counted_once(
    drive: NewDrive, server: ModelServer, gate: Gate, at: str
) -> None:
    options = [{"label": label, "description": ""} for label in ("red", "blue")]
    asked = {"question": "Which?", "header": "h", "multiSelect": False, "options": options}
    ask = {"tool": "AskUserQuestion", "args": {"questions": [asked]}}
    held = {"sh": gate.command} if at == "tool" else ask
    first = drive(script({"sh": "true"}, held, {"text": "never"}, words="What came before."))
    await first.start()
    await (first.told(ToolCall, 2) if at == "tool" else first.told(Question))
    await first.told(Usage, 2)
    first.kill()
    assert (await first.result()).outcome is Outcome.FAILED
    second = drive(script({"text": "went on"}), session_id=first.all(Session)[0].session_id)
    assert await second.result_of_run() == Result(Outcome.DONE, "went on")
    assert "What came before." in json.dumps(server.requests[-1]["messages"])
    assert (first.tokens, second.tokens) == (2 * TOKENS_PER_REQUEST, TOKENS_PER_REQUEST)


async def test_what_is_counted_is_what_was_used_subagents_interrupts_and_resumes_included(
    drive: NewDrive, server: ModelServer
) -> None:
    errand = script({"sh": "true"}, {"sh": "true"}, {"text": "errand done"})
    args = {"description": "errand", "prompt": errand, "subagent_type": "general-purpose"}
    task = {"tool": "Task", "args": args}
    busy = {"status": 529, "times": 1, "then": {"sh": "true"}}
    first = drive(script(task, busy, {"text": "end"}))
    await first.result_of_run()
    assert first.tokens == server.used("").tokens
    assert server.used("", aside=True).calls == 0
    used = server.used("").tokens
    second = drive(script(task, {"text": "end"}), session_id=first.all(Session)[0].session_id)
    await second.result_of_run()
    assert second.tokens == server.used("").tokens - used
    assert second.cost == pytest.approx(first.cost / first.tokens * second.tokens, rel=0.2)


async def test_a_call_that_was_cut_off_is_counted_as_far_as_it_was_told(
    drive: NewDrive, server: ModelServer
) -> None:
    run = drive(script({"text": "Once upon a time", "hold": "never"}))
    await run.start()
    await run.told(Text)
    await run.adapter.send(script({"text": "instead"}), SendMode.INTERRUPT)
    await run.result()
    told_at_its_start = TOKENS_PER_REQUEST - 42 + 1
    assert [u.tokens for u in run.all(Usage) if u.call_id] == [told_at_its_start, TOKENS_PER_REQUEST]
    # The CLI adds what it takes the words for that had come by then.
    assert told_at_its_start <= run.tokens - TOKENS_PER_REQUEST < TOKENS_PER_REQUEST


async def test_a_call_that_a_stop_cut_off_is_counted_as_far_as_it_was_told(drive: NewDrive) -> None:
    run = drive(script({"text": "Once upon a time", "hold": "never"}))
    await run.start()
    await run.told(Text)
    await run.adapter.stop()
    await run.result()
    assert run.tokens == TOKENS_PER_REQUEST - 42 + 1
