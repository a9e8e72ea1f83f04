"""The relay on a real store and a platform that fails: what is said arrives once, in order, and complete."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.scripted import shown
from orchestrator.delivery import relay
from orchestrator.delivery.budget import Budget
from orchestrator.store import outbox, people, schema
from orchestrator.store.database import Database
from orchestrator.transport import Action, Capabilities, Lane, Post, Target
from tests.integration.relaying import TASK, World, until

FAULTS = ("later", "lose_send", "lose_answer", "late", "delay", "disconnect", "lose_answer find_fails")
POINTS = ("before the send", "after the effect", "after the answer")
Make = Callable[..., World]


@pytest.fixture(autouse=True, scope="module")
def little_patience() -> Iterator[None]:
    """Pauses that do not grow to a minute: a plan of faults may hit one message many times in a row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay, "_BACKOFF_MAX", 0.5)
        yield


@pytest.fixture
async def make(database: Database, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[World] = []

    def one(**options: Any) -> World:
        made.append(World(database, tmp_path, **options))
        return made[-1]

    yield one
    for world in made:
        await world.crash()


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
async def test_messages_arrive_once_and_in_order_under_each_fault(
    make: Make, fault: str, idempotent: bool
) -> None:
    world = make(idempotent=idempotent)
    await world.with_task()
    await world.start(*fault.split(), "", *fault.split())
    await world.tell("one", "two", "three")
    await world.delivered()
    assert await world.thread() == ["one", "two", "three"]
    assert world.main() == ["root"]
    assert set(await world.states()) == {"sent"}


PLANS = st.lists(st.sampled_from(["", "", "refuse", *FAULTS]).map(str.split), max_size=8).map(
    lambda parts: [fault for part in parts for fault in part or [""]]
)


@settings(max_examples=12)
@given(
    plan=PLANS,
    crashes=st.lists(st.integers(0, 4), max_size=2),
    platform=st.sampled_from([{"idempotent": True}, {}, {"keyless": True}]),
    alike=st.booleans(),
)
def test_messages_arrive_once_and_in_order_under_any_faults_and_crashes(
    empty_database: Path, plan: list[str], crashes: list[int], platform: dict[str, Any], alike: bool
) -> None:
    async def live(folder: Path) -> None:
        shutil.copy(empty_database, folder / "store.db")
        world = World(Database(folder / "store.db"), folder, **platform)
        await world.with_task()
        await world.tell(*["the same"] * 3 if alike else ["thread 1", "thread 2", "thread 3"])
        await world.say(*["also the same"] * 3 if alike else ["main 1", "main 2", "main 3"])
        await world.start(*plan)
        for more in crashes:
            seen = len(world.records()) + more
            done = asyncio.create_task(world.relay.flush(30))
            await until(lambda seen=seen, done=done: done.done() or len(world.records()) >= seen)  # type: ignore[misc]
            done.cancel()
            rest = world.frontend.plan
            await world.crash()
            await world.start(*rest)
        await world.delivered()
        visible = [record["wire"]["text"] for record in world.records() if record["op"] in ("post", "open")]
        wires = await world.rows(sa.select(schema.wire).order_by(schema.wire.c.id))
        assert {wire["state"] for wire in wires} <= {"sent", "refused"}
        for lane in {wire["lane"] for wire in wires}:
            sent = [w["payload"]["text"] for w in wires if w["lane"] == lane and w["state"] == "sent"]
            assert [text for text in visible if text in sent] == sent
        assert len(visible) == sum(wire["state"] == "sent" for wire in wires)
        assert sum(wire["state"] == "refused" for wire in wires) <= plan.count("refuse")
        await world.crash()
        await world.db.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))


async def test_where_no_keys_are_kept_a_message_is_not_taken_for_one_that_reads_the_same(make: Make) -> None:
    world = make(keyless=True)
    await world.with_task()
    await world.start("", "", "lose_send", "", "lose_answer")
    await world.tell("the same", "the same", "the same", "the same")
    await world.delivered()
    assert await world.thread() == ["the same"] * 4


