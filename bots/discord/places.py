"""Servers, channels and threads as the bot sees them: what they are called, what it may do there, what is missing."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import discord

from bots.discord.api import FAULTS, NO_PERMISSION, THREAD_LOST, TOO_MANY_THREADS, UNKNOWN_CHANNEL, Api, code
from bots.discord.events import Where
from bots.discord.markdown import one_line
from bots.discord.settings import DiscordSettings
from orchestrator.errors import UserError
from orchestrator.transport import Finding

RIGHTS: Final = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "send_messages_in_threads": "Send Messages in Threads",
    "create_public_threads": "Create Public Threads",
    "manage_threads": "Manage Threads",
    "read_message_history": "Read Message History",
    "embed_links": "Embed Links",
    "attach_files": "Attach Files",
    "add_reactions": "Add Reactions",
}
_MEMBER_RIGHTS: Final = 1 << 10 | 1 << 11 | 1 << 16 | 1 << 38
"""View, send, read what was said, speak in threads."""
_THREADS = (10, 11, 12)
_DIRECT = (1, 3)
_REMEMBERED: Final = 5_000
_ARCHIVES: Final = 50
"""Channels whose archived threads are looked through after a long gap."""
_MADE: Final = 10.0
"""Seconds in which a channel that we have made turns up."""
_TOPIC_MAX: Final = 1_024


class Readable(NamedTuple):
    """A channel or thread that can be read back."""

    id: str
    server: str
    last: int
    """Its last message's id."""


