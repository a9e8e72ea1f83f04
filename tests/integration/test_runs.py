"""What becomes of runs, their words and their workspaces when things go wrong around them."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.agent import Event, Outcome, Question, Result, Session, Started, Text, Usage
from orchestrator.runs import control, journal, process
from orchestrator.runs.driver import Driver
from orchestrator.runs.folder import RunFolder
from orchestrator.store import runs, schema, tasks
from orchestrator.store.runs import Run
from tests.conftest import Clock
from tests.integration.chatting import Chat


async def steps(chat: Chat, *names: str) -> None:
    """Run these steps of the cycle; unlike in a cycle, a fault is ours."""
    for name, step in chat.orchestrator._steps:
        if name in names:
            await step()


async def live(chat: Chat, task_id: str) -> Run:
    async with chat.db.read() as tx:
        [run] = await runs.live(tx, task_id)
    return run


async def tell(chat: Chat, task_id: str, event: Event, offset: int = 100) -> None:
    run = await live(chat, task_id)
    async with chat.db.transaction() as tx:
        await chat.recorder.record(tx, run, [(offset, event)])


async def test_a_task_whose_workspace_is_still_being_cleared_waits_and_holds_up_no_other(
    chat: Chat, clock: Clock
) -> None:
    task = await chat.with_running_task()
    clock.forward(1)
    await chat.say(f"task stop {task}")
    await chat.say(f"task restart {task}")
    other = (await chat.say("task add api another"))["data"]["id"]
    await steps(chat, "schedule")
    assert await chat.status(task) == "READY"
    assert await chat.status(other) == "ASSIGNED"


async def test_a_project_is_not_deleted_before_its_agents_have_ended(chat: Chat) -> None:
    task = await chat.with_running_task()
    await chat.say(f"task stop {task}")
    refused = await chat.say("project delete api confirm:yes")
    assert refused["verdict"] == "refused"
    assert "being cleared" in refused["text"]


async def test_what_needed_a_task_of_a_deleted_project_can_start(chat: Chat) -> None:
    await chat.with_project()
    await chat.say("project add web repo:r")
    needed = (await chat.say("task add web first"))["data"]["id"]
    task = (await chat.say(f"task add api second after:{needed}"))["data"]["id"]
    await chat.say("project delete web confirm:yes")
    await steps(chat, "promote")
    assert await chat.status(task) == "READY"


async def test_a_thread_is_opened_though_an_earlier_one_was_deleted(chat: Chat) -> None:
    task = await chat.with_running_task()
    run = await live(chat, task)
    await chat.say(f"task stop {task}")
    async with chat.db.transaction() as tx:
        await runs.release(tx, run.id)
    assert (await chat.say(f"task delete {task} confirm:yes"))["verdict"] == "ok"
    other = (await chat.say("task add api another"))["data"]["id"]
    await steps(chat, "schedule")
    opened = await chat.rows(sa.select(schema.outbox.c.subject).where(schema.outbox.c.op == "open"))
    assert [row["subject"].split(":")[0] for row in opened] == [task, other]


@pytest.mark.parametrize(
    "event",
    [
        Text("half a sign: \ud83d"),
        Question("q", "half a sign: \ud83d", ("\ud83d",)),
        Session("\ud83d"),
        Result(Outcome.FAILED, "half a sign: \ud83d"),
        Usage(tokens=10**20, cost=float("inf")),
        Result(Outcome.LIMITED, "", float("inf")),
        Result(Outcome.LIMITED, "", 1e300),
    ],
)
async def test_whatever_an_agent_says_can_be_stored(chat: Chat, event: Event, tmp_path: Path) -> None:
    task = await chat.with_running_task()
    writing = journal.Journal(tmp_path / "events.jsonl")
    writing.append(event)
    writing.close()
    batch, _ = journal.read_from(tmp_path / "events.jsonl", 0, 1000)
    run = await live(chat, task)
    async with chat.db.transaction() as tx:
        assert await chat.recorder.record(tx, run, batch)


@pytest.mark.parametrize("how", ["answer", "button", "words"])
async def test_an_answer_after_the_input_timeout_brings_the_task_back(
    chat: Chat, clock: Clock, how: str
) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, Question("q", "Which colour?", ("red", "blue")))
    clock.forward(90_000)
    await steps(chat, "questions")
    assert await chat.status(task) == "PAUSED"
    if how == "answer":
        await chat.say(f"task answer {task} blue")
    elif how == "button":
        rows = await chat.rows(sa.select(schema.action).where(schema.action.c.label == "blue"))
        await chat.say("", action=rows[0]["id"], root="root-1")
    else:
        await chat.say("blue", root="root-1")
    assert await chat.status(task) == "READY"
    [words] = await chat.rows(sa.select(schema.message))
    assert words["state"] == "kept"
    assert "blue" in words["text"]


async def test_an_answer_that_never_reached_its_agent_is_told_to_the_next_run(chat: Chat) -> None:
    task = await chat.with_running_task()
    await tell(chat, task, Question("q", "Which colour?", ("red", "blue")))
    await chat.say(f"task answer {task} blue")
    await tell(chat, task, Result(Outcome.STOPPED, "stopped"), 200)
    [words] = await chat.rows(sa.select(schema.message))
    assert words["state"] == "kept"


async def test_an_agent_that_is_stopped_from_outside_again_and_again_is_not_started_for_ever(
    chat: Chat,
) -> None:
    task = await chat.with_running_task()
    for number in range(3):
        run = await live(chat, task)
        await tell(chat, task, Started(epoch=number, at=0.0), 10)
        await tell(chat, task, Result(Outcome.STOPPED, "stopped"), 200)
        async with chat.db.transaction() as tx:
            await runs.release(tx, run.id)
            found = await tasks.get(tx, task)
        if found.failures:
            return
        await steps(chat, "schedule")
    pytest.fail("started a fourth time, and nobody was told")


async def test_a_supervisor_that_was_too_busy_is_told_again(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_TIMEOUT", 0.2)
    task = await chat.with_running_task()
    await chat.say("use tabs", root="root-1")
    run = await live(chat, task)
    folder = RunFolder(chat.orchestrator.runs._tools.folders / run.id)
    folder.create()
    taken: list[bytes] = []
    heard = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(await reader.readline())
        if len(taken) > 1:  # the first time it is too busy to answer
            writer.write(b"\n")
            heard.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(accept, str(folder.control))
    driver = Driver(chat.orchestrator.runs._tools, run)
    driver.words_waiting()
    telling = asyncio.create_task(driver._tell())
    try:
        await asyncio.wait_for(heard.wait(), 60)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        server.close()
    assert all(b"use tabs" in line for line in taken)


async def test_a_supervisor_that_ends_while_we_look_is_heard_to_its_last_word(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await chat.with_running_task()
    run = await live(chat, task)
    folder = RunFolder(chat.orchestrator.runs._tools.folders / run.id)
    folder.create()

    def ends_before_it_is_looked_for(_: object) -> bool:
        writing = journal.Journal(folder.journal)
        writing.append(Started(run.epoch, 1.0))
        writing.append(Result(Outcome.DONE, "made it"))
        writing.close()
        return False

    monkeypatch.setattr(process, "alive", ends_before_it_is_looked_for)
    await Driver(chat.orchestrator.runs._tools, run)._follow()
    assert await chat.status(task) == "VERIFYING"


@pytest.mark.parametrize("what", ["stop", "restart", "skip", "reject", "delete"])
async def test_work_that_is_being_merged_cannot_be_stopped_any_more(chat: Chat, what: str) -> None:
    task = await chat.with_running_task()
    run = await live(chat, task)
    await tell(chat, task, Result(Outcome.DONE, "made it"))
    async with chat.db.transaction() as tx:
        await runs.end(tx, run.id, 0.0, "done")
        await runs.release(tx, run.id)
        await chat.orchestrator.lifecycle.propose(tx, await tasks.get(tx, task), "1 file changed", "diff")
    await chat.say(f"task approve {task}")
    refused = await chat.say(f"task {what} {task}" + (" confirm:yes" if what == "delete" else ""))
    assert "it is being merged" in refused["text"]
    assert await chat.status(task) == "AWAITING_APPROVAL"
