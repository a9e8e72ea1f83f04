"""The chat seam: what a frontend must do, and the neutral messages it is given.

A send has three failures and no others: `Refused`, `Later` and `Unknown`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, Protocol

from orchestrator.projects import Role

Wire = Mapping[str, Any]
"""One message as a platform will get it: plain JSON, made by `Frontend.render`, stored before it is sent.

Two names in it mean the same everywhere. `attachment`: it is a file of the message before it, which stays when that
is edited. `reactions`: which stored action a reaction to the message stands for, by emoji.
"""


class Refused(Exception):
    """The platform will never take this message; the text says why."""


class Later(Exception):
    """The platform took nothing; try again after *seconds*. *everywhere*: nothing else goes until then either."""

    def __init__(self, seconds: float, reason: str = "", *, everywhere: bool = True) -> None:
        super().__init__(reason or f"try again in {seconds:g} s")
        self.seconds = seconds
        self.everywhere = everywhere


class Unknown(Exception):
    """The platform may or may not have taken the message."""


class Unusable(Exception):
    """A frontend cannot be started until a person has changed something; the text says what."""


class Lane(IntEnum):
    """How urgent a message is: lower goes first, and only PROGRESS may be merged with its neighbours."""

    URGENT = 0
    """Answers to commands, questions, approvals."""
    FINAL = 1
    """Results."""
    NOTICE = 2
    PROGRESS = 3


class Tone(StrEnum):
    """What a card's colour means."""

    INFO = "info"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Verdict(StrEnum):
    """How a command went; a shell's exit code follows from it."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A channel on a platform."""

    transport: str
    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a message goes: a channel, or a thread in it by the id of its root message."""

    channel: str
    root: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A button: a label over a stored command line. `id` is given when it is stored."""

    label: str
    line: str
    role: Role = Role.OPERATOR
    style: Tone = Tone.INFO
    form: tuple[str, ...] = ()
    """Arguments of the line that the person may fill in before it is run, where the platform has forms."""
    needs_form: bool = False
    """Of no use without the form, so that it is offered only where there are forms."""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One value that is asked for."""

    name: str
    """The argument's."""
    label: str
    value: str = ""
    """What stands there to begin with."""
    required: bool = False
    long: bool = False
    """It may have several lines."""
    max_length: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What is to be filled in before a button's line is run."""

    title: str
    fields: tuple[FormField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """How a thread is called, on the post that is its root's."""

    title: str
    open: bool = True
    """Whether anything is to be expected in it yet."""
    tone: Tone = Tone.INFO
    """How it stands, as a colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A titled summary with labelled values."""

    title: str
    tone: Tone = Tone.INFO
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to attach."""

    name: str
    content: str
    encoded: bool = False
    """The content is base64 of what is no text."""

    @property
    def raw(self) -> bytes:
        """The bytes of the file."""
        return base64.b64decode(self.content) if self.encoded else self.content.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A neutral message: Markdown that cannot mention anybody, and what hangs on it."""

    text: str = ""
    verbatim: bool = False
    """The text is program output, to be shown unformatted."""
    card: Card | None = None
    actions: tuple[Action, ...] = ()
    files: tuple[File, ...] = ()
    reply_to: str | None = None
    """The platform's id of the event that this answers."""
    verdict: Verdict | None = None
    reaction: str = ""
    """An emoji that says as much, on the message that is answered, where the platform has reactions."""
    quiet: bool = False
    """Progress, for which nobody's phone need ring."""
    heading: Heading | None = None
    """For a thread's root: what the thread is called from now on, where threads have names."""
    data: dict[str, Any] = field(default_factory=dict)
    """The answer for machines (`--json`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a frontend can show, and how fast; the latter may change as the platform makes itself known."""

    text_max: int
    """Longest text of one message, in characters."""
    parts_max: int = 3
    """A text that needs more messages than this is summarised, with the whole attached."""
    actions_max: int = 0
    forms: bool = False
    edits: bool = True
    files: bool = True
    reactions: bool = False
    """Whether we can react to what people say."""
    settle_after: float = 15.0
    """Seconds after a send whose answer was lost until reading back is conclusive."""
    rate: float = 50.0
    """Messages a second, over all lanes."""
    burst: int = 10
    """Messages that may go at once after a pause."""
    per_channel: bool = False
    """Rate and burst hold for each channel by itself, its threads included."""
    reserve: float = 0.25
    """Share of the burst that is kept for answers and results."""
    stream_interval: float = 1.0
    """Seconds between two progress messages in one thread."""
    stream_interval_max: float = 0.0
    """Seconds up to which that grows while a thread has nothing but progress."""


class InboundKind(StrEnum):
    """What a person did."""

    MESSAGE = "message"
    ACTION = "action"
    """Pressed a button."""
    REACTION = "reaction"
    """Reacted to the message `subject` with the emoji `text`."""
    EDIT = "edit"
    """Changed what their message `subject` says into `text`."""
    WITHDRAWAL = "withdrawal"
    """Took back the message `subject`, or had it taken back."""
    UNREADABLE = "unreadable"
    """Said something that we cannot read; `text` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A file that a person has sent."""

    name: str
    source: str
    """Where it is, in the platform's own terms: for `Frontend.fetch`."""
    size: int | None = None
    """In bytes, where the platform tells it beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """An event from a platform, under the platform's own id."""

    event_id: str
    place: Place
    account: str
    """The sender's id on the platform."""
    name: str
    """The sender's name, for people to read."""
    text: str = ""
    """A message's text without the sigil or mention that addressed us."""
    addressed: bool = True
    """Whether the text was addressed to us, by sigil, mention or direct chat."""
    root: str | None = None
    """The thread that it was said in."""
    kind: InboundKind = InboundKind.MESSAGE
    action: str = ""
    """For ACTION: the id of the stored action."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """For ACTION: what was filled in its form."""
    subject: str = ""
    """For REACTION, EDIT and WITHDRAWAL: the platform's id of the message meant; for ACTION: of what it stood on."""
    files: tuple[Sent, ...] = ()
    """What was sent with a message."""
    message: str = ""
    """What `Frontend.react` knows it by, where it can be reacted to."""


class Watermark(NamedTuple):
    """How far a frontend has read in one scope, in the platform's own terms."""

    transport: str
    scope: str
    value: str


class Intake(Protocol):
    """What a frontend hands events to. Returns only when the event is stored; acknowledge it after that."""

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        """Store *events*, and *watermark* with them. False if all were known already."""

    async def watermark(self, transport: str, scope: str) -> str | None:
        """The stored watermark, from which to catch up."""

    async def complete(self, event: Inbound) -> Sequence[str]:
        """Completions of the unfinished line in *event* (which is not stored)."""

    async def knows(self, transport: str, account: str) -> bool:
        """Whether *account* is a known person's."""

    async def form(self, action: str) -> Form | None:
        """What is to be asked before the stored *action* is run; None where it is run as it is."""

    async def look(self, event: Inbound) -> Post:
        """The answer to a command that only looks, for the account in *event* (which is not stored)."""

    async def tell(self, transport: str, words: str) -> None:
        """Tell the operators, on every frontend, what is amiss with one; the same words once a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that `doctor` says: how one thing stands, and the way out where it stands badly."""

    good: bool
    text: str


class Frontend(Protocol):
    """One chat platform. Rendering is pure; only `Refused`, `Later` and `Unknown` leave its sends."""

    name: str
    home: str
    """The channel for what belongs to no bound project."""

    def capabilities(self) -> Capabilities:
        """What the platform can show."""

    def findings(self) -> Sequence[Finding]:
        """How the connection stands, for `doctor`."""

    def channel(self, words: str) -> str:
        """The id of the channel that a person's *words* name, or a UserError that says why there is none."""

    def repeatable(self, sent_at: float) -> bool:
        """Whether a send made at *sent_at* (Unix seconds) may be repeated under its key without a second effect."""

    def render(self, post: Post) -> Sequence[Wire]:
        """Cut and escape *post* into messages of the platform. Pure."""

    async def make_channel(self, name: str, topic: str, account: str) -> str:
        """A channel called *name* for a project, made unless we made it before, with *account* in it; returns its id.

        UserError where that cannot be.
        """

    async def start(self, intake: Intake) -> None:
        """Connect and catch up; return when ready. Raises where the platform cannot be reached: `Unusable` where
        trying again is of no use."""

    async def closed(self) -> None:
        """Return when a started frontend has lost its platform and must be started again."""

    async def close(self) -> None:
        """Stop taking events and disconnect. Harmless when not started."""

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Send one message under the idempotency *key*; return its id."""

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Post a root message and open its thread; return the root's id."""

    async def edit(self, to: Target, message: str, wire: Wire, key: str) -> None:
        """Replace what *message* says, its card and its buttons; its files stay."""

    async def delete(self, to: Target, message: str) -> None:
        """Remove *message*; harmless when it is gone."""

    async def react(self, to: Target, message: str, emoji: str, key: str) -> None:
        """React with *emoji* to a person's message, by its `Inbound.message`; harmless where that is done or gone."""

    async def fetch(self, source: str, limit: int) -> bytes:
        """The content of a file that a person has sent. Refused where it is gone or has more than *limit* bytes."""

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> Sequence[str]:
        """The ids of the messages sent under *key*, not before *since* (Unix seconds, by our clock), oldest first.
        Raises `Unknown` if it cannot tell.

        Where a platform keeps no keys, those of ours that show what *wire* does: of them, what is known to be another
        message is left out by who asks.
        """
