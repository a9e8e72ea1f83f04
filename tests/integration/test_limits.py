"""An account at its limit: what rests, what is held, who goes first afterwards, and what people see of it."""

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.agent import Event, Outcome, PermissionRequest, RateLimit, Result, Started, Usage
from orchestrator.store import messages, runs, schema
from orchestrator.store.messages import Words
from orchestrator.store.runs import Run
from tests.conftest import Clock
from tests.integration.chatting import Chat

_offsets = itertools.count(100)


async def cycle(chat: Chat) -> None:
    """The steps that decide, and an end of what has ended; agents themselves are played by the test."""
    async with chat.db.transaction() as tx:
        for lease in await runs.abandoned(tx):
            await runs.release(tx, lease.run_id)
    for name, step in chat.orchestrator._steps:
        if name in ("resume", "promote", "schedule", "rescue"):
            await step()


async def live(chat: Chat) -> dict[str, Run]:
    async with chat.db.read() as tx:
        return {run.task_id: run for run in await runs.live(tx)}


async def tell(chat: Chat, task: str, *events: Event) -> None:
    run = (await live(chat))[task]
    async with chat.db.transaction() as tx:
        for event in events:
            await chat.recorder.record(tx, run, [(next(_offsets), event)])


async def add(chat: Chat, *words: str) -> list[str]:
    """Queue tasks of these words, which begin with their project."""
    return [(await chat.say(f"task add {line}"))["data"]["id"] for line in words]


async def begun(chat: Chat, *words: str) -> list[str]:
    """Tasks that agents work on."""
    made = await add(chat, *words)
    await cycle(chat)
    for task in made:
        await tell(chat, task, Started(epoch=1, at=0.0))
    return made


async def limited(chat: Chat, clock: Clock, task: str, seconds: float | None = None) -> None:
    at = None if seconds is None else clock() + seconds
    await tell(chat, task, Result(Outcome.LIMITED, "No tokens left", at))


async def why(chat: Chat, task: str) -> list[str]:
    found = await chat.say(f"why {task}")
    return [f"{one['code']}: {one['words']}" for one in found["data"]["reasons"]]


async def account(chat: Chat, name: str = "command") -> dict[str, object]:
    rows = await chat.rows(sa.select(schema.agent_account).where(schema.agent_account.c.id == name))
    return rows[0]


@pytest.fixture
async def house(chat: Chat) -> Chat:
    """A project in which four tasks may run at once, and an agent for as many."""
    await chat.with_project()
    await chat.say("project edit api max-agents:4")
    await chat.say("agent edit worker slots:4")
    return chat


async def test_a_limit_rests_its_task_until_the_told_time_and_holds_the_others(
    house: Chat, clock: Clock
) -> None:
    first, running = await begun(house, "api one", "api two")
    await limited(house, clock, first, 1800)
    [held] = await add(house, "api three")
    await cycle(house)
    assert [await house.status(task) for task in (first, running, held)] == ["PAUSED", "IN_PROGRESS", "READY"]
    assert await why(house, held) == [
        "limit: account command is at its limit until 15:36 UTC, in less than 30 min"
    ]
    assert (await house.say(f"why {held}"))["data"]["eta"] == 1800
    assert "in less than 30 min" in (await house.say("status"))["card"]["fields"][4][1]
    clock.forward(1799.5)
    await cycle(house)
    assert await house.status(first) == "PAUSED"
    assert held not in await live(house)


@pytest.mark.parametrize("told", [-5.0, 41 * 86400.0, float("inf"), float("nan"), None])
async def test_a_time_that_cannot_be_a_reset_is_no_reset(
    house: Chat, clock: Clock, told: float | None
) -> None:
    [task] = await begun(house, "api one")
    await limited(house, clock, task, told)
    assert (await account(house))["resets_at"] == clock() + 60


async def test_without_a_told_time_the_rests_grow_up_to_their_most(house: Chat, clock: Clock) -> None:
    [task] = await begun(house, "api one")
    rests = []
    for _ in range(9):
        await limited(house, clock, task)
        resets = (await account(house))["resets_at"]
        assert isinstance(resets, float)
        rests.append(resets - clock())
        clock.now = resets
        await cycle(house)
        await tell(house, task, Started(epoch=1, at=0.0))
    assert rests == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    await tell(house, task, Usage(tokens=5))
    await limited(house, clock, task)
    assert (await account(house))["resets_at"] == clock() + 60


