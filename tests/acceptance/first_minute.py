"""The first minute of the demo in a real terminal: driven in tmux as `docs/first-minute.txt` says.

The log holds what is pressed (`> Enter`), what is then to be seen (`< Approve`), and the screen as it was recorded
(lines that begin with `|`). `make record` plays it and writes the log anew with the screens of today.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_queue.pages import ROOT

LOG = ROOT / "docs" / "first-minute.txt"
SIZE = (110, 30)
PATIENCE = 60.0
HEAD = """\
# The first minute of `make run`, recorded from the real program: `>` is pressed, `<` is then to be seen, and the
# screen follows, with the seconds since the start. `make record` writes this file; a test replays it.
"""


class Terminal:
    """A terminal with the demo in it."""

    def __init__(self, server: str, home: Path) -> None:
        self._tmux = ("tmux", "-u", "-L", server, "-f", "/dev/null")
        # Nothing else: a COLUMNS that somebody exported would count more than the terminal's own size.
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }

    def run(self, *words: str) -> str:
        """Run a tmux command."""
        return subprocess.run(
            [*self._tmux, *words], check=True, capture_output=True, text=True, env=self._env
        ).stdout

    def screen(self) -> str:
        """What is on the screen."""
        return self.run("capture-pane", "-p")

    def press(self, keys: str) -> None:
        """Press keys as fast as can be, by tmux's names of them."""
        self.run("send-keys", *keys.split())

    def see(self, words: str) -> str:
        """Wait until *words* are on the screen; AssertionError with the screen where they do not come."""
        end = time.monotonic() + PATIENCE
        while words not in (screen := self.screen()):
            assert time.monotonic() < end, f"{words!r} is not to be seen in {PATIENCE:g} s:\n{screen}"
            time.sleep(0.05)
        return screen


@contextmanager
def demo(folder: Path) -> Iterator[Terminal]:
    """The demo in *folder*, in a terminal; both end with us."""
    terminal = Terminal(
        f"first-minute-{os.getpid()}-{secrets.token_hex(3)}", folder
    )  # a server that ends takes no session
    program = [sys.executable, "-m", "agent_queue", "demo", "--folder", str(folder / "demo")]
    size = ("-x", str(SIZE[0]), "-y", str(SIZE[1]))
    ending = f"{' '.join(program)}; echo LEFT $?; cat"
    terminal.run("new-session", "-d", *size, ending)
    try:
        yield terminal
    finally:
        terminal.run("send-keys", "C-q")
        terminal.see("LEFT")
        terminal.run("kill-server")


def steps() -> list[tuple[str, str]]:
    """The log's steps: what is pressed, and what is to be seen."""
    lines = LOG.read_text().splitlines()
    return [(line[0], line[2:]) for line in lines if line[:2] in ("> ", "< ")]


def replay(terminal: Terminal) -> Iterator[tuple[str, str, str, float]]:
    """Take every step of the log; yields it with the screen after it and the seconds since the start."""
    begun = time.monotonic()
    for kind, what in steps():
        if kind == ">":
            terminal.press(what)
        screen = terminal.see(what) if kind == "<" else ""
        yield kind, what, screen, time.monotonic() - begun


def record() -> None:
    """Play the log, and write it anew."""
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder)) as terminal:
        for kind, what, screen, seconds in replay(terminal):
            parts.append(f"{kind} {what}\n")
            if screen:
                shown = "".join(f"| {line}".rstrip() + "\n" for line in screen.splitlines())
                parts.append(f"\n# after {seconds:.1f} s\n{shown}\n")
    LOG.write_text("".join(parts))


if __name__ == "__main__":
    if shutil.which("tmux") is None:
        sys.exit("recording needs tmux")
    record()
