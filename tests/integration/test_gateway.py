"""From a stored event to its answer: people, roles, commands, buttons, plain words."""

import pytest
import sqlalchemy as sa

from orchestrator.agent import Question
from orchestrator.store import people, projects, runs, schema, tasks
from orchestrator.tasks import TaskEvent
from orchestrator.transport import Inbound, Place
from tests.conftest import Clock
from tests.integration.chatting import Chat


async def test_a_command_is_answered_where_it_was_said(chat: Chat) -> None:
    answer = await chat.say("version")
    assert answer["text"] == "agent-queue 1.2.3"
    assert answer["verdict"] == "ok"


async def test_an_event_that_comes_twice_is_handled_once(chat: Chat) -> None:
    await chat.with_project()
    await chat.say("task add api do it", event_id="same")
    await chat.say("task add api do it", event_id="same")
    assert len(await chat.rows(sa.select(schema.task.c.id))) == 1
    replies = [r for r in await chat.rows(sa.select(schema.outbox.c.post)) if r["post"]["reply_to"] == "same"]
    assert len(replies) == 1


async def test_a_stranger_has_no_right_and_gets_a_code_that_an_admin_confirms(
    chat: Chat, clock: Clock
) -> None:
    refused = await chat.say("task list", "bob")
    assert refused["verdict"] == "refused"
    code = refused["data"]["pairing_code"]
    assert f"pair {code} bob" in refused["text"]
    assert await chat.say("task list", "bob") == {}, "told once a minute, so that a stranger delays nobody"
    clock.forward(61)
    again = await chat.say("task list", "bob")
    assert again["data"]["pairing_code"] == code
    assert (await chat.say(f"pair {code} bob", "olga"))["verdict"] == "refused"
    assert (await chat.say(f"pair {code} bob role:operator"))["verdict"] == "ok"
    assert (await chat.say("task list", "bob"))["verdict"] == "ok"
    assert (await chat.say(f"pair {code} eve"))["verdict"] == "refused"


async def test_an_expired_code_lets_nobody_in(chat: Chat, clock: Clock) -> None:
    code = (await chat.say("status", "bob"))["data"]["pairing_code"]
    clock.forward(16 * 60)
    assert "no valid pairing code" in (await chat.say(f"pair {code} bob"))["text"]


async def test_strangers_who_do_not_address_us_are_not_answered(chat: Chat) -> None:
    assert await chat.say("hello everybody", "bob", addressed=False) == {}


@pytest.mark.parametrize(
    ("who", "line"),
    [
        ("vic", "pause"),
        ("vic", "task add api x"),
        ("olga", "repo add x init"),
        ("olga", "restart confirm:yes"),
    ],
)
async def test_a_role_that_does_not_suffice_is_refused_and_audited(chat: Chat, who: str, line: str) -> None:
    await chat.with_project()
    before = await chat.dump()
    answer = await chat.say(line, who)
    assert answer["verdict"] == "refused"
    assert "needs the role" in answer["text"]
    assert await chat.dump() == before
    async with chat.db.read() as tx:
        last = (await people.trail(tx, 1))[0]
    assert (last["who"], last["what"], last["verdict"]) == (who, line, "refused")


async def test_what_cannot_be_taken_back_asks_first(chat: Chat) -> None:
    await chat.with_project()
    asked = await chat.say("project delete api")
    assert asked["data"]["confirm"] == "project delete api confirm:yes"
    assert await chat.rows(sa.select(schema.project.c.id)) == [{"id": "api"}]
    done = await chat.say("", action=asked["actions"][0]["id"])
    assert done["verdict"] == "ok"
    assert await chat.rows(sa.select(schema.project.c.id)) == []


async def test_a_button_works_once_and_says_who_was_first(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task_id)
        await chat.recorder.record(tx, run, [(20, Question("q", "which?", ("red", "green")))])
    assert await chat.status(task_id) == "WAITING_INPUT"
    [row] = [r for r in await chat.rows(sa.select(schema.outbox.c.post)) if r["post"]["text"] == "which?"]
    green = next(a["id"] for a in row["post"]["actions"] if a["label"] == "green")
    assert (await chat.say("", "vic", action=green))["verdict"] == "refused"
    assert (await chat.say("", "olga", action=green))["verdict"] == "ok"
    assert await chat.status(task_id) == "IN_PROGRESS"
    late = await chat.say("", "ann", action=green)
    assert "settled by olga already" in late["text"]
    [message] = await chat.rows(sa.select(schema.message))
    assert (message["text"], message["request_id"], message["state"]) == ("green", "q", "queued")


