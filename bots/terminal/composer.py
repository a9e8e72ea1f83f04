"""The input line: several lines if need be, with history and completion."""

from collections.abc import Sequence

from textual.events import Key, Paste
from textual.message import Message as Event
from textual.widgets import OptionList, TextArea
from textual.widgets.option_list import Option

from bots.terminal import painting
from bots.terminal.answers import harmless
from bots.terminal.history import History

_NEW_LINE = frozenset({"ctrl+j", "alt+enter", "shift+enter"})


class Choices(OptionList, can_focus=False):
    """The small popup over the input line, with the words that fit."""

    DEFAULT_CSS = """
    Choices { height: auto; max-height: 8; display: none; border: none; background: $surface; padding: 0 1; }
    Choices.open { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.words: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether it is to be chosen from."""
        return self.has_class("open")

    def offer(self, words: Sequence[str]) -> None:
        """Show *words*; none closes it."""
        self.words = list(words)
        self.clear_options()
        self.add_options([Option(painting.plain(word)) for word in self.words])
        self.set_class(bool(words), "open")
        self.highlighted = 0 if words else None


class Composer(TextArea):
    """Enter says it; ctrl+j, or a backslash and Enter, begins a new line.

    Up and down leaf through the history; Tab completes.
    """

    DEFAULT_CSS = """
    Composer { height: auto; max-height: 8; border: none; padding: 0; background: $background; }
    Composer:focus { border: none; }
    """

    class Said(Event):
        """The person has said something."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Unfinished(Event):
        """The person asks what may follow."""

        def __init__(self, line: str) -> None:
            super().__init__()
            self.line = line

    def __init__(self, choices: Choices, history: History, text: str = "") -> None:
        super().__init__(
            text,
            id="composer",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Say something; Tab completes, F1 helps",
        )
        self.cursor_blink = False  # nothing is sent over a slow line while nothing happens
        self._choices = choices
        self._history = history
        self._start = 0

    def put(self, text: str) -> None:
        """Replace what is there, with the cursor behind it."""
        self.load_text(text)
        self.move_cursor(self.document.end)

    def offer(self, line: str, start: int, words: Sequence[str]) -> None:
        """Complete *line* from *start*: at once if only one word fits, else by choice."""
        if line != self.text or not words:
            self._choices.offer([])
            return
        self._start = start
        if len(words) == 1:
            self._take(words[0])
            return
        typed = self.text[start:]
        common = _common(words)
        if len(common) > len(typed):
            self.put(self.text[:start] + common)
        self._choices.offer(words)

    def choose(self, number: int) -> None:
        """Take a word of the popup."""
        self._take(self._choices.words[number])

    def _take(self, word: str) -> None:
        self.put(self.text[: self._start] + word + ("" if word.endswith((":", "=")) else " "))
        self._choices.offer([])

    async def _on_key(self, event: Key) -> None:
        if event.key in _NEW_LINE:
            self.insert("\n")
        elif event.key in ("enter", "tab") and self._choices.is_open:
            self.choose(self._choices.highlighted or 0)
        elif event.key == "enter" and self.text.endswith("\\"):
            self.put(self.text.removesuffix("\\") + "\n")
        elif event.key == "enter":
            self._say()
        elif event.key == "tab":
            self.post_message(self.Unfinished(self.text))
        elif event.key == "ctrl+d" and not self.text:
            self.post_message(self.Said("/quit"))
        elif event.key == "escape" and self._choices.is_open:
            self._choices.offer([])
        else:
            if self._choices.is_open and (event.is_printable or event.key == "backspace"):
                self._choices.offer([])
            return  # the text area's own keys
        event.stop()
        event.prevent_default()

    async def _on_paste(self, event: Paste) -> None:
        event.text = harmless(event.text.replace("\r\n", "\n").replace("\r", "\n"))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to complete or to choose."""
        return not self.text.strip() and not self._choices.is_open

    def _say(self) -> None:
        text = self.text.strip("\n")
        if text.strip():
            self._history.add(text)
            self.put("")
            self.post_message(self.Said(text))

    def action_cursor_up(self, select: bool = False) -> None:
        """Up in the popup, in the text, or in the history."""
        if self._choices.is_open:
            self._choices.action_cursor_up()
        elif select or not self.cursor_at_first_line:
            super().action_cursor_up(select)
        elif (line := self._history.older(self.text)) is not None:
            self.put(line)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down in the popup, in the text, or in the history."""
        if self._choices.is_open:
            self._choices.action_cursor_down()
        elif select or not self.cursor_at_last_line:
            super().action_cursor_down(select)
        elif (line := self._history.newer()) is not None:
            self.put(line)


def _common(words: Sequence[str]) -> str:
    """What all *words* begin with."""
    length = 0
    for chars in zip(*words, strict=False):
        if len(set(chars)) > 1:
            break
        length += 1
    return words[0][:length]
