"""The workspace: who and what is in it, and what happens when something is said, changed or taken away.

Whatever happens in a channel becomes an event for every app that is in it and has the scope for it, the app's own
messages included, as with Slack.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any

from tests.servers.slack import words
from tests.servers.slack.clock import Clock, News
from tests.servers.slack.limits import Rates
from tests.servers.slack.model import (
    App,
    Channel,
    Event,
    File,
    Interaction,
    Json,
    Message,
    SlackError,
    User,
    View,
)
from tests.servers.slack.payloads import event_json, message_json

STATUS_SECONDS = 120.0


class Workspace:
    """All that Slack knows. Methods and people change it; it tells apps by `deliver`."""

    def __init__(self, *, streaming: bool, paced: bool, burst: int, stream_seconds: float) -> None:
        self.clock = Clock()
        self.news = News()
        self.rates = Rates(burst)
        self.paced = paced
        self.streaming = streaming
        self.stream_seconds = stream_seconds
        self.base = ""
        """The server's address, without a slash."""
        self.users: dict[str, User] = {}
        self.apps: list[App] = []
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, File] = {}
        self.views: dict[str, View] = {}
        self.homes: dict[tuple[str, str], View] = {}
        """(app, user) -> the home tab that was published."""
        self.triggers: dict[str, Interaction] = {}
        self.urls: dict[str, Interaction] = {}
        """A response_url's last part -> what it belongs to."""
        self.statuses: dict[tuple[str, str], tuple[str, float]] = {}
        self.events: list[Event] = []
        self.deliver: Callable[[Event], None] = self.events.append
        self._numbers = itertools.count(1)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers):08X}"

    # Who and where

    def app_of(self, bot_id: str) -> App | None:
        return next((app for app in self.apps if app.bot_id == bot_id), None)

    def name(self, target: str) -> str:
        """How a mention such as `@U1` or `!here` is read."""
        user = self.users.get(target[1:])
        channel = self.channels.get(target[1:])
        return f"@{user.name}" if user else f"#{channel.name}" if channel else f"@{target[1:]}"

    def channel_for(self, app: App, channel_id: str) -> Channel:
        """A channel that *app* may know of, or `channel_not_found`."""
        channel = self.channels.get(channel_id)
        hidden = (
            channel is not None and (channel.private or channel.im) and app.user_id not in channel.members
        )
        if channel is None or channel.deleted or hidden:
            raise SlackError("channel_not_found")
        return channel

    def joined(self, app: App, channel_id: str) -> Channel:
        """A channel that *app* is in, or `not_in_channel`."""
        channel = self.channel_for(app, channel_id)
        if app.user_id not in channel.members:
            raise SlackError("not_in_channel")
        return channel

    def direct(self, app: App, user: str) -> Channel:
        """The direct message of an app and a person, made if need be."""
        for channel in self.channels.values():
            if channel.im and set(channel.members) == {app.user_id, user}:
                return channel
        return self.add_channel("", [app.user_id, user], im=True)

    def add_channel(
        self, name: str, members: list[str], *, private: bool = False, im: bool = False
    ) -> Channel:
        created = int(self.clock.now())
        identity = self.new_id("D" if im else "C")
        channel = Channel(identity, name, list(members), created, private, im)
        self.channels[channel.id] = channel
        return channel

    def message(self, channel: Channel, ts: str) -> Message:
        """A message that is there, or `message_not_found`."""
        message = channel.messages.get(ts)
        if message is None or message.tombstone:
            raise SlackError("message_not_found")
        return message

    def stream_ended(self, message: Message) -> bool:
        """Whether Slack itself has ended a stream, which then can only be updated or deleted."""
        return self.clock.now() - message.stream_began > self.stream_seconds

    # What happens to messages

    def post(self, channel: Channel, message: Message, *, linked: bool = False) -> Message:
        """Put a message into a channel, and tell the apps."""
        message.blocks = self.numbered(message.blocks)
        self._ping(message, linked=linked)
        channel.messages[message.ts] = message
        event = message_json(message, channel, self.base)
        self.tell_message(channel, event | {"event_ts": message.ts})
        mentioned = {f"<@{app.user_id}" for app in self.apps}
        if not message.bot_id and not channel.im and any(one in message.text for one in mentioned):
            self._mention(channel, message)
        if message.bot_id and message.thread_ts:
            self.statuses.pop((channel.id, message.thread_ts), None)
        self.news.tell()
        return message

    def post_ephemeral(self, channel: Channel, message: Message) -> Message:
        """Show a message to one person; no app hears of it, and no history has it."""
        message.blocks = self.numbered(message.blocks)
        channel.ephemerals.append(message)
        self.news.tell()
        return message

    def change(
        self, channel: Channel, message: Message, before: Json, *, linked: bool = False, quiet: bool = False
    ) -> None:
        """Tell of a message that is other than *before* now; *quiet* for a stream that grows."""
        message.blocks = self.numbered(message.blocks)
        self._ping(message, linked=linked)
        message.versions += 1
        if not quiet and not message.ephemeral_to:
            after = message_json(message, channel, self.base)
            self.tell_message(
                channel, self._hidden("message_changed", message=after, previous_message=before)
            )
        self.news.tell()

    def delete(self, channel: Channel, message: Message) -> None:
        """Take a message away; the head of a thread stays as a tombstone."""
        before = message_json(message, channel, self.base)
        if message.ephemeral_to:
            channel.ephemerals.remove(message)
        elif channel.replies(message.ts):
            message.tombstone, message.text, message.blocks = True, "", []
            message.metadata, message.shared = None, []
        else:
            del channel.messages[message.ts]
        if not message.ephemeral_to:
            gone = self._hidden("message_deleted", deleted_ts=message.ts, previous_message=before)
            self.tell_message(channel, gone)
        self.news.tell()

    def numbered(self, blocks: list[Json]) -> list[Json]:
        """Blocks with the ids that Slack makes up where the app gave none."""
        blocks = copy.deepcopy(blocks)
        for block in blocks:
            block.setdefault("block_id", self.new_id("b"))
            inner = [*block.get("elements", []), block.get("accessory"), block.get("element")]
            for element in inner:
                if isinstance(element, dict) and element.get("type") == "button":
                    element.setdefault("action_id", self.new_id("a"))
        return blocks

    def _ping(self, message: Message, *, linked: bool) -> None:
        chunks = [chunk for chunk in message.chunks if isinstance(chunk, dict)]
        message.pings |= words.pings(
            message.text, [*message.blocks, *chunks], message.attachments, linked=linked
        )

    def _hidden(self, subtype: str, **parts: Any) -> Json:
        stamp = self.clock.stamp()
        return {
            "type": "message",
            "subtype": subtype,
            "hidden": True,
            "ts": stamp,
            "event_ts": stamp,
            **parts,
        }

    # Events

    def tell_message(self, channel: Channel, inner: Json) -> None:
        inner |= {"channel": channel.id, "channel_type": channel.kind}
        self.tell(channel, inner, f"{channel.family}:history")

    def _mention(self, channel: Channel, message: Message) -> None:
        """Documented: app_mention comes besides message.*, for people's messages, and not in direct messages."""
        inner = message_json(message, channel, self.base) | {"type": "app_mention", "channel": channel.id}
        inner |= {"event_ts": message.ts}
        for app in self.apps:
            if f"<@{app.user_id}" in message.text and app.user_id in channel.members:
                self.tell_app(app, inner, "app_mentions:read")

    def tell(self, channel: Channel, inner: Json, scope: str) -> None:
        """An event for every app in the channel."""
        for app in self.apps:
            if app.user_id in channel.members:
                self.tell_app(app, inner, scope)

    def tell_app(self, app: App, inner: Json, scope: str = "") -> None:
        """An event for one app, if it may hear of it."""
        if not app.installed or app.revoked or (scope and scope not in app.scopes):
            return
        event_id = self.new_id("Ev")
        payload = event_json(app, event_id, self.clock.now(), copy.deepcopy(inner))
        event = Event(event_id, app, payload)
        self.events.append(event)
        self.deliver(event)
        self.news.tell()

    def tell_reaction(self, channel: Channel, message: Message, user: str, name: str, *, added: bool) -> None:
        item = {"type": "message", "channel": channel.id, "ts": message.ts}
        kind = "reaction_added" if added else "reaction_removed"
        inner = {"type": kind, "user": user, "reaction": name, "item": item, "item_user": message.user}
        self.tell(channel, inner | {"event_ts": self.clock.stamp()}, "reactions:read")
        self.news.tell()

    def leave(self, channel: Channel, user: str) -> None:
        """Let somebody be gone from a channel.

        Documented: the app that is removed hears `channel_left` (`group_left`), who stays `member_left_channel`;
        that one who is removed does not hear the latter was seen by others (openma-ai/open-managed-agents#24).
        """
        channel.members.remove(user)
        stamp = self.clock.stamp()
        app = next((one for one in self.apps if one.user_id == user), None)
        if app is not None:
            kind = "group_left" if channel.private else "channel_left"
            inner = {"type": kind, "channel": channel.id, "actor_id": "", "event_ts": stamp}
            self.tell_app(app, inner, f"{channel.family}:read")
        inner = {"type": "member_left_channel", "user": user, "channel": channel.id, "event_ts": stamp}
        self.tell(channel, inner | {"channel_type": channel.id[0]}, f"{channel.family}:read")

    def join(self, channel: Channel, user: str) -> None:
        if user in channel.members:
            return
        channel.members.append(user)
        inner = {"type": "member_joined_channel", "user": user, "channel": channel.id}
        inner |= {"channel_type": channel.id[0], "event_ts": self.clock.stamp()}
        self.tell(channel, inner, f"{channel.family}:read")

    # Interactions

    def begin(self, kind: str, app: App, user: str, channel: str, message: Message | None) -> Interaction:
        """Something that a person does, with its trigger."""
        trigger = f"{int(self.clock.now() * 1000)}.{self.new_id('t')}"
        interaction = Interaction(kind, user, channel, trigger, self.clock.now(), app, message)
        self.triggers[trigger] = interaction
        return interaction

    def response_url(self, interaction: Interaction) -> str:
        token = self.new_id("R")
        self.urls[token] = interaction
        return f"{self.base}/response/{token}"

    def status(self, channel: str, thread: str) -> str:
        """What the app's assistant status says now; Slack clears it after two minutes, and when the app replies."""
        text, since = self.statuses.get((channel, thread), ("", 0.0))
        return text if self.clock.now() - since < STATUS_SECONDS else ""
