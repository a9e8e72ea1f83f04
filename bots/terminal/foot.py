"""The last line of the chat: whether the daemon is there, and the keys."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Footer, Static

from bots.terminal import painting
from bots.terminal.client import ChatClient


class Foot(Horizontal):
    """The keys can be clicked; they make room for what is wrong."""

    DEFAULT_CSS = """
    Foot { height: 1; background: $surface; }
    Foot Footer { dock: none; width: 1fr; background: $surface; }
    Foot #state { width: auto; height: 1; padding: 0 1; color: $text-success; }
    Foot.away #state { width: 1fr; background: $error; color: $text; text-style: bold; }
    Foot.away #state { text-wrap: nowrap; text-overflow: ellipsis; }
    Foot.away Footer { display: none; }
    """

    def __init__(self, you: str) -> None:
        super().__init__()
        self._you = you
        self._state = Static(id="state", markup=False)

    def compose(self) -> ComposeResult:
        """State and keys."""
        yield self._state
        yield Footer(compact=True, show_command_palette=False)

    def show(self, client: ChatClient, unsent: int) -> None:
        """Whether we are connected, and what waits to be sent."""
        self.set_class(not client.connected, "away")
        waiting = f"{unsent} waiting to be sent · " if unsent else ""
        away = f"○ reconnecting… {waiting}{client.trouble}"
        self._state.update(painting.plain(f"● {self._you}" if client.connected else away))
