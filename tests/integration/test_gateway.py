"""From a stored event to its answer: people, roles, commands, buttons, plain words."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bots.gateway import Gateway
from orchestrator.agent import Question, Started
from orchestrator.errors import UserError
from orchestrator.orchestrator import Orchestrator
from orchestrator.projects import RepoState
from orchestrator.settings import PersonSettings, Settings
from orchestrator.store import people, projects, runs, schema
from orchestrator.transport import Inbound, InboundKind, Place
from tests.conftest import Clock


def check_agent(agent_type: str, config: dict[str, Any]) -> None:
    if agent_type != "command":
        raise UserError(f"there is no agent type {agent_type!r}; there is `command`")


class Chat:
    """People who speak with an orchestrator; answers are read from its outbox."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        accounts = {"ann": "admin", "olga": "operator", "vic": "viewer"}
        settings = Settings(
            data_dir=folder,
            database=folder / "store.db",
            people={
                name: PersonSettings(role=role, accounts=(f"chat:{name}",))
                for name, role in accounts.items()
            },
        )
        self.restarts: list[bool] = []
        self.orchestrator = Orchestrator(
            settings,
            homes={"chat": "main"},
            supervisor=["false"],
            check_agent=check_agent,
            version="1.2.3",
            request_restart=lambda: self.restarts.append(True),
            clock=clock,
        )
        self.db = self.orchestrator.database
        self.gateway = Gateway(self.orchestrator.services)
        self._ids = itertools.count(1)

    async def say(
        self,
        text: str,
        who: str = "ann",
        *,
        root: str | None = None,
        action: str = "",
        event_id: str = "",
        addressed: bool = True,
        channel: str = "main",
    ) -> dict[str, Any]:
        """Say something and return the answer as the outbox has it; {} where there is none."""
        event = Inbound(
            event_id=event_id or f"e{next(self._ids)}",
            place=Place(transport="chat", channel=channel),
            account=who,
            name=who,
            text=text,
            root=root,
            addressed=addressed,
            kind=InboundKind.ACTION if action else InboundKind.MESSAGE,
            action=action,
        )
        await self.gateway.accept(event)
        await self.gateway.idle()
        said = await self.rows(sa.select(schema.outbox.c.post).order_by(schema.outbox.c.id.desc()))
        return next((row["post"] for row in said if row["post"]["reply_to"] == event.event_id), {})

    async def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self.db.read() as tx:
            return [dict(row) for row in await tx.all(statement)]

    async def dump(self) -> dict[str, Any]:
        """Everything but what was heard, said and noted for the audit."""
        heard = {"inbox", "outbox", "wire", "audit", "watermark", "action"}
        tables = [t for t in schema.metadata.sorted_tables if t.name not in heard]
        return {table.name: await self.rows(sa.select(table)) for table in tables}

    async def with_project(self) -> None:
        """A project whose repository is usable, and an agent."""
        await self.say("repo add r init")
        await self.say("project add api repo:r")
        await self.say("agent add worker command -- true")
        async with self.db.transaction() as tx:
            await projects.edit_repo(tx, "r", state=RepoState.READY, base_branch="main")

    async def with_running_task(self) -> str:
        """A task that an agent works on, in a thread whose root is `root-1`."""
        await self.with_project()
        added = await self.say("task add api do it")
        task_id: str = added["data"]["id"]
        for name, step in self.orchestrator._steps:
            if name in ("promote", "schedule"):
                await step()
        async with self.db.transaction() as tx:
            [run] = await runs.live(tx, task_id)
            await tx.execute(schema.thread.update().values(root="root-1"))
        async with self.db.transaction() as tx:
            await self.recorder.record(tx, run, [(10, Started(epoch=1, at=0.0))])
        return task_id

    @property
    def recorder(self) -> Any:
        return self.orchestrator.runs._tools.recorder

    async def status(self, task_id: str) -> str:
        found = await self.rows(sa.select(schema.task.c.status).where(schema.task.c.id == task_id))
        return str(found[0]["status"])


@pytest.fixture
async def chat(tmp_path: Path, clock: Clock) -> AsyncIterator[Chat]:
    one = Chat(tmp_path, clock)
    await one.orchestrator.initialize()
    work = asyncio.create_task(one.gateway.run())
    yield one
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await one.orchestrator.shutdown()


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


async def test_a_stranger_has_no_right_and_gets_a_code_that_an_admin_confirms(chat: Chat) -> None:
    refused = await chat.say("task list", "bob")
    assert refused["verdict"] == "refused"
    code = refused["data"]["pairing_code"]
    assert f"pair {code} bob" in refused["text"]
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


HOSTILE = [
    "task add",
    "task add nowhere do it",
    "task add api",
    'task add api x priority:"high',
    "task add api x priority:urgent",
    "task add api x after:no-such",
    "task add api " + "x" * 30_000,
    "task add api \x07 bell",
    "task show ../../etc/passwd",
    "task show swift-falcon extra words",
    "task depend a a",
    "task edit no-such priority:high",
    "repo add ../up init",
    "repo add x clone --upload-pack=touch /tmp/owned",
    "repo add x clone ext::sh -c touch% /tmp/owned",
    "repo add x clone -oProxyCommand=touch",
    "repo add x link relative/path",
    "repo add x init with words",
    "repo add -x init",
    "repo add x steal https://example.org",
    "agent add x nonsense -- true",
    "agent add x command slots:0 -- true",
    "agent add x command slots:many -- true",
    "agent add x command -- 'unbalanced",
    "project add 'name with spaces' repo:r",
    "project add UPPER",
    "project add y repo:none",
    "project edit api",
    "project edit api max-agents:-1",
    "project edit api weight:nan",
    "project edit none weight:2",
    "project bind api channel:~ann",
    "pair WRONG1 eve",
    "agent remove none",
    "task answer no-such yes",
    "@everyone delete all",
    "",
    "   ",
    "--",
    "help nothing at all",
    "\ud800 half a character",
]


@pytest.mark.parametrize("line", HOSTILE)
async def test_bad_input_is_refused_in_words_and_changes_nothing(chat: Chat, line: str) -> None:
    await chat.with_project()
    before = await chat.dump()
    answer = await chat.say(line.encode("utf-8", "replace").decode())
    assert answer["verdict"] == "refused", answer
    assert len(answer["text"]) > 10
    assert await chat.dump() == before