async def test_after_the_reset_the_one_that_was_limited_first_goes_alone(house: Chat, clock: Clock) -> None:
    first, second = await begun(house, "api one", "api two priority:high")
    await limited(house, clock, first, 100)
    clock.forward(1)
    await limited(house, clock, second, 50)  # a second limit, which ends sooner, does not end the first
    [held] = await add(house, "api three priority:high")
    clock.forward(99)
    await cycle(house)
    assert set(await live(house)) == {first}
    assert await house.status(second) == "PAUSED"
    assert "is tried with" in (await why(house, second))[0]
    assert "is tried with" in (await why(house, held))[0]
    await tell(house, first, Started(epoch=2, at=0.0), Usage(tokens=10))
    await cycle(house)
    assert set(await live(house)) == {first, second, held}


@pytest.mark.parametrize(
    "proof",
    [Usage(tokens=1), PermissionRequest("p", "run rm", "rm x"), Result(Outcome.DONE), Result(Outcome.FAILED)],
)
async def test_what_shows_that_requests_go_through_opens_the_account(
    house: Chat, clock: Clock, proof: Event
) -> None:
    first, second = await begun(house, "api one", "api two")
    await limited(house, clock, first, 100)
    clock.forward(1)
    await limited(house, clock, second, 99)
    clock.forward(99)
    await cycle(house)
    await tell(house, first, Started(epoch=2, at=0.0), Usage(tokens=0))
    await cycle(house)
    assert second not in await live(house)
    await tell(house, first, proof)
    await cycle(house)
    assert second in await live(house)


async def test_a_canary_that_is_limited_too_shuts_the_account_for_longer(house: Chat, clock: Clock) -> None:
    first, second = await begun(house, "api one", "api two")
    await limited(house, clock, first)
    clock.forward(1)
    await limited(house, clock, second)
    clock.forward(59)
    await cycle(house)
    await tell(house, first, Started(epoch=2, at=0.0))
    await limited(house, clock, first)
    await cycle(house)
    assert await live(house) == {}
    assert (await account(house))["resets_at"] == clock() + 120
    for task in (first, second):
        assert await why(house, task) == [
            "cooldown: account command is at its limit until 15:09 UTC, in less than 5 min"
        ]
    clock.forward(120)
    await cycle(house)
    assert set(await live(house)) == {second}, "its turn has come"


async def test_a_canary_that_is_stopped_makes_room_for_the_next(house: Chat, clock: Clock) -> None:
    first, second, third = await begun(house, "api one", "api two", "api three")
    for task in (first, second, third):
        await limited(house, clock, task, 100)
        clock.forward(1)
    clock.forward(100)
    await cycle(house)
    assert set(await live(house)) == {first}
    await house.say(f"task stop {first}")
    await cycle(house)
    assert set(await live(house)) == {second}


async def test_a_canary_that_hangs_makes_room_for_the_next(house: Chat, clock: Clock) -> None:
    first, second = await begun(house, "api one", "api two")
    await limited(house, clock, first, 100)
    await limited(house, clock, second, 100)
    clock.forward(100)
    await cycle(house)
    hung = set(await live(house))
    clock.forward(599)
    await cycle(house)
    assert set(await live(house)) == hung
    clock.forward(2)
    await cycle(house)
    assert set(await live(house)) == {first, second}


async def test_a_canary_that_cannot_start_makes_room_for_the_next(house: Chat, clock: Clock) -> None:
    await house.say("project add web repo:r")
    first, second = await begun(house, "web one", "api two")
    await limited(house, clock, first, 101)
    clock.forward(1)
    await limited(house, clock, second, 100)
    await house.say("project pause web")
    clock.forward(100)
    await cycle(house)
    assert await live(house) == {}
    clock.forward(31)
    await cycle(house)
    assert set(await live(house)) == {second}


async def test_where_none_rests_the_first_by_the_usual_order_tries(house: Chat, clock: Clock) -> None:
    [task] = await begun(house, "api one")
    await limited(house, clock, task, 100)
    await house.say(f"task stop {task}")
    later, sooner = await add(house, "api two", "api three priority:high")
    clock.forward(100)
    await cycle(house)
    assert set(await live(house)) == {sooner}
    await tell(house, sooner, Started(epoch=1, at=0.0), Usage(tokens=1))
    await cycle(house)
    assert set(await live(house)) == {sooner, later}


