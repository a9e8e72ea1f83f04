"""The full-screen chat: channels at the left, the channel, a task's thread beside it, and a line to type in.

ChatApp(client: ChatClient, *, channel="", prefill="", hint="", state: Path | None = None)   the client is connected
"""

from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Click, Key, Paste
from textual.widgets import Button, OptionList, Static

from bots.terminal import painting
from bots.terminal.answers import harmless
from bots.terminal.channels import Channels, label, news
from bots.terminal.client import ChatClient
from bots.terminal.composer import Choices, Composer
from bots.terminal.conversation import Change, Conversation, Kind, Message, Place
from bots.terminal.errands import Errands
from bots.terminal.foot import Foot
from bots.terminal.history import History
from bots.terminal.messages import ActionButton, OpenFile, OpenThread
from bots.terminal.pane import Column, Pane
from bots.terminal.protocol import may_use
from bots.terminal.reading import attached
from bots.terminal.screens import FileScreen, HelpScreen
from orchestrator.errors import UserError

_KEYS = 9
"""Buttons that Alt and a number can press."""
_WIDE = 110
"""Columns from which a thread has room beside its channel."""
_UNDERNEATH = frozenset({"help", "open_latest", "turn", "back", "channel", "scroll", "press"})
"""Actions that make no sense while something lies over the chat."""
_BATCH = 0.05
"""Seconds in which what comes is gathered, to be drawn at once."""