class Places:
    """What *client* knows of its servers; the rest is asked for."""

    def __init__(self, client: discord.Client, api: Api, settings: DiscordSettings, *, blind: bool) -> None:
        self._client = client
        self._api = api
        self._settings = settings
        self._blind = blind
        self._seen: OrderedDict[str, tuple[str, str | None, bool]] = OrderedDict()
        """Channel, thread and whether it is a direct one, of places that people spoke in."""

    @property
    def me(self) -> str:
        """The bot's user id."""
        return str(self._client.user.id) if self._client.user is not None else ""

    # -- reading

    async def where(self, channel: str, guild: str) -> Where | None:
        """How messages in a place are read; None where it is gone, or none that we speak in."""
        if channel not in self._seen:
            found = await self._look(channel, guild)
            if found is None:
                return None
            self._seen[channel] = found
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        parent, root, direct = self._seen[channel]
        return Where(
            channel=parent,
            root=root,
            direct=direct,
            me=self.me,
            roles=self._roles(guild),
            sigil=self._settings.sigil,
            blind=self._blind and not direct,
        )

    async def _look(self, channel: str, guild: str) -> tuple[str, str | None, bool] | None:
        if not guild:
            return channel, None, True
        known = self._client.get_channel(int(channel))
        if isinstance(known, discord.Thread):
            return str(known.parent_id), channel, False
        if known is not None:
            return channel, None, False
        try:
            found = await self._api.call("GET", "/channels/{channel_id}", channel_id=channel)
        except FAULTS as fault:
            if isinstance(fault, discord.HTTPException) and fault.status in (403, 404):
                return None
            raise
        if found.get("type") in _THREADS:
            return str(found["parent_id"]), channel, False
        return channel, None, found.get("type") in _DIRECT

    def _roles(self, guild: str) -> frozenset[str]:
        server = self._client.get_guild(int(guild)) if guild else None
        role = server.self_role if server is not None else None
        return frozenset((str(role.id),)) if role is not None else frozenset()

    def readable(self) -> Iterator[Readable]:
        """Every channel and thread that we may read back."""
        for server in self._client.guilds:
            for channel in server.text_channels:
                allowed = channel.permissions_for(server.me)
                if allowed.view_channel and allowed.read_message_history:
                    yield Readable(str(channel.id), str(server.id), channel.last_message_id or 0)
                    for thread in channel.threads:
                        yield Readable(str(thread.id), str(server.id), thread.last_message_id or 0)

    async def archived(self) -> list[Readable]:
        """Threads that were put away, newest first: one may have been spoken in before that, and without us."""
        found: list[Readable] = []
        channels = [channel for server in self._client.guilds for channel in server.text_channels]
        channels.sort(key=lambda one: (str(one.id) != self._settings.home, -(one.last_message_id or 0)))
        for channel in channels[:_ARCHIVES]:
            path = "/channels/{channel_id}/threads/archived/public"
            try:
                page = await self._api.call("GET", path, params={"limit": "50"}, channel_id=str(channel.id))
            except FAULTS as fault:
                if isinstance(fault, discord.HTTPException) and fault.status in (403, 404):
                    continue
                raise
            server, listed = str(channel.guild.id), page.get("threads", ())
            found += [
                Readable(str(one["id"]), server, int(one.get("last_message_id") or 0)) for one in listed
            ]
        return found

    def thread(self, thread: str) -> tuple[str, bool] | None:
        """What an open thread is called, and whether it is put away; None where we do not know."""
        known = self._client.get_channel(int(thread))
        return (known.name, known.archived) if isinstance(known, discord.Thread) else None

    # -- for people

    def called(self, channel: str) -> str:
        """A place in words."""
        known = self._client.get_channel(int(channel)) if channel.isdecimal() else None
        name = getattr(known, "name", None)
        server = getattr(known, "guild", None)
        if name is None or server is None:
            return f"the channel {channel}"
        return f"#{one_line(name, 100)} ({channel}) of {one_line(server.name, 100)}"

    def missing(self, channel: str) -> list[str]:
        """The permissions that we lack in a channel."""
        known = self._client.get_channel(int(channel)) if channel.isdecimal() else None
        if not isinstance(known, (discord.TextChannel, discord.Thread)):
            return []
        allowed = known.permissions_for(known.guild.me)
        return [words for name, words in RIGHTS.items() if not getattr(allowed, name)]

    def amiss(self, channel: str, number: int) -> str:
        """What is said of a place that takes nothing from us."""
        if number == THREAD_LOST:
            return (
                f"the thread {channel} was deleted; what is to be said in it is said in its channel, in reply to the "
                "message that it hung on"
            )
        if number == UNKNOWN_CHANNEL:
            return (
                f"{self.called(channel)} is not there any more. What is to be said there waits: bind its project to "
                "another channel with `project bind`"
            )
        if number in TOO_MANY_THREADS:
            return (
                f"the server of {self.called(channel)} has as many open threads as Discord allows: close some. What is "
                "to be said in further ones waits"
            )
        lacking = self.missing(channel)
        why = f"I lack {', '.join(lacking)} there" if lacking else "I may not speak there"
        return f"I cannot speak in {self.called(channel)}: {why}. What is to be said there waits until that is mended"

    def channel(self, words: str) -> str:
        """The id of a text channel that we see, by its id, a mention of it, or a name that only one has."""
        words = words.strip()
        if words == self._settings.home:
            return words
        asked = words.removeprefix("<#").removesuffix(">")
        if asked.isascii() and asked.isdecimal():
            if isinstance(self._client.get_channel(int(asked[:20])), discord.TextChannel):
                return asked
            raise UserError(
                f"I see no text channel with the id {asked}; invite me to its server, or let me view it"
            )
        name = words.removeprefix("#").casefold()
        found = [
            str(one.id) for server in self._client.guilds for one in server.text_channels if one.name == name
        ]
        if len(found) == 1:
            return found[0]
        why = "several are called so" if found else "I see none that is called so"
        raise UserError(f"{words!r} names no text channel: {why}; say it there, or by its id")

    def findings(self) -> list[Finding]:
        """How the home channel stands, and what we lack there."""
        home = self._settings.home
        known = self._client.get_channel(int(home))
        if not isinstance(known, discord.TextChannel):
            if not self._client.guilds:
                text = "I am in no server: invite me with the link in the developer portal (OAuth2, bot)"
            else:
                text = f"I do not see the home channel {home}: let me view it, or configure the id of another as `home`"
            return [Finding(good=False, text=text)]
        if lacking := self.missing(home):
            text = (
                f"in the home channel {self.called(home)} I lack {', '.join(lacking)}: give them to my role"
            )
            return [Finding(good=False, text=text)]
        return [Finding(good=True, text=f"at home in {self.called(home)}")]

    # -- making

    async def make(self, name: str, topic: str, account: str) -> str:
        """A channel beside the home channel and as open as that is, with *account* let in."""
        home = self._client.get_channel(int(self._settings.home))
        if not isinstance(home, discord.TextChannel):
            raise UserError("I do not see the home channel, so I know no server to make a channel in")
        body: dict[str, Any] = {"name": one_line(name, 100), "type": 0, "topic": topic[:_TOPIC_MAX]}
        if home.category_id is not None:
            body["parent_id"] = str(home.category_id)
        try:
            listed = await self._api.call("GET", "/guilds/{guild_id}/channels", guild_id=str(home.guild.id))
            for one in listed:
                if one.get("type") == 0 and _alike(one, body):
                    return str(one["id"])
            body["permission_overwrites"] = _overwrites(home, account)
            made = await self._api.call(
                "POST", "/guilds/{guild_id}/channels", body, guild_id=str(home.guild.id)
            )
        except FAULTS as fault:
            if code(fault) == NO_PERMISSION:
                raise UserError(
                    f"I may not make a channel in {one_line(home.guild.name, 100)}: give my role Manage Channels, "
                    "and what the members of the home channel have"
                ) from None
            raise UserError(f"Discord makes no channel for us: {fault}") from None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MADE):
                while self._client.get_channel(int(made["id"])) is None:  # noqa: ASYNC110 - the gateway tells of it
                    await asyncio.sleep(0.02)
        return str(made["id"])


def _alike(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a channel is one that we made so: Discord writes names small, and with hyphens."""
    name = "-".join(str(wanted["name"]).casefold().split())
    return str(made.get("name")) == name and (made.get("topic") or "") == wanted["topic"]


def _overwrites(home: discord.TextChannel, account: str) -> list[dict[str, Any]]:
    """Who may see the home channel may see this one, and so may *account*."""
    found = []
    for target, overwrite in home.overwrites.items():
        allow, deny = overwrite.pair()
        kind = 0 if isinstance(target, discord.Role) else 1
        found.append({"id": str(target.id), "type": kind, "allow": str(allow.value), "deny": str(deny.value)})
    if account.isdecimal() and all(one["id"] != account for one in found):
        found.append({"id": account, "type": 1, "allow": str(_MEMBER_RIGHTS), "deny": "0"})
    return found
