"""The list of channels, with what is unread in each."""

from collections.abc import Mapping

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from bots.terminal import painting


class Channels(OptionList):
    """Choose one by click, or by arrows and Enter."""

    DEFAULT_CSS = """
    Channels { width: 18; height: 1fr; border: none; padding: 0; background: $surface; scrollbar-size: 1 1; }
    Channels:focus { border: none; }
    """

    def __init__(self) -> None:
        super().__init__(id="channels", markup=False)
        self.names: list[str] = []

    def show(self, unread: Mapping[str, int], here: str) -> None:
        """Show the channels of *unread*; the person is in *here*."""
        prompts = [_line(name, count) for name, count in unread.items()]
        if self.names == list(unread):
            for number, prompt in enumerate(prompts):
                self.replace_option_prompt_at_index(number, prompt)
        else:
            self.names = list(unread)
            self.clear_options()
            self.add_options([Option(prompt) for prompt in prompts])
        with self.prevent(OptionList.OptionHighlighted):
            self.highlighted = self.names.index(here)


def label(channel: str) -> str:
    """A channel's name as people read it."""
    return channel if channel.startswith("~") else f"#{channel}"


def news(unread: Mapping[str, int]) -> Content:
    """The channels with something unread, in one line."""
    found = [f"{label(name)} {count}" for name, count in unread.items() if count]
    return painting.plain("".join(f"  {one}" for one in found), "$text-warning")


def _line(name: str, unread: int) -> Content:
    if not unread:
        return painting.plain(f" {label(name)}")
    return painting.plain(f" {label(name)}", "bold") + painting.plain(f" {unread}", "bold $text-warning")
