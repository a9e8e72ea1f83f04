"""Sends into rooms: encrypted where the room is, each event under a transaction id that follows from its key."""

import asyncio
import io
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import structlog
from nio import (
    AsyncClient,
    ErrorResponse,
    JoinedRoomsResponse,
    MatrixRoom,
    MessageDirection,
    RoomMessagesResponse,
    RoomSendResponse,
)
from nio.api import Api, RelationshipType
from nio.exceptions import EncryptionError, LocalProtocolError, SendRetryError

from bots.matrix.faults import NETWORK, failure, retry_after, status
from bots.matrix.limits import Limits
from bots.matrix.rendering import edited, file_content, mimetype_of, qualified, relation
from orchestrator.jobs import ended
from orchestrator.transport import File, Later, Refused, Target, Unknown, Wire

log = structlog.get_logger(__name__)

KEY = "io.agent-queue.key"
"""Where an event carries its key, for a device that comes after this one."""
_PAGES = 50
_AWAY = 10.0
"""Seconds until a room is tried again that we are not in."""
_AGAIN = 2.0
_LAST = 2.0
"""Seconds that requests under way get to end when we close."""
_FILES_MAX = 100
"""Uploaded files that wait for their events."""


class Sender:
    """Sends events of one client."""

    def __init__(self, client: AsyncClient, limits: Limits, *, seeds: bool) -> None:
        self._client = client
        self._limits = limits
        self._seeds = seeds
        self._sharing: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._errands: set[asyncio.Task[None]] = set()
        self._seeded: set[str] = set()
        """Messages with reactions of ours."""
        self._requests: set[asyncio.Future[None]] = set()
        """Those under way."""
        self._files: dict[str, tuple[bool, dict[str, Any]]] = {}
        """What was uploaded and is not sent yet, by key: whether encrypted, and the content of its event."""
        self._looked: dict[tuple[str, str], tuple[str | None, list[str]]] = {}
        """How far a room was read back for a key, and what was found."""

    async def close(self) -> None:
        """End what runs beside the sends, begin no more requests, and let those under way end for a while."""
        self._client.send = _closed  # the library would open a new connection
        await ended(*self._errands)
        if self._requests:
            await asyncio.wait(self._requests, timeout=_LAST)

    async def post(self, room: str, to: Target, wire: Wire, key: str) -> str:
        """Send a message, or a file; returns the event's id."""
        if wire.get("attachment"):
            content = await self._uploaded(room, File(**wire["file"]), key)
        else:
            content = dict(wire["content"])
        content = relation(content, root=to.root, reply_to=wire.get("reply_to")) | {KEY: key}
        event = await self.send(room, "m.room.message", content, key)
        self._files.pop(key, None)
        if wire.get("reactions"):
            self._errand(self._seed(room, event, wire["reactions"], key))
        return event

    async def edit(self, room: str, to: Target, message: str, wire: Wire, key: str) -> None:
        """Replace a message, and the reactions that stood for its buttons."""
        await self.send(room, "m.room.message", edited(wire["content"], message) | {KEY: key}, key)
        if message in self._seeded or message != to.root or wire.get("reactions"):
            self._errand(self._reseed(room, message, wire.get("reactions") or {}, key))

    async def redact(self, room: str, event: str, key: str) -> None:
        """Take an event back; harmless where it is gone."""
        answer = await self._asked(self._client.room_redact(room, event, tx_id=key))
        if not isinstance(answer, ErrorResponse) or status(answer) != 404:
            await self._check(answer, room)

    async def react(self, room: str, event: str, emoji: str, key: str) -> None:
        """React to an event; harmless where that is done."""
        content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": qualified(emoji)}}
        try:
            await self.send(room, "m.reaction", content, key)
        except Refused as refusal:
            if not str(refusal).startswith("M_DUPLICATE_ANNOTATION"):
                raise

    async def send(self, room: str, kind: str, content: dict[str, Any], key: str) -> str:
        """Send one event; returns its id. A repeat under one key is no second event."""
        if self._room(room).encrypted and kind != "m.reaction":  # which Matrix does not encrypt
            await self._share_keys(room)
            kind, content = self._sealed(room, kind, content, key)
        answer = await self._asked(self._put(room, kind, content, key))
        await self._check(answer, room)
        return str(answer.event_id)

    def _room(self, room: str) -> MatrixRoom:
        if (known := self._client.rooms.get(room)) is None:
            raise _away(room)
        return known

    def _sealed(self, room: str, kind: str, content: dict[str, Any], key: str) -> tuple[str, dict[str, Any]]:
        """The event encrypted, its key beside the ciphertext: another device of ours cannot look within."""
        try:
            kind, sealed = self._client.encrypt(room, kind, content)
        except (EncryptionError, LocalProtocolError) as fault:
            raise Later(_AGAIN, f"{type(fault).__name__}: {fault}", everywhere=False) from fault
        return kind, {**sealed, KEY: key}

    async def _put(self, room: str, kind: str, content: dict[str, Any], key: str) -> Any:
        """Send an event as it is: the library's own way would encrypt it, and with nothing beside."""
        client = self._client
        method, path, data = Api.room_send(client.access_token, room, kind, content, key)
        return await client._send(RoomSendResponse, method, path, data, (room,))

    async def _is_joined(self, room: str) -> bool:
        """Whether the homeserver counts us among the room's members; we may not have read yet that it does not."""
        answer = await self._asked(self._client.joined_rooms())
        return not isinstance(answer, JoinedRoomsResponse) or room in answer.rooms

    async def _share_keys(self, room: str) -> None:
        """See that everybody in the room has the key of what is sent next, or say that nothing was sent.

        The library counts a key as shared also where some of its requests have failed.
        """
        if self._client.olm is None:
            raise Refused("the room is encrypted, and the libraries for that are not installed")
        async with self._sharing[room]:
            try:
                await self._share(room)
            except (Unknown, KeyError) as fault:  # KeyError: the room or its key went meanwhile
                words = f"the keys of {room} could not be shared: {type(fault).__name__}: {fault}"
                raise Later(_AGAIN, words, everywhere=False) from fault
            finally:
                self._client.sharing_session.pop(room, None)  # which the library leaves behind when cancelled

    async def _share(self, room: str) -> None:
        client = self._client
        if not client.rooms[room].members_synced:
            await self._granted(client.joined_members(room))
        if client.should_query_keys:
            await self._granted(client.keys_query())
        if not client.olm.should_share_group_session(room):
            return
        await self._asked(client.share_group_session(room, ignore_unverified_devices=True))
        if left := self._without_key(room):
            client.invalidate_outbound_session(room)
            raise Later(_AGAIN, f"the key has not reached {', '.join(left)}", everywhere=False)

    def _without_key(self, room: str) -> list[str]:
        """Devices in the room that could have been given its present key and were not."""
        client = self._client
        session = client.olm.outbound_group_sessions[room]
        reached = session.users_shared_with | session.users_ignored
        return [
            f"{user}'s {device.id}"
            for user in client.rooms[room].users
            for device in client.device_store.active_user_devices(user)
            if (user, device.id) not in reached and client.olm.session_store.get(device.curve25519)
        ]

    async def _uploaded(self, room: str, file: File, key: str) -> dict[str, Any]:
        """A file put into the media store, once, as the content of its event."""
        encrypted = bool(self._room(room).encrypted)
        known = self._files.get(key)
        if known is not None and known[0] == encrypted:
            return known[1]
        if encrypted:
            await self._share_keys(room)  # as far as can be known, its event will be taken
        raw, mimetype = file.raw, mimetype_of(file.name, file.raw)
        answer, keys = await self._asked(
            self._client.upload(
                io.BytesIO(raw),
                content_type=mimetype,
                filename=None if encrypted else file.name,
                encrypt=encrypted,
                filesize=len(raw),
            )
        )
        await self._check(answer, room)
        source: str | Mapping[str, Any] = answer.content_uri
        if encrypted:
            source = {"url": answer.content_uri, **keys}
        content = file_content(file.name, mimetype, len(raw), source)
        self._files[key] = (encrypted, content)
        if len(self._files) > _FILES_MAX:
            self._files.pop(next(iter(self._files)))
        return content

    async def find(self, room: str, key: str) -> list[str]:
        """Our events in the room that were sent under *key*, oldest first.

        Unknown where the room cannot be read, or not to its beginning for now; the next look goes on from there.
        """
        start, found = self._looked.pop((room, key), (None, []))
        for _ in range(_PAGES):
            answer = await self._asked(
                self._client.room_messages(
                    room,
                    start=start,
                    limit=100,
                    direction=MessageDirection.back,
                    message_filter={"senders": [self._client.user_id]},
                )
            )
            if not isinstance(answer, RoomMessagesResponse):
                raise Unknown(str(failure(answer)))
            found += [event.event_id for event in answer.chunk if _sent_under(event.source, key)]
            if not answer.end or answer.end == start:
                return found[::-1]
            start = answer.end
        self._looked[room, key] = (start, found)
        raise Unknown(f"{room} is long: it is not read to its beginning yet")

    async def _granted(self, request: Any) -> None:
        """Make a request that must succeed; Unknown where it does not."""
        answer = await self._asked(request)
        if isinstance(answer, ErrorResponse):
            raise Unknown(str(failure(answer)))

    async def _asked(self, request: Any) -> Any:
        """The answer to a request; Unknown where none came."""
        ended = asyncio.get_running_loop().create_future()
        self._requests.add(ended)
        try:
            return await request
        except NETWORK as fault:
            raise Unknown(f"{type(fault).__name__}: {fault}") from fault
        except (EncryptionError, LocalProtocolError, SendRetryError) as fault:
            raise Later(_AGAIN, f"{type(fault).__name__}: {fault}", everywhere=False) from fault
        finally:
            self._requests.discard(ended)
            ended.set_result(None)

    async def _check(self, answer: Any, room: str) -> None:
        """Raise the failure that an answer is, where it is one."""
        if not isinstance(answer, ErrorResponse):
            return
        if answer.status_code == "M_FORBIDDEN" and not await self._is_joined(room):
            raise _away(room)
        if (wait := retry_after(answer)) is not None:
            self._limits.refused(wait)
        if not answer.status_code and status(answer) != 413:  # from a proxy before it
            raise Unknown(f"HTTP {status(answer)}, not from the homeserver")
        raise failure(answer)

    # -- decoration: lost in a crash, never in anybody's way

    def _errand(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _seed(self, room: str, event: str, reactions: Mapping[str, str], key: str) -> None:
        """Put reactions under a message to be clicked, unless each one costs a message."""
        for emoji in reactions:
            if not self._seeds or self._limits.interval:
                return
            try:
                await self.react(room, event, emoji, f"seed {key} {emoji}")
                self._seeded.add(event)
            except (Refused, Later, Unknown) as failed:
                log.debug("matrix.not_seeded", room=room, error=str(failed))
                return

    async def _reseed(self, room: str, message: str, reactions: Mapping[str, str], key: str) -> None:
        """Take back the reactions of ours that stand for nothing any more, and put those that do."""
        if self._limits.interval:
            return
        try:
            kept = {qualified(emoji) for emoji in reactions}
            found = self._client.room_get_event_relations(room, message, RelationshipType.annotation)
            async for event in found:
                emoji = event.source["content"]["m.relates_to"].get("key", "")
                if event.sender == self._client.user_id and emoji not in kept:
                    await self.redact(room, event.event_id, f"unseed {event.event_id}")
            self._seeded.discard(message)
        except (Refused, Later, Unknown, AttributeError, *NETWORK) as failed:
            log.debug("matrix.not_unseeded", room=room, error=str(failed))  # an error's answer has no pages
        await self._seed(room, message, reactions, key)

    def typing(self, room: str) -> None:
        """Show for a while that work goes on in the room."""
        self.errand(self._client.room_typing(room, True, 30_000))

    def read(self, room: str, event: str, root: str | None) -> None:
        """Show that we have read so far."""
        self.errand(self._client.update_receipt_marker(room, event, thread_id=root or "main"))

    def errand(self, request: Any) -> None:
        """Make a request beside the sends, whatever becomes of it."""
        self._errand(self._quietly(request))

    async def _quietly(self, request: Any) -> None:
        try:
            await request
        except NETWORK as fault:
            log.debug("matrix.errand_failed", error=str(fault))


def _sent_under(source: Mapping[str, Any], key: str) -> bool:
    content = source.get("content", {})
    return key in (source.get("unsigned", {}).get("transaction_id"), content.get(KEY))


def _away(room: str) -> Later:
    return Later(_AWAY, f"I am not in the room {room}", everywhere=False)


async def _closed(*_: Any, **__: Any) -> Any:
    raise Later(_AGAIN, "not connected any more", everywhere=False)
