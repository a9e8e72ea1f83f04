"""The state of this Discord, and what can happen in it; every happening is told to the gateway."""

import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.servers.discord import payloads
from tests.servers.discord.errors import refused
from tests.servers.discord.model import (
    DM,
    EPOCH,
    PUBLIC_THREAD,
    TEXT,
    Bot,
    Channel,
    File,
    Guild,
    Interaction,
    Json,
    Post,
    User,
)
from tests.servers.discord.permissions import BITS, in_channel
from tests.servers.discord.pings import pings

GUILDS, MEMBERS = 1 << 0, 1 << 1
MESSAGES, REACTIONS, TYPING = (1 << 9, 1 << 12), (1 << 10, 1 << 13), (1 << 11, 1 << 14)
"""Intents of what happens in a guild, and in direct messages."""
NONCE_SECONDS = 300.0
"""For how long a nonce is unique. Documented as "the past few minutes" only."""


@dataclass(frozen=True)
class Event:
    """Something to tell: to the bots that are there, see the channel, and have the intent."""

    name: str
    payload: Callable[[Bot, int], Json]
    """What a bot with such intents is told."""
    intent: int = 0
    guild_id: str | None = None
    channel_id: str | None = None
    only: Bot | None = None
    about: str | None = None
    """The message or interaction that it is about, by which it can be told again."""


@dataclass
class Draft:
    """What a message is to be made of."""

    author: User
    channel: Channel
    content: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    flags: int = 0
    kind: int = 0
    reply_to: str | None = None
    nonce: str | int | None = None
    allowed: Json | None = None
    interaction: Interaction | None = None


