"""A person with a Matrix client, over plain HTTP: the client in tests that has nothing in common with ours."""

import asyncio
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import aiohttp
from yarl import URL

from agent_queue.synapse import Account, Homeserver
from tests.matrix import timeline
from tests.matrix.timeline import Event, File, Message

Json = dict[str, Any]

_ENCRYPTION = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
_FILTER = json.dumps({"room": {"timeline": {"limit": 20}}, "presence": {"types": []}})
_SYNC_SECONDS = 5.0
_AWAY_SECONDS = 0.05


class MatrixError(Exception):
    """The homeserver said no."""

    def __init__(self, status: int, answer: Json) -> None:
        self.status = status
        self.code: str = answer.get("errcode", "")
        self.retry_after_ms: int | None = answer.get("retry_after_ms")
        super().__init__(f"{status} {self.code}: {answer.get('error', '')}")


class Person:
    """Somebody in rooms; enter it to go online. Nothing that happens is noticed but by `sync` and `until`."""

    def __init__(self, url: str, account: Account) -> None:
        self.url = url
        self.account = account
        self.since: str | None = None
        """The token up to which everything has been seen."""
        self.joined: set[str] = set()
        self.invites: dict[str, str] = {}
        """Room -> who invites us there."""
        self.typing: dict[str, set[str]] = defaultdict(set)
        """Room -> who is typing there."""
        self.ever_typed: dict[str, set[str]] = defaultdict(set)
        """Room -> who was ever seen typing there."""
        self.receipts: dict[str, dict[tuple[str, str | None], str]] = defaultdict(dict)
        """Room -> (who, in which thread) -> the last event that they have read."""
        self._events: dict[str, list[Event]] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def user_id(self) -> str:
        return self.account.user_id

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Go offline."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Rooms

    async def create_room(
        self,
        encrypted: bool = False,
        invite: Sequence[str] = (),
        direct: bool = False,
        alias: str | None = None,
        name: str | None = None,
    ) -> str:
        """Make a private room and return its id; *alias* is the part before the server's name."""
        asked: Json = {
            "preset": "trusted_private_chat" if direct else "private_chat",
            "invite": list(invite),
            "is_direct": direct,
            "initial_state": [{"state_key": "", **_ENCRYPTION}] if encrypted else [],
        }
        asked |= {"room_alias_name": alias} if alias else {}
        asked |= {"name": name} if name else {}
        made: str = (await self.call("POST", "v3/createRoom", asked))["room_id"]
        return made

    async def join(self, room: str) -> str:
        """Join a room by its id or alias, and return its id."""
        joined: str = (await self.call("POST", f"v3/join/{quote(room, safe='')}", {}))["room_id"]
        return joined

    async def invite(self, room: str, user: str) -> None:
        await self.call("POST", f"{_room(room)}/invite", {"user_id": user})

    async def kick(self, room: str, user: str, reason: str = "") -> None:
        await self.call("POST", f"{_room(room)}/kick", {"user_id": user, "reason": reason})

    async def leave(self, room: str) -> None:
        await self.call("POST", f"{_room(room)}/leave", {})

    async def set_state(self, room: str, kind: str, content: Json, key: str = "") -> str:
        """Set a room's state, such as its power levels."""
        path = f"{_room(room)}/state/{quote(kind)}/{quote(key, safe='')}"
        event: str = (await self.call("PUT", path, content))["event_id"]
        return event

    async def state(self, room: str, kind: str, key: str = "") -> Json:
        return await self.call("GET", f"{_room(room)}/state/{quote(kind)}/{quote(key, safe='')}")

    # Saying things

    async def say(
        self,
        room: str,
        text: str,
        root: str | None = None,
        html: str | None = None,
        mentions: Sequence[str] | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Say something, in the thread of *root* if given; returns the event's id."""
        content = _words(text, html, mentions)
        return await self.send(room, "m.room.message", content | self._related(room, root, reply_to))

    async def edit(self, room: str, event: str, text: str, html: str | None = None) -> str:
        """Change what was said in *event*."""
        related = {"m.relates_to": {"rel_type": "m.replace", "event_id": event}}
        new = {"m.new_content": _words(text, html, None)}
        return await self.send(room, "m.room.message", _words(f"* {text}", None, None) | new | related)

    async def react(self, room: str, event: str, emoji: str) -> str:
        related = {"rel_type": "m.annotation", "event_id": event, "key": emoji}
        return await self.send(room, "m.reaction", {"m.relates_to": related})

    async def redact(self, room: str, event: str, reason: str = "") -> str:
        path = f"{_room(room)}/redact/{quote(event, safe='')}/{uuid4().hex}"
        redaction: str = (await self.call("PUT", path, {"reason": reason}))["event_id"]
        return redaction

    async def send_file(
        self,
        room: str,
        name: str,
        data: bytes,
        root: str | None = None,
        mimetype: str = "text/plain",
        *,
        caption: str = "",
    ) -> str:
        """Upload a file and show it in the room."""
        content = {"msgtype": "m.file", "body": caption or name, "filename": name}
        info = {"info": {"mimetype": mimetype, "size": len(data)}}
        place = await self._place_file(room, name, data, mimetype)
        return await self.send(
            room, "m.room.message", content | info | place | self._related(room, root, None)
        )

    async def send(self, room: str, kind: str, content: Json, tx: str | None = None) -> str:
        """Send an event as it is; returns its id."""
        path = f"{_room(room)}/send/{quote(kind)}/{quote(tx or uuid4().hex, safe='')}"
        event: str = (await self.call("PUT", path, content))["event_id"]
        return event

    async def type(self, room: str, typing: bool = True, milliseconds: int = 30_000) -> None:
        """Begin or end typing."""
        path = f"{_room(room)}/typing/{quote(self.user_id)}"
        await self.call("PUT", path, {"typing": typing, **({"timeout": milliseconds} if typing else {})})

    async def read(self, room: str, event: str, root: str | None = None) -> None:
        """Mark as read, up to *event*, the main timeline or the thread of *root*."""
        path = f"{_room(room)}/receipt/m.read/{quote(event, safe='')}"
        await self.call("POST", path, {"thread_id": root or "main"})

    # Files

    async def upload(
        self, data: bytes, name: str = "file", mimetype: str = "application/octet-stream"
    ) -> str:
        """Upload bytes and return their mxc address."""
        path = f"/_matrix/media/v3/upload?filename={quote(name, safe='')}"
        answer = await self._request("POST", path, data=data, headers={"Content-Type": mimetype})
        found: str = json.loads(answer)["content_uri"]
        return found

    async def download(self, mxc: str) -> bytes:
        """The bytes behind an mxc address."""
        return await self._request("GET", f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}")

    async def fetch(self, file: File) -> bytes:
        """The bytes of a message's file."""
        return await self.download(file.mxc)

    # Looking

    async def sync(self, seconds: float = 0.0) -> None:
        """Notice what has happened; where nothing has, wait up to *seconds* for something."""
        asked = {"timeout": str(int(seconds * 1000)), "filter": _FILTER}
        since = {"since": self.since} if self.since else {}
        answer = await self.call("GET", "v3/sync", query=asked | since)
        rooms = answer.get("rooms", {})
        for room, part in (rooms.get("join", {}) | rooms.get("leave", {})).items():
            await self._keep(room, part)
        self.joined = (self.joined | set(rooms.get("join", {}))) - set(rooms.get("leave", {}))
        for room in rooms.get("join", {}) | rooms.get("leave", {}):
            self.invites.pop(room, None)
        for room, part in rooms.get("invite", {}).items():
            self.invites[room] = _inviter(part, self.user_id)
        await self._synced(answer)
        self.since = answer["next_batch"]

    async def until(
        self, predicate: Callable[[Any], Any], seconds: float = 30.0, *, what: str = "what was awaited"
    ) -> Any:
        """Sync until *predicate* holds of this person, and return what it gave; an absent server is waited for."""
        end = time.monotonic() + seconds
        while True:
            found = predicate(self)
            if found:
                return found
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{what} did not come in {seconds:g} s; {self.user_id} saw {self.seen()}")
            try:
                await self.sync(min(left, _SYNC_SECONDS))
            except aiohttp.ClientError:
                await asyncio.sleep(_AWAY_SECONDS)

    def events(self, room: str) -> list[Event]:
        """All events of a room that were seen, in the room's order."""
        return self._events.get(room, [])

    def messages(self, room: str, root: str | None = None) -> list[Message]:
        """What this person's client shows in the main timeline, or in the thread of *root*."""
        return timeline.messages(self.events(room), root)

    def message(self, room: str, event: str) -> Message | None:
        """One message, wherever it is shown."""
        shown = timeline.messages(self.events(room), self._root_of(room, event))
        return next((message for message in shown if message.id == event), None)

    async def raw(self, room: str) -> list[Event]:
        """All events of a room as the server has them, in order."""
        return list(reversed(await self._back(room, None, None)))

    def seen(self) -> str:
        """What was seen, for people who read why a test failed."""
        rooms = [
            f"{room}: " + "; ".join(_short(event) for event in events[-20:])
            for room, events in self._events.items()
        ]
        return "\n".join([*rooms, *(f"an invitation to {room}" for room in self.invites)]) or "nothing"

    async def call(
        self, method: str, path: str, body: Json | None = None, query: dict[str, str] | None = None
    ) -> Json:
        """Ask the client API for anything else; *path* begins with the version."""
        text = None if body is None else json.dumps(body).encode()
        answer = await self._request(method, f"/_matrix/client/{path}", data=text, params=query)
        found: Json = json.loads(answer)
        return found

    async def _request(self, method: str, path: str, headers: Any = None, **more: Any) -> bytes:
        if self._session is None:
            raise RuntimeError(f"{self.user_id} is offline: enter the person first")
        heads = {"Authorization": f"Bearer {self.account.access_token}", **(headers or {})}
        url = URL(self.url + path, encoded=True)
        async with self._session.request(method, url, headers=heads, **more) as response:
            answer = await response.read()
            if response.status >= 400:
                raise MatrixError(response.status, _lenient(answer))
            return answer

    async def _keep(self, room: str, part: Json) -> None:
        """Keep what a sync says of a room, and what it has left out."""
        kept = self._events.setdefault(room, [])
        known = {event["event_id"] for event in kept}
        batch = part.get("timeline", {})
        fresh = batch.get("events", [])
        if batch.get("limited"):
            fresh = [*reversed(await self._back(room, batch["prev_batch"], self.since, known)), *fresh]
        kept.extend(event for event in fresh if event["event_id"] not in known)
        for event in part.get("ephemeral", {}).get("events", []):
            if event["type"] == "m.typing":
                self.typing[room] = set(event["content"]["user_ids"])
                self.ever_typed[room] |= self.typing[room]
            elif event["type"] == "m.receipt":
                self._receipt(room, event["content"])

    async def _back(
        self, room: str, start: str | None, end: str | None, known: set[str] | None = None
    ) -> list[Event]:
        """A room's events backwards: from *start*, else the end, to *end*, to a known one, or to the beginning."""
        found: list[Event] = []
        while True:
            query = (
                {"dir": "b", "limit": "50"}
                | ({"from": start} if start else {})
                | ({"to": end} if end else {})
            )
            answer = await self.call("GET", f"{_room(room)}/messages", query=query)
            found.extend(answer["chunk"])
            start = answer.get("end")
            reached = known and any(event["event_id"] in known for event in answer["chunk"])
            if start is None or reached:
                return found

    def _receipt(self, room: str, content: Json) -> None:
        for event, kinds in content.items():
            for user, receipt in kinds.get("m.read", {}).items():
                self.receipts[room][user, receipt.get("thread_id")] = event

    def _related(self, room: str, root: str | None, reply_to: str | None) -> Json:
        if root is None:
            return {"m.relates_to": {"m.in_reply_to": {"event_id": reply_to}}} if reply_to else {}
        thread = timeline.messages(self.events(room), root)
        last = reply_to or (thread[-1].id if thread else root)
        related = {"rel_type": "m.thread", "event_id": root, "m.in_reply_to": {"event_id": last}}
        return {"m.relates_to": {**related, "is_falling_back": reply_to is None}}

    def _root_of(self, room: str, event: str) -> str | None:
        found = next((one for one in self.events(room) if one["event_id"] == event), {})
        related = timeline.relation(found)
        return related["event_id"] if related.get("rel_type") == "m.thread" else None

    # What a person with encryption does otherwise

    async def _place_file(self, room: str, name: str, data: bytes, mimetype: str) -> Json:
        """Upload a file for a room; returns where it is."""
        return {"url": await self.upload(data, name, mimetype)}

    async def _synced(self, answer: Json) -> None:
        """Do what a sync's answer asks for."""


def unique(name: str) -> str:
    """A name that nobody else has on a shared homeserver."""
    return f"{name}-{secrets.token_hex(4)}"


async def arrive(homeserver: Homeserver, name: str, admin: bool = False) -> Account:
    """An account for somebody new, under a name that begins with *name*."""
    return await homeserver.register(unique(name), secrets.token_urlsafe(8), admin)


def _room(room: str) -> str:
    return f"v3/rooms/{quote(room, safe='')}"


def _words(text: str, html: str | None, mentions: Sequence[str] | None) -> Json:
    content: Json = {"msgtype": "m.text", "body": text}
    if html is not None:
        content |= {"format": "org.matrix.custom.html", "formatted_body": html}
    if mentions is not None:
        content |= {"m.mentions": {"user_ids": list(mentions)}}
    return content


def _inviter(part: Json, user_id: str) -> str:
    """Who wrote the invitation."""
    events = part["invite_state"]["events"]
    return next(
        (e["sender"] for e in events if e["type"] == "m.room.member" and e["state_key"] == user_id), ""
    )


def _lenient(answer: bytes) -> Json:
    try:
        found = json.loads(answer)
    except ValueError:
        return {"error": answer.decode(errors="replace")[:200]}
    return found if isinstance(found, dict) else {"error": str(found)}


def _short(event: Event) -> str:
    words = event["content"].get("body") or event["content"].get("membership") or ""
    return f"{event['sender']} {event['type']} {str(words)[:60]!r}"
