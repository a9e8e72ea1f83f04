"""The full-screen chat, driven by its keys and clicks, against a real frontend on a real socket."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual._xterm_parser import XTermParser
from textual.events import Key, Paste
from textual.pilot import Pilot
from textual.widgets import OptionList, Static

from bots.terminal.app import run_chat
from bots.terminal.chat import ChatApp
from bots.terminal.client import ChatClient, new_id
from bots.terminal.composer import Choices, Composer
from bots.terminal.keys import teach_alt_numbers
from bots.terminal.messages import ActionButton, Chip, MessageView
from bots.terminal.pane import Pane
from bots.terminal.screens import FileLines, FileScreen, HelpScreen
from orchestrator.transport import Action, Card, File, InboundKind, Post, Target, Tone
from tests.contract.terminal_house import House, echo, open_house

DIFF = """\
diff --git a/login.py b/login.py
--- a/login.py
+++ b/login.py
@@ -1,2 +1,2 @@
-TIMEOUT = 3
+TIMEOUT = 30
"""
APPROVAL = Post(
    card=Card(
        title="Fix the login timeout",
        tone=Tone.WARN,
        fields=(
            ("branch", "swift-falcon/fix-the-login"),
            ("changes", "1 file, +1 −1"),
            ("tests", "42 passed"),
        ),
    ),
    actions=(
        Action(label="Approve", line="task approve swift-falcon", style=Tone.GOOD, id="a1"),
        Action(label="Reject", line="task reject swift-falcon", style=Tone.BAD, id="a2"),
        Action(label="Diff", line="task diff swift-falcon", id="a3"),
    ),
    files=(File(name="swift-falcon.diff", content=DIFF),),
)
_CHARACTERS = {"exclamation_mark": "!", "backslash": "\\"}


class Screen:
    """The running program and the hand at its keyboard."""

    def __init__(self, app: ChatApp, pilot: Pilot[None], house: House) -> None:
        self.app, self.pilot, self.house = app, pilot, house

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Let the program work until something holds."""
        for _ in range(500):
            if holds():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"never came: {what}\n{self.text()}")

    async def sees(self, text: str, pane: str = "") -> None:
        """Wait until *text* is on the screen (or in a pane, in sight or above)."""
        await self.until(lambda: text in self.text(pane), text)

    def text(self, pane: str = "") -> str:
        """What the program shows."""
        if pane:
            found = self.app.query_one(f"#{pane}", Pane).query(Static)
            return "\n".join(str(one.visual) for one in found)
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    async def types(self, text: str, *keys: str) -> None:
        """Paste *text*, as typing takes long, and press *keys*."""
        self.app.post_message(Paste(text))
        await self.pilot.pause()
        await self.press(*keys)

    async def press(self, *keys: str) -> None:
        """Press *keys*, each when the one before has had its effect."""
        for key in keys:
            self.app.post_message(Key(key, _CHARACTERS.get(key, key if len(key) == 1 else None)))
            await self.pilot.pause()

    @property
    def composer(self) -> Composer:
        return self.app.query_one(Composer)

    async def post(self, post: Post, root: str | None = None, key: str = "", channel: str = "main") -> str:
        """Say something as the relay would."""
        message = ""
        for wire in self.house.frontend.render(post):
            to = Target(channel=channel, root=root)
            message = await self.house.frontend.post(to, wire, key or new_id())
        return message

    async def thread(self, task: str = "swift-falcon", title: str = "Fix the login timeout") -> str:
        wire = self.house.frontend.render(Post(text=f"⏳ **{task}** {title}"))[0]
        return await self.house.frontend.open_thread("main", wire, f"root-{task}", f"{task}: {title}")


@asynccontextmanager
async def opened(
    path: Path, size: tuple[int, int] = (80, 24), prefill: str = "", hint: str = ""
) -> AsyncIterator[Screen]:
    async with open_house(path) as house:
        house.answer = echo
        async with ChatClient(house.socket) as client:
            app = ChatApp(client, prefill=prefill, hint=hint, state=path / "state")
            async with app.run_test(size=size, notifications=True) as pilot:
                yield Screen(app, pilot, house)
            client.on_state = None


