"""One message on the screen: who and when, its words, its card, its buttons, its files, its thread."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.message import Message as Event
from textual.widget import Widget
from textual.widgets import Button, Static
from textual.widgets.button import ButtonVariant

from bots.terminal import painting
from bots.terminal.answers import as_left, harmless
from bots.terminal.conversation import Message
from bots.terminal.flow import Flow

_VARIANTS: Mapping[str, ButtonVariant] = {"good": "success", "warn": "warning", "bad": "error"}
_JOINED_MAX = 200
"""Lines of program output that are joined into one block."""
_SAME_BREATH = 120.0
"""Seconds within which the next message of the same author needs no new head line."""


_WALK: list[BindingType] = [
    Binding("right,down", "app.focus_next", "next", show=False),
    Binding("left,up", "app.focus_previous", "previous", show=False),
]


class ActionButton(Button):
    """A button over a stored command."""

    BINDINGS: ClassVar[list[BindingType]] = _WALK

    def __init__(self, message: Message, action: Mapping[str, Any]) -> None:
        self.message = message
        self.action_id = str(action["id"])
        self._words = harmless(str(action["label"])).replace("\n", " ")
        super().__init__(self._label(None), variant=_VARIANTS.get(str(action.get("style")), "primary"))
        self.compact = True

    def number(self, number: int | None) -> None:
        """Show the key that presses it, or none."""
        self.label = self._label(number)

    def _label(self, number: int | None) -> Content:
        """As wide with a number as without, so that nothing moves."""
        return Content(f"{number or ' '} {self._words}")


class Chip(Static, can_focus=True):
    """A line of a message that opens something, by Enter or click."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "open", "open", show=False), *_WALK]

    def __init__(self, text: str, opens: Callable[[], Event]) -> None:
        super().__init__(painting.plain(text), markup=False)
        self._opens = opens

    def action_open(self) -> None:
        """Ask the app to open what stands behind the chip."""
        self.post_message(self._opens())

    def on_click(self, event: Click) -> None:
        """Like Enter."""
        event.stop()
        self.action_open()


class OpenThread(Event):
    """The person wants to see the thread of this message."""

    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message


class OpenFile(Event):
    """The person wants to see an attached file."""

    def __init__(self, name: str, content: str) -> None:
        super().__init__()
        self.name = name
        self.content = content


