"""A scrolling place: the latest messages of a channel or a thread, drawn a batch at a time."""

from collections.abc import Iterable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from bots.terminal.conversation import Change, Kind, Message, Place
from bots.terminal.messages import ActionButton, MessageView

_SHOWN = 200
"""Messages on the screen and above it; older ones are taken away."""


class Pane(VerticalScroll, can_focus=False):
    """Stays at the newest message, unless somebody has scrolled up."""

    DEFAULT_CSS = """
    Pane { height: 1fr; scrollbar-size-vertical: 1; padding: 0; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.place: Place | None = None
        self._views: dict[str, MessageView] = {}

    def on_mount(self) -> None:
        """Begin at the end."""
        self.anchor()

    async def show(self, place: Place | None, messages: Sequence[Message]) -> None:
        """Show another place."""
        self.place = place
        self._views.clear()
        with self.app.batch_update():
            await self.remove_children()
            await self._add(messages)
        self.anchor()
        self.scroll_end(animate=False)

    async def apply(self, changes: Iterable[Change]) -> None:
        """Show what has changed here, all at once."""
        ours = [change for change in changes if change.message.place == self.place]
        new = {one.message.id: one.message for one in ours if one.kind is Kind.NEW}
        stale: dict[MessageView, None] = {}
        for change in ours:
            view = self._views.get(change.message.id)
            if change.kind is Kind.DELETED:
                new.pop(change.message.id, None)
                if view is not None:
                    stale.pop(view, None)
                    await self._take(view, change.message)
            elif change.kind is Kind.EDITED and view is not None:
                stale[view] = None
        for view in stale:
            view.paint()
        await self._add(list(new.values()))

    def refresh_message(self, message: Message) -> None:
        """Show something about a message that no line told, as the number of its replies."""
        view = self._views.get(message.id)
        if view is not None:
            view.paint()

    def buttons(self) -> list[ActionButton]:
        """The buttons of the newest message that has any."""
        views = (view for view in reversed(self.children) if isinstance(view, MessageView))
        acting = next((view for view in views if view.message.content.get("actions")), None)
        return list(acting.query(ActionButton)) if acting is not None else []

    async def _take(self, view: MessageView, message: Message) -> None:
        self._views.pop(message.id, None)
        if view.drop(message):
            await view.remove()
        else:
            view.paint()

    async def _add(self, messages: Sequence[Message]) -> None:
        """Add messages at the end and take the oldest away."""
        views: list[MessageView] = []
        joined: dict[MessageView, None] = {}
        children = list(self.query_children(MessageView))
        last = children[-1] if children else None
        for message in messages:
            if last is not None and last.joins(message):
                last.join(message)
                joined[last] = None
            else:
                last = MessageView(message, last.messages[-1] if last else None)
                views.append(last)
            self._views[message.id] = last
        with self.app.batch_update():
            await self.mount_all(views[-_SHOWN:])
            for view in joined:
                if view.is_attached:
                    view.paint()
            await self._prune()

    async def _prune(self) -> None:
        views = list(self.query_children(MessageView))
        old = views[: max(0, len(views) - _SHOWN)]
        if old:
            gone = {id(view) for view in old}
            self._views = {name: view for name, view in self._views.items() if id(view) not in gone}
            await self.remove_children(old)


class Column(Vertical):
    """A pane under its title."""

    DEFAULT_CSS = """
    Column { width: 1fr; height: 1fr; }
    Column > .title { height: 1; padding: 0 1; background: $surface; color: $text-muted; }
    Column > .title { text-wrap: nowrap; text-overflow: ellipsis; }
    Column > .title.spoken-in { background: $primary-muted; color: $text; text-style: bold; }
    """

    def __init__(self, pane: Pane, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._title = Static(classes="title", markup=False)
        self.pane = pane

    def compose(self) -> ComposeResult:
        """Title and pane."""
        yield self._title
        yield self.pane

    def head(self, title: Content, *, spoken_in: bool) -> None:
        """Show *title*, lit where words go here."""
        self._title.update(title)
        self._title.set_class(spoken_in, "spoken-in")