class World:
    """Users, guilds, channels, posts and interactions, with a clock of their own."""

    def __init__(self) -> None:
        self.origin = ""
        self.users: dict[str, User] = {}
        self.bots: dict[str, Bot] = {}
        self.guilds: dict[str, Guild] = {}
        self.channels: dict[str, Channel] = {}
        self.posts: dict[str, Post] = {}
        self.interactions: dict[str, Interaction] = {}
        self.nonces: dict[tuple[str, str], tuple[str, float]] = {}
        self.typing: list[str] = []
        self.tell: Callable[[Event], None] = lambda event: None
        self.ahead = 0.0
        self.patience = 3.0
        self._began = time.time() - time.monotonic()
        self._last = 0
        self._made: dict[str, float] = {}
        self._tokens = itertools.count(1)

    # Time and names

    def now(self) -> float:
        """The server's time: steady, and moved forward at will."""
        return self._began + time.monotonic() + self.ahead

    def snowflake(self) -> str:
        """A new id, greater than all before; it says when it was made (documented)."""
        at = self.now()
        self._last = max(self._last + 1, int((at - EPOCH) * 1000) << 22)
        self._made[str(self._last)] = at
        return str(self._last)

    def made(self, id_: str) -> float:
        return self._made[id_]

    # Finding

    def sees(self, bot: Bot, channel: Channel) -> bool:
        """Whether a bot is there and may look."""
        if channel.kind == DM:
            return bot.id in channel.members
        guild = self.guilds[channel.guild_id or ""]
        if bot.id not in guild.members:
            return False
        return bool(in_channel(guild, self.place(channel)) & BITS["VIEW_CHANNEL"])

    def place(self, channel: Channel) -> Channel:
        """The channel itself, or for a thread the one it is in: that is where permissions are (documented)."""
        return self.channels[channel.parent_id or ""] if channel.is_thread else channel

    def permissions(self, channel: Channel) -> int:
        guild = self.guilds[channel.guild_id] if channel.guild_id else None
        held = in_channel(guild, self.place(channel))
        sends = BITS["SEND_MESSAGES_IN_THREADS" if channel.is_thread else "SEND_MESSAGES"]
        return held if held & sends else held & ~(BITS["ATTACH_FILES"] | BITS["EMBED_LINKS"])

    def post(self, channel: Channel, id_: str) -> Post:
        found = self.posts.get(id_)
        if found is None or found.gone or found.channel_id != channel.id:
            raise refused(10008)
        return found

    def posts_in(self, channel_id: str) -> list[Post]:
        """A channel's messages, oldest first."""
        return [one for one in self.posts.values() if one.channel_id == channel_id and not one.gone]

    def direct(self, one: User, other: User) -> Channel:
        """The direct messages of two."""
        both = {one.id, other.id}
        for channel in self.channels.values():
            if channel.kind == DM and set(channel.members) == both:
                return channel
        members = dict.fromkeys((one.id, other.id), self.now())
        made = Channel(self.snowflake(), DM, "", members=members)
        self.channels[made.id] = made
        return made

    # Messages

    def say(self, draft: Draft) -> Post:
        """A new message; in an archived thread it unarchives the thread (documented)."""
        made = Post(
            id=self.snowflake(),
            channel_id=draft.channel.id,
            guild_id=draft.channel.guild_id,
            author=draft.author,
            kind=draft.kind or (19 if draft.reply_to else 0),
            content=draft.content,
            embeds=draft.embeds,
            components=numbered(draft.components),
            files=draft.files,
            flags=draft.flags,
            reply_to=draft.reply_to,
            nonce=draft.nonce,
            interaction=draft.interaction,
        )
        if draft.reply_to:
            made.reference = {"type": 0, "message_id": draft.reply_to, "channel_id": draft.channel.id}
            made.reference |= {"guild_id": made.guild_id} if made.guild_id else {}
        self.notify(made, draft.allowed)
        if made.ephemeral and draft.interaction is not None:
            made.seen_by = draft.interaction.user.id
        self.add(made)
        return made

    def notify(self, post: Post, allowed: Json | None) -> None:
        """Settle whom a message mentions and notifies."""
        channel = self.channels[post.channel_id]
        replied = self.posts[post.reply_to].author.id if post.reply_to else None
        everyone = not isinstance(post.author, Bot) or bool(
            self.permissions(channel) & BITS["MENTION_EVERYONE"]
        )
        post.pings = pings(post.content, allowed, replied, everyone=everyone)
        post.mentions = post.pings & set(self.users)

    def add(self, post: Post) -> None:
        """Put a message where it belongs, and tell of it unless it is ephemeral."""
        channel = self.channels[post.channel_id]
        self.posts[post.id] = post
        if post.ephemeral:
            return
        if channel.is_thread:
            if channel.archived:
                self.change_thread(channel, archived=False)
            channel.sent += post.kind != 21
            channel.active_at = self.now()
            self.join(channel, post.author)
        channel.last_message_id = post.id
        self._tell_post("MESSAGE_CREATE", post, nonce=True)

    def edit(self, post: Post, *, unseen: bool = False, **changes: Any) -> None:
        """Change a message; *changes* are its fields. *unseen*: people do not see that it was edited."""
        if "components" in changes:
            changes["components"] = numbered(changes["components"])
        for name, value in changes.items():
            setattr(post, name, value)
        post.edited_at = post.edited_at if unseen else self.now()
        self._tell_post("MESSAGE_UPDATE", post)

    def delete(self, post: Post) -> None:
        post.gone = True
        about = {"id": post.id, "channel_id": post.channel_id}
        about |= {"guild_id": post.guild_id} if post.guild_id else {}
        if not post.ephemeral:
            self._tell_in(self.channels[post.channel_id], "MESSAGE_DELETE", MESSAGES, lambda bot, _: about)

    def earlier(self, author: User, nonce: str | int | None) -> Post | None:
        """The message that the same author sent with the same nonce a short while ago, in whatever channel.

        That one which was deleted does not count is a guess.
        """
        id_, at = self.nonces.get((author.id, str(nonce)), ("", 0.0))
        if not id_ or self.now() - at > NONCE_SECONDS or self.posts[id_].gone:
            return None
        return self.posts[id_]

    def react(self, post: Post, who: User, emoji: str) -> None:
        reacted = post.reactions.setdefault(emoji, [])
        if who.id not in reacted:
            reacted.append(who.id)
            self._tell_reaction("MESSAGE_REACTION_ADD", post, who, emoji)

    def unreact(self, post: Post, who: User, emoji: str) -> None:
        if who.id in post.reactions.get(emoji, []):
            post.reactions[emoji].remove(who.id)
            if not post.reactions[emoji]:
                del post.reactions[emoji]
            self._tell_reaction("MESSAGE_REACTION_REMOVE", post, who, emoji)

    def type(self, channel: Channel, who: User) -> None:
        """Somebody is typing; only what bots show is recorded."""
        if isinstance(who, Bot):
            self.typing.append(channel.id)
        about = {"channel_id": channel.id, "user_id": who.id, "timestamp": int(self.now())}
        about |= {"guild_id": channel.guild_id} if channel.guild_id else {}
        self._tell_in(channel, "TYPING_START", TYPING, lambda bot, _: about)

    # Channels and threads

    def channel(self, guild: Guild, name: str, topic: str | None = None) -> Channel:
        made = Channel(self.snowflake(), TEXT, name, guild.id, topic=topic, position=len(self.channels))
        self.channels[made.id] = made
        self._tell_of(made, "CHANNEL_CREATE")
        return made

    def thread(
        self,
        parent: Channel,
        author: User,
        name: str,
        about: Post | None,
        kind: int = PUBLIC_THREAD,
        auto_archive: int = 1440,
    ) -> Channel:
        """A new thread; one that is made of a message has the message's id (documented)."""
        id_ = about.id if about else self.snowflake()
        made = Channel(id_, kind, name, parent.guild_id, parent.id, author.id, auto_archive=auto_archive)
        made.archived_at = made.active_at = self.now()
        self.channels[id_] = made
        if about is not None:
            about.thread_id = id_
            self._tell_post("MESSAGE_UPDATE", about)
        created = {"newly_created": True}
        self._tell_in(made, "THREAD_CREATE", (GUILDS, GUILDS), lambda bot, _: self._told(made, bot) | created)
        self.join(made, author)
        if about is not None:
            self._starter(made, about)
            if parent.last_message_id != about.id:
                self._announce(parent, made, author)
        return made

    def join(self, thread: Channel, who: User) -> None:
        """Let somebody into a thread; a bot is told of itself only (documented)."""
        if who.id in thread.members:
            return
        thread.members[who.id] = self.now()
        if isinstance(who, Bot) and thread.guild_id is not None:
            about = payloads.member(self, self.guilds[thread.guild_id], who) | {"user": payloads.user(who)}
            added = payloads.thread_member(thread, who.id) | {"member": about, "presence": None}
            told: Json = {"id": thread.id, "guild_id": thread.guild_id, "added_members": [added]}
            told |= {"member_count": min(len(thread.members), 50)}
            self.tell(Event("THREAD_MEMBERS_UPDATE", lambda _, __: told, GUILDS, only=who))

    def change_thread(self, thread: Channel, by: User | None = None, **changes: Any) -> None:
        """Change a thread. A new name is also said in it, by a message of its own type (documented)."""
        renamed = by is not None and changes.get("name", thread.name) != thread.name
        if {"archived", "auto_archive"} & set(changes):
            thread.archived_at = self.now()
        if changes.get("archived") is False:
            thread.active_at = self.now()
        self.change_channel(thread, **changes)
        if by is not None and renamed and not thread.archived:
            self.add(Post(self.snowflake(), thread.id, thread.guild_id, by, kind=4, content=thread.name))

    def change_channel(self, channel: Channel, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(channel, name, value)
        self._tell_of(channel, "THREAD_UPDATE" if channel.is_thread else "CHANNEL_UPDATE")

    def delete_channel(self, channel: Channel) -> None:
        """A channel goes with its threads, a thread leaves the message it began with.

        Whether Discord sends THREAD_DELETE for the threads of a deleted channel is not documented: here it does not.
        """
        self._tell_of(channel, "THREAD_DELETE" if channel.is_thread else "CHANNEL_DELETE")
        for one in [each for each in self.channels.values() if each.parent_id == channel.id]:
            self._forget(one)
        self._forget(channel)

    def age(self) -> None:
        """Archive threads in which nothing has happened for as long as they say."""
        for thread in [each for each in self.channels.values() if each.is_thread and not each.archived]:
            if self.now() - thread.active_at >= thread.auto_archive * 60:
                self.change_thread(thread, archived=True)

    def sync_threads(self, guild: Guild, channels: list[Channel]) -> None:
        """Tell of active threads in channels that have come into sight (documented)."""
        ids = [each.id for each in channels]

        def told(bot: Bot, _: int) -> Json:
            threads = [each for each in self.channels.values() if each.parent_id in ids and not each.archived]
            members = [payloads.thread_member(each, bot.id) for each in threads if bot.id in each.members]
            found = [payloads.channel(self, each, bot) for each in threads]
            return {"guild_id": guild.id, "channel_ids": ids, "threads": found, "members": members}

        self.tell(Event("THREAD_LIST_SYNC", told, GUILDS, guild.id))

    # Interactions

    def interact(
        self, bot: Bot, user: User, channel: Channel, kind: int, data: Json, message: str | None = None
    ) -> Interaction:
        made = Interaction(
            id=self.snowflake(),
            token=f"{next(self._tokens)}{secrets.token_urlsafe(24)}",
            kind=kind,
            bot=bot,
            user=user,
            channel_id=channel.id,
            guild_id=channel.guild_id,
            data=data,
            made_at=self.now(),
            patience=self.patience,
            message_id=message,
        )
        self.interactions[made.id] = made
        told = payloads.interaction(self, made)
        self.tell(Event("INTERACTION_CREATE", lambda _, __: told, only=bot, about=made.id))
        return made

    def _announce(self, parent: Channel, thread: Channel, author: User) -> None:
        """Say in the channel that there is a thread.

        Documented for a thread of an "older" message, whatever that is; here: of one that is not the last.
        """
        made = Post(self.snowflake(), parent.id, parent.guild_id, author, kind=18, content=thread.name)
        made.reference = {"type": 0, "channel_id": thread.id, "guild_id": thread.guild_id}
        self.add(made)

    def _starter(self, thread: Channel, about: Post) -> None:
        """The first message of a thread that was made of a message, which only points to that one (documented)."""
        made = Post(self.snowflake(), thread.id, thread.guild_id, about.author, kind=21)
        made.reference = {"type": 0, "message_id": about.id, "channel_id": about.channel_id}
        made.reference |= {"guild_id": thread.guild_id}
        self.add(made)

    def _forget(self, channel: Channel) -> None:
        for one in self.posts_in(channel.id):
            one.gone = True
        self.channels.pop(channel.id, None)

    def _told(self, channel: Channel, bot: Bot) -> Json:
        return payloads.channel(self, channel, bot)

    def _tell_of(self, channel: Channel, name: str) -> None:
        """Tell of a change of a channel; of a deleted thread only where it was (documented)."""
        if name == "THREAD_DELETE":
            about: Json = {"id": channel.id, "guild_id": channel.guild_id, "parent_id": channel.parent_id}
            about["type"] = channel.kind
            self._tell_in(channel, name, (GUILDS, GUILDS), lambda bot, _: about)
        elif channel.is_thread:
            self._tell_in(channel, name, (GUILDS, GUILDS), lambda bot, _: self._told(channel, bot))
        else:
            told = self._told
            self.tell(Event(name, lambda bot, _: told(channel, bot), GUILDS, channel.guild_id))

    def _tell_in(
        self,
        channel: Channel,
        name: str,
        intents: tuple[int, int],
        payload: Callable[[Bot, int], Json],
        about: str | None = None,
    ) -> None:
        intent = intents[1 if channel.kind == DM else 0]
        self.tell(Event(name, payload, intent, channel.guild_id, channel.id, about=about))

    def _tell_post(self, name: str, post: Post, *, nonce: bool = False) -> None:
        if post.ephemeral:
            return

        def told(bot: Bot, intents: int) -> Json:
            return payloads.post_event(self, post, bot, intents, nonce=nonce)

        about = post.id if name == "MESSAGE_CREATE" else None
        self._tell_in(self.channels[post.channel_id], name, MESSAGES, told, about)

    def _tell_reaction(self, name: str, post: Post, who: User, emoji: str) -> None:
        about: Json = {"user_id": who.id, "channel_id": post.channel_id, "message_id": post.id, "type": 0}
        about |= {"emoji": {"id": None, "name": emoji}, "burst": False}
        if post.guild_id is not None:
            about["guild_id"] = post.guild_id
            if name.endswith("ADD"):
                guild = self.guilds[post.guild_id]
                about["member"] = payloads.member(self, guild, who) | {"user": payloads.user(who)}
                about["message_author_id"] = post.author.id
        self._tell_in(self.channels[post.channel_id], name, REACTIONS, lambda bot, _: about)


def numbered(parts: list[Json]) -> list[Json]:
    """Components with the ids that Discord gives to those that have none (documented)."""
    numbers = itertools.count(1)

    def number(part: Json) -> Json:
        found = {**part, "id": part.get("id") or next(numbers)}
        if part.get("components"):
            found["components"] = [number(one) for one in part["components"]]
        if part.get("accessory"):
            found["accessory"] = number(part["accessory"])
        return found

    return [number(part) for part in parts]
