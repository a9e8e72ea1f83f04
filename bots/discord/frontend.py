"""The Discord frontend: one bot, in the channels and threads of the servers that it was invited to."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import discord
import structlog

from bots.discord import files
from bots.discord.api import Api
from bots.discord.features import CAPABILITIES
from bots.discord.hearing import Reader
from bots.discord.interactions import Interactions
from bots.discord.places import Places
from bots.discord.registration import register
from bots.discord.rendering import render
from bots.discord.sending import Sender
from bots.discord.session import (
    BAD_INTENTS,
    BAD_TOKEN,
    FORBIDDEN_INTENTS,
    SHARDS,
    Beginnings,
    Client,
    close_code,
    open_client,
)
from bots.discord.settings import NAME, DiscordSettings
from bots.discord.titles import Titles
from orchestrator.errors import UserError
from orchestrator.jobs import ended
from orchestrator.transport import (
    Capabilities,
    Finding,
    Intake,
    Post,
    Target,
    Unknown,
    Unusable,
    Wire,
)

log = structlog.get_logger(__name__)

_READY = 60.0
"""Seconds in which a session begins and is caught up."""
_NONCES = 120.0
"""Seconds for which a nonce is relied on: Discord says "the past few minutes"."""
_BLIND = (
    "the message content intent is off, so I read neither plain words in threads nor {sigil}. Turn it on in the "
    "developer portal (Bot, Privileged Gateway Intents) and restart me. Slash commands, `/aq say`, mentions and "
    "buttons work without it"
)


class _IntentRefused(Exception):
    """The bot may not read what does not mention it."""


class _Line:
    """What lives from `start` to `close`."""

    def __init__(self, client: Client, api: Api, titles: Titles, sender: Sender, places: Places) -> None:
        self.client = client
        self.api = api
        self.titles = titles
        self.sender = sender
        self.places = places
        self.reader: Reader | None = None
        self.socket: asyncio.Task[None] | None = None
        self.reading: asyncio.Task[None] | None = None


class DiscordFrontend:
    """One bot. What leaves and reaches it goes through a line that lives from `start` to `close`."""

    name = NAME

    def __init__(self, settings: DiscordSettings) -> None:
        self.home = settings.home
        self._settings = settings
        self._line: _Line | None = None
        self._client: Client | None = None
        self._intake: Intake | None = None
        self._blind = False
        self._ended = False
        self._registered: Finding | None = None
        self._beginnings = Beginnings()

    # -- what it is

    def capabilities(self) -> Capabilities:
        """Discord's limits for a message; those of pace the library learns by itself."""
        return replace(CAPABILITIES, reactions=self._line is None or self._line.sender.reacts)

    def findings(self) -> Sequence[Finding]:
        """Account, home channel, intents, commands."""
        if self._line is None:
            return ()
        user = self._line.client.user
        found = [Finding(good=True, text=f"signed in as {user} ({self._line.places.me})")]
        found += self._line.places.findings()
        if self._blind:
            found.append(Finding(good=False, text=_BLIND.format(sigil=self._settings.sigil)))
        if self._registered is not None:
            found.append(self._registered)
        return found

    def channel(self, words: str) -> str:
        """A text channel that we see, by its id, a mention of it or its name."""
        if self._line is None:
            raise UserError("Discord is not connected; try again when `status` says that it is")
        return self._line.places.channel(words)

    async def make_channel(self, name: str, topic: str, account: str) -> str:
        """A channel beside the home channel, and as open as that is."""
        if self._line is None:
            raise UserError("Discord is not connected; try again when `status` says that it is")
        return await self._line.places.make(name, topic, account)

    def repeatable(self, sent_at: float) -> bool:
        """While Discord remembers nonces."""
        return sent_at >= time.time() - _NONCES

    def render(self, post: Post) -> Sequence[Wire]:
        """Content, a card as an embed, buttons, files."""
        return render(post, sigil=self._settings.sigil)

    # -- connecting

    async def start(self, intake: Intake) -> None:
        """Connect, register the commands, and read what was said since we were here."""
        await self.close()
        if self._ended:
            raise Unusable(_revoked())
        self._intake = intake
        try:
            try:
                await self._connect(intake, blind=False)
            except _IntentRefused:
                await self.close()
                await self._connect(intake, blind=True)
        except BaseException:
            await self.close()
            raise
        if self._blind:
            await intake.tell(self.name, _BLIND.format(sigil=self._settings.sigil))

    async def _connect(self, intake: Intake, *, blind: bool) -> None:
        self._beginnings.ask()
        self._blind = blind
        readers: list[Reader] = []
        client = open_client(
            self._settings,
            blind=blind,
            tap=lambda raw: readers[0].tap(raw),
            beginnings=self._beginnings,
        )
        self._client = client
        try:
            await client.login(self._settings.token.get_secret_value())
        except discord.LoginFailure:
            raise Unusable(
                "Discord does not know the bot's token: take a new one from the developer portal (Bot, Reset Token) "
                "and start again"
            ) from None
        api = Api(client)
        places = Places(client, api, self._settings, blind=blind)
        titles = Titles(api, places.thread)
        app, me = str(client.application_id), str(client.user.id if client.user is not None else "")
        sender = Sender(api, app=app, me=me, titles=titles, amiss=self._amiss)
        line = _Line(client, api, titles, sender, places)
        line.reader = Reader(api, intake, places, Interactions(api, sender, intake))
        readers.append(line.reader)
        self._registered = await register(api, app, self._settings.guild)
        line.socket = asyncio.create_task(client.connect(reconnect=False), name="discord gateway")
        line.reading = asyncio.create_task(line.reader.run(), name="discord reader")
        self._line = line
        await self._ready(line.socket, line.reading, line.reader)

    async def _ready(self, socket: asyncio.Task[None], reading: asyncio.Task[None], reader: Reader) -> None:
        """Wait until the session has begun and is caught up, or say why it has not."""
        ready = asyncio.create_task(reader.caught_up.wait())
        try:
            await asyncio.wait([socket, reading, ready], timeout=_READY, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                return
        finally:
            ready.cancel()
        if reading.done():
            reading.result()
        fault = socket.exception() if socket.done() and not socket.cancelled() else None
        number = close_code(fault)
        if number == FORBIDDEN_INTENTS and not self._blind:
            raise _IntentRefused
        if number == BAD_TOKEN:
            raise Unusable(_revoked())
        if number in (FORBIDDEN_INTENTS, BAD_INTENTS, SHARDS):
            raise Unusable(f"Discord's gateway refuses us for good: {fault}")
        raise fault or ConnectionError("Discord's gateway has not let us in in time")

    async def closed(self) -> None:
        """Return when the session has ended beyond the library's resuming, or reading has."""
        line = self._line
        if line is None or line.socket is None or line.reading is None:
            return
        await asyncio.wait([line.socket, line.reading], return_when=asyncio.FIRST_COMPLETED)
        for task in (line.socket, line.reading):
            if not task.done() or task.cancelled():
                continue
            fault = task.exception()
            log.warning("discord.lost", what=task.get_name(), error=f"{type(fault).__name__}: {fault}")
            if close_code(fault) == BAD_TOKEN:
                self._ended = True

    async def close(self) -> None:
        """Read no more, then send no more, then let go of the gateway."""
        line, self._line = self._line, None
        client, self._client = self._client, None
        if line is not None:
            await ended(line.reading)
            if line.reader is not None:
                await line.reader.close()
            await line.titles.close()
            await line.sender.close()
        if client is not None:
            await client.close()
        if line is not None:
            await ended(line.socket)

    async def _amiss(self, place: str, number: int) -> None:
        """A place takes nothing, or nobody lets us in any more."""
        line, intake = self._line, self._intake
        if line is None or intake is None:
            return
        if number == 401:
            self._ended = True
            if line.socket is not None:
                line.socket.cancel()
            return
        await intake.tell(self.name, line.places.amiss(place, number))

    # -- sending

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Send a message under *key* as its nonce."""
        return await self._sender().post(to, wire, key)

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Post a message and open its thread, whose id is the message's."""
        return await self._sender().open_thread(channel, wire, key, title)

    async def edit(self, to: Target, message: str, wire: Wire, key: str) -> None:
        """Replace what *message* says; a thread's name follows."""
        await self._sender().edit(to, message, wire)

    async def delete(self, to: Target, message: str) -> None:
        """Delete *message*."""
        await self._sender().delete(to, message)

    async def react(self, to: Target, message: str, emoji: str, key: str) -> None:
        """React to *message*; twice is once to Discord."""
        await self._sender().react(message, emoji)

    async def fetch(self, source: str, limit: int) -> bytes:
        """A file, by its message."""
        if self._line is None:
            raise Unknown("not connected")
        return await files.fetch(self._line.api, self._settings.api, source, limit)

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> Sequence[str]:
        """Our messages that read as *wire* does, by reading the place back."""
        return await self._sender().find(to, wire, since)

    def _sender(self) -> Sender:
        if self._line is None:
            raise Unknown("not connected")
        return self._line.sender


def _revoked() -> str:
    return (
        "Discord does not take the bot's token any more: take a new one from the developer portal (Bot, Reset Token), "
        "put it into the configuration and start the daemon again"
    )


def create(settings: DiscordSettings, data_dir: Path) -> DiscordFrontend:
    """The frontend of the bot that *settings* name; it keeps nothing below *data_dir*."""
    return DiscordFrontend(settings)