async def test_a_restart_in_the_middle_forgets_nothing(house: Chat, clock: Clock, tmp_path: Path) -> None:
    first, second = await begun(house, "api one", "api two")
    await limited(house, clock, first, 100)
    clock.forward(1)
    await limited(house, clock, second, 99)
    for seconds, alive in ((50, set()), (49, {first}), (5, {first})):
        clock.forward(seconds)
        again = Chat(tmp_path, clock)
        await again.orchestrator.initialize()
        await cycle(again)
        assert set(await live(again)) == alive
        await again.orchestrator.shutdown()
    assert await house.orchestrator.due_at() is None
    await tell(house, first, Started(epoch=2, at=0.0), Usage(tokens=1))
    await cycle(house)
    assert set(await live(house)) == {first, second}


async def test_the_next_reset_is_told_to_whoever_wakes_the_cycle(house: Chat, clock: Clock) -> None:
    await house.say("agent add other command account:team -- true")
    first, second = await begun(house, "api one agent:worker", "api two agent:other")
    await limited(house, clock, first, 100)
    await limited(house, clock, second, 70)
    assert await house.orchestrator.due_at() == clock() + 70


async def test_the_thread_counts_down_in_its_root_and_does_not_flood(house: Chat, clock: Clock) -> None:
    [task] = await begun(house, "api one")
    await limited(house, clock, task, 3 * 3600)
    for _ in range(3 * 3600 // 5 - 1):
        clock.forward(5)
        await cycle(house)
    edits = await house.rows(
        sa.select(schema.outbox.c.post).where(schema.outbox.c.op == "edit").order_by(schema.outbox.c.id)
    )
    shown = [row["post"]["text"].rsplit(", ", 1)[1] for row in edits if "limit until" in row["post"]["text"]]
    assert shown == [
        "in 3 h",
        "in 2 h",
        *(f"in less than {words}" for words in ("1 h", "30 min", "10 min", "5 min", "1 min")),
    ]
    said = await house.rows(sa.select(schema.outbox.c.post).where(schema.outbox.c.op == "post"))
    [notice] = [row["post"]["text"] for row in said if "at its limit" in row["post"]["text"]]
    assert notice == "⏸ Account command is at its limit until 18:06 UTC, in 3 h.\n\nNo tokens left"


async def test_limits_lists_every_account_with_what_it_holds(house: Chat, clock: Clock) -> None:
    await house.say("agent add other command account:team -- true")
    first, second = await begun(house, "api one agent:worker", "api two agent:other")
    await tell(house, second, RateLimit("5 hours", clock() + 600, 0.8))
    await limited(house, clock, first, 100)
    shown = (await house.say("limits", who="vic"))["text"]
    assert shown == (
        "**Accounts** (2)\n\n"
        "- **command** (worker) — at its limit until 15:08 UTC, in 1 min 40 s; its agent said: No tokens left; "
        f"holds 1 task: {first}\n"
        "- **team** (other) — ok; its window ends at 15:16 UTC; 80% used (5 hours)"
    )
    found = (await house.say("doctor"))["text"]
    assert "account command is at its limit until 15:08 UTC" in found


async def test_an_admin_can_have_an_account_tried_now(house: Chat, clock: Clock) -> None:
    first, second = await begun(house, "api one", "api two")
    assert "not at a limit" in (await house.say("limits clear command"))["text"]
    assert "no agent has an account" in (await house.say("limits clear nobody"))["text"]
    await limited(house, clock, first, 9000)
    clock.forward(1)
    await limited(house, clock, second, 9000)
    assert (await house.say("limits clear command", who="olga"))["verdict"] == "refused"
    assert (await house.say("limits clear command"))["verdict"] == "ok"
    await cycle(house)
    assert set(await live(house)) == {first}


async def told(chat: Chat, task: str, agent: str) -> list[Words]:
    """What the next run of the task's present agent is told besides the task."""
    run = (await live(chat))[task]
    assert run.agent_id == agent
    async with chat.db.transaction() as tx:
        return await messages.claim_kept(tx, task, run.id)


async def test_a_task_stays_with_the_agent_whose_conversation_it_has(house: Chat, clock: Clock) -> None:
    await house.say("agent edit worker slots:1")
    [task] = await begun(house, "api one")
    await house.say("agent add other command slots:9 -- true")
    await tell(house, task, Result(Outcome.FAILED, "broken"))
    clock.forward(9000)
    other, *_ = await add(house, "api two agent:worker priority:high")
    await cycle(house)
    assert set(await live(house)) == {other}
    assert await why(house, task) == ["no_agent: agent worker is busy"]
    await house.say(f"task stop {other}")
    await cycle(house)
    assert (await live(house))[task].agent_id == "worker"


async def test_when_an_agent_is_removed_another_takes_its_tasks_but_not_those_for_it_alone(
    house: Chat, clock: Clock
) -> None:
    free, bound = await begun(house, "api one", "api two agent:worker")
    for task in (free, bound):
        await tell(house, task, Result(Outcome.FAILED, "broken"))
    await house.say("agent add other command -- true")
    await house.say("agent remove worker")
    clock.forward(9000)
    await cycle(house)
    assert {task: run.agent_id for task, run in (await live(house)).items()} == {free: "other"}
    assert "there is no agent worker any more" in (await why(house, bound))[0]
    await house.say(f"task stop {free}")
    await house.say(f"task edit {bound} agent:any")
    await cycle(house)
    assert (await live(house))[bound].agent_id == "other"


async def with_failover(house: Chat) -> None:
    await house.say("project edit api failover:yes")
    await house.say("agent add other command account:team -- true")
    await house.say("agent add odd command account:odd class:odd slots:9 -- true")


async def test_failover_goes_to_another_account_of_the_class_and_back(house: Chat, clock: Clock) -> None:
    [task] = await begun(house, "api one")
    await with_failover(house)
    await limited(house, clock, task, 100)
    await cycle(house)
    [words] = await told(house, task, "other")
    assert words.text.startswith("Agent worker worked on this before you; its work is in this folder.")
    await tell(house, task, Started(epoch=2, at=0.0), Result(Outcome.FAILED, "broken"))
    clock.forward(9000)
    await cycle(house)
    [words] = await told(house, task, "worker")
    assert "Agent other worked on this before you" in words.text
    assert words.text.endswith("Its last words: broken")
    said = await house.rows(sa.select(schema.outbox.c.post).where(schema.outbox.c.op == "post"))
    assert [row["post"]["text"] for row in said if "🔀" in row["post"]["text"]] == [
        "🔀 other takes over from worker; it sees the work, and does not know its conversation.",
        "🔀 worker takes over from other; it sees the work, and goes on with its own conversation.",
    ]


async def test_without_failover_any_more_the_next_run_waits_for_its_own_agent(
    house: Chat, clock: Clock
) -> None:
    [task] = await begun(house, "api one")
    await with_failover(house)
    await limited(house, clock, task, 90_000)
    await cycle(house)
    assert (await live(house))[task].agent_id == "other"
    await tell(house, task, Started(epoch=2, at=0.0), Result(Outcome.FAILED, "broken"))
    await house.say("project edit api failover:no")
    clock.forward(900)
    await cycle(house)
    assert task not in await live(house)
    assert (await why(house, task))[0].startswith("limit: account command is at its limit")


async def test_a_task_for_one_agent_alone_never_goes_to_another(house: Chat, clock: Clock) -> None:
    [task] = await begun(house, "api one agent:worker")
    await with_failover(house)
    await limited(house, clock, task, 100)
    await cycle(house)
    assert await live(house) == {}


async def test_where_the_stand_in_is_limited_too_the_first_to_be_free_goes_on(
    house: Chat, clock: Clock
) -> None:
    [task] = await begun(house, "api one")
    await with_failover(house)
    await limited(house, clock, task, 5000)
    await cycle(house)
    await tell(house, task, Started(epoch=2, at=0.0))
    await limited(house, clock, task, 50)
    await cycle(house)
    assert await house.status(task) == "PAUSED"
    clock.forward(50)
    await cycle(house)
    assert (await live(house))[task].agent_id == "other"


async def test_an_agent_is_edited_and_checked_as_a_new_one(house: Chat) -> None:
    assert (await house.say("agent edit worker slots:7 model:big account:team class:x"))["verdict"] == "ok"
    [row] = await house.rows(sa.select(schema.agent))
    assert (row["slots"], row["account"], row["kind"], row["config"]["model"]) == (7, "team", "x", "big")
    for wrong in ("slots:0", "account:A/B", "class:..", "profile:none", ""):
        assert (await house.say(f"agent edit worker {wrong}"))["verdict"] == "refused"
    assert (await house.say("agent add any command -- true"))["verdict"] == "refused"
    assert (await house.say("task add api x agent:nobody"))["verdict"] == "refused"
    assert (await house.rows(sa.select(schema.agent)))[0] == row


async def test_a_free_agent_is_found_for_the_task_behind_many_of_a_busy_one(house: Chat) -> None:
    await house.say("agent add other command -- true")
    await house.say("agent edit worker slots:1")
    *_, last = await add(house, *(f"api number {n} agent:worker" for n in range(12)), "api last agent:other")
    await cycle(house)
    assert {run.agent_id: task for task, run in (await live(house)).items()}["other"] == last
