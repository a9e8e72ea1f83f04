"""What the chat shows over itself: an attached file, and help."""

from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Click
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from bots.terminal import painting
from bots.terminal.answers import harmless

HELP = """\
Enter            say it, where the title is lit: channel or thread
Ctrl+J           a new line; \\ and Enter does it, too
Tab              complete a command or an id
Tab, arrows      on an empty line: on to buttons, files, threads
Up, Down         what you said before
Alt+1 … Alt+9    press a button that shows the number
Ctrl+O           open the newest thread; Escape closes it
Ctrl+T           speak in the channel or in the thread
Ctrl+N, Ctrl+P   next, previous channel
PgUp, PgDn       scroll
/join NAME       go to a channel, also to a new one
/attach PATH …   send a file, with words behind it or without
Ctrl+Q           leave (Ctrl+D too); the daemon and its agents go on

The mouse works too: click titles, messages, buttons, files, keys.
Say `help` for the commands of agent-queue."""

_DIFF_ENDINGS = (".diff", ".patch")


class _Overlay(ModalScreen[None]):
    DEFAULT_CSS = """
    _Overlay { align: center middle; }
    _Overlay > .box { width: 92%; max-width: 120; height: auto; max-height: 90%; border: round $primary; padding: 0 1; }
    _Overlay .title { text-style: bold; height: 1; }
    _Overlay .keys { color: $text-muted; height: 1; }
    _Overlay FileLines { height: 1fr; }
    _Overlay > .tall { height: 90%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1", "leave", "close", show=False)]

    def action_leave(self) -> None:
        """Back to the chat."""
        self.dismiss()

    def on_click(self, event: Click) -> None:
        """A click beside it closes it."""
        if event.widget is self:
            self.dismiss()


class HelpScreen(_Overlay):
    """The keys."""

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll(classes="box"):
            yield Static("Keys", classes="title", markup=False)
            yield Static(painting.plain(HELP), markup=False)
            yield Static("Escape closes", classes="keys", markup=False)


class FileScreen(_Overlay):
    """An attached file, a diff in its colours."""

    def __init__(self, name: str, content: str) -> None:
        super().__init__()
        self._file_name = harmless(name).replace("\n", " ")
        self._text = content

    def compose(self) -> ComposeResult:
        """The file under its name."""
        with Vertical(classes="box tall"):
            yield Static(painting.plain(self._file_name), classes="title", markup=False)
            yield FileLines(self._text, colours=self._file_name.endswith(_DIFF_ENDINGS))
            yield Static("Escape closes · arrows and PgUp/PgDn scroll", classes="keys", markup=False)

    def on_mount(self) -> None:
        """Scroll keys belong to the file."""
        self.query_one(FileLines).focus()


class FileLines(ScrollView, can_focus=True):
    """The lines of a text; only those in sight are drawn."""

    def __init__(self, text: str, *, colours: bool) -> None:
        super().__init__()
        self._lines = harmless(text).rstrip("\n").split("\n")
        self._colours = colours
        longest = max(map(len, self._lines))
        self.virtual_size = Size(2 * longest if not text.isascii() else longest, len(self._lines))

    def render_line(self, y: int) -> Strip:
        """One line of the part in sight."""
        left, top = self.scroll_offset
        style = self.rich_style
        number = top + y
        if number >= len(self._lines):
            return Strip.blank(self.size.width, style)
        line = self._lines[number]
        if self._colours and (colour := painting.diff_style(line)):
            style += self.app.stylesheet.parse_style(colour).rich_style
        strip = Strip([Segment(line, style)])
        return strip.crop_extend(left, left + self.size.width, self.rich_style)
