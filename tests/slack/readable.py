"""The stand-in with a history that shows what streams were given as blocks.

`chat.stopStream` is documented to answer with the message's blocks; that conversations.replies shows the same, block by
block as they came, is assumed here and not documented. The stand-in itself leaves them out of its JSON.
"""

from typing import Any

from aiohttp import web

from tests.servers.slack import SlackServer
from tests.servers.slack.delivery import Delivery
from tests.servers.slack.front import Front
from tests.servers.slack.model import Channel, Json, Message
from tests.servers.slack.workspace import Workspace


class _Showing(Workspace):
    """Keeps a stream's blocks among its message's."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.joins = False
        """Whether what a stream was given becomes one block."""
        self._streamed: dict[str, list[Json]] = {}

    def post(self, channel: Channel, message: Message, *, linked: bool = False) -> Message:
        self._show(message)
        return super().post(channel, message, linked=linked)

    def change(
        self, channel: Channel, message: Message, before: Json, *, linked: bool = False, quiet: bool = False
    ) -> None:
        self._show(message)
        super().change(channel, message, before, linked=linked, quiet=quiet)

    def _show(self, message: Message) -> None:
        if not message.streaming:
            return
        shown = self._streamed.setdefault(message.ts, [])
        shown += self.numbered([one for chunk in message.chunks for one in chunk.get("blocks", [])])
        message.chunks = [one for one in message.chunks if one["type"] != "blocks"]
        last = message.blocks if message.streaming == "stopped" else []
        if self.joins:
            shown = [{"type": "rich_text", "elements": [inner for one in shown for inner in one["elements"]]}]
        message.blocks = [*shown, *(one for one in last if one not in shown)]


class Readable(SlackServer):
    """A Slack whose streams can be read back."""

    def __init__(
        self,
        *,
        streaming: bool = True,
        paced: bool = True,
        burst: int = 5,
        ack_seconds: float = 3.0,
        stream_seconds: float = 300.0,
    ) -> None:
        self._showing = self.workspace = _Showing(
            streaming=streaming, paced=paced, burst=burst, stream_seconds=stream_seconds
        )
        self.delivery = Delivery(self.workspace, ack_seconds)
        self.workspace.deliver = self.delivery.event
        self._front = Front(self.workspace, self.delivery)
        self._runner: web.AppRunner | None = None
        self.port = 0

    def joins(self) -> None:
        """Show a stream's blocks as one from now on."""
        self._showing.joins = True
