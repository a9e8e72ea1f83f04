"""The stand-in's limits: what Discord refuses is refused, and how fast is too fast."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import discord
import pytest

from tests.servers.discord import (
    DiscordServer,
    Limited,
)
from tests.servers.discord.library import Rig, point, post


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


# Limits of what is sent

BUTTON = {"type": 2, "style": 1, "label": "x"}


def row(*buttons: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(buttons)}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"content": "x" * 2001}, 50035, "content"),
        ({"content": " \n"}, 50006, None),
        ({}, 50006, None),
        ({"content": "x", "nonce": "n" * 26}, 50035, "nonce"),
        ({"embeds": [{"title": "t"}] * 11}, 50035, "embeds"),
        ({"embeds": [{"title": "t" * 257}]}, 50035, "embeds"),
        ({"embeds": [{"description": "t" * 4097}]}, 50035, "embeds"),
        ({"embeds": [{"description": "t" * 3001}] * 2}, 50035, "embeds"),
        ({"embeds": [{"footer": {"text": "t" * 2049}}]}, 50035, "embeds"),
        ({"embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]}, 50035, "embeds"),
        ({"embeds": [{"fields": [{"name": "n" * 257, "value": "v"}]}]}, 50035, "embeds"),
        ({"embeds": [{"fields": [{"name": "n", "value": "v" * 1025}]}]}, 50035, "embeds"),
        ({"components": [row(BUTTON | {"custom_id": str(n)}) for n in range(6)]}, 50035, "components"),
        ({"components": [row(*(BUTTON | {"custom_id": str(n)} for n in range(6)))]}, 50035, "components"),
        ({"components": [row(BUTTON | {"custom_id": "c" * 101})]}, 50035, "components"),
        ({"components": [row(BUTTON | {"custom_id": "c", "label": "l" * 81})]}, 50035, "components"),
        ({"components": [row(*[BUTTON | {"custom_id": "c"}] * 2)]}, 50035, "components"),
        ({"components": [row(BUTTON)]}, 50035, "components"),
        (
            {"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}},
            50035,
            "allowed_mentions",
        ),
        ({"content": "x", "message_reference": {"message_id": "1"}}, 50035, "message_reference"),
        ({"content": "x", "flags": 1 << 15, "components": [row()]}, 50035, "flags"),
        ({"content": "x", "flags": 1 << 6}, 50035, "flags"),
    ],
)
async def test_what_is_too_much_is_refused(
    server: DiscordServer, body: dict[str, Any], code: int, field: str | None
) -> None:
    rig = Rig(server)
    status, answer = await post(rig, f"/channels/{rig.channel}/messages", body)
    assert (status, answer["code"]) == (400, code)
    assert field is None or field in answer["errors"]
    assert rig.server.messages(rig.channel) == []


async def test_files_have_limits(rig: Rig) -> None:
    client = await rig.client()
    big = discord.File(io.BytesIO(b"x" * (10 * 1024**2 + 1)), "big")
    with pytest.raises(discord.HTTPException) as refused:
        await rig.place(client).send(file=big)
    assert (refused.value.status, refused.value.code) == (413, 40005)
    await rig.place(client).send(files=[discord.File(io.BytesIO(b"x"), str(n)) for n in range(10)])
    assert len(rig.server.messages(rig.channel)[0].attachments) == 10


async def test_a_threads_name_has_up_to_100_characters(rig: Rig) -> None:
    client = await rig.client()
    message = await rig.place(client).send("root")
    for name in ("", "x" * 101):
        with pytest.raises(discord.HTTPException) as refused:
            await message.create_thread(name=name)
        assert refused.value.code == 50035
    assert rig.server.threads(rig.channel) == []


def option(**more: Any) -> dict[str, Any]:
    return {"name": "o", "description": "d", "type": 3, **more}


@pytest.mark.parametrize(
    "command",
    [
        {"name": "Upper", "description": "d"},
        {"name": "two words", "description": "d"},
        {"name": "x" * 33, "description": "d"},
        {"name": "x", "description": "d" * 101},
        {"name": "x", "description": ""},
        {"name": "x", "description": "d", "options": [option(name=f"o{n}") for n in range(26)]},
        {"name": "x", "description": "d", "options": [option(), option()]},
        {"name": "x", "description": "d", "options": [option(), option(name="p", required=True)]},
        {"name": "x", "description": "d", "options": [option(choices=[{"name": "n", "value": "v"}] * 26)]},
        {"name": "x", "description": "d", "options": [option(choices=[{"name": "n", "value": "v" * 101}])]},
        {"name": "x", "description": "d", "options": [option(type=1), option(name="p")]},
        {
            "name": "x",
            "description": "d",
            "options": [option(type=2, options=[option(type=2, options=[option(type=1)])])],
        },
        {
            "name": "x",
            "description": "d",
            "options": [
                option(name=f"o{n}", choices=[{"name": "n" * 90, "value": f"{c}"} for c in range(25)])
                for n in range(4)
            ],
        },
    ],
)
async def test_commands_have_limits(server: DiscordServer, command: dict[str, Any]) -> None:
    rig = Rig(server)
    status, answer = await post(rig, f"/applications/{rig.bot.id}/commands", [command], "PUT")
    assert (status, answer["code"]) == (400, 50035)
    assert server.commands(rig.bot) == []


# Rate limits


async def test_the_library_paces_itself_by_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DiscordServer(sends=(2, 0.4)) as server:
        point(monkeypatch, server)
        rig = Rig(server)
        client = await rig.client()
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(rig.place(client).send(str(number)) for number in range(6)))
        assert asyncio.get_running_loop().time() - began >= 0.8
        assert server.refusals.limited == 0
        await rig.close()


async def test_who_does_not_pace_is_refused(server: DiscordServer) -> None:
    rig = Rig(server)
    path = f"/channels/{rig.channel}/messages"
    answers = [await post(rig, path, {"content": "x"}) for _ in range(6)]
    assert [status for status, _ in answers] == [200] * 5 + [429]
    assert 0 < answers[-1][1]["retry_after"] <= 5
    assert answers[-1][1]["global"] is False
    other = server.channel(rig.guild, "other")
    assert (await post(rig, f"/channels/{other}/messages", {"content": "x"}))[0] == 200
    server.later(5)
    assert (await post(rig, path, {"content": "x"}))[0] == 200
    assert (server.refusals.limited, server.refusals.invalid) == (1, 1)


async def test_a_channel_is_renamed_twice_in_ten_minutes(server: DiscordServer) -> None:
    rig = Rig(server)
    path = f"/channels/{rig.channel}"
    answers = [await post(rig, path, {"name": f"n{n}"}, "PATCH") for n in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429]
    assert answers[-1][1]["retry_after"] > 500
    assert (await post(rig, path, {"topic": "still"}, "PATCH"))[0] == 200


async def test_fifty_requests_a_second_are_all(server: DiscordServer) -> None:
    rig = Rig(server)
    asked = [f"/channels/{server.channel(rig.guild, str(n))}" for n in range(51)]
    answers = [await post(rig, path, None, "GET") for path in asked]
    refused = [answer for status, answer in answers if status == 429]
    assert refused[0]["global"]
    assert [status for status, _ in answers[:50]] == [200] * 50


async def test_an_unpaced_server_takes_everything() -> None:
    async with DiscordServer(paced=False) as server:
        rig = Rig(server)
        path = f"/channels/{rig.channel}/messages"
        assert {(await post(rig, path, {"content": "x"}))[0] for _ in range(60)} == {200}


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_429_is_waited_for(rig: Rig, everywhere: bool) -> None:
    client = await rig.client()
    began = asyncio.get_running_loop().time()
    rig.server.fail("POST", r"/channels/\d+/messages", Limited(0.3, everywhere=everywhere))
    await rig.place(client).send("x")
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert rig.server.spent()
    assert [message.content for message in rig.server.messages(rig.channel)] == ["x"]
    assert rig.server.refusals.limited == 1


async def test_a_429_without_via_is_an_error(rig: Rig) -> None:
    client = await rig.client()
    rig.server.fail("POST", r"/channels/\d+/messages", Limited(0.3, via=False))
    with pytest.raises(discord.HTTPException) as refused:
        await rig.place(client).send("x")
    assert refused.value.status == 429
