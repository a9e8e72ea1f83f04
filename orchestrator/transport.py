"""The chat seam: what a frontend must do, and the neutral messages it is given.

A send has three failures and no others: `Refused`, `Later` and `Unknown`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from orchestrator.projects import Role

Wire = Mapping[str, Any]
"""One message as a platform will get it: plain JSON, made by `Frontend.render`, stored before it is sent."""


class Refused(Exception):
    """The platform will never take this message; the text says why."""


class Later(Exception):
    """The platform took nothing; try again after *seconds*."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"try again in {seconds:g} s")
        self.seconds = seconds


class Unknown(Exception):
    """The platform may or may not have taken the message."""


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
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A titled summary with labelled values."""

    title: str
    tone: Tone = Tone.INFO
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A text file to attach."""

    name: str
    content: str


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
    data: dict[str, Any] = field(default_factory=dict)
    """The answer for machines (`--json`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a frontend can show, and how fast."""

    text_max: int
    """Longest text of one message, in characters."""
    parts_max: int = 3
    """A text that needs more messages than this is summarised, with the whole attached."""
    actions_max: int = 0
    edits: bool = True
    files: bool = True
    idempotent: bool = False
    """A send repeated with its key has no second effect, however much later."""
    settle_after: float = 15.0
    """Seconds after a send whose answer was lost until reading back is conclusive."""
    rate: float = 50.0
    """Messages a second, over all lanes."""
    burst: int = 10
    stream_interval: float = 1.0
    """Seconds between two progress messages in one thread."""


class InboundKind(StrEnum):
    """What a person did."""

    MESSAGE = "message"
    ACTION = "action"


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


class Intake(Protocol):
    """What a frontend hands events to. Returns only when the event is stored; acknowledge it after that."""

    async def accept(self, event: Inbound, *, watermark: tuple[str, str] | None = None) -> bool:
        """Store *event*, and *watermark* (scope, value) with it. False if it was known already."""

    async def watermark(self, transport: str, scope: str) -> str | None:
        """The stored watermark, from which to catch up."""

    async def complete(self, event: Inbound) -> Sequence[str]:
        """Completions of the unfinished line in *event* (which is not stored)."""


class Frontend(Protocol):
    """One chat platform. Rendering is pure; only `Refused`, `Later` and `Unknown` leave its sends."""

    name: str
    home: str
    """The channel for what belongs to no bound project."""

    def capabilities(self) -> Capabilities:
        """What the platform can show."""

    def render(self, post: Post) -> Sequence[Wire]:
        """Cut and escape *post* into messages of the platform. Pure."""

    async def start(self, intake: Intake) -> None:
        """Connect and catch up; return when ready. Raises where the platform cannot be reached."""

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

    async def find(self, to: Target, key: str) -> Sequence[str]:
        """The ids of the messages sent under *key*, oldest first. Raises `Unknown` if it cannot tell."""
