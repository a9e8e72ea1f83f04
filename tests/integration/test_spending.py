"""What is used is counted once, shown, and held against the budgets."""

from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.agent import Outcome, Question, Result, Usage
from orchestrator.store import runs, schema
from tests.conftest import Clock
from tests.integration.chatting import Chat


async def used(chat: Chat, task_id: str, *events: Usage) -> None:
    """The task's run tells its use."""
    for event in events:
        async with chat.db.transaction() as tx:
            [run] = await runs.live(tx, task_id)
            await chat.recorder.record(tx, run, [(run.journal_offset + 10, event)])


async def thread(chat: Chat) -> list[dict[str, Any]]:
    said = await chat.rows(sa.select(schema.outbox.c.post).where(schema.outbox.c.lane.contains("#")))
    return [row["post"] for row in said]


async def main(chat: Chat) -> list[str]:
    said = await chat.rows(sa.select(schema.outbox.c.post).where(schema.outbox.c.lane == "main"))
    return [row["post"]["text"] for row in said]


async def test_a_call_that_is_told_twice_is_counted_once(chat: Chat) -> None:
    task = await chat.with_running_task()
    call = Usage(100, call_id="msg-1", model="small")
    await used(chat, task, call, call, Usage(0, cost=0.5), Usage(50, call_id="msg-2", model="small"))
    shown = await chat.say("usage by:task,model")
    assert shown["data"]["total"] == {"tokens": 150, "usd": 0.5, "calls": 2}
    [run] = await chat.rows(sa.select(schema.run.c.tokens, schema.run.c.cost))
    assert (run["tokens"], run["cost"]) == (150, 0.5)


