"""What happens in the workspace, handed on: each event is stored before it is acknowledged, in order per channel."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from bots.slack.catchup import CatchUp
from bots.slack.events import author, inbound, is_direct
from bots.slack.faults import WAY_OUT
from bots.slack.marks import Marks, now
from bots.slack.reading import mapping, mentioned, stamp, string
from bots.slack.settings import NAME
from bots.slack.workspace import Workspace
from orchestrator.transport import Inbound, Intake

log = structlog.get_logger(__name__)

Json = Mapping[str, Any]


Errands = Callable[[Awaitable[None]], None]
"""Where something is done beside the answer to an event."""


class Hearing:
    """Follows the events of one workspace."""

    def __init__(
        self,
        intake: Intake,
        workspace: Workspace,
        marks: Marks,
        catching: CatchUp,
        *,
        errand: Errands,
        heard: Callable[[Inbound], None],
        home: Callable[[str], Awaitable[None]],
        ended: Callable[[str], None],
    ) -> None:
        self._intake = intake
        self._workspace = workspace
        self._marks = marks
        self._catching = catching
        self._errand = errand
        self._heard = heard
        self._home = home
        self._ended = ended
        self._orders: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._gestures: dict[str, str] = {}
        """The clients' ids of messages that were heard of late, with their times."""

    async def event(self, body: Json) -> None:
        """Take an event of the Events API."""
        event = mapping(body.get("event"))
        match string(event.get("type")):
            case "message" | "app_mention":
                await self._message(event)
            case "app_home_opened":
                user = string(event.get("user"), 32)
                if user and event.get("tab") != "messages":
                    self._errand(self._home(user))
            case "tokens_revoked":
                if self._workspace.identity.user in (mapping(event.get("tokens")).get("bot") or ()):
                    self._ended(f"the bot token was revoked: {WAY_OUT}")
            case "app_uninstalled":
                self._ended(f"the app was removed from the workspace: {WAY_OUT}")
            case kind:
                await self._channel(kind, event)

    async def said(self, event: Inbound, mark: str = "") -> None:
        """Store what somebody said or did, in order with all else in its channel."""
        async with self._orders[event.place.channel]:
            await self._store(event, mark)

    async def _store(self, event: Inbound, ts: str) -> None:
        self._heard(event)
        channel = event.place.channel
        known = await self._catching.caught_up(channel)
        await self._marks.store(channel, ts if known else "", event)

    async def _message(self, event: Json) -> None:
        channel, ts = string(event.get("channel"), 32), stamp(event.get("ts"))
        if is_direct(channel):
            self._workspace.entered(channel)  # of these, nothing else tells us that they have begun
        async with self._orders[channel]:
            if self._repeated(event, ts):
                return
            heard = inbound(event, self._workspace.reader())
            fresh = not string(event.get("subtype")).startswith("message_")
            if heard is None:
                await self._pass(channel, ts if fresh else "")
                return
            now_said = event if fresh else mapping(event.get("message"))
            named = mentioned(string(now_said.get("text"))) | {
                author(now_said, self._workspace.identity.user)
            }
            await self._workspace.learn_names(named - {"", self._workspace.identity.user})
            heard = inbound(event, self._workspace.reader()) or heard
            await self._store(heard, ts if fresh else "")

    async def _pass(self, channel: str, ts: str) -> None:
        """Keep the place now and then in talk that is not for us."""
        if ts and await self._catching.caught_up(channel):
            await self._marks.store(channel, ts, lazily=True)

    def _repeated(self, event: Json, ts: str) -> bool:
        """Whether a person's client has sent one message twice: under one id of its own, at two times."""
        gesture = string(event.get("client_msg_id"), 64)
        if not gesture or not ts:
            return False
        first = self._gestures.setdefault(gesture, ts)
        if len(self._gestures) > 1000:
            self._gestures.pop(next(iter(self._gestures)))
        return first != ts

    async def _channel(self, kind: str, event: Json) -> None:
        """Follow what becomes of channels, and of our being in them."""
        where = event.get("channel")
        channel = string(mapping(where).get("id") or where, 32)
        mine = string(event.get("user"), 32) == self._workspace.identity.user
        match kind:
            case "member_joined_channel" if mine:
                await self._entered(channel)
            case "channel_left" | "group_left":
                await self._left(channel, "I was removed from")
            case "member_left_channel" if mine:
                await self._left(channel, "I was removed from")
            case "channel_deleted":
                await self._left(channel, "somebody has deleted", "")
            case "channel_rename" | "group_rename":
                self._workspace.renamed(channel, string(mapping(where).get("name"), 80))
            case "channel_archive" | "group_archive":
                name = self._workspace.archived(channel, True)
                await self._lost(channel, f"somebody has archived {name}", "unarchive it")
            case "channel_unarchive" | "group_unarchive":
                self._workspace.archived(channel, False)

    async def _entered(self, channel: str) -> None:
        if channel in self._workspace.channels:
            return
        self._workspace.entered(channel)
        if await self._marks.of(channel) is None:
            await self._marks.store(channel, now())
        self._errand(self._workspace.learn(channel))

    async def _left(self, channel: str, what: str, way: str = "invite me again") -> None:
        if channel in self._workspace.channels:
            await self._lost(channel, f"{what} {self._workspace.left(channel)}", way)

    async def _lost(self, channel: str, what: str, way: str) -> None:
        """Tell it, unless a message that failed there has told it already."""
        if channel in self._workspace.told:
            return
        self._workspace.told.add(channel)
        lead = f"{what}. What is to be said there waits: {way}, or " if way else f"{what}: "
        await self._intake.tell(NAME, f"{lead}bind its project to another channel with `project bind`")
