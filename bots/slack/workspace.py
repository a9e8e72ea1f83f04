"""What is known of the workspace: the channels that we are in, and the names of people, asked for once."""

import asyncio
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from bots.slack.events import is_direct
from bots.slack.reading import Reader, mapping, string
from bots.slack.session import Identity, Session, ask
from orchestrator.errors import UserError
from orchestrator.transport import Later, Refused, Unknown

log = structlog.get_logger(__name__)

_KINDS: Final = {
    "public_channel": "channels:read",
    "private_channel": "groups:read",
    "im": "im:read",
}
_PAGES: Final = 20
_NAMED_MAX: Final = 10_000
_NAME_PATIENCE: Final = 1.0
"""Seconds that a message waits for its author's name."""
_SLOW: Final = 30.0
"""Seconds for which nobody waits for names, once they did not come in time."""
_ASKED_AGAIN: Final = 300.0
_NAME_MAX: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel that we are in."""

    id: str
    name: str
    creator: str = ""
    archived: bool = False


class Workspace:
    """The channels and people of one workspace."""

    def __init__(self, session: Session, identity: Identity, *, command: str) -> None:
        self.identity = identity
        self.channels: dict[str, Channel] = {}
        """Those that we are in."""
        self.listed = False
        """Whether all of them are known."""
        self.told: set[str] = set()
        """Those of which people know that nothing can be said there."""
        self._session = session
        self._command = command
        self._people: dict[str, str] = {}
        self._nameless: dict[str, float] = {}
        """When somebody was asked for in vain."""
        self._slow_until = 0.0

    # -- channels

    async def look_around(self) -> None:
        """Learn which channels we are in, as far as we may."""
        try:
            await self._look_around()
        except Later as refusal:
            if not str(refusal).startswith("missing_scope"):
                raise
            self.listed = False  # Slack has not said which scopes we have, and we lack one

    async def _look_around(self) -> None:
        kinds = [kind for kind, scope in _KINDS.items() if self.identity.may(scope)]
        self.listed = len(kinds) == len(_KINDS)
        cursor, found, before = "", dict[str, Channel](), set(self.channels)
        for _ in range(_PAGES if kinds else 0):
            answer = await ask(
                self._session.web.users_conversations(
                    types=kinds, limit=200, exclude_archived=False, **({"cursor": cursor} if cursor else {})
                )
            )
            for one in answer.get("channels") or ():
                channel = _channel(mapping(one))
                found[channel.id] = channel
            cursor = string(mapping(answer.get("response_metadata")).get("next_cursor"))
            if not cursor:
                break
        self.listed = self.listed and not cursor
        entered = {one: known for one, known in self.channels.items() if one not in before}
        left = before - set(self.channels)  # both while Slack was asked, which it need not have known
        self.channels = {one: known for one, known in (entered | found).items() if one not in left}

    def is_in(self, channel: str) -> bool:
        """Whether we are in *channel*, as far as is known."""
        return channel in self.channels or is_direct(channel) or not self.listed

    async def admits(self, channel: str) -> bool:
        """Whether we are in *channel*: a direct message that is not known yet may be of two others."""
        if channel not in self.channels and is_direct(channel):
            try:
                async with asyncio.timeout(_NAME_PATIENCE):
                    await ask(self._session.web.conversations_info(channel=channel))
            except (Refused, Later, Unknown, TimeoutError) as failed:
                return not str(failed).startswith("channel_not_found")
            self.entered(channel)
        return self.is_in(channel)

    def entered(self, channel: str, name: str = "") -> None:
        """We are in *channel* from now on."""
        if channel not in self.channels:
            self.channels[channel] = Channel(id=channel, name=name)

    async def learn(self, channel: str) -> None:
        """Learn a channel's name."""
        with suppress(Refused, Later, Unknown):
            answer = await ask(self._session.web.conversations_info(channel=channel))
            self.channels[channel] = _channel(mapping(answer.get("channel")))

    def left(self, channel: str) -> str:
        """We are not in *channel* any more; returns what it is called."""
        gone = self.channels.pop(channel, None)
        return self.called(gone.id, gone.name) if gone else channel

    def renamed(self, channel: str, name: str) -> None:
        """*channel* is called *name* now."""
        if channel in self.channels:
            self.channels[channel] = replace(self.channels[channel], name=name)

    def archived(self, channel: str, yes: bool) -> str:
        """*channel* is archived, or is not any more; returns what it is called."""
        if channel not in self.channels:
            return channel
        self.channels[channel] = replace(self.channels[channel], archived=yes)
        return self.called(channel)

    def called(self, channel: str, name: str = "") -> str:
        """A channel in words."""
        known = self.channels.get(channel)
        name = name or (known.name if known else "")
        return f"#{name} ({channel})" if name else channel

    def channel(self, words: str) -> str:
        """The channel that *words* name: its id, its name, or a link to it."""
        found = re.fullmatch(r"<#([A-Z0-9]+)(?:\|[^>]*)?>", words.strip())
        word = found[1] if found else words.strip()
        if word in self.channels or (not self.listed and re.fullmatch(r"[CGD][A-Z0-9]{2,30}", word)):
            return word
        name = word.removeprefix("#").lower()
        named = [one.id for one in self.channels.values() if one.name == name and not is_direct(one.id)]
        if len(named) == 1:
            return named[0]
        raise UserError(
            f"{word!r} is no channel that I am in; invite me there (`/invite @{self.identity.name}`), and say it "
            "there, or name it by its id (C…) or as #name"
        )

    def ours(self, name: str) -> str:
        """The channel called *name* that we have made, or nothing."""
        me = self.identity.user
        made = (one.id for one in self.channels.values() if (one.name, one.creator) == (name, me))
        return next(made, "")

    # -- people

    def reader(self) -> Reader:
        """How texts are read, by what is known now."""
        return Reader(
            me=self.identity.user,
            my_name=self.identity.name,
            command=self._command,
            people=self._people,
            channels={one.id: one.name for one in self.channels.values()},
        )

    def name(self, user: str) -> str:
        """What *user* is called, as far as is known."""
        return self._people.get(user, user)

    def met(self, user: str, name: str) -> None:
        """Somebody's name has come along with something."""
        if user and name:
            self._people.setdefault(user, name[:_NAME_MAX])

    async def learn_names(self, users: Iterable[str]) -> None:
        """Learn what *users* are called, unless that takes too long."""
        asked = [one for one in sorted(users) if one not in self._people and self._due(one)][:20]
        if not asked or not self.identity.may("users:read") or time.monotonic() < self._slow_until:
            return
        try:
            async with asyncio.timeout(_NAME_PATIENCE):
                await asyncio.gather(*map(self._learn, asked))
        except TimeoutError:  # one after the other, they would keep a channel longer than Slack waits
            self._slow_until = time.monotonic() + _SLOW

    def _due(self, user: str) -> bool:
        return bool(user) and time.monotonic() - self._nameless.get(user, -_ASKED_AGAIN) >= _ASKED_AGAIN

    async def _learn(self, user: str) -> None:
        self._nameless[user] = time.monotonic()
        try:
            answer = await ask(self._session.web.users_info(user=user))
        except (Refused, Later, Unknown) as failed:
            log.debug("slack.nameless", user=user, error=str(failed))
            return
        known = mapping(answer.get("user"))
        profile = mapping(known.get("profile"))
        names = (profile.get("display_name"), known.get("real_name"), known.get("name"))
        self._people[user] = next((string(one, _NAME_MAX) for one in names if string(one)), user)
        self._nameless.pop(user, None)
        if len(self._people) > _NAMED_MAX:
            self._people.pop(next(iter(self._people)))


def _channel(found: Any) -> Channel:
    return Channel(
        id=string(found.get("id"), 32),
        name=string(found.get("name"), _NAME_MAX),
        creator=string(found.get("creator"), 32),
        archived=bool(found.get("is_archived")),
    )