@pytest.mark.parametrize(
    ("line", "note"), [("approve", "Approve: ann"), ("reject {} too slow", "rejected by ann: too slow")]
)
async def test_what_is_decided_has_no_buttons_left_anywhere(chat: Chat, line: str, note: str) -> None:
    task_id = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        task = await tasks.transition(
            tx, await tasks.get(tx, task_id), TaskEvent.AGENT_COMPLETED, 0.0, reason=""
        )
        await chat.orchestrator.lifecycle.propose(tx, task, "1 file changed", "diff")
    said = await chat.rows(sa.select(schema.outbox.c.key, schema.outbox.c.post))
    shown = [r for r in said if any(a["label"] == "Approve" for a in r["post"]["actions"])]
    assert len(shown) == 2, "in the thread and in the channel"
    line = line.format(task_id) if "{}" in line else f"{line} {task_id}"
    assert (await chat.say(line))["verdict"] == "ok"
    for row in shown:
        edits = sa.select(schema.outbox.c.post).where(schema.outbox.c.subject == row["key"])
        [edit] = await chat.rows(edits)
        assert edit["post"]["actions"] == []
        assert edit["post"]["text"].endswith(f"— {note}")
        late = await chat.say("", action=row["post"]["actions"][0]["id"])
        assert "was settled by" in late["text"]


async def test_plain_words_in_a_thread_answer_its_question_or_reach_its_agent(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    await chat.say("please restart the server when you are done", root="root-1")
    [message] = await chat.rows(sa.select(schema.message))
    assert message["text"] == "please restart the server when you are done"
    assert message["state"] == "queued"
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task_id)
        await chat.recorder.record(tx, run, [(20, Question("q", "which?", ("red", "green")))])
    await chat.say("2", root="root-1")
    answers = [m for m in await chat.rows(sa.select(schema.message)) if m["request_id"]]
    assert [m["text"] for m in answers] == ["green"]


async def test_a_viewers_words_do_not_reach_the_agent(chat: Chat) -> None:
    await chat.with_running_task()
    answer = await chat.say("do something else", "vic", root="root-1")
    assert answer["verdict"] == "refused"
    assert await chat.rows(sa.select(schema.message)) == []