class ChatApp(App[None]):
    """The chat of one person."""

    TITLE = "agent-queue"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (64, "-narrow"), (_WIDE, "-wide")]  # noqa: RUF012 - as Textual has it
    CSS_PATH = "chat.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "Help", key_display="F1", priority=True),
        Binding("ctrl+o", "open_latest", "Thread", priority=True),
        Binding("ctrl+t", "turn", "Switch", priority=True),
        Binding("escape", "back", "Close", key_display="Esc"),
        Binding("ctrl+n", "channel(1)", "Channel", priority=True),
        Binding("ctrl+q", "quit", "Leave", priority=True),
        # By us and not by the input line, so that a quick Enter behind it finds the button and not the line.
        Binding("tab", "to_buttons", show=False, priority=True),
        Binding("ctrl+p", "channel(-1)", "Previous channel", show=False, priority=True),
        Binding("pageup", "scroll(-1)", "Up", show=False, priority=True),
        Binding("pagedown", "scroll(1)", "Down", show=False, priority=True),
        *(Binding(f"alt+{n}", f"press({n})", show=False, priority=True) for n in range(1, _KEYS + 1)),
    ]

    def __init__(
        self,
        client: ChatClient,
        *,
        channel: str = "",
        prefill: str = "",
        hint: str = "",
        state: Path | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"  # the line to the screen may be slow
        assert client.welcome is not None  # noqa: S101 - connected by whoever made us
        self._client = client
        self._talk = Conversation(you=client.welcome.you, news_after=client.welcome.last)
        self._talk.know(client.welcome.channels)
        self._talk.look_at(channel or client.welcome.home)
        self._thread: Message | None = None
        self._aside = False
        """A thread is open, but words go to the channel."""
        self._offered = False
        """The thread has opened by itself."""
        self._warned = 0
        """So many were told to be unsent when the person wanted to leave."""
        self._keys_for = (True, 0)
        self._errands = Errands(client, self._complain, self._show_state)
        self._changes: list[Change] = []
        self._numbered: list[ActionButton] = []
        self._loaded: set[str] = set()
        self._hint_line = Static(painting.plain(hint), id="hint", markup=False)
        self._hint_line.display = bool(hint)
        self._channels = Channels()
        self._choices = Choices()
        self._main, self._side = Pane(id="main"), Pane(id="thread")
        self._middle, self._beside = Column(self._main, id="middle"), Column(self._side, id="beside")
        self._prompt = Static(id="prompt", markup=False)
        self._foot = Foot(self._talk.you)
        self._composer = Composer(self._choices, History(state / "history" if state else None), prefill)

    # -- what there is on the screen

    def compose(self) -> ComposeResult:
        """Channels, channel, thread; popup, hint, input, state."""
        with Horizontal(id="body"):
            yield self._channels
            yield self._middle
            yield self._beside
        yield self._choices
        yield self._hint_line
        with Horizontal(id="entry"):
            yield self._prompt
            yield self._composer
        yield self._foot

    async def on_mount(self) -> None:
        """Begin to listen."""
        self._composer.focus()
        self._composer.move_cursor(self._composer.document.end)
        self._client.on_state = self._show_state
        self._show_state()
        await self._go(self._talk.here)
        self.run_worker(self._listen(), name="listening")

    def _show_state(self) -> None:
        """Whether we are connected, and what waits to be sent."""
        self._foot.show(self._client, self._errands.unsent)

    def _show_place(self) -> None:
        """Where the person is, and where their words go."""
        where, root = label(self._talk.here), self._root
        elsewhere = painting.plain("") if self._channels.display else news(self._talk.unread)
        self._middle.head(painting.plain(where) + elsewhere, spoken_in=root is None)
        if self._thread is not None:
            said = str(self._thread.content.get("text", "")).partition("\n")[0]
            self._beside.head(painting.markdown(said or self._thread.thread), spoken_in=root is not None)
            where = self._thread.task if root else where
        self._prompt.update(painting.plain(f"{where} ›"))
        self.default_screen.set_class(self._thread is not None, "-threaded")
        self.default_screen.set_class(self._aside, "-aside")
        self._channels.show(self._talk.unread, self._talk.here)
        if (offered := (self._thread is None, len(self._talk.unread))) != self._keys_for:
            self._keys_for = offered
            self.refresh_bindings()

    @property
    def _root(self) -> str | None:
        """The thread that words go to, or None for the channel."""
        return self._thread.id if self._thread is not None and not self._aside else None

    @property
    def _speaking_pane(self) -> Pane:
        return self._side if self._root is not None else self._main

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing are not offered; what lies over the chat has its own."""
        if action in _UNDERNEATH and len(self.screen_stack) > 1:
            return False
        if action == "turn":
            return self._thread is not None
        if action == "channel":
            return len(self._talk.unread) > 1
        if action == "to_buttons":
            return self.focused is self._composer and self._composer.idle
        return True

    def _number_buttons(self) -> None:
        """Alt and a number press the buttons of the newest message that has any, where the person looks."""
        was, self._numbered = self._numbered, self._pressable()
        for button in was:
            if button not in self._numbered:
                button.number(None)
        for number, button in enumerate(self._numbered, 1):
            button.number(number if number <= _KEYS else None)

    def _pressable(self) -> list[ActionButton]:
        """Of what is in sight, first where words go."""
        columns = sorted((self._middle, self._beside), key=lambda one: one.pane is not self._speaking_pane)
        return next((found for one in columns if one.display and (found := one.pane.buttons())), [])

    # -- what is heard

    async def _listen(self) -> None:
        async for line in self._client.lines():
            change = self._talk.apply(line)
            if change is not None:
                self._changes.append(change)
                if len(self._changes) == 1:
                    self.set_timer(_BATCH, self._draw)

    async def _draw(self) -> None:
        """Draw what has gathered."""
        changes, self._changes = self._changes, []
        with self.batch_update():
            await self._main.apply(changes)
            await self._side.apply(changes)
            for root in {change.message.place[1] for change in changes if change.kind is Kind.NEW}:
                if root is not None and (message := self._talk.get(root)) is not None:
                    self._main.refresh_message(message)
            if any(change.kind is Kind.DELETED and change.message is self._thread for change in changes):
                await self._close_thread()
            if any(change.kind is Kind.NEW and change.message.thread for change in changes):
                await self._offer_thread()
            self._show_place()
        self.call_after_refresh(self._number_buttons)

    # -- where the person is

    async def _go(self, channel: str) -> None:
        """Look at a channel."""
        self._talk.know([channel])
        self._talk.look_at(channel)
        await self._close_thread()
        await self._show(self._main, (channel, None))
        await self._offer_thread()
        if channel not in self._loaded:
            self._loaded.add(channel)
            self.run_worker(self._load(channel, None), name="loading")

    async def _load(self, channel: str, root: str | None) -> None:
        """Fetch what was said before, and show it with what was heard since."""
        lines = await self._errands.past(channel, root)
        fresh = [self._talk.apply(line, past=True) for line in lines]
        if any(fresh):
            self.call_next(self._reload, channel, root)

    async def _reload(self, channel: str, root: str | None) -> None:
        pane = self._main if root is None else self._side
        if pane.place == (channel, root):
            await self._show(pane, pane.place)
            if root is None:
                await self._offer_thread()

    async def _show(self, pane: Pane, place: Place) -> None:
        """Show a place, but for what is just going to be drawn."""
        waiting = {change.message.id for change in self._changes if change.kind is Kind.NEW}
        await pane.show(place, [one for one in self._talk.messages(place) if one.id not in waiting])
        self._show_place()
        self.call_after_refresh(self._number_buttons)

    async def _offer_thread(self) -> None:
        """Where there is room, show the newest task's thread, unless the person has one open."""
        message = self._talk.latest_thread(self._talk.here)
        if message is None or self.size.width < _WIDE or (self._thread is not None and not self._offered):
            return
        self._offered = self._aside = True
        if message is not self._thread:
            await self._show_thread(message)

    async def _open(self, message: Message) -> None:
        """Open a thread because the person wants to; words go to it."""
        self._offered = self._aside = False
        if message is not self._thread:
            await self._show_thread(message)
        self._show_place()
        self._composer.focus()

    async def _show_thread(self, message: Message) -> None:
        self._thread = message
        await self._show(self._side, (message.place[0], message.id))
        self.run_worker(self._load(message.place[0], message.id), name="loading")

    async def _close_thread(self) -> None:
        self._thread, self._aside, self._offered = None, False, False
        await self._side.show(None, [])
        self._show_place()

    async def on_open_thread(self, event: OpenThread) -> None:
        """Show a thread beside the channel."""
        await self._open(event.message)

    def on_open_file(self, event: OpenFile) -> None:
        """Show a file over everything."""
        self.push_screen(FileScreen(event.name, event.content))

    async def action_open_latest(self) -> None:
        """Open the newest thread of the channel."""
        message = self._talk.latest_thread(self._talk.here)
        if message is not None:
            await self._open(message)

    async def action_back(self) -> None:
        """To the input line; from there, close the thread."""
        if self.focused is self._composer:
            await self._close_thread()
            self.call_after_refresh(self._number_buttons)
        self._composer.focus()

    def action_turn(self) -> None:
        """Words go to the channel instead of the thread, or back."""
        self._speak(aside=not self._aside)

    def on_click(self, event: Click) -> None:
        """Words go to where the person clicks."""
        if event.widget is not None:
            clicked = event.widget.ancestors_with_self
            if self._middle in clicked or self._beside in clicked:
                self._speak(aside=self._middle in clicked)

    def _speak(self, *, aside: bool) -> None:
        self._aside = aside and self._thread is not None
        self._offered = self._offered and self._aside
        self._show_place()
        self._number_buttons()
        self._composer.focus()

    async def action_channel(self, step: int) -> None:
        """Go to the next or previous channel."""
        names = list(self._talk.unread)
        await self._go(names[(names.index(self._talk.here) + step) % len(names)])

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A word of the popup, or a channel, was chosen."""
        if event.option_list is self._choices:
            self._composer.choose(event.option_index)
        else:
            await self._go(list(self._talk.unread)[event.option_index])
        self._composer.focus()

    def action_scroll(self, pages: int) -> None:
        """Scroll what the person reads."""
        self._speaking_pane.scroll_relative(y=pages * self._speaking_pane.size.height, animate=False)

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(HelpScreen())

    # -- what the person does

    def on_key(self, event: Key) -> None:
        """Letters typed while something else has the focus are meant for the input line."""
        if event.is_printable and event.character:
            self._type(event.character)

    def on_paste(self, event: Paste) -> None:
        """What is pasted is, too."""
        self._type(harmless(event.text))

    def _type(self, text: str) -> None:
        if self.focused is not self._composer and self.screen is self.default_screen:
            self._composer.focus()
            self._composer.insert(text)

    async def on_composer_said(self, event: Composer.Said) -> None:
        """Say it where the person is."""
        self._hint_line.display = False
        word, _, rest = event.text.strip().partition(" ")
        if word == "/quit":
            await self.action_quit()
        elif word in ("/keys", "?"):
            self.action_help()
        elif word == "/join":
            await self._join(rest.strip().removeprefix("#"))
        else:
            self.run_worker(self._say(self._talk.here, event.text, self._root), name="saying")

    async def _say(self, channel: str, text: str, root: str | None) -> None:
        """Say it, or send what is to be attached; what is refused is given back."""
        words, paths = text, list[Path]()
        try:
            if text.strip().partition(" ")[0] == "/attach":
                path, words = attached(text.strip().removeprefix("/attach"))
                paths.append(path)
        except UserError as refusal:
            self._complain(str(refusal))
            said = False
        else:
            said = await self._errands.say(channel, words, root, paths)
        if not said and not self._composer.text:
            self._composer.put(text)

    async def action_quit(self) -> None:
        """Leave; asked twice if something would be lost."""
        if self._errands.unsent > self._warned:
            self._warned = self._errands.unsent
            self._complain(f"{self._warned} not sent yet; leave again to lose it")
        else:
            self.exit()

    def action_to_buttons(self) -> None:
        """Go on to the newest buttons, or to whatever there is."""
        if self._numbered:
            self.screen.set_focus(
                self._numbered[0]
            )  # now: `focus()` would wait until the next key is through
        else:
            self.screen.focus_next()

    async def _join(self, channel: str) -> None:
        if may_use(self._talk.you, channel):
            await self._go(channel)
        else:
            self._complain(f"{channel!r} is no channel's name")

    def on_composer_unfinished(self, event: Composer.Unfinished) -> None:
        """Ask the server what may follow."""
        self.run_worker(self._complete(event.line), name="completing", group="completing", exclusive=True)

    async def _complete(self, line: str) -> None:
        self._composer.offer(line, *await self._errands.complete(self._talk.here, line, self._root))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Run a button's stored command."""
        if isinstance(event.button, ActionButton):
            event.stop()
            self.run_worker(self._press(event.button), name="pressing")

    def action_press(self, number: int) -> None:
        """Press a button by its number."""
        if number <= len(self._numbered):
            self._numbered[number - 1].press()

    async def _press(self, button: ActionButton) -> None:
        channel, root = button.message.place
        root = root or (button.message.id if button.message.thread else None)
        button.disabled = True  # until it is stored; then the message itself will tell
        try:
            await self._errands.act(channel, button.action_id, root)
        finally:
            button.disabled = False

    def _complain(self, text: str) -> None:
        self.notify(harmless(text), severity="error", markup=False)
