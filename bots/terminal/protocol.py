"""The terminal chat's protocol: JSON objects, one a line, UTF-8, over a Unix socket.

The person is the peer's user on this host; there is no log-in. The client speaks first::

    client                                       server
    hello {since?, back?, quiet?}             -> welcome {you, private, channels, version, home, seq, last}
                                              -> line {...} ...          (what was said since, then live)
    piece {id, file, at, data}                -> ack {id, stored} | error {id, message}
    say   {id, channel, root?, text, files?}  -> ack | error
    act   {id, channel, root?, action}        -> ack | error             (a button was pressed)
    do    {id, line, files?}                  -> ack | error             (say, in the private channel)
    complete {id, channel, root?, line}       -> completions {id, words, start}
    thread   {id, channel, root?}             -> line {..., reply: id} ..., loaded {id}

`since` is the `seq` of the last line that the client has; without it the last `back` lines are sent.
`quiet` asks for the lines of the private channel only. `thread` without a root loads a channel's own lines.

`id` is 32 hexadecimal digits, made by the client. Of `say`, `act` and `do` it is also the event's id in the
inbox, the line's id in the transcript, and the `reply_to` of the answer: repeating one that was not
acknowledged has no second effect. `ack` is sent once the event is stored; `stored` is false for a repetition.

`piece` is a part of a file that is to be sent: `data`, in base64, belongs at the byte `at` of the file whose id the
client has made. `files` [{file, name}] are files whose pieces have all been acknowledged.

A `line` is a message, an edit of one (`content.edits` is its id), a deletion (`content.deletes`) or a reaction
(`content.reacts` is the message's id, `content.emoji` what it bears from now on). `seq` grows; live lines come once
each and in order. `content` holds, where they are not empty: `text`, `verbatim`, `card` {title, tone, fields},
`actions` [{id, label, line, style}], `files` [{name, content}], `reply_to`, `verdict`, `data`, `part` and `parts`
(1-based, of a message cut in pieces), `thread` (its title: a thread hangs on it), `person` (true: a person's own
words).
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

TEXT_MAX = 100_000
"""Longest text that a person may say at once, in characters."""
REQUEST_MAX = 1_000_000
"""Longest line from a client, in bytes."""
REPLY_MAX = 32_000_000
"""Longest line from the server, in bytes."""
CHANNEL_PATTERN = r"^[\w][\w.-]{0,63}$"
"""A channel's name; a person's private one is `~` and the user's name instead."""
ID_PATTERN = r"^[0-9a-f]{32}$"
PIECE = 300_000
"""Most bytes of a file that a client sends at once."""
FILE_MAX = 100_000_000
"""Most bytes of a file; the daemon may take less (`delivery.file_max_mb`)."""

_ROOT_MAX = 128
_CHANNEL = re.compile(CHANNEL_PATTERN)

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Channel = Annotated[str, Field(min_length=1, max_length=256)]
Root = Annotated[str, Field(min_length=1, max_length=_ROOT_MAX)]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]


def private_channel(user: str) -> str:
    """The channel that only *user* sees."""
    return f"~{user}"


def may_use(user: str, channel: str) -> bool:
    """Whether *user* may speak and read in *channel*."""
    return channel == private_channel(user) or bool(_CHANNEL.match(channel))


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hello(_Request):
    """The first line of a connection: from where on the client wants to hear."""

    type: Literal["hello"] = "hello"
    since: Annotated[int, Field(ge=0)] | None = None
    back: Annotated[int, Field(ge=0, le=5000)] = 0
    quiet: bool = False


class Piece(_Request):
    """A part of a file: what belongs at the byte *at*."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    type: Literal["piece"] = "piece"
    id: Id
    file: Id
    at: Annotated[int, Field(ge=0, le=FILE_MAX)]
    data: Annotated[bytes, Field(max_length=PIECE)]


class Named(_Request):
    """A file that was sent in pieces, and what it is called."""

    file: Id
    name: Annotated[str, Field(min_length=1, max_length=255)]


Files = Annotated[tuple[Named, ...], Field(max_length=20)]


class Say(_Request):
    """A person's words in a channel, or in the thread under *root*; with files, there may be none."""

    type: Literal["say"] = "say"
    id: Id
    channel: Channel
    root: Root | None = None
    text: Annotated[str, Field(max_length=TEXT_MAX)]
    files: Files = ()


class Act(_Request):
    """A person presses a button of a message in that place."""

    type: Literal["act"] = "act"
    id: Id
    channel: Channel
    root: Root | None = None
    action: Annotated[str, Field(min_length=1, max_length=128)]


class Do(_Request):
    """A command in the person's private channel."""

    type: Literal["do"] = "do"
    id: Id
    line: Text
    files: Files = ()


class Complete(_Request):
    """What could follow in this unfinished line?"""

    type: Literal["complete"] = "complete"
    id: Id
    channel: Channel
    root: Root | None = None
    line: Annotated[str, Field(max_length=TEXT_MAX)]


class LoadThread(_Request):
    """The latest lines of a thread, or of a channel itself."""

    type: Literal["thread"] = "thread"
    id: Id
    channel: Channel
    root: Root | None = None


Request = Hello | Piece | Say | Act | Do | Complete | LoadThread
REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Welcome(_Reply):
    """Who the daemon takes us for, and what there is."""

    type: Literal["welcome"] = "welcome"
    you: str
    private: str
    channels: list[str]
    version: str
    home: str
    seq: int
    """The line after which those begin that follow."""
    last: int
    """The latest line there is: what follows it is news."""


class Line(_Reply):
    """Something said, changed or removed. *at* is in seconds since 1970."""

    type: Literal["line"] = "line"
    seq: int
    id: str
    channel: str
    root: str | None = None
    author: str
    at: float
    content: dict[str, Any]
    reply: str = ""


class Ack(_Reply):
    """The event is stored."""

    type: Literal["ack"] = "ack"
    id: str
    stored: bool


class Completions(_Reply):
    """Words that may stand from *start* to the end of the line."""

    type: Literal["completions"] = "completions"
    id: str
    words: list[str]
    start: int


class Loaded(_Reply):
    """All lines of a thread have been sent."""

    type: Literal["loaded"] = "loaded"
    id: str


class Problem(_Reply):
    """A request was refused; without an id the connection is."""

    type: Literal["error"] = "error"
    id: str = ""
    message: str


Reply = Welcome | Line | Ack | Completions | Loaded | Problem
REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="type")])


ANY_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def encode(frame: Request | Reply) -> bytes:
    """One line of the protocol."""
    return frame.model_dump_json(exclude_none=True).encode() + b"\n"