async def test_in_a_thread_the_task_need_not_be_named(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    assert (await chat.say("why", root="root-1"))["data"]["task"] == task_id
    assert (await chat.say("task show", root="root-1"))["data"]["id"] == task_id
    stopped = await chat.say("task stop", root="root-1")
    assert stopped["data"]["task"] == task_id
    assert await chat.status(task_id) == "BLOCKED"
    async with chat.db.read() as tx:
        assert await runs.live(tx) == []


async def test_in_a_bound_channel_the_project_need_not_be_named(chat: Chat) -> None:
    await chat.with_project()
    await chat.say("project bind api channel:api")
    added = await chat.say("task add it's broken, see fix: x", channel="api")
    assert added["data"]["title"] == "it's broken, see fix: x"
    assert added["data"]["project"] == "api"


async def test_words_for_a_task_that_does_not_run_are_kept_for_its_next_run(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    await chat.say("task stop", root="root-1")
    answer = await chat.say("mind the tests", root="root-1")
    assert "next run" in answer["text"]
    await chat.say(f"task restart {task_id} and the docs")
    kept = await chat.rows(sa.select(schema.message.c.text, schema.message.c.state))
    assert kept == [
        {"text": "mind the tests", "state": "kept"},
        {"text": "and the docs", "state": "kept"},
    ]
    assert await chat.status(task_id) == "READY"


async def test_why_names_what_a_task_waits_for(chat: Chat, clock: Clock) -> None:
    await chat.with_project()
    first = (await chat.say("task add api first"))["data"]["id"]
    second = (await chat.say(f"task add api second after:{first}"))["data"]["id"]

    async def codes(task_id: str) -> list[str]:
        return [r["code"] for r in (await chat.say(f"why {task_id}"))["data"]["reasons"]]

    assert await codes(second) == ["dependency"]
    for name, step in chat.orchestrator._steps:
        if name == "promote":
            await step()
    assert await codes(first) == ["next"]
    await chat.say("pause")
    assert "paused" in await codes(first)
    await chat.say("resume")
    await chat.say("project pause api")
    assert await codes(first) == ["paused"]
    await chat.say("project resume api")
    await chat.say("agent remove worker")
    assert await codes(first) == ["no_agent"]
    await chat.say("project edit api budget:1")
    async with chat.db.transaction() as tx:
        await projects.add_usage(tx, "api", clock(), tokens=5)
    assert "budget" in await codes(first)


async def test_stopping_a_task_says_who_is_left_waiting_and_skipping_who_is_freed(chat: Chat) -> None:
    task_id = await chat.with_running_task()
    behind = (await chat.say(f"task add api next after:{task_id}"))["data"]["id"]
    stopped = await chat.say(f"task stop {task_id}")
    assert stopped["data"] == {"task": task_id, "freed": [], "stuck": [behind]}
    skipped = await chat.say(f"task skip {task_id}")
    assert skipped["data"] == {"task": task_id, "freed": [behind], "stuck": []}


async def test_restart_is_asked_for_once_and_answered_after_it(chat: Chat) -> None:
    await chat.say("restart confirm:yes", event_id="r1")
    assert chat.restarts == [True]
    await chat.orchestrator.initialize()
    said = [r["post"]["text"] for r in await chat.rows(sa.select(schema.outbox.c.post))]
    assert any(text.startswith("✅ Back after") for text in said)
    await chat.orchestrator.initialize()
    again = [r["post"]["text"] for r in await chat.rows(sa.select(schema.outbox.c.post))]
    assert again == said


async def test_long_lists_page(chat: Chat) -> None:
    await chat.with_project()
    for number in range(25):
        await chat.say(f"task add api task number {number}")
    first = await chat.say("task list api")
    assert first["data"]["pages"] == 2
    assert "`task list api page:2` shows more" in first["text"]
    second = await chat.say("task list api page:2")
    shown = {t["id"] for t in first["data"]["items"]} | {t["id"] for t in second["data"]["items"]}
    assert len(shown) == 25


async def test_a_list_that_is_shown_whole_has_one_page(chat: Chat) -> None:
    await chat.with_project()
    for number in range(25):
        await chat.say(f"task add api task number {number}")
    audit = await chat.say("audit limit:24")
    assert (audit["data"]["pages"], len(audit["data"]["items"])) == (1, 24)
    assert "page" not in audit["text"]
    beyond = await chat.say("task list api page:9")
    assert "no such page; `task list api` shows the first" in beyond["text"]


async def test_help_for_what_one_may_not_use_says_so(chat: Chat) -> None:
    refused = await chat.say("help project add", "olga")
    assert "olga may not `project add`: it needs the role admin, yours is operator" in refused["text"]


async def test_where_no_task_is_open_the_finished_ones_are_pointed_at(chat: Chat) -> None:
    await chat.with_project()
    assert "(none open; `task list api all:yes` shows" in (await chat.say("task list api"))["text"]


async def test_what_is_changed_is_named_as_it_was_said(chat: Chat) -> None:
    await chat.with_project()
    changed = await chat.say("project edit api weight:2 max-agents:3")
    assert changed["text"] == "✏️ Project **api**: max-agents, weight changed."
    refused = await chat.say("project edit api max-agents:-1")
    assert refused["text"] == "🚫 max-agents must be at least 0, not -1"


async def test_completion_knows_ids(chat: Chat) -> None:
    await chat.with_project()
    added = (await chat.say("task add api x"))["data"]["id"]
    place = Place(transport="chat", channel="main")

    async def complete(text: str) -> list[str]:
        event = Inbound(event_id="", place=place, account="ann", name="ann", text=text)
        return list(await chat.gateway.complete(event))

    assert f"task show {added}" in await complete("task show ")
    assert "task add api" in await complete("task add a")
    assert "project list" in await complete("project l")


async def test_what_does_not_exist_is_refused_before_anybody_is_asked_for_confirmation(chat: Chat) -> None:
    for line in ("task delete no-such-task", "project delete nowhere"):
        answer = await chat.say(line)
        assert "Sure?" not in answer["text"]
        assert "there is no" in answer["text"]


async def test_people_are_shown_changed_and_shown_the_door(chat: Chat) -> None:
    code = (await chat.say("task list", "bob"))["data"]["pairing_code"]
    await chat.say(f"pair {code} bob")
    phone = (await chat.say("task list", "ann-phone"))["data"]["pairing_code"]
    await chat.say(f"pair {phone} ann")
    assert "person edit bob" in (await chat.say("pause", "bob"))["text"]
    assert (await chat.say("person edit bob role:operator"))["verdict"] == "ok"
    assert (await chat.say("pause", "bob"))["verdict"] == "ok"
    shown = {item["id"]: item for item in (await chat.say("person list"))["data"]["items"]}
    assert shown["bob"] == {"id": "bob", "role": "operator", "source": "pairing", "accounts": "chat:bob"}
    assert set(shown["ann"]["accounts"].split(", ")) == {"chat:ann", "chat:ann-phone"}
    for line in ("person edit ann role:viewer", "person remove ann", "person remove nobody"):
        assert (await chat.say(line))["verdict"] == "refused", line
    await chat.orchestrator.initialize()  # a restart
    assert (await chat.say("person list", "ann-phone"))["verdict"] == "ok", "what was paired stays"
    await chat.say("person remove bob")
    assert (await chat.say("status", "bob"))["verdict"] == "refused"


async def test_a_project_leaves_its_repository_only_when_no_work_is_left_there(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("repo add other init")
    refused = await chat.say("project edit api repo:other")
    assert refused["verdict"] == "refused"
    assert task in refused["text"]
    waiting = (await chat.say("task add api later"))["data"]["id"]
    async with chat.db.transaction() as tx:
        await tasks.update(tx, waiting, branch="old/branch", base_commit="abc")
        [run] = await runs.live(tx, task)
    await chat.say(f"task stop {task}")
    async with chat.db.transaction() as tx:
        await runs.release(tx, run.id)
    assert (await chat.say("project edit api repo:other"))["verdict"] == "ok"
    [row] = await chat.rows(sa.select(schema.task).where(schema.task.c.id == waiting))
    assert (row["branch"], row["base_commit"]) == ("", "")


async def test_a_project_is_not_deleted_while_approved_work_of_it_is_merged(chat: Chat) -> None:
    task = await chat.with_running_task()
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        await runs.end(tx, run.id, 1.0, "done")
        await runs.release(tx, run.id)
        values = {"status": "AWAITING_APPROVAL", "approved_by": "ann"}
        await tx.execute(schema.task.update().where(schema.task.c.id == task).values(**values))
    refused = await chat.say("project delete api confirm:yes")
    assert refused["verdict"] == "refused"
    assert "being merged" in refused["text"]


async def test_a_project_that_is_bound_anew_speaks_there_alone(chat: Chat) -> None:
    await chat.say("project add api")
    for channel in ("zebra", "ant"):
        await chat.say(f"project bind api channel:{channel}")
    async with chat.db.read() as tx:
        assert await projects.channels(tx, "api") == {"chat": "ant"}
        assert await projects.of_channel(tx, "chat", "zebra") is None


async def test_doctor_names_a_bound_channel_that_is_none_any_more(chat: Chat) -> None:
    await chat.say("project add api")
    await chat.say("project bind api channel:side")
    assert all(item["good"] for item in (await chat.say("doctor"))["data"]["items"])
    async with chat.db.transaction() as tx:
        await projects.bind(tx, "api", "chat", "~gone")
    [bad] = [item for item in (await chat.say("doctor"))["data"]["items"] if not item["good"]]
    assert (bad["of"], "project api" in bad["text"]) == ("chat", True)
