"""The stand-in out of order: lost answers, cut requests, dropped sockets, sessions that are gone."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.servers.discord import CutBefore, DiscordServer, LoseAnswer, Slow, Status
from tests.servers.discord.library import Rig, commanded, point, post


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordServer]:
    async with DiscordServer() as one:
        point(monkeypatch, one)
        yield one


@pytest.fixture
async def rig(server: DiscordServer) -> AsyncIterator[Rig]:
    one = Rig(server)
    yield one
    await one.close()


# Faults


async def test_a_lost_answer_leaves_its_effect_and_the_nonce_finds_it(rig: Rig) -> None:
    client = await rig.client()
    fault = rig.server.fail("POST", r"/channels/\d+/messages", LoseAnswer())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await rig.place(client).send("once", nonce="n")
    assert fault.hits == 1
    assert len(rig.server.messages(rig.channel)) == 1
    again = await rig.place(client).send("once", nonce="n")
    assert [message.id for message in rig.server.messages(rig.channel)] == [str(again.id)]


async def test_a_request_that_is_cut_has_no_effect(rig: Rig) -> None:
    client = await rig.client()
    rig.server.fail("POST", r"/channels/\d+/messages", CutBefore())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await rig.place(client).send("x")
    assert rig.server.messages(rig.channel) == []
    assert [request.status for request in rig.server.requests if request.method == "POST"] == [None]


async def test_a_bad_gateway_is_tried_again_and_a_slow_one_waited_for(rig: Rig) -> None:
    client = await rig.client()
    rig.server.fail("POST", r"/channels/\d+/messages", Status(502))
    rig.server.fail("POST", r"/channels/\d+/messages", Slow(0.1))
    await rig.place(client).send("x")
    statuses = [request.status for request in rig.server.requests if request.method == "POST"]
    assert (statuses, rig.server.spent()) == ([502, 200], True)


# The gateway's faults


async def test_a_dropped_socket_resumes_and_hears_what_it_missed(rig: Rig) -> None:
    client = await rig.client()
    await rig.ann.say(rig.channel, "before")
    await client.until_text("before")
    await rig.server.drop_sockets()
    await rig.ann.say(rig.channel, "between")
    await client.until("resumed")
    await client.until_text("between")
    await rig.ann.say(rig.channel, "after")
    await client.until_text("after")
    assert client.texts() == ["before", "between", "after"]
    assert (rig.server.identifies, rig.server.resumes) == (1, 1)


async def test_operation_7_resumes(rig: Rig) -> None:
    client = await rig.client()
    await rig.server.ask_reconnect()
    await client.until("resumed")
    await rig.server.invalidate(resumable=True)
    await client.until("resumed", 2)
    assert (rig.server.identifies, rig.server.resumes) == (1, 2)


async def test_operation_9_begins_a_new_session_without_what_was_missed(rig: Rig) -> None:
    client = await rig.client()
    await rig.server.invalidate()
    await rig.ann.say(rig.channel, "missed")
    await client.until("ready", 2)  # the library waits for five seconds, as Discord asks
    await rig.ann.say(rig.channel, "after")
    await client.until_text("after")
    assert client.texts() == ["after"]
    assert (rig.server.identifies, rig.server.resumes) == (2, 0)


async def test_what_happens_while_sessions_are_missing_is_never_told(rig: Rig) -> None:
    client = await rig.client()
    async with rig.server.missing():
        missed = await rig.ann.say(rig.channel, "missed")
        await client.until("disconnect")
    await client.until("ready", 2)
    await rig.ann.say(rig.channel, "after")
    await client.until_text("after")
    assert client.texts() == ["after"]
    history = [str(message.id) async for message in rig.place(client).history()]
    assert missed in history


async def test_a_server_that_is_down_comes_back_with_its_sessions(rig: Rig) -> None:
    client = await rig.client()
    await rig.server.down()
    await client.until("disconnect")
    await rig.ann.say(rig.channel, "between")
    await rig.server.up()
    await client.until_text("between")
    assert (rig.server.identifies, rig.server.resumes) == (1, 1)


async def test_events_can_come_twice(rig: Rig) -> None:
    client = await rig.client()
    seen = commanded(client)
    await client.tree.sync()
    said = await rig.ann.say(rig.channel, "hello")
    used = await rig.ann.slash(rig.channel, "aq task add", title="x")
    await client.until("raw_message_edit")
    assert await rig.server.redeliver(said) == 1
    assert await rig.server.redeliver(used.id) == 1
    await client.until("message", 3)
    await client.until("interaction", 2)
    assert [interaction.id for interaction in seen] == [int(used.id)] * 2


async def test_who_sends_no_heartbeat_is_closed() -> None:
    async with (
        DiscordServer(heartbeat=0.05) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.gateway) as socket,
    ):
        assert (await socket.receive_json())["op"] == 10
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4000


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": 3, "d": {}}, 4003),
        ({"op": 2, "d": {"token": "wrong", "intents": 0}}, 4004),
        ({"op": 2, "d": {"token": "a-token", "intents": 1 << 40}}, 4013),
        ({"op": 2, "d": {"token": "a-token", "intents": 1 << 1}}, 4014),
        ({"op": 1, "d": "x" * 4096}, 4002),
    ],
)
async def test_what_is_wrong_at_the_gateway_has_its_close_code(
    server: DiscordServer, frame: dict[str, Any], code: int
) -> None:
    rig = Rig(server)
    async with aiohttp.ClientSession() as session, session.ws_connect(rig.server.gateway) as socket:
        await socket.receive_json()
        await socket.send_json(frame)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == code


async def test_a_lost_callback_is_known_to_the_server_alone(rig: Rig) -> None:
    client = await rig.client()
    commanded(client)
    await client.tree.sync()
    rig.server.fail("POST", r"/interactions/.+/callback", LoseAnswer())
    used = await rig.ann.slash(rig.channel, "aq task show", task="7")
    assert not used.failed
    assert rig.server.interaction(used.id).response is not None
    path = f"/interactions/{used.id}/{used.token}/callback"
    assert (await post(rig, path, {"type": 5}))[1]["code"] == 40060