async def test_where_each_channel_has_a_rate_of_its_own_one_does_not_wait_for_another(make: Make) -> None:
    world = make(rate=0.05, per_channel=True)  # a burst of ten, and then one in 20 seconds
    await world.start()
    async with world.db.transaction() as tx:
        for number in range(12):
            await world.say_in(tx, "busy", f"{number}", Lane.URGENT)
        await world.say_in(tx, "quiet", "hello", Lane.NOTICE)
    await until(lambda: "hello" in world.main())
    assert world.main().count("hello") == 1
    assert "11" not in world.main()


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("what", ["root", "message"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_in_mid_send_neither_loses_nor_repeats(
    make: Make, point: str, what: str, idempotent: bool
) -> None:
    world = make(idempotent=idempotent)
    await world.with_task()
    if what == "message":
        await world.start()
        await world.tell()
        await world.delivered()
        world.frontend.halt = point
    else:
        await world.start(halt=point)
    await world.tell("one", "two")
    await asyncio.wait_for(world.frontend.reached.wait(), 10)
    await world.crash()
    assert (await world.states())[-1] == "sending"
    await world.start()
    await world.delivered()
    assert await world.thread() == ["one", "two"]
    assert world.main() == ["root"]


async def test_of_a_message_that_arrived_twice_one_stays_even_where_the_other_cannot_go(make: Make) -> None:
    world = make()
    await world.start(halt="before the send")
    await world.say("double")
    await world.frontend.reached.wait()
    world.frontend.halt = ""
    [wire] = await world.rows(sa.select(schema.wire))
    for _ in range(3):
        await world.frontend.post(Target(channel="main"), wire["payload"], wire["key"])
    await world.crash()
    await world.start("refuse")
    await world.say("next")
    await world.delivered()
    assert world.main() == ["double", "double", "next"]


async def test_a_lane_that_cannot_be_read_back_is_held_and_said_to_be(make: Make) -> None:
    world = make(faults={"find_fails": 1.0})
    await world.start("lose_answer")
    await world.say("one", "two")
    async with asyncio.timeout(10):
        while "held" not in await world.states():  # noqa: ASYNC110 - the store tells nobody of it
            await asyncio.sleep(0.01)
    async with world.db.read() as tx:
        [waiting] = await outbox.waiting(tx)
    assert dict(waiting) == {"transport": "scripted", "unsent": 2, "held": 1}
    await world.crash()
    world.options["faults"] = {}
    await world.start()
    await world.delivered()
    assert world.main() == ["one", "two"]


async def test_a_refused_message_is_marked_told_and_does_not_hold_its_lane(make: Make) -> None:
    world = make()
    await world.with_task()
    await world.start("", "", "refuse", "refuse")
    await world.tell("one", "never", "nor this", "two")
    await world.delivered()
    assert await world.thread() == ["one", "two"]
    told = "A message in main was refused by scripted: the platform will not take this"
    assert world.main() == ["root", told], "the same is told once an hour"
    assert (await world.states()).count("refused") == 2
    async with world.db.read() as tx:
        trail = await people.trail(tx)
    assert [(row["who"], row["what"], row["verdict"]) for row in trail] == [
        ("relay", "post in scripted:main", "refused")
    ] * 2


async def test_a_refusal_in_the_home_channel_is_not_told_there(make: Make) -> None:
    world = make(faults={"refuse": 1.0})
    await world.start()
    await world.say("one", "two")
    await world.delivered()
    assert world.main() == []
    assert await world.states() == ["refused", "refused"]


async def test_without_its_root_a_thread_is_spoken_of_in_the_channel(make: Make) -> None:
    world = make()
    await world.with_task()
    await world.start("refuse")
    await world.tell("one", "two")
    await world.edit_root("changed")
    await world.delivered()
    said = world.main()
    assert [text for text in said if "refused" not in text] == ["one", "two"]
    assert len(said) == 3, "what follows from it is not told again"


async def test_settling_a_card_that_was_refused_changes_nothing_else(make: Make) -> None:
    world = make()
    await world.with_task()
    await world.start("", "refuse")
    card = await world.tell("which?", actions=(Action(label="red", line="x"),))
    async with world.db.transaction() as tx:
        await world.speaker.settle(tx, card, TASK, "red: ann")
    await world.delivered()
    assert world.main()[0] == "root"
    assert await world.thread() == []


async def test_of_several_edits_only_the_last_is_sent(make: Make) -> None:
    world = make()
    await world.with_task()
    await world.tell()
    await world.edit_root(*(f"at {n} %" for n in range(0, 101, 10)))
    await world.start()
    await world.delivered()
    assert [record["op"] for record in world.records()] == ["open", "edit"]
    assert world.main() == ["at 100 %"]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_late_edit_does_not_undo_a_later_one(make: Make, idempotent: bool) -> None:
    world = make(idempotent=idempotent)
    await world.with_task()
    await world.start("", "late")
    await world.tell()
    await world.edit_root("early")
    await until(lambda: not world.frontend.plan)
    await world.edit_root("last")
    await world.delivered()
    await world.crash()
    assert world.main() == ["last"]


async def test_a_root_can_be_edited_when_what_was_said_is_forgotten(make: Make) -> None:
    world = make()
    await world.with_task()
    await world.start()
    await world.tell("one")
    await world.delivered()
    async with world.db.transaction() as tx:
        assert await outbox.prune(tx, time.time() + 1) == 2
    await world.edit_root("changed")
    await world.delivered()
    assert world.main() == ["changed"]


@pytest.mark.parametrize("lines", [1, 39, 60, 79, 1000])
async def test_a_settled_card_loses_its_buttons_and_says_who_pressed(make: Make, lines: int) -> None:
    """Of as many messages as it may have become; what is long is said before the card, and stays as it is."""
    world = make(text_max=400)
    await world.with_task()
    await world.start()
    text = "".join(f"line {n:04}\n" for n in range(lines))
    card = await world.tell(text, actions=(Action(label="red", line="x"),), urgency=Lane.URGENT)
    await world.delivered()
    assert [r for r in shown(world.records(), root="m1") if "actions" in r["wire"]]
    async with world.db.transaction() as tx:
        await world.speaker.settle(tx, card, TASK, "red: ann")
    await world.delivered()
    seen = shown(world.records(), root="m1")
    assert not [record for record in seen if "actions" in record["wire"]]
    whole = "".join(record["wire"]["text"] for record in seen)
    assert "— red: ann" in whole
    if lines < 100:
        assert whole.split() == f"{text}— red: ann".replace("—", " —").split()


async def test_progress_is_gathered_and_whole(make: Make) -> None:
    world = make(stream_interval=0.2)
    await world.with_task()
    await world.start()
    lines = [f"line {n}\n" for n in range(1000)]
    for at in range(0, 1000, 50):
        await world.tell(*lines[at : at + 50], urgency=Lane.PROGRESS)
    await world.delivered()
    said = await world.thread()
    assert "".join(said) == "".join(lines)
    assert len(said) <= 15


async def test_what_is_too_long_is_summarised_with_the_whole_attached(make: Make) -> None:
    world = make(text_max=1000)
    await world.with_task()
    text = "".join(f"line {n} {'x' * 50}\n" for n in range(1000))
    await world.tell(text[:20_000], text[20_000:], urgency=Lane.PROGRESS, verbatim=True)
    await world.start()
    await world.delivered()
    [only] = shown(world.records(), root="m1")
    assert [file["content"] for file in only["wire"]["files"]] == [text]
    assert len(only["wire"]["text"]) <= 1000
    assert "all attached" in only["wire"]["text"]


async def test_progress_that_carries_more_than_text_is_not_merged_away(make: Make) -> None:
    world = make()
    await world.with_task()
    await world.tell("one\n", urgency=Lane.PROGRESS)
    await world.tell("two\n", urgency=Lane.PROGRESS, actions=(Action(label="stop", line="x"),))
    await world.start()
    await world.delivered()
    assert await world.thread() == ["one\n", "two\n"]


async def test_a_question_hurries_the_progress_before_it_and_keeps_the_order(make: Make) -> None:
    world = make(stream_interval=600.0)
    await world.with_task()
    await world.start()
    await world.tell("a", urgency=Lane.PROGRESS)
    await world.delivered()
    await world.tell("b", urgency=Lane.PROGRESS)
    await world.tell("c", urgency=Lane.PROGRESS, verbatim=True)
    await world.tell("d", urgency=Lane.PROGRESS)
    assert not await world.relay.flush(0.1), "progress gathers for a while"
    await world.tell("which?", urgency=Lane.URGENT)
    await world.delivered(10)
    assert await world.thread() == ["a", "b", "```\nc\n```", "d", "which?"]


async def test_who_waits_with_progress_is_hastened_by_what_stands_behind_it() -> None:
    budget = Budget(Capabilities(text_max=100, rate=100.0, burst=4))
    order: list[str] = []

    async def send(who: str) -> None:
        await budget.acquire(Lane.PROGRESS, who)
        order.append(who)

    for _ in range(3):
        await budget.acquire(Lane.URGENT)
    waiting = [asyncio.create_task(send(who)) for who in ("one", "two", "asked")]
    await asyncio.sleep(0)
    budget.hasten("asked", Lane.URGENT)
    await asyncio.gather(*waiting)
    assert order == ["asked", "one", "two"]


async def test_an_answer_overtakes_the_progress_of_other_threads(make: Make) -> None:
    world = make(rate=4.0)
    await world.start()
    async with world.db.transaction() as tx:
        for n in range(20):
            await world.say_in(tx, f"c{n}", "working", Lane.PROGRESS)
    await until(lambda: len(world.records()) >= 6)
    async with world.db.transaction() as tx:
        await world.say_in(tx, "c19", "which?", Lane.URGENT)
    await until(lambda: "which?" in world.main())
    assert world.main().index("which?") < 16, "the rest waits for the rate"


async def test_later_holds_back_the_whole_frontend_for_the_time_asked(make: Make) -> None:
    world = make()
    await world.start(rest=0.4)
    begun = time.time()
    await world.say("first")
    await until(lambda: not world.frontend.rest)
    async with world.db.transaction() as tx:
        await world.say_in(tx, "other", "second", Lane.URGENT)
    await world.delivered()
    assert sorted(world.main()) == ["first", "second"]
    assert min(record["at"] for record in world.records()) >= begun + 0.4


async def test_two_frontends_get_everything_and_do_not_wait_for_each_other(make: Make) -> None:
    world = make(names=("scripted", "other"))
    await world.with_task()
    await world.start("late", down=["other"])
    await world.tell("one", "two")
    assert await world.relay.flush(20)
    assert await world.thread() == ["one", "two"]
    assert world.records("other") == []
    world.connect("other")
    await world.delivered()
    assert await world.thread("other") == ["one", "two"]
    assert world.main("other") == ["root"]


async def test_flushing_ends_in_time_where_nobody_listens(make: Make) -> None:
    world = make()
    await world.start(down=["scripted"])
    assert await world.relay.flush(5)
    await world.say("one")
    begun = time.monotonic()
    assert not await world.relay.flush(0.1)
    assert time.monotonic() - begun < 5


async def test_nothing_is_said_before_it_is_committed_or_twice(make: Make) -> None:
    world = make()
    await world.start()

    async def change(tx: Any) -> None:
        await world.speaker.notify(tx, Post(text="never"), None, key="k")
        assert await world.relay.flush(10)
        raise KeyError

    with pytest.raises(KeyError):
        async with world.db.transaction() as tx:
            await change(tx)
    for text in ("said", "said again"):
        async with world.db.transaction() as tx:
            await world.speaker.notify(tx, Post(text=text), None, key="k")
    await world.delivered()
    assert world.main() == ["said"]


@pytest.mark.parametrize("early", [False, True])
async def test_what_stands_before_a_card_is_still_there_when_it_is_settled(make: Make, early: bool) -> None:
    world = make(rate=0.9, text_max=4000)
    await world.with_task()
    await world.tell("a notice")
    card = await world.tell("sure?", actions=(Action(label="red", line="x"),), urgency=Lane.URGENT)
    if not early:
        await world.start()
        await world.delivered(30)
    async with world.db.transaction() as tx:
        await world.speaker.settle(tx, card, TASK, "red: ann")
    if early:
        await world.start()
    await world.delivered(30)
    whole = "\n".join(await world.thread())
    assert [whole.count(words) for words in ("a notice", "sure?", "— red: ann")] == [1, 1, 1]


async def test_progress_that_goes_on_and_on_is_told_in_ever_longer_pauses(make: Make) -> None:
    world = make()
    await world.start()
    caps = Capabilities(text_max=100, stream_interval=1.5, stream_interval_max=15.0)
    world.frontend.capabilities = lambda: caps  # type: ignore[method-assign]
    pauses = [world.relay._pause("lane") for _ in range(40)]
    assert pauses == sorted(pauses)
    assert (pauses[0] < 2.0, pauses[-1]) == (True, 15.0)
    world.frontend.capabilities = lambda: Capabilities(text_max=100)  # type: ignore[method-assign]
    assert world.relay._pause("lane") == 1.0
