"""The Matrix frontend: one account on one homeserver, in rooms and threads, encrypted where a room is."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from nio import (
    AsyncClient,
    EnableEncryptionBuilder,
    JoinResponse,
    MatrixRoom,
    ProfileGetDisplayNameResponse,
    RoomCreateResponse,
    RoomResolveAliasResponse,
)

from bots.matrix import files
from bots.matrix.events import Room, inbound
from bots.matrix.faults import failure, status
from bots.matrix.invitations import Invitations
from bots.matrix.keys import Keys
from bots.matrix.limits import Limits
from bots.matrix.rendering import render, shortened
from bots.matrix.sending import Sender
from bots.matrix.session import Session, SessionFile, open_client, revoked
from bots.matrix.settings import NAME, MatrixSettings
from bots.matrix.syncing import Batch, Reader, SessionEnded
from orchestrator.errors import UserError
from orchestrator.jobs import ended
from orchestrator.transport import (
    Capabilities,
    Finding,
    Inbound,
    InboundKind,
    Intake,
    Later,
    Post,
    Target,
    Unknown,
    Unusable,
    Wire,
)

log = structlog.get_logger(__name__)

_HONOURED = 12 * 3600.0
"""Seconds in which a repeated transaction id is relied on; Synapse keeps them for a day."""
_TYPING_EVERY = 20.0
_REASON_MAX = 300
_AWAY = 10.0
"""Seconds until a room is looked for again."""
_MADE = 10.0
"""Seconds in which a room that we have made turns up."""
_LOOKS = 5
"""Answers of the homeserver within which a room that we have joined turns up."""


class MatrixFrontend:
    """One account. What leaves and reaches its rooms goes through a client that lives from `start` to `close`."""

    name = NAME

    def __init__(self, settings: MatrixSettings, folder: Path) -> None:
        self.home = settings.home
        self._settings = settings
        self._file = SessionFile(folder)
        self._keys = Keys(settings.trust, settings.devices)
        self._limits = Limits(settings.user)
        self._session: Session | None = None
        self._client: AsyncClient | None = None
        self._sender: Sender | None = None
        self._reading: asyncio.Task[None] | None = None
        self._invitations: Invitations | None = None
        self._intake: Intake | None = None
        self._ended = False
        self._homes: dict[str, str] = {}
        self._home_id = settings.home
        self._my_name = settings.user.partition(":")[0].removeprefix("@")
        self._typed: dict[str, float] = {}
        self._told_limit = False

    # -- what it is

    def capabilities(self) -> Capabilities:
        """By what the homeserver has shown of its limits."""
        return self._limits.capabilities()

    def findings(self) -> Sequence[Finding]:
        """Session, home room, pace, encryption."""
        if self._client is None or self._session is None:
            return ()
        found = [
            Finding(good=True, text=f"signed in as {self._session.user_id}, device {self._session.device_id}")
        ]
        if self._home_id not in self._client.rooms:
            found.append(Finding(good=False, text=f"I am not in the home room {self.home}: invite me there"))
        return [*found, self._limits.finding(), *self._keys.findings(self._client)]

    def channel(self, words: str) -> str:
        """A room that we are in, by its id: any room may claim an alias, so only that of the home room counts."""
        rooms = self._client.rooms if self._client is not None else {}
        if words in (self.home, self._home_id):
            return self.home
        if words not in rooms:
            raise UserError(
                f"{words!r} is not the id of a room that I am in; invite me there, and say it there or by its id (!…)"
            )
        return words

    async def make_channel(self, name: str, topic: str, account: str) -> str:
        """A private room of ours, encrypted where the home room is, with *account* invited."""
        client, me = self._client, self._settings.user
        if client is None:
            raise UserError("Matrix is not connected; try again when `status` says that it is")
        for room in client.rooms.values():
            if (room.name, room.topic, room.creator) == (name, topic, me):
                return str(room.room_id)
        home = client.rooms.get(self._home_id)
        sealed = [EnableEncryptionBuilder().as_dict()] if home is not None and home.encrypted else []
        answer = await client.room_create(
            name=name, topic=topic, invite=[account] if account else [], initial_state=sealed
        )
        if not isinstance(answer, RoomCreateResponse):
            raise UserError(f"the homeserver makes no room for us: {answer.message}")
        with suppress(TimeoutError):
            async with asyncio.timeout(_MADE):
                while answer.room_id not in client.rooms:  # noqa: ASYNC110 - it comes with the reader's next answer
                    await asyncio.sleep(0.05)
        return str(answer.room_id)

    def repeatable(self, sent_at: float) -> bool:
        """While the homeserver remembers transaction ids, and for sends of this very device."""
        session = self._session or self._file.load(self._settings)
        return session is not None and sent_at >= max(session.since, time.time() - _HONOURED)

    def render(self, post: Post) -> Sequence[Wire]:
        """Text with its HTML, a legend of reactions, and a wire for each file."""
        return render(post, self.capabilities(), sigil=self._settings.sigil)

    # -- connecting

    async def start(self, intake: Intake) -> None:
        """Sign in, and go on reading where we left off; what was said meanwhile is read beside the sends."""
        await self.close()
        if self._ended:
            raise Unusable(revoked(self._settings.user))
        self._intake = intake
        client, self._session = await open_client(self._settings, self._file)
        self._keys.guard(client)
        self._client = client
        self._sender = Sender(client, self._limits, seeds=self._settings.seed_reactions)
        reader = Reader(
            client,
            intake,
            self._keys,
            transport=self.name,
            read=self._read,
            settle=self._settle,
            taken=self._taken,
        )
        try:
            await self._find_home(client)
            await self._find_name(client)
            self._invitations = Invitations(client, intake, policy=self._settings.invites, home=self._home_id)
            await self._invitations.resume()
            await reader.catch_up()
            if await self._enters_home(client):
                for _ in range(_LOOKS):
                    if self._home_id in client.rooms:
                        break
                    await reader.ask(timeout=1000)
        except SessionEnded as ended:
            self._end_session()
            raise Unusable(revoked(self._settings.user)) from ended
        self._reading = asyncio.create_task(reader.run(), name="matrix sync")

    async def closed(self) -> None:
        """Return when reading has ended: the homeserver is away, or has ended the session."""
        if self._reading is None:
            return
        await asyncio.wait([self._reading])
        if self._reading.cancelled():
            return
        fault = self._reading.exception()
        log.warning("matrix.lost", error=f"{type(fault).__name__}: {fault}")
        if isinstance(fault, SessionEnded):
            self._end_session()

    async def close(self) -> None:
        """Read no more, then send no more, then let go of the homeserver and the keys."""
        reading, self._reading = self._reading, None
        await ended(reading)
        invitations, self._invitations = self._invitations, None
        if invitations is not None:
            await invitations.close()
        sender, self._sender = self._sender, None
        client, self._client = self._client, None
        try:
            if sender is not None:
                await sender.close()
        finally:
            if client is not None:
                await client.close()
                if client.store is not None:
                    client.store.database.close()

    def _end_session(self) -> None:
        """The token was revoked: no more attempts with it, nor with the password, until somebody starts us again."""
        self._ended = True
        self._file.forget()

    async def _find_home(self, client: AsyncClient) -> None:
        """The room behind the alias, which stays the one that it was at first, whoever has the alias now."""
        self._homes = self._file.homes()
        if not self.home.startswith("#"):
            return
        known = self._homes.get(self.home)
        answer = await client.room_resolve_alias(self.home)
        if not isinstance(answer, RoomResolveAliasResponse):
            if status(answer) != 404:
                raise failure(answer)
            log.warning("matrix.no_such_alias", alias=self.home, room=known)
        elif known is None:
            self._homes = self._file.keep_home(self.home, answer.room_id)
        elif answer.room_id != known:
            raise Unusable(
                f"the home room {self.home} was {known}, and the alias stands for {answer.room_id} now. I do not "
                "follow it by myself: whoever has taken the alias could command me. Configure as `home` the id of "
                "the room that you mean, or let the alias stand for the former one"
            )
        self._home_id = self._homes.get(self.home, self.home)

    async def _find_name(self, client: AsyncClient) -> None:
        answer = await client.get_displayname()
        if isinstance(answer, ProfileGetDisplayNameResponse) and answer.displayname:
            self._my_name = answer.displayname

    async def _enters_home(self, client: AsyncClient) -> bool:
        """Whether the home room has let us in just now."""
        if self._home_id in client.rooms or not self._home_id.startswith("!"):
            return False
        answer = await client.join(self._home_id)
        if isinstance(answer, JoinResponse):
            return True
        log.warning("matrix.home_not_joined", room=self.home, error=answer.message)
        return False

    # -- reading

    def _read(self, event: Any, room: MatrixRoom) -> Inbound | None:
        """What an event in the library's form is to us."""
        opened = bool(getattr(event, "decrypted", False))
        source: dict[str, Any] = {
            **event.source,
            "decrypted": opened,
            "verified": bool(getattr(event, "verified", False)),
            "sender_key": getattr(event, "sender_key", None),
        }
        sender = str(source.get("sender", ""))
        known = Room(
            channel=self.home if room.room_id == self._home_id else room.room_id,
            direct=room.member_count <= 2,
            encrypted=room.encrypted,
            me=self._settings.user,
            my_name=self._my_name,
            sigil=self._settings.sigil,
        )
        distrust = ""
        if self._client is not None:
            distrust = self._keys.distrust(self._client, source, encrypted=room.encrypted)
        name = room.user_name(sender) or sender.partition(":")[0].removeprefix("@")
        return inbound(source, known, name=name, distrust=distrust)

    def _taken(self, events: Sequence[tuple[MatrixRoom, Inbound]]) -> None:
        """Show as read what is stored."""
        if self._sender is None:
            return
        said = (InboundKind.MESSAGE, InboundKind.UNREADABLE)
        last = {(room.room_id, event.root): event.event_id for room, event in events if event.kind in said}
        for (room, root), event_id in last.items():
            self._sender.read(room, event_id, root)

    async def _settle(self, batch: Batch) -> None:
        """Follow what happens to us in rooms: invited, thrown out, missed something."""
        intake, invitations = self._intake, self._invitations
        if intake is None or invitations is None:
            return
        for room_id, info in batch.left.items():
            await self._thrown_out(intake, room_id, batch.rooms.get(room_id), info)
        for room, event in batch.events:
            if event.source.get("type") == "m.room.tombstone":
                words = f"the room {room.display_name} ({room.room_id}) was replaced by another one; invite me there"
                await intake.tell(self.name, f"{words}, and bind its project anew with `project bind`")
        for room_id in batch.missed:
            await intake.tell(
                self.name, f"more was said in {room_id} while I was away than I could read; say it again"
            )
        invited = {room_id: self._inviter(info) for room_id, info in batch.invited.items()}
        await invitations.take(invited, withdrawn=batch.left)
        if self._limits.interval and not self._told_limit:
            self._told_limit = True
            await intake.tell(self.name, self._limits.finding().text)

    async def _thrown_out(self, intake: Intake, room_id: str, room: MatrixRoom | None, info: Any) -> None:
        me, name = self._settings.user, room.display_name if room is not None else room_id
        for event in (*info.state, *info.timeline.events):
            source: Mapping[str, Any] = event.source
            if (
                source.get("type") == "m.room.member"
                and source.get("state_key") == me
                and source["sender"] != me
            ):
                reason = shortened(" ".join(str(source["content"].get("reason") or "").split()), _REASON_MAX)
                why = f" ({reason})" if reason else ""
                words = (
                    f"{source['sender']} has removed me from the room {name} ({room_id}){why}. What is to be said "
                    "there waits: invite me again, or bind the project to another room with `project bind`"
                )
                await intake.tell(self.name, words)

    def _inviter(self, info: Any) -> str:
        ours = (one for one in info.invite_state if getattr(one, "state_key", None) == self._settings.user)
        return next((one.sender for one in ours), "")

    # -- sending

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Send a message or a file under *key* as its transaction id."""
        sender, room = self._ready(to.channel)
        made = await sender.post(room, to, wire, key)
        if wire.get("content", {}).get("msgtype") == "m.notice":
            self._show_typing(sender, room)
        return made

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Send a message for a thread to hang on; a Matrix thread has no title of its own."""
        return await self.post(Target(channel=channel), wire, key)

    async def edit(self, to: Target, message: str, wire: Wire, key: str) -> None:
        """Replace what *message* says."""
        sender, room = self._ready(to.channel)
        await sender.edit(room, to, message, wire, key)

    async def delete(self, to: Target, message: str) -> None:
        """Redact *message*."""
        sender, room = self._ready(to.channel)
        await sender.redact(room, message, f"delete {message}")

    async def react(self, to: Target, message: str, emoji: str, key: str) -> None:
        """React to *message* under *key* as the transaction id."""
        sender, room = self._ready(to.channel)
        await sender.react(room, message, emoji, key)

    async def fetch(self, source: str, limit: int) -> bytes:
        """A file, from our homeserver."""
        if self._client is None:
            raise Unknown("not connected")
        return await files.fetch(self._client, source, limit)

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> Sequence[str]:
        """Our events that were sent under *key*, by reading the room back."""
        sender, room = self._ready(to.channel)
        return await sender.find(room, key)

    def _ready(self, channel: str) -> tuple[Sender, str]:
        """The sender, and the id of the room that *channel* is."""
        if self._sender is None or self._client is None:
            raise Unknown("not connected")
        room = self._home_id if channel == self.home else self._homes.get(channel, channel)
        if not room.startswith("!"):
            raise Later(_AWAY, f"there is no room {channel} on this homeserver", everywhere=False)
        return self._sender, room

    def _show_typing(self, sender: Sender, room: str) -> None:
        now = time.monotonic()
        if now - self._typed.get(room, 0.0) > _TYPING_EVERY:
            self._typed[room] = now
            sender.typing(room)


def create(settings: MatrixSettings, data_dir: Path) -> MatrixFrontend:
    """The frontend of the account that *settings* name; its session and keys are kept below *data_dir*."""
    return MatrixFrontend(settings, data_dir / "matrix")
