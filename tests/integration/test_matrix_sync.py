"""Reading from Synapse and sending to it, where something goes wrong at a precise moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_queue.frontends import Connection
from agent_queue.synapse import Account, Homeserver
from bots.matrix.frontend import MatrixFrontend, create
from bots.matrix.settings import MatrixSettings
from orchestrator.transport import Inbound, Refused, Target, Unknown, Watermark
from tests.contract.frontends import Listener, started
from tests.integration.relaying import until
from tests.matrix.person import Person, arrive
from tests.servers.proxy import Proxy, sends, syncs

KEY = "io.agent-queue.key"


class Place:
    """A room with Ann, Ben and the bot, which talks to its homeserver through a proxy."""

    def __init__(self, folder: Path, proxy: Proxy, ann: Person, account: Account, room: str) -> None:
        self.folder = folder
        self.proxy = proxy
        self.ann = ann
        self.account = account
        self.room = room
        self.listener = Listener()

    def bot(self) -> MatrixFrontend:
        """One life of the frontend."""
        account = self.account
        section = {
            "homeserver": self.proxy.url,
            "user": account.user_id,
            "access_token": account.access_token,
            "home": self.room,
        }
        return create(MatrixSettings(**section), self.folder)

    def started(self) -> Any:
        """One life of the frontend, begun."""
        return started(self.bot(), self.listener)

    async def say(self, *texts: str) -> None:
        """Ann says something that is meant for the bot."""
        for text in texts:
            await self.ann.say(self.room, f"!aq {text}")

    async def keys(self) -> list[str]:
        """The keys of what the bot has said, as the server has it."""
        events = await self.ann.raw(self.room)
        return [e["content"][KEY] for e in events if KEY in e["content"]]


@pytest.fixture
async def place(relaxed_homeserver: Homeserver, tmp_path: Path) -> AsyncIterator[Place]:
    async with at(relaxed_homeserver, tmp_path) as one:
        yield one


@asynccontextmanager
async def at(homeserver: Homeserver, folder: Path) -> AsyncIterator[Place]:
    names = ("ann", "ben", "bot")
    ann, ben, bot = [await arrive(homeserver, name) for name in names]
    async with Proxy(homeserver.url) as proxy, Person(homeserver.url, ann) as person:
        room = await person.create_room(invite=[ben.user_id, bot.user_id])
        for account in (ben, bot):
            async with Person(homeserver.url, account) as visitor:
                await visitor.join(room)
        yield Place(folder, proxy, person, bot, room)


def message() -> dict[str, Any]:
    return {"content": {"msgtype": "m.text", "body": "hello"}}


async def test_the_first_reading_hands_on_nothing_that_was_said_before(place: Place) -> None:
    await place.say("old 1", "old 2")
    async with place.started():
        await place.say("new")
        await place.listener.heard("new")


async def test_a_gap_of_250_events_is_read_whole_once_and_in_order(place: Place) -> None:
    async with place.started():
        await place.say("before")
        await place.listener.heard("before")
    away = [f"away {number}" for number in range(250)]
    await place.say(*away)
    async with place.started():
        await place.listener.heard("before", *away)
        await place.say("after")
        await place.listener.heard("before", *away, "after")
    assert place.listener.handed == 252
    async with place.started():
        await place.say("at last")
        await place.listener.heard("before", *away, "after", "at last")


async def test_a_room_of_three_is_no_direct_chat_after_a_restart_either(place: Place) -> None:
    for words in (["one"], ["one", "two"]):
        async with place.started():
            await place.ann.say(place.room, "people talk")
            await place.say(words[-1])
            await place.listener.heard(*words)


async def test_readings_that_fail_rest_longer_each_time_and_go_on(place: Place) -> None:
    async with place.started():
        await place.proxy.came(syncs, 2)  # the one that waits for something to happen
        fault = place.proxy.answer(syncs, 502, html="<h1>Bad Gateway</h1>", times=3)
        await place.say("one")
        await until(lambda: fault.left == 0)
        await place.say("two")
        await place.listener.heard("one", "two")
    struck = [one.at for one in place.proxy.requests if one.fault == "answer"]
    assert struck[1] - struck[0] > 0.45
    assert struck[2] - struck[1] > 0.9
    assert place.proxy.count(syncs) < 9


async def test_a_revoked_token_ends_the_reading_and_asks_for_a_person(place: Place) -> None:
    told: list[str] = []

    class Relay:
        def connected(self, up: bool) -> None:
            pass

    async def report(name: str, words: str) -> None:
        told.append(words)

    relay: Any = Relay()
    frontend = place.bot()
    connection = Connection(frontend, relay, place.listener, report=report)
    work = asyncio.create_task(connection.run())
    try:
        await asyncio.wait_for(connection.attempted.wait(), 30)
        async with Person(place.ann.url, place.account) as bot:
            await bot.call("POST", "v3/logout", {})
        await place.say("are you there?")
        await asyncio.wait_for(work, 30)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await frontend.close()
    assert "revoked" in told[0]
    assert connection.state.startswith("stopped: ")
    assert place.proxy.count(syncs, 401) == 1


async def test_a_place_that_the_homeserver_does_not_know_is_told_and_left(place: Place) -> None:
    scope = f"sync {place.account.user_id}"
    await place.listener.accept(watermark=Watermark("matrix", scope, "s_no_such_place"))
    await place.say("old")
    async with place.started():
        assert "lost my place" in place.listener.complaints[0]
        await place.say("one")
        await place.listener.heard("one")
        number = place.proxy.count(syncs)
        await place.proxy.came(syncs, number)
        lost = {"errcode": "M_UNKNOWN", "error": "Invalid stream token"}
        fault = place.proxy.answer(syncs, 400, lost)
        await place.say("two")
        await fault.reached()
        await until(lambda: len(place.listener.complaints) == 2)
        await place.say("three")
        await until(lambda: "three" in [e.text for e in place.listener.events.values()])
    assert "old" not in [event.text for event in place.listener.events.values()]
    assert await place.listener.watermark("matrix", scope) != "s_no_such_place"


async def test_an_invitation_that_we_did_not_live_to_answer_is_answered_by_the_next_life(
    place: Place,
) -> None:
    gate, me = asyncio.Event(), place.account.user_id
    async with place.started():
        fault = place.proxy.delay(lambda method, path: method == "POST" and "/join/" in path, gate)
        room = await place.ann.create_room(invite=[me])
        await fault.reached()
    async with place.started():
        await place.ann.until(
            lambda ann: any(
                e["type"] == "m.room.member" and e["state_key"] == me and e["content"]["membership"] == "join"
                for e in ann.events(room)
            )
        )
    gate.set()


async def test_an_invitation_whose_room_is_out_of_reach_holds_nothing_up(place: Place) -> None:
    away = {"errcode": "M_UNKNOWN", "error": "Failed to make_join via any server"}
    made = await place.ann.create_room()
    joins = place.proxy.answer(
        lambda method, path: method == "POST" and "/join" in path, 502, away, times=None
    )
    async with place.started():
        await place.ann.invite(made, place.account.user_id)
        await joins.reached()
        await place.say("one")
        await place.listener.heard("one")
        assert sum("Trying again" in one for one in place.listener.complaints) == 1
        joins.left = 0
        await place.ann.until(
            lambda ann: any(
                e.get("state_key") == place.account.user_id and e["content"].get("membership") == "join"
                for e in ann.events(made)
            )
        )


async def test_we_can_speak_while_a_gap_is_read_and_what_is_said_meanwhile_comes_after_it(
    place: Place,
) -> None:
    async with place.started():
        await place.say("before")
        await place.listener.heard("before")
    away = [f"away {number}" for number in range(120)]
    await place.say(*away)
    gate = asyncio.Event()
    held = place.proxy.delay(lambda method, path: method == "GET" and path.endswith("/messages"), gate)
    async with place.started() as bot:
        await held.reached()
        await bot.post(Target(channel=place.room), message(), "key-1")
        await place.say("meanwhile")
        assert await place.keys() == ["key-1"]
        gate.set()
        await place.listener.heard("before", *away, "meanwhile")
    assert place.listener.handed == 122


async def test_what_could_not_be_stored_is_read_again(place: Place) -> None:
    class Full(Listener):
        """An intake whose disk is full for a while."""

        failures = 0

        async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
            if events and self.failures < 2:
                self.failures += 1
                raise OSError("the disk is full")
            return await super().accept(*events, watermark=watermark)

    place.listener = Full()
    async with place.started():
        await place.say("one", "two")
        await place.listener.heard("one", "two")
    assert place.listener.handed == 2


async def test_a_send_whose_answer_is_lost_is_once_there_when_repeated_by_the_next_life(place: Place) -> None:
    here = Target(channel=place.room)
    async with place.started() as bot:
        place.proxy.lose_answer(sends, times=2)
        with pytest.raises(Unknown):
            await bot.post(here, message(), "key-1")
        await bot.post(here, message(), "key-2")
    async with place.started() as bot:
        again = await bot.post(here, message(), "key-1")
        assert list(await bot.find(here, "key-1", message(), 0.0)) == [again]
    assert await place.keys() == ["key-1", "key-2"]


async def test_only_the_homeserver_itself_can_refuse_a_message(place: Place) -> None:
    here = Target(channel=place.room)
    async with place.started() as bot:
        place.proxy.answer(
            sends, 404, html="404 page not found"
        )  # as some proxies say while there is no server
        with pytest.raises(Unknown):
            await bot.post(here, message(), "key-1")
        place.proxy.answer(sends, 403, {"errcode": "M_FORBIDDEN", "error": "you may not"})
        with pytest.raises(Refused):
            await bot.post(here, message(), "key-1")