class MessageView(Static):
    """A message, or a stretch of program output that came as several.

    Mere words are drawn by the view itself, as every widget costs time whenever anything is laid out; only
    what has more to it has children.
    """

    DEFAULT_CSS = """
    MessageView { height: auto; width: 1fr; padding: 0 1 0 1; }
    MessageView.spaced { margin-top: 1; }
    MessageView > * { height: auto; }
    MessageView.output, MessageView .output { color: $text-muted; }
    MessageView.output { border-left: vkey $surface-lighten-2; }
    MessageView .card { border-left: thick $primary; background: $surface; padding: 0 1; }
    MessageView .card.good { border-left: thick $success; }
    MessageView .card.warn { border-left: thick $warning; }
    MessageView .card.bad { border-left: thick $error; }
    MessageView.failed { border-left: thick $error; }
    MessageView.refused { border-left: thick $warning; }
    MessageView ActionButton { margin: 0 1 0 0; min-width: 8; }
    MessageView Chip { color: $text-accent; width: auto; }
    MessageView Chip:focus { background: $accent; color: $text; text-style: bold; }
    MessageView Chip:hover { text-style: underline; }
    """

    def __init__(self, message: Message, before: Message | None) -> None:
        self.messages = [message]
        self.headed = before is None or _speaks_anew(before, message)
        super().__init__(self._alone(), markup=False)
        self.set_class(before is not None and (self.headed or _apart(before, message)), "spaced")
        self._classify()

    @property
    def message(self) -> Message:
        """The message, or the first of the stretch."""
        return self.messages[0]

    def joins(self, message: Message) -> bool:
        """Whether *message* goes on where this output ends."""
        last = self.messages[-1]
        if not (last.bare_output and message.bare_output and last.author == message.author):
            return False
        texts = (str(one.content.get("text", "")) for one in self.messages)
        return sum(text.rstrip("\n").count("\n") + 1 for text in texts) < _JOINED_MAX

    def join(self, message: Message) -> None:
        """Go on with *message*; paint() shows it."""
        self.messages.append(message)

    def drop(self, message: Message) -> bool:
        """Forget one message of the stretch; True where nothing is left."""
        self.messages = [one for one in self.messages if one is not message]
        return not self.messages

    def paint(self) -> None:
        """Show the messages as they are now."""
        self.update(self._alone())
        self._classify()
        if self.is_mounted and (self.children or self.message.has_more):
            self.refresh(recompose=True)

    def _classify(self) -> None:
        self.set_class(self.message.bare_output, "output")
        for verdict in ("failed", "refused"):
            self.set_class(self.message.content.get("verdict") == verdict, verdict)

    def compose(self) -> ComposeResult:
        """The parts of a message that is more than words."""
        message, content = self.message, self.message.content
        if not message.has_more:
            return
        if self.headed:
            yield Static(_head(message), markup=False)
        if content.get("card"):
            tone = str(content["card"].get("tone", "info"))
            classes = f"card {tone if tone in ('good', 'warn', 'bad') else ''}"
            yield Static(painting.card(content["card"]), classes=classes, markup=False)
        if content.get("text"):
            classes = "output" if content.get("verbatim") else ""
            yield Static(self._words(), classes=classes, markup=False)
        yield from self._extras(message)

    def _extras(self, message: Message) -> Iterator[Widget]:
        actions = message.content.get("actions", ())
        if actions:
            yield Flow(*(ActionButton(message, one) for one in actions))
        for file in message.content.get("files", ()):
            name, text = str(file["name"]), str(file["content"])
            lines = text.count("\n") + (not text.endswith("\n"))
            label = harmless(name).replace("\n", " ")
            yield Chip(f"▤ {label} · {_count(lines, 'line')}", partial(OpenFile, name, text))
        if message.thread:
            said = f" · {_count(message.replies, 'message')}" if message.replies else ""
            yield Chip(f"↳ {message.task}{said}", partial(OpenThread, message))

    def _alone(self) -> Content:
        """The whole of a message that is mere words; nothing where the children show it."""
        if self.message.has_more:
            return Content("")
        return _head(self.message) + Content("\n") + self._words() if self.headed else self._words()

    def _words(self) -> Content:
        if self.message.content.get("verbatim"):
            texts = (str(one.content.get("text", "")).rstrip("\n") for one in self.messages)
            return painting.plain(as_left("\n".join(texts)))
        text = str(self.message.content.get("text", ""))
        if not self.message.by_person:
            return painting.markdown(text)
        marks = harmless(" ".join(self.message.marks)).replace("\n", " ")
        return painting.plain(text) + painting.plain(f"  {marks}" if marks else "", painting.FAINT)

    def on_click(self, event: Click) -> None:
        """A click anywhere on a message opens its thread."""
        if self.message.thread:
            event.stop()
            self.post_message(OpenThread(self.message))


def _head(message: Message) -> Content:
    author = painting.plain(
        message.author, "bold $text-success" if message.by_person else "bold $text-primary"
    )
    at, now = time.localtime(message.at), time.localtime()
    when = "  %H:%M" if at[:3] == now[:3] else "  %d %b %H:%M"
    return author + painting.plain(time.strftime(when, at), painting.FAINT)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _speaks_anew(before: Message, message: Message) -> bool:
    same = before.author == message.author and before.by_person == message.by_person
    return not same or message.at - before.at > _SAME_BREATH


def _apart(before: Message, message: Message) -> bool:
    """Whether two messages of one author are so tall that they need air between them."""
    if before.bare_output and message.bare_output:
        return False
    return any(one.has_more or "\n" in str(one.content.get("text", "")).strip() for one in (before, message))
