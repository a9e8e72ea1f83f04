"""The Matrix frontend with a homeserver that is made up: invitations, the home room's alias, a busy key store."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nio import JoinError, JoinResponse, RoomLeaveResponse, RoomResolveAliasError, RoomResolveAliasResponse

from bots.matrix import invitations
from bots.matrix.frontend import MatrixFrontend, create
from bots.matrix.invitations import Invitations
from bots.matrix.session import Session, SessionFile
from bots.matrix.settings import MatrixSettings
from orchestrator.errors import UserError
from orchestrator.transport import Later, Unusable
from tests.contract.frontends import Listener

ME, ROOM, ALIAS = "@bot:hs", "!r:hs", "#agents:hs"


def failed(kind: Any, status: int, code: str, words: str) -> Any:
    """An error of the homeserver."""
    error = kind(words, code)
    error.transport_response = SimpleNamespace(status=status)
    return error


AWAY = failed(JoinError, 502, "M_UNKNOWN", "Failed to make_join via any server")
FORBIDDEN = failed(JoinError, 403, "M_FORBIDDEN", "you are not invited")


class Client:
    """A homeserver that answers each request to join as it is told to."""

    user_id = ME

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.changed = asyncio.Condition()

    async def join(self, room: str) -> Any:
        await self._note(f"join {room}")
        return self.answers.pop(0) if self.answers else JoinResponse(room)

    async def room_leave(self, room: str) -> Any:
        await self._note(f"leave {room}")
        return RoomLeaveResponse()

    async def _note(self, what: str) -> None:
        async with self.changed:
            self.asked.append(what)
            self.changed.notify_all()

    async def came(self, condition: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: condition(self.asked))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "_PAUSE_MAX", 0.01)


def answering(client: Any, listener: Listener, policy: str = "people") -> Invitations:
    return Invitations(client, listener, policy=policy, home="!home:hs")


async def done(some: Invitations) -> None:
    """Wait until all invitations are answered."""
    await asyncio.wait_for(asyncio.gather(*some._answering.values()), 10)


def kept(listener: Listener) -> Any:
    return json.loads(listener._marks["matrix", f"invited {ME}"])


async def test_a_room_that_cannot_be_joined_now_is_tried_again_told_once_and_holds_nothing_up() -> None:
    client, listener = Client(AWAY, AWAY, AWAY, AWAY), Listener()
    some = answering(client, listener)
    await some.take({ROOM: "@ann:hs", "!other:hs": "@ben:hs"})
    await done(some)
    assert client.asked.count("join !other:hs") + client.asked.count(f"join {ROOM}") == 6
    assert all("make_join" in words for words in listener.complaints)
    assert len(listener.complaints) == 2, "each once"
    assert kept(listener) == {}


async def test_an_invitation_that_is_not_answered_is_kept_for_the_next_life() -> None:
    client, listener = Client(*[AWAY] * 1000), Listener()
    some = answering(client, listener)
    await some.take({ROOM: "@ann:hs"})
    await client.came(lambda asked: len(asked) > 2)
    await some.close()
    assert kept(listener) == {ROOM: "@ann:hs"}
    client = Client()
    some = answering(client, listener)
    await some.resume()
    await done(some)
    assert client.asked == [f"join {ROOM}"]
    assert kept(listener) == {}


async def test_an_invitation_that_is_refused_is_told_and_dropped() -> None:
    client, listener = Client(FORBIDDEN), Listener()
    some = answering(client, listener)
    await some.take({ROOM: "@ann:hs"})
    await done(some)
    assert client.asked == [f"join {ROOM}"]
    assert "you are not invited" in listener.complaints[0]
    assert kept(listener) == {}


async def test_an_invitation_that_is_withdrawn_is_not_tried_again() -> None:
    client, listener = Client(*[AWAY] * 1000), Listener()
    some = answering(client, listener)
    await some.take({ROOM: "@ann:hs"})
    await client.came(lambda asked: len(asked) > 1)
    await some.take({}, withdrawn=[ROOM])
    await done(some)
    assert kept(listener) == {}


async def test_an_invitation_is_declined_by_policy() -> None:
    client, listener = Client(), Listener()
    some = answering(client, listener, policy="nobody")
    await some.take({ROOM: "@ann:hs"})
    await done(some)
    assert client.asked == [f"leave {ROOM}"]
    assert "declined an invitation by @ann:hs" in listener.complaints[0]


def frontend(folder: Path, home: str = ALIAS) -> MatrixFrontend:
    section = {"homeserver": "http://hs", "user": ME, "home": home, "access_token": "t"}
    return create(MatrixSettings.model_validate(section), folder)


def resolving(room: str | None) -> Any:
    """A homeserver on which the alias stands for *room*."""
    gone = failed(RoomResolveAliasError, 404, "M_NOT_FOUND", "no such alias")

    async def resolve(alias: str) -> Any:
        return RoomResolveAliasResponse(alias, room, ["hs"]) if room else gone

    return SimpleNamespace(room_resolve_alias=resolve)


async def test_the_home_room_stays_what_its_alias_stood_for_at_first(tmp_path: Path) -> None:
    await frontend(tmp_path)._find_home(resolving("!first:hs"))
    for now in ("!first:hs", None):
        one = frontend(tmp_path)
        await one._find_home(resolving(now))
        assert one._home_id == "!first:hs"
    one = frontend(tmp_path)
    with pytest.raises(Unusable, match="!first:hs, and the alias stands for !second:hs"):
        await one._find_home(resolving("!second:hs"))
    one = frontend(tmp_path, "!second:hs")
    one._client, one._sender = SimpleNamespace(rooms={}), object()  # type: ignore[assignment]
    await one._find_home(one._client)
    assert one._ready("!second:hs")[1] == "!second:hs"
    assert one._ready(ALIAS)[1] == "!first:hs", "threads go on where they are"


async def test_an_alias_that_does_not_exist_yet_is_not_joined(tmp_path: Path) -> None:
    one = frontend(tmp_path)
    client = resolving(None)
    client.rooms = {}
    await one._find_home(client)
    assert not await one._enters_home(client)


def test_only_ids_and_the_home_room_s_alias_name_a_room(tmp_path: Path) -> None:
    one = frontend(tmp_path)
    room = SimpleNamespace(canonical_alias="#claimed:hs")
    one._client = SimpleNamespace(rooms={ROOM: room, "!home:hs": room})
    one._home_id = "!home:hs"
    assert one.channel(ROOM) == ROOM
    assert one.channel("!home:hs") == one.channel(ALIAS) == ALIAS
    for words in ("#claimed:hs", "!elsewhere:hs"):
        with pytest.raises(UserError, match="say it there or by its id"):
            one.channel(words)


async def test_a_key_store_that_is_busy_is_tried_again_and_one_that_is_damaged_is_not(tmp_path: Path) -> None:
    session = Session(
        homeserver="http://hs", user_id=ME, device_id="D", access_token="t", pickle_key="k", since=0
    )
    file = SessionFile(tmp_path)
    made = file.client(session)
    made.store.database.close()
    other = sqlite3.connect(tmp_path / "D.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Later, match="cannot be opened: database is locked"):
        file.reopened(session)
    other.close()
    again = file.reopened(session)
    assert again is not None
    again.store.database.close()
    (tmp_path / "D.db").write_bytes(b"no database" * 1000)
    assert file.reopened(session) is None
