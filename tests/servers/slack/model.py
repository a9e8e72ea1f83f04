"""What a workspace consists of: apps, people, channels, messages, files, views, and what has been done to them."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


class SlackError(Exception):
    """Slack says no: an answer of `{"ok": false, "error": code}`."""

    def __init__(self, code: str, *messages: str, **more: Any) -> None:
        super().__init__(f"{code}: {'; '.join(messages)}" if messages else code)
        self.code = code
        self.more: Json = dict(more)
        if messages:
            self.more["response_metadata"] = {"messages": [f"[ERROR] {message}" for message in messages]}


class LimitedError(SlackError):
    """Too much at once: HTTP 429 with Retry-After."""

    def __init__(self, seconds: int) -> None:
        super().__init__("ratelimited")
        self.seconds = seconds


class PersonError(Exception):
    """What a person wants to do is not possible in Slack's client."""


@dataclass(eq=False)
class User:
    """A member of the workspace, a person or an app's bot user."""

    id: str
    name: str
    bot_id: str = ""


@dataclass(eq=False)
class App:
    """An app that is installed in the workspace; its bot user is `user`."""

    id: str
    user: User
    bot_token: str
    app_token: str
    signing_secret: str
    scopes: set[str]
    commands: tuple[str, ...]
    shortcuts: tuple[str, ...]
    verification_token: str = "legacy-verification-token"
    escapes_commands: bool = False
    """Whether mentions in the text of a slash command arrive as entities (a setting of the command)."""
    request_url: str | None = None
    """Where its payloads are posted; None is Socket Mode."""
    revoked: bool = False
    installed: bool = True
    sent_requests: int = 0

    @property
    def bot_id(self) -> str:
        return self.user.bot_id

    @property
    def user_id(self) -> str:
        return self.user.id


@dataclass(eq=False)
class File:
    """A file, from the moment that its upload URL was asked for."""

    id: str
    name: str
    length: int
    owner: str
    created: float
    title: str = ""
    data: bytes | None = None
    complete: bool = False
    channels: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Message:
    """A message as Slack holds it: its text is escaped, its blocks are as they were sent."""

    ts: str
    channel: str
    user: str
    text: str = ""
    bot_id: str = ""
    app_id: str = ""
    thread_ts: str | None = None
    blocks: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    metadata: Json | None = None
    shared: list[File] = field(default_factory=list)
    edited: str = ""
    """When it was last changed so that "(edited)" is shown; empty if never."""
    versions: int = 1
    broadcast: bool = False
    ephemeral_to: str = ""
    """Who alone sees it; it is in no history."""
    streaming: str = ""
    """"" for an ordinary message, "streaming" while it is written, "stopped" once it is complete."""
    stream_began: float = 0.0
    streamed: str = ""
    """A stream's text as it came, piece by piece: a mention may come in two of them."""
    chunks: list[Json] = field(default_factory=list)
    """What a stream was given besides text: task_update, plan_update, blocks."""
    tombstone: bool = False
    """Deleted, but kept as the head of its thread."""
    subtype: str = ""
    client_msg_id: str = ""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    pings: set[str] = field(default_factory=set)
    """Whom it has notified in any version: "channel", "here", "everyone", "U...", "S...", "@name"."""

    @property
    def files(self) -> list[tuple[str, bytes]]:
        return [(file.name, file.data or b"") for file in self.shared]

    @property
    def is_reply(self) -> bool:
        return self.thread_ts is not None and self.thread_ts != self.ts


@dataclass(eq=False)
class Channel:
    """A channel (C...) or a direct message (D...)."""

    id: str
    name: str
    members: list[str]
    created: int
    private: bool = False
    im: bool = False
    archived: bool = False
    deleted: bool = False
    creator: str = ""
    topic: str = ""
    messages: dict[str, Message] = field(default_factory=dict)
    """By ts, oldest first; no ephemeral ones."""
    ephemerals: list[Message] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return "im" if self.im else "group" if self.private else "channel"

    @property
    def family(self) -> str:
        """The first half of the scopes that its methods need."""
        return "im" if self.im else "groups" if self.private else "channels"

    def replies(self, root: str) -> list[Message]:
        return [one for one in self.messages.values() if one.is_reply and one.thread_ts == root]


@dataclass(eq=False)
class View:
    """A modal or a home tab."""

    id: str
    app: App
    user: str
    content: Json
    """What the app has sent: type, title, blocks, ..."""
    hash: str
    closed: bool = False
    previous: "View | None" = None


@dataclass(eq=False)
class Interaction:
    """Something that a person did with an app: a command, a click, a shortcut, a submission."""

    kind: str
    user: str
    channel: str
    trigger_id: str
    triggered: float
    app: App
    message: Message | None = None
    acked_after: float | None = None
    failed: bool = False
    """Not acknowledged in time, or nobody was there: the person has been shown an error."""
    responses: list[Json] = field(default_factory=list)
    """The acknowledgement's payload, if any, and what was sent to the response_url."""
    view: View | None = None
    """The modal that was opened by it; for a submission what the person sees then, None if all is closed."""
    errors: dict[str, str] = field(default_factory=dict)
    """A submission's errors by block_id."""
    exchanged: bool = False
    """Whether its trigger_id has been used."""
    url_uses: int = 0
    payload: Json = field(default_factory=dict)
    message_thread: str | None = None

    @property
    def acked(self) -> bool:
        return self.acked_after is not None


@dataclass(eq=False)
class Event:
    """One Events API event for one app; the id stays the same however often it is delivered."""

    id: str
    app: App
    payload: Json
    attempts: int = 0
    """How often it was tried; an attempt without an open socket counts."""
    under_way: bool = False
    """Whether an acknowledgement is awaited just now."""
    acked: bool = False
    lost: bool = False
    """Nobody will get it any more."""
    reached: int = 0
    """How often it went over a socket, or to the request URL."""

    @property
    def event(self) -> Json:
        inner: Json = self.payload["event"]
        return inner

    @property
    def type(self) -> str:
        return str(self.event["type"])


@dataclass(eq=False)
class Request:
    """A call that came in."""

    method: str
    args: Json
    at: float
    """By the server's clock."""
    status: int | None = None
    """None while it is answered, and where the connection was cut instead."""
    error: str = ""
    fault: str = ""
    app: str = ""
