"""The inbox on a real store: an event is handled once, in its thread's order, whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import sqlalchemy as sa

from bots.gateway import Gateway
from orchestrator.commands.arguments import Arguments, FreeText
from orchestrator.commands.context import Context, Deferred
from orchestrator.commands.registry import Registry
from orchestrator.orchestrator import Orchestrator
from orchestrator.projects import Project, Role
from orchestrator.settings import PersonSettings, Settings
from orchestrator.store import inbox, people, projects, schema
from orchestrator.store.database import Row, Signal, Tx
from orchestrator.transport import Inbound, Place, Post, Watermark
from tests.conftest import Clock


class Words(Arguments):
    text: Annotated[str, FreeText("what")]


class HaltingGateway(Gateway):
    """A gateway that can stand still when all is done and nothing committed."""

    halt: asyncio.Event | None = None

    async def _finish(self, tx: Tx, row: Row, event: Inbound, post: Post | None) -> None:
        await super()._finish(tx, row, event, post)
        if self.halt is not None:
            self.halt.set()
            await asyncio.Event().wait()


class House:
    """One life of the gateway after another, over one store, with commands that can be held up."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        people_ = {"ann": PersonSettings(role="admin", accounts=("chat:ann",))}
        self.orchestrator = Orchestrator(
            Settings(data_dir=folder, database=folder / "store.db", people=people_),
            homes={"chat": "main"},
            supervisor=["false"],
            check_agent=lambda *_: None,
            version="1",
            clock=clock,
        )
        self.db = self.orchestrator.database
        self.halted = asyncio.Event()
        self.go = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        commands = Registry()
        commands.command("note", role=Role.OPERATOR, summary="s", example="e")(self._note)
        commands.command("slow", role=Role.OPERATOR, summary="s", example="e")(self._slow)
        self._services = replace(self.orchestrator.services, registry=commands)
        self.gateway = HaltingGateway(self._services)

    async def _note(self, ctx: Context, args: Words) -> Post:
        """Have an effect; `halt` stands still after it, `boom` fails after it."""
        await projects.add(ctx.tx, Project(id=args.text))
        if args.text == "halt" and not self.go.is_set():
            self.halted.set()
            await self.go.wait()
        if args.text == "boom":
            raise RuntimeError("boom")
        return Post(text=f"noted {args.text}")

    async def _slow(self, _ctx: Context, args: Words) -> Deferred:
        async def answer() -> Post:
            self.halted.set()
            await self.go.wait()
            return Post(text=f"slow {args.text}")

        return Deferred(answer)

    def start(self) -> None:
        self.gateway = HaltingGateway(self._services)
        self._work = asyncio.create_task(self.gateway.run())

    async def stop(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def hear(
        self,
        event_id: str,
        text: str,
        *,
        who: str = "ann",
        root: str | None = None,
        addressed: bool = True,
        mark: str = "",
    ) -> bool:
        event = Inbound(
            event_id=event_id,
            place=Place(transport="chat", channel="main"),
            account=who,
            name=who,
            text=text,
            root=root,
            addressed=addressed,
        )
        return await self.gateway.accept(event, watermark=Watermark("chat", "all", mark) if mark else None)

    async def handled(self) -> None:
        await asyncio.wait_for(self.gateway.idle(), 20)

    async def noted(self) -> list[str]:
        return [row["id"] for row in await self.rows(sa.select(schema.project.c.id))]

    async def answers(self) -> list[str]:
        """What was answered, in order: the event's id and the text."""
        said = await self.rows(sa.select(schema.outbox.c.post).order_by(schema.outbox.c.id))
        return [f"{row['post']['reply_to']}: {row['post']['text']}" for row in said]

    async def answered(self, number: int) -> None:
        changed = asyncio.Event()
        self.db.on(Signal.OUTBOX, changed.set)
        async with asyncio.timeout(10):
            while len(await self.answers()) < number:
                await changed.wait()
                changed.clear()

    async def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self.db.read() as tx:
            return [dict(row) for row in await tx.all(statement)]


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    one = House(tmp_path, clock)
    await one.orchestrator.initialize()
    yield one
    one.go.set()
    await one.stop()
    await one.orchestrator.shutdown()


async def test_an_event_that_comes_several_times_at_once_and_later_is_handled_once(house: House) -> None:
    house.start()
    stored = await asyncio.gather(*(house.hear("e1", "note a") for _ in range(5)))
    assert sorted(stored) == [False] * 4 + [True]
    await house.handled()
    assert not await house.hear("e1", "note a")
    await house.stop()
    house.start()
    assert not await house.hear("e1", "note a")
    await house.hear("e2", "note b")
    await house.handled()
    assert await house.noted() == ["a", "b"]
    assert await house.answers() == ["e1: noted a", "e2: noted b"]


async def test_a_crash_in_the_middle_of_a_command_undoes_it_and_it_is_done_again_once(house: House) -> None:
    house.start()
    await house.hear("e1", "note halt")
    await asyncio.wait_for(house.halted.wait(), 10)
    await house.stop()
    assert await house.noted() == []
    assert await house.answers() == []
    house.go.set()
    house.start()
    await house.handled()
    assert await house.noted() == ["halt"]
    assert await house.answers() == ["e1: noted halt"]


async def test_a_crash_before_the_commit_leaves_effect_answer_and_mark_undone_together(house: House) -> None:
    house.start()
    house.gateway.halt = asyncio.Event()
    await house.hear("e1", "note a")
    await asyncio.wait_for(house.gateway.halt.wait(), 10)
    await house.stop()
    assert await house.noted() == []
    assert await house.answers() == []
    assert await house.rows(sa.select(schema.inbox.c.state)) == [{"state": "new"}]
    house.start()
    await house.handled()
    assert await house.noted() == ["a"]
    assert await house.answers() == ["e1: noted a"]


async def test_a_command_that_fails_changes_nothing_is_answered_and_holds_nobody_up(house: House) -> None:
    house.start()
    await house.hear("e1", "note boom")
    await house.hear("e2", "note after")
    await house.handled()
    assert await house.noted() == ["after"]
    first, second = await house.answers()
    assert first.startswith("e1: 💥 That failed inside agent-queue.")
    assert second == "e2: noted after"
    assert await house.rows(sa.select(schema.inbox.c.state)) == [{"state": "done"}] * 2


async def test_a_thread_is_handled_in_order_and_others_do_not_wait_for_it(house: House) -> None:
    house.start()
    await house.hear("a1", "slow one", root="A")
    await asyncio.wait_for(house.halted.wait(), 10)
    await house.hear("a2", "note two", root="A")
    await house.hear("b1", "note other", root="B")
    await house.hear("m1", "note main")
    await house.answered(2)
    assert sorted(await house.noted()) == ["main", "other"]
    house.go.set()
    await house.handled()
    assert [a for a in await house.answers() if a.startswith("a")] == ["a1: slow one", "a2: noted two"]


async def test_a_backlog_is_handled_in_order(house: House) -> None:
    for n in range(250):
        await house.hear(f"e{n}", f"note p{n}")
    house.start()
    await house.handled()
    assert await house.answers() == [f"e{n}: noted p{n}" for n in range(250)]


async def test_events_are_handled_after_all_earlier_ones_are_forgotten(house: House, clock: Clock) -> None:
    house.start()
    for n in range(3):
        await house.hear(f"e{n}", f"note p{n}")
    await house.handled()
    clock.forward(1_000_000)
    async with house.db.transaction() as tx:
        assert await inbox.prune(tx, clock()) == 2
    await house.hear("new", "note new")
    await house.handled()
    assert (await house.answers())[-1] == "new: noted new"


async def test_the_watermark_is_stored_with_its_event_or_not_at_all(house: House) -> None:
    await house.hear("e1", "note a", mark="10")
    assert await house.gateway.watermark("chat", "all") == "10"
    with pytest.raises(UnicodeEncodeError):
        await house.hear("\ud800", "an id that cannot be stored", mark="20")
    assert await house.gateway.watermark("chat", "all") == "10"
    assert not await house.hear("e1", "note a", mark="30")
    assert await house.gateway.watermark("chat", "all") == "30", "what is known need not be read again"
    assert await house.gateway.watermark("other", "all") is None


async def test_half_a_character_is_stored_as_what_can_be(house: House) -> None:
    house.start()
    assert await house.hear("e1", "note \ud800")
    await house.handled()
    assert await house.answers() == ["e1: noted ?"]


async def test_the_unknown_have_no_effect_and_are_answered_once_if_they_address_us(house: House) -> None:
    house.start()
    await house.hear("e1", "note a", who="eve")
    await house.hear("e1", "note a", who="eve")
    await house.hear("e2", "hello everybody", who="eve", addressed=False)
    await house.handled()
    assert await house.noted() == []
    [answer] = await house.answers()
    assert answer.startswith("e1: 🚫 I do not know you (chat:eve)")
    assert await house.rows(sa.select(schema.inbox.c.state)) == [{"state": "done"}] * 2
    async with house.db.read() as tx:
        assert [row["who"] for row in await people.trail(tx)] == ["chat:eve"]
