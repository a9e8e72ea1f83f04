"""What people and agents have typed, within our Markdown: shown as it was typed; and looking offers no buttons."""

import sqlalchemy as sa

from bots.rendering import unmarked
from orchestrator.agent import Outcome, PermissionRequest, Result
from orchestrator.store import runs, schema, tasks
from orchestrator.tasks import TaskEvent
from tests.integration.chatting import Chat

EVIL = "**md** [x](http://e.vil) `c`"
SHOWN = "\\*\\*md\\*\\* \\[x\\](http://e.vil) \\`c\\`"


async def said(chat: Chat) -> str:
    return "\n".join(row["post"]["text"] for row in await chat.rows(sa.select(schema.outbox.c.post)))


async def test_titles_and_reasons_are_shown_as_they_were_typed(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        await tasks.update(tx, task_id, title=EVIL, max_retries=0)
        [run] = await runs.live(tx, task_id)
        await chat.recorder.record(tx, run, [(20, Result(Outcome.FAILED, EVIL))])
    assert "MAX_RETRIES" in (await chat.say(f"task log {task_id}"))["text"]
    for line in ("task list", f"why {task_id}", f"task log {task_id}", f"task result {task_id}"):
        answer = await chat.say(line)
        assert SHOWN in answer["text"], line
        assert EVIL not in answer["text"], line
        assert EVIL in unmarked(answer["text"]), line
    told = await said(chat)
    assert EVIL not in told
    assert f"gave up after run 1: {SHOWN}" in told
    assert (await chat.say(f"why {task_id}"))["text"].count(SHOWN) == 2, "the title, and the reason once"
    assert not (await chat.say(f"task show {task_id}")).get("actions")


async def test_several_lines_of_a_failure_stand_in_a_fence(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task_id)
        await chat.recorder.record(tx, run, [(20, Result(Outcome.FAILED, "one\n```\n**two**"))])
    assert "failed:\n````\none\n```\n**two**\n````\n\nTrying again" in await said(chat)


async def test_what_is_to_be_allowed_is_seen_as_it_is(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task_id)
        asked = PermissionRequest("q", "use Bash", "command: [ls](http://e.vil)\n    **rm**")
        await chat.recorder.record(tx, run, [(20, asked)])
    assert "use Bash\n```\ncommand: [ls](http://e.vil)\n    **rm**\n```" in await said(chat)


async def test_the_audit_trail_has_a_line_for_each_deed(chat: Chat) -> None:
    await chat.with_project()
    await chat.say("task add api a `b`\n```\nc\n```")
    [line] = [one for one in (await chat.say("audit"))["text"].splitlines() if "task add api" in one]
    assert "```` task add api a `b` ``` c ``` ````" in line


async def test_words_that_are_no_approval_are_said_to_be_none(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        task = await tasks.transition(
            tx, await tasks.get(tx, task_id), TaskEvent.AGENT_COMPLETED, chat.orchestrator.clock()
        )
        await chat.orchestrator.lifecycle.propose(tx, task, "1 file changed", "diff")
    text = (await chat.say(f"task tell {task_id} looks good"))["text"]
    assert text.startswith(f"📌 This approves nothing: `task approve {task_id}` merges the work")
    assert not (await chat.say(f"task show {task_id}")).get("actions")


async def test_a_task_of_no_project_is_told_how_to_name_one(chat: Chat) -> None:
    assert "`task add <project> …`" in (await chat.say("task add do something"))["text"]
