"""What there is in this Discord: users, guilds, channels, posts, interactions. Values that the world changes."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

TEXT, DM, PUBLIC_THREAD, PRIVATE_THREAD = 0, 1, 11, 12
THREADS = {PUBLIC_THREAD, PRIVATE_THREAD}

SUPPRESS_EMBEDS, EPHEMERAL, LOADING, SILENT, COMPONENTS_V2 = 1 << 2, 1 << 6, 1 << 7, 1 << 12, 1 << 15
HAS_THREAD = 1 << 5

EPOCH = 1_420_070_400.0
"""The first second of 2015, from which snowflakes count."""
TOKEN_SECONDS = 15 * 60.0
"""How long an interaction's token is valid (documented)."""


def stamp(at: float) -> str:
    """A moment as Discord writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def moment(snowflake: str) -> float:
    """When something was made, read from its id."""
    return (int(snowflake) >> 22) / 1000 + EPOCH


@dataclass(eq=False)
class User:
    """Anybody; `<@id>` mentions them."""

    id: str
    name: str

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"


@dataclass(eq=False)
class Bot(User):
    """An application and its bot user, which have the same id here, as all newer ones have."""

    token: str = ""
    allowed: int = 0
    """The privileged intents that are switched on in the developer portal."""
    revoked: bool = False
    commands: dict[str | None, list[Json]] = field(default_factory=dict)
    """Guild, or None for the global ones -> registered commands."""
    commands_made: list[float] = field(default_factory=list)
    """When commands were created: 200 a day are allowed."""


@dataclass(eq=False)
class Guild:
    id: str
    name: str
    owner_id: str
    members: dict[str, float] = field(default_factory=dict)
    """User -> since when."""
    roles: dict[str, str] = field(default_factory=dict)
    """Id -> name; @everyone has the guild's id."""
    denied: int = 0
    """Permissions that no bot has here."""


@dataclass(eq=False)
class Channel:
    """A text channel, a thread or a direct message."""

    id: str
    kind: int
    name: str
    guild_id: str | None = None
    parent_id: str | None = None
    owner_id: str = ""
    topic: str | None = None
    position: int = 0
    denied: int = 0
    """Permissions that no bot has here."""
    archived: bool = False
    locked: bool = False
    auto_archive: int = 1440
    """Minutes without anything new until a thread is archived."""
    archived_at: float = 0.0
    active_at: float = 0.0
    slow: int = 0
    members: dict[str, float] = field(default_factory=dict)
    """Of a thread: who joined, and when. Of a direct message: the two."""
    last_message_id: str | None = None
    sent: int = 0
    """How many messages a thread ever had, without the one it began with."""

    @property
    def is_thread(self) -> bool:
        return self.kind in THREADS


@dataclass(eq=False)
class File:
    id: str
    name: str
    data: bytes
    kind: str = "application/octet-stream"
    description: str | None = None


@dataclass(eq=False)
class Post:
    """A message as the server has it; `Message` is what a person sees of it."""

    id: str
    channel_id: str
    guild_id: str | None
    author: User
    kind: int = 0
    content: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    flags: int = 0
    reply_to: str | None = None
    reference: Json | None = None
    nonce: str | int | None = None
    edited_at: float | None = None
    pings: frozenset[str] = frozenset()
    mentions: frozenset[str] = frozenset()
    reactions: dict[str, list[str]] = field(default_factory=dict)
    interaction: "Interaction | None" = None
    thread_id: str | None = None
    seen_by: str | None = None
    """Of an ephemeral message: the only one who sees it."""
    gone: bool = False

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)


@dataclass(eq=False)
class Interaction:
    """What a person did with an application: a command, a press, a form, a word half typed."""

    id: str
    token: str
    kind: int
    """1 ping, 2 command, 3 component, 4 autocomplete, 5 form."""
    bot: Bot
    user: User
    channel_id: str
    guild_id: str | None
    data: Json
    made_at: float
    patience: float = 3.0
    message_id: str | None = None
    """The message whose component was used, or whose press led to the form."""
    acked_at: float | None = None
    callback: int | None = None
    """The type of the first response."""
    original: str | None = None
    """The message of the original response, a loading one too."""
    loading: bool = False
    """A deferred response that still is to come."""
    deferred: bool = False
    ephemeral: bool = False
    modal: Json | None = None
    choices: list[tuple[str, str | int | float]] | None = None
    followups: list[str] = field(default_factory=list)
    expired: bool = False
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def acked_after(self) -> float | None:
        """Seconds until the first callback; None if there was none in time."""
        return None if self.acked_at is None else self.acked_at - self.made_at

    @property
    def failed(self) -> bool:
        """Whether the person was told that the application did not respond."""
        return self.expired

    @property
    def response(self) -> str | None:
        """The message of the original response, once there is something to read in it."""
        return None if self.loading else self.original

    async def answered(self) -> "Interaction":
        """Wait for the first callback, or until the person is told that there is none."""
        try:
            async with asyncio.timeout(self.patience):
                await self._settled.wait()
        except TimeoutError:
            self.expired = self.acked_at is None
        return self

    def settle(self) -> None:
        self._settled.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person sees of a message. Ephemeral ones are here too, as the one sees them for whom they are."""

    id: str
    author: str
    """The user's id."""
    author_name: str
    content: str
    embeds: list[Json]
    components: list[Json]
    attachments: list[tuple[str, bytes]]
    flags: int
    reply_to: str | None
    interaction: str | None
    """The id of the interaction that it responds to."""
    edited: bool
    pings: frozenset[str]
    """Who was notified: "everyone", roles, users; by its text and reply, under its allowed_mentions."""
    reactions: dict[str, list[str]]
    kind: int = 0

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)

    @property
    def loading(self) -> bool:
        """Whether it only says that the application is thinking."""
        return bool(self.flags & LOADING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What a person sees of a thread."""

    id: str
    parent: str
    name: str
    archived: bool
    locked: bool
    owner: str
