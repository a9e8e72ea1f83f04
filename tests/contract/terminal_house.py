"""The terminal frontend on a real socket and a real store, with clients to speak to it: the harness of its tests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bots.terminal.client import ChatClient, new_id
from bots.terminal.frontend import TerminalFrontend
from bots.terminal.protocol import Line
from bots.terminal.settings import TerminalSettings
from orchestrator.store.database import Database
from orchestrator.store.migrate import migrate
from orchestrator.transport import (
    Form,
    Inbound,
    Post,
    Target,
    Verdict,
    Watermark,
)

Answering = Callable[["House", Inbound], Any]


class House:
    """A daemon's chat: store, frontend, and an intake that remembers what it was handed."""

    def __init__(self, path: Path, users: Sequence[str] = ("alice",)) -> None:
        self.dir = path
        self.database = Database(path / "state.db")
        self._users = iter((*users, *[users[-1]] * 50))
        self.frontend = self.fresh()
        self.events: dict[str, Inbound] = {}
        self.answer: Answering | None = None
        self.before_ack: Callable[[], Any] | None = None

    def fresh(self) -> TerminalFrontend:
        """Another frontend on the same store, as after a restart of the daemon."""
        return TerminalFrontend(
            TerminalSettings(),
            self.database,
            self.dir,
            redact=lambda text: text.replace("hunter2", "•••"),
            user_of=lambda _: next(self._users),
        )

    @property
    def socket(self) -> Path:
        return self.frontend.socket

    async def form(self, action: str) -> Form | None:
        return None

    async def look(self, event: Inbound) -> Post:
        return Post()

    async def knows(self, transport: str, account: str) -> bool:
        return account != "stranger"

    async def tell(self, transport: str, words: str) -> None:
        raise AssertionError(f"the terminal has nothing to complain of: {words}")

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        [event] = events
        assert watermark is None
        new = event.event_id not in self.events
        self.events[event.event_id] = event
        if self.before_ack is not None:
            await self.before_ack()
        if new and self.answer is not None:
            await self.answer(self, event)
        return new

    async def watermark(self, transport: str, scope: str) -> str | None:
        return None

    async def complete(self, event: Inbound) -> Sequence[str]:
        return [f"{event.text[: event.text.rfind(' ') + 1]}{word}" for word in ("add", "approve")]

    async def post(self, text: str, channel: str = "main", root: str | None = None, **post: Any) -> str:
        """Say something as the relay would."""
        message = ""
        for wire in self.frontend.render(Post(text=text, **post)):
            message = await self.frontend.post(Target(channel=channel, root=root), wire, new_id())
        return message


async def echo(house: House, event: Inbound) -> None:
    """Answer every event where it was said."""
    verdict = Verdict.REFUSED if "bad" in event.text else Verdict.OK
    text = f"you said {event.text}" if event.text else f"you pressed {event.action}"
    await house.post(
        text,
        event.place.channel,
        event.root,
        reply_to=event.event_id,
        verdict=verdict,
        data={"said": event.text},
    )


_EMPTY: list[bytes] = []


async def empty_store(path: Path) -> None:
    """Migrate the first one; the others are copies of it, as migrating takes long."""
    if _EMPTY:
        path.write_bytes(_EMPTY[0])
    else:
        await migrate(path)
        _EMPTY.append(path.read_bytes())


@asynccontextmanager
async def open_house(path: Path, users: Sequence[str] = ("alice",)) -> AsyncIterator[House]:
    await empty_store(path / "state.db")
    house = House(path, users)
    try:
        await house.frontend.start(house)
        yield house
    finally:
        await house.frontend.close()
        await house.database.close()


async def take(client: ChatClient, count: int) -> list[Line]:
    """The next *count* lines."""
    taken: list[Line] = []
    async with asyncio.timeout(30):
        async for line in client.lines():
            taken.append(line)
            if len(taken) == count:
                return taken
    raise AssertionError(f"only {len(taken)} of {count} lines came")


def texts(lines: Sequence[Line]) -> list[str]:
    return [line.content["text"] for line in lines]


async def raw(house: House, *requests: Any) -> AsyncExitStack:
    """Write requests of our own making; the stack's `reply()` reads the next reply."""
    reader, writer = await asyncio.open_unix_connection(str(house.socket))
    for request in requests:
        writer.write(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
    stack = AsyncExitStack()
    stack.callback(writer.close)

    async def reply() -> dict[str, Any] | None:
        line = await asyncio.wait_for(reader.readline(), 10)
        return json.loads(line) if line else None

    stack.reply = reply  # type: ignore[attr-defined]
    stack.writer = writer  # type: ignore[attr-defined]
    return stack


async def rest(talk: Any) -> list[dict[str, Any]]:
    """What comes until the end of the connection; some may be lost where the server had more to read."""
    replies = []
    with contextlib.suppress(ConnectionError):
        while (reply := await talk.reply()) is not None:
            replies.append(reply)
    return replies


# -- what the orchestrator may rely on