async def test_use_is_shown_by_whatever_is_asked_for_with_a_picture(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await used(chat, task, Usage(1000, cost=1.25, call_id="a", model="big"))
    clock.forward(86_400)
    await used(chat, task, Usage(500, cost=0.25, call_id="b", model="small"))
    shown = await chat.say("usage by:person,agent")
    assert shown["data"]["items"] == [
        {"person": "ann", "agent": "worker", "tokens": 1500, "usd": 1.5, "calls": 2}
    ]
    assert [file["name"] for file in shown["files"]] == ["usage.png"]
    assert "1,500" in shown["text"]
    days = (await chat.say("usage by:day days:2"))["data"]["items"]
    assert sorted(one["tokens"] for one in days) == [500, 1000]
    assert (await chat.say("usage days:1"))["data"]["total"]["tokens"] == 500
    assert (await chat.say("usage days:0"))["verdict"] == "refused"


async def test_use_outlives_its_task(chat: Chat) -> None:
    task = await chat.with_running_task()
    await used(chat, task, Usage(10, call_id="a"))
    await chat.say(f"task stop {task}")
    async with chat.db.transaction() as tx:
        [run] = await chat.rows(sa.select(schema.run.c.id))
        await runs.release(tx, run["id"])
    await chat.say(f"task delete {task} confirm:yes")
    assert (await chat.say("usage"))["data"]["total"]["tokens"] == 10


async def test_people_are_told_of_each_step_of_a_days_cap_once(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set 1000 project:api")
    await used(chat, task, *[Usage(50, call_id=str(n)) for n in range(24)])
    told = [text for text in await main(chat) if "💰" in text and "from now on" not in text]
    assert [next(word for word in ("80%", "95%", "used up") if word in one) for one in told] == [
        "80%",
        "95%",
        "used up",
    ]
    [asked] = [post for post in await thread(chat) if post["actions"] and "used up" in post["text"]]
    assert [one["label"] for one in asked["actions"]] == ["+1k tokens", "Stop the task"]
    assert await chat.status(task) == "IN_PROGRESS", "what runs goes on"
    clock.forward(86_400)
    await used(chat, task, Usage(850, call_id="tomorrow"))
    again = [text for text in await main(chat) if "85%" in text]
    assert len(again) == 1, "a new day, a new warning"


async def test_a_task_at_its_own_cap_rests_and_goes_on_with_more(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set $1 project:api each-task:yes")
    await used(chat, task, Usage(10, cost=0.85, call_id="a"), Usage(10, cost=0.2, call_id="b"))
    assert await chat.status(task) == "PAUSED"
    [asked] = [post for post in await thread(chat) if post["actions"] and "used up" in post["text"]]
    raise_ = next(one for one in asked["actions"] if one["label"] == "+$1.00")
    assert "may not press" in (await chat.say("", "olga", action=raise_["id"], root="root-1"))["text"]
    answer = await chat.say("", action=raise_["id"], root="root-1")
    assert f"$2.00 for {task}" in answer["text"]
    assert await chat.status(task) == "READY"
    shown = await chat.say("budget")
    assert [(one["scope"], one["amount"]) for one in shown["data"]["items"]] == [
        ("each task", 1.0),
        ("task", 2.0),
    ]


async def test_work_that_ends_with_the_use_that_is_too_much_is_done(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set $1 project:api each-task:yes")
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        told = [(20, Usage(10, cost=1.5, call_id="a")), (30, Result(Outcome.DONE, "done"))]
        await chat.recorder.record(tx, run, told)
    assert await chat.status(task) == "VERIFYING"
    assert (await chat.say("usage"))["data"]["total"]["usd"] == 1.5


async def test_what_follows_the_use_that_is_too_much_is_not_asked_any_more(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set $1 project:api each-task:yes")
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        told = [
            (20, Usage(10, cost=1.5, call_id="a")),
            (30, Question("q", "Which?")),
            (40, Usage(5, call_id="b")),
        ]
        await chat.recorder.record(tx, run, told)
    assert await chat.status(task) == "PAUSED"
    assert await chat.rows(sa.select(schema.question)) == []
    assert (await chat.say("usage"))["data"]["total"]["tokens"] == 15


async def test_a_task_over_its_cap_is_begun_again_by_more_money_only(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set $1 project:api each-task:yes")
    await used(chat, task, Usage(10, cost=1.5, call_id="a"))
    kept = await chat.say("are you there?", "olga", root="root-1")
    assert "until somebody gives more" in kept["text"]
    assert "gives it more" in (await chat.say(f"task restart {task}"))["text"]
    assert await chat.status(task) == "PAUSED"
    assert f"**{task}** goes on" in (await chat.say("budget raise $5 project:api each-task:yes"))["text"]
    assert await chat.status(task) == "READY"


async def scheduled(chat: Chat) -> None:
    for name, step in chat.orchestrator._steps:
        if name in ("promote", "schedule"):
            await step()


async def test_a_task_that_failed_with_the_use_that_was_too_much_is_not_tried_again_without_more(
    chat: Chat, clock: Clock
) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set $1 project:api each-task:yes")
    async with chat.db.transaction() as tx:
        [run] = await runs.live(tx, task)
        told = [(20, Usage(10, cost=1.5, call_id="a")), (30, Result(Outcome.FAILED, "broken"))]
        await chat.recorder.record(tx, run, told)
        await runs.release(tx, run.id)
    clock.forward(1000)
    await scheduled(chat)
    assert await chat.status(task) == "PAUSED"
    assert "budget of $1.00 is used up" in (await chat.say(f"why {task}"))["text"]
    [asked] = [post for post in await thread(chat) if post["actions"] and "used up" in post["text"]]
    raise_ = next(one for one in asked["actions"] if one["label"] == "+$1.00")
    assert "goes on" in (await chat.say("", action=raise_["id"], root="root-1"))["text"]
    await scheduled(chat)
    assert await chat.status(task) == "ASSIGNED"


async def test_no_more_is_begun_than_the_day_has_room_for(chat: Chat, clock: Clock) -> None:
    await chat.with_project()
    await chat.say("agent add more command slots:5 -- true")
    await chat.say("project edit api max-agents:5")
    await chat.say("budget set 250k project:api")  # a run of which nothing is known is taken to use 100k
    added = [(await chat.say(f"task add api number {n}"))["data"]["id"] for n in range(4)]
    await scheduled(chat)
    waiting = [task for task in added if await chat.status(task) == "READY"]
    assert len(waiting) == 2
    why = await chat.say(f"why {waiting[0]}")
    assert {"budget"} == {one["code"] for one in why["data"]["reasons"]}
    assert "250k tokens a day for api" in why["text"]
    await chat.say("budget set 1M project:api")
    await scheduled(chat)
    assert {await chat.status(task) for task in added} == {"ASSIGNED"}


async def test_what_a_day_has_used_up_is_there_again_on_the_next(chat: Chat, clock: Clock) -> None:
    task = await chat.with_running_task()
    await chat.say("budget set 1000")
    await used(chat, task, Usage(1000, call_id="a"))
    await chat.say(f"task stop {task}")
    other = (await chat.say("task add api another"))["data"]["id"]
    async with chat.db.transaction() as tx:
        [run] = await chat.rows(sa.select(schema.run.c.id))
        await runs.release(tx, run["id"])
    await scheduled(chat)
    assert await chat.status(other) == "READY"
    assert "for all projects leaves no room" in (await chat.say(f"why {other}"))["text"]
    clock.forward(86_400)
    await scheduled(chat)
    assert await chat.status(other) == "ASSIGNED"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("budget set much", "is no amount"),
        ("budget set $5 project:nowhere", "there is no project"),
        ("budget set $5 task:nowhere", "there is no task"),
        ("budget set $5 each-task:yes", "name the project"),
        ("budget remove project:api", "there is no cap"),
        ("budget raise $5", "there is no cap in usd"),
    ],
)
async def test_a_cap_that_cannot_be_is_refused(chat: Chat, line: str, words: str) -> None:
    await chat.with_project()
    answer = await chat.say(line)
    assert answer["verdict"] == "refused"
    assert words in answer["text"]


async def test_a_cap_is_taken_away(chat: Chat) -> None:
    await chat.say("budget set $5")
    await chat.say("budget set 1M")
    await chat.say("budget remove unit:usd")
    assert [one["unit"] for one in (await chat.say("budget"))["data"]["items"]] == ["tokens"]