async def test_words_are_said_and_answered_in_the_channel(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.types("status", "enter")
        await screen.sees("you said status")
        (event,) = screen.house.events.values()
        assert (event.text, event.place.channel, event.root) == ("status", "main", None)
        assert screen.composer.text == ""


async def test_what_is_typed_elsewhere_is_meant_for_the_input_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        screen.app.query_one("#channels").focus()
        await screen.press("h", "i")
        assert (screen.composer.text, screen.app.focused) == ("hi", screen.composer)


async def test_what_is_refused_is_given_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.types(f"{'x' * 999}\n" * 101, "enter")
        await screen.sees("characters;")
        assert len(screen.composer.text) == 100_999


async def test_a_file_is_attached_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    async with opened(tmp_path) as screen:
        await screen.types(f"/attach {tmp_path}/a.txt look", "enter")
        await screen.sees("📎 a.txt")
        (event,) = screen.house.events.values()
        assert (event.text, [one.name for one in event.files]) == ("look", ["a.txt"])
        await screen.types("/attach /none", "enter")
        await screen.sees("there is no file /none")
        assert screen.composer.text == "/attach /none"


async def test_what_became_of_words_is_shown_beside_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        screen.house.answer = None
        await screen.types("use tabs", "enter")
        await screen.sees("use tabs")
        (event,) = screen.house.events
        await screen.house.frontend.react(Target(channel="main"), event, "📨", "k1")
        await screen.house.frontend.react(Target(channel="main"), event, "👀", "k2")
        await screen.sees("use tabs  📨 👀")


async def test_a_prefilled_command_needs_only_enter(tmp_path: Path) -> None:
    async with opened(tmp_path, prefill="task add demo hello", hint="Press Enter [b]now[/b]") as screen:
        await screen.sees("Press Enter [b]now[/b]")
        await screen.press("exclamation_mark", "enter")
        await screen.sees("you said task add demo hello!")
        assert "Press Enter" not in screen.text()


async def test_a_line_of_several_lines_is_said_as_it_was_typed(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.press("a", "ctrl+j", "b", "backslash", "enter", "c", "enter")
        await screen.until(lambda: screen.house.events, "the event")
        assert [event.text for event in screen.house.events.values()] == ["a\nb\nc"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_thread_opens_by_click_and_speaks_to_the_agent(tmp_path: Path, size: tuple[int, int]) -> None:
    async with opened(tmp_path, size) as screen:
        root = await screen.thread()
        await screen.post(Post(text="working on it"), root)
        await screen.sees("↳ swift-falcon · 1")
        await screen.pilot.click(MessageView)
        await screen.sees("working on it", "thread")
        assert "⏳" in screen.text()
        assert screen.app.query_one("#middle").display is (size[0] > 100)
        await screen.types("use tabs", "enter")
        await screen.until(lambda: screen.house.events, "the words")
        (event,) = screen.house.events.values()
        assert (event.text, event.root) == ("use tabs", root)
        await screen.sees("you said use tabs", "thread")
        await screen.press("ctrl+t", *"status", "enter")
        await screen.sees("you said status", "main")
        await screen.press("escape")
        assert not screen.app.query_one("#beside").display


async def test_where_there_is_room_the_newest_thread_is_shown(tmp_path: Path) -> None:
    async with opened(tmp_path, (120, 30)) as screen:
        first = await screen.thread()
        await screen.post(Post(text="working on it"), first)
        await screen.sees("working on it", "thread")
        assert "#main ›" in screen.text(), "words still go to the channel"
        second = await screen.thread("calm-otter", "Write the changelog")
        await screen.post(Post(text="writing"), second)
        await screen.sees("writing", "thread")
        await screen.pilot.click("#thread")
        await screen.sees("calm-otter ›")
        await screen.thread("odd-heron", "Another")
        await screen.sees("↳ odd-heron", "main")
        assert "calm-otter ›" in screen.text(), "nothing moves under the hands of who speaks"
        await screen.pilot.click("#middle .title")
        await screen.sees("#main ›")
        await screen.house.frontend.delete(Target(channel="main"), second)
        await screen.until(lambda: not screen.app.query_one("#beside").display, "the thread is gone")


async def test_a_thread_opens_by_keys_and_shows_what_was_said_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        root = await screen.thread()
        await screen.post(Post(text="first words"), root)
        await screen.sees("↳ swift-falcon")
        await screen.press("tab")
        await screen.until(lambda: screen.app.focused is not screen.composer, "the focus moves on")
        screen.app.query_one(Chip).focus()
        await screen.press("enter")
        await screen.sees("first words", "thread")
        await screen.post(Post(text="later words"), root)
        await screen.sees("later words", "thread")


async def test_buttons_are_pressed_by_number_key_and_click(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.post(Post(text="old", actions=(Action(label="Retry", line="task retry x", id="old"),)))
        await screen.post(APPROVAL)
        await screen.sees("2 Reject")
        await screen.press("alt+2")
        await screen.sees("you pressed a2")
        await screen.pilot.click(screen.app.query(ActionButton).first())
        await screen.sees("you pressed old")
        button = screen.app.query(ActionButton).last()
        button.focus()
        await screen.press("enter")
        await screen.sees("you pressed a3")
        assert {event.kind for event in screen.house.events.values()} == {InboundKind.ACTION}


def test_alt_and_a_digit_is_a_key_and_no_sign() -> None:
    teach_alt_numbers()
    parser = XTermParser()
    keys = [event.key for event in parser.feed("\x1b1\x1b3\x1b9£") if isinstance(event, Key)]
    assert keys == ["alt+1", "alt+3", "alt+9", "pound_sign"]


async def test_buttons_are_reached_by_tab_and_flow_in_rows(tmp_path: Path) -> None:
    actions = tuple(Action(label=f"Choice number {n}", line=f"do {n}", id=f"a{n}") for n in range(1, 8))
    async with opened(tmp_path, (50, 20)) as screen:
        await screen.post(Post(text="choose", actions=actions))
        await screen.sees("7 Choice number 7")
        await screen.press("tab", "right", "enter")
        await screen.sees("you pressed a2")
        await screen.press("escape")
        assert screen.app.focused is screen.composer


async def test_an_attached_diff_is_shown_in_its_colours(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.post(APPROVAL)
        await screen.sees("▤ swift-falcon.diff · 6 lines")
        screen.app.query_one(Chip).focus()
        await screen.press("enter")
        await screen.until(lambda: isinstance(screen.app.screen, FileScreen), "the file")
        await screen.sees("+TIMEOUT = 30")
        lines = screen.app.screen.query_one(FileLines)
        colours = [lines.render_line(y)._segments[0].style for y in (4, 5)]
        assert colours[0] is not None
        assert colours[1] is not None
        assert colours[0].color != colours[1].color
        await screen.press("escape")
        assert not isinstance(screen.app.screen, FileScreen)


async def test_a_long_file_is_scrolled_and_news_go_on_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        text = "\n".join(f"row {number}" for number in range(100))
        await screen.post(Post(text="a log", files=(File(name="x.log", content=text),)))
        await screen.sees("▤ x.log · 100 lines")
        await screen.pilot.click(Chip)
        await screen.sees("row 5")
        await screen.press("pagedown", "end")
        await screen.sees("row 99")
        await screen.post(Post(text="meanwhile"))
        await screen.thread()
        await screen.sees("meanwhile", "main")
        await screen.press("q")
        await screen.sees("↳ swift-falcon")


async def test_small_screens_do_without_the_list_of_channels(tmp_path: Path) -> None:
    async with opened(tmp_path, (50, 20)) as screen:
        await screen.post(Post(text="x"), channel="api")
        await screen.sees("#main  #api 1")
        assert not screen.app.query_one("#channels").display
        await screen.press("ctrl+p")
        await screen.sees("#api ›")


async def test_tab_completes_and_offers_a_choice(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.types("task a", "tab")
        choices = screen.app.query_one(Choices)
        await screen.until(lambda: choices.is_open, "the popup")
        assert choices.words == ["add", "approve"]
        await screen.press("down", "enter")
        assert screen.composer.text == "task approve "
        assert not choices.is_open
        assert not screen.house.events


async def test_the_history_is_leafed_through_and_kept_privately(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.types("one", "enter")
        await screen.types("two", "enter")
        await screen.types("draft", "up", "up")
        assert screen.composer.text == "one"
        await screen.press("down", "down")
        assert screen.composer.text == "draft"
    kept = tmp_path / "state" / "history"
    assert kept.read_text() == '"one"\n"two"\n'
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_unread_messages_are_counted_per_channel(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.post(Post(text="x"), channel="api")
        await screen.post(Post(text="y"), channel="api")
        await screen.sees("#api 2")
        channels = screen.app.query_one("#channels", OptionList)
        channels.focus()
        await screen.press("down", "down", "enter")
        await screen.sees("y", "main")
        assert "#api 2" not in screen.text()
        await screen.types("hello", "enter")
        await screen.until(lambda: screen.house.events, "the words")
        assert [event.place.channel for event in screen.house.events.values()] == ["api"]


async def test_an_edited_message_is_replaced_in_place_and_a_deleted_one_goes(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        root = await screen.thread()
        gone = await screen.post(Post(text="to be withdrawn"))
        await screen.sees("to be withdrawn")
        to = Target(channel="main", root=root)
        await screen.house.frontend.edit(to, root, {"text": "✅ merged"}, new_id())
        await screen.house.frontend.delete(Target(channel="main"), gone)
        await screen.sees("✅ merged")
        await screen.until(lambda: "to be withdrawn" not in screen.text(), "the deletion")
        assert "⏳" not in screen.text()
        assert "↳ swift-falcon" in screen.text()


async def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    evil = "[red]x[/red] [@click=app.quit]y[/] \x1b[2J\x1b]0;t\x07[/] \u202eabc [link=file:///]z"
    card = Card(title=evil, fields=((evil, evil),))
    actions = (Action(label=evil, line="x", id="e"),)
    files = (File(name=evil, content=evil),)
    async with opened(tmp_path) as screen:
        for verbatim in (True, False):
            await screen.post(Post(text=evil, verbatim=verbatim, card=card, actions=actions, files=files))
        wire = screen.house.frontend.render(Post(text=evil))[0]
        await screen.house.frontend.open_thread("main", wire, new_id(), evil)
        await screen.post(Post(text="x"), channel="[b]evil[/b]")
        await screen.types("[red]mine[/] [", "enter")
        await screen.sees("[red]mine[/] [")
        await screen.sees("[red]x[/red] [@click=app.quit]y[/]")
        await screen.press("ctrl+o")
        assert "\x1b" not in screen.text()
        assert "\u202e" not in screen.text()


async def test_many_messages_stream_by_and_the_last_are_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        for number in range(210):
            await screen.post(Post(text=f"line {number}"))
        await screen.sees("line 209")
        pane = screen.app.query_one("#main", Pane)
        assert len(pane.query_children(MessageView)) <= 200
        assert pane.is_vertical_scroll_end


async def test_streamed_output_joins_in_one_block(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        for number in range(30):
            await screen.post(Post(text=f"out {number}\n", verbatim=True))
        await screen.sees("out 29")
        assert len(screen.app.query_one("#main", Pane).query_children(MessageView)) == 1
        assert screen.text("main").count("out ") == 30
        await screen.types("/join api", "enter")
        await screen.sees("#api ›")
        await screen.types("/join main", "enter")
        await screen.sees("out 29")
        assert screen.text("main").count("out ") == 30


async def test_who_has_scrolled_up_is_left_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.post(Post(text="\n".join(f"line {number}" for number in range(60))))
        await screen.sees("line 59")
        await screen.press("pageup", "pageup")
        pane = screen.app.query_one("#main", Pane)
        await screen.until(lambda: not pane.is_vertical_scroll_end, "the scroll")
        place = pane.scroll_offset.y
        await screen.post(Post(text="more"))
        await screen.sees("more", "main")
        assert pane.scroll_offset.y == place
        await screen.press("pagedown", "pagedown", "pagedown")
        await screen.post(Post(text="and more"))
        await screen.sees("and more")
        assert pane.is_vertical_scroll_end


async def test_a_lost_daemon_is_shown_and_found_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.post(Post(text="before"))
        await screen.sees("before")
        await screen.house.frontend.close()
        await screen.sees("reconnecting…")
        await screen.types("patience", "enter")
        await screen.sees("1 waiting to be sent")
        await screen.press("ctrl+q")
        await screen.sees("not sent yet")
        assert screen.app.is_running
        screen.house.frontend = screen.house.fresh()
        await screen.house.frontend.start(screen.house)
        await screen.sees("you said patience")
        assert "reconnecting" not in screen.text()


async def test_help_shows_the_keys_and_a_refusal_is_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as screen:
        await screen.press("f1")
        await screen.until(lambda: isinstance(screen.app.screen, HelpScreen), "the help")
        await screen.sees("Ctrl+Q           leave")
        await screen.press("f1")
        assert not isinstance(screen.app.screen, HelpScreen)
        await screen.types("/join ~bob", "enter")
        await screen.sees("'~bob' is no channel's name")
        await screen.types("/join new", "enter")
        await screen.sees("#new ›")


def test_without_a_daemon_the_program_says_so_and_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_chat(tmp_path / "chat.sock") == 3
    assert "start it with `agent-queue`" in capsys.readouterr().err
