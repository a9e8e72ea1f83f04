"""What a picture of a chat shows: messages made of paragraphs, output, lists, cards, buttons and files.

It is neutral: whatever platform a message was read from, it is drawn from these and nothing else.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of one style. A line break in them is one in the picture."""

    text: str
    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False
    link: bool = False


class Size(StrEnum):
    """How large words are."""

    SMALL = "small"
    TEXT = "text"
    TITLE = "title"


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph."""

    runs: tuple[Run, ...]
    size: Size = Size.TEXT


@dataclass(frozen=True, slots=True)
class Output:
    """What is shown as it was printed."""

    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list; no mark where it goes on with the item before it."""

    mark: str
    runs: tuple[Run, ...]
    level: int = 0


@dataclass(frozen=True, slots=True)
class Quote:
    """A paragraph of somebody else's words."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A labelled value; *inline* ones stand beside one another."""

    name: str
    value: tuple[Run, ...]
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """The labelled values of a card, each with its label above it."""

    fields: tuple[Field, ...]


class Kind(StrEnum):
    """What pressing a button means, by its colour."""

    PLAIN = "plain"
    MAIN = "main"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Button:
    """Something to press."""

    label: str
    kind: Kind = Kind.PLAIN


@dataclass(frozen=True, slots=True)
class Buttons:
    """A row of buttons."""

    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True)
class Reactions:
    """Emojis under a message, to be clicked."""

    emojis: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attached:
    """A file."""

    name: str
    note: str


Simple = Words | Output | Item | Quote | Fields
"""What may stand in a card."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A card with a bar of its colour, such as `#3ba55d`."""

    colour: str
    blocks: tuple[Simple, ...]


Block = Simple | Framed | Buttons | Reactions | Attached


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    blocks: tuple[Block, ...]
    silent: bool = False
    """It rings nobody's phone."""
    thread: str = ""
    """What the thread under it is called, where threads have names."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is said at one time, and when that is."""

    when: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Chat:
    """A whole picture: a message in a channel, and what is said in its thread."""

    platform: str
    channel: str
    root: Moment
    thread: tuple[Moment, ...]
