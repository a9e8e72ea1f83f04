"""What Claude Code's messages have to tell to people, as events; its words while they are written."""

from collections.abc import Iterator, Mapping
from typing import Any

import claude_agent_sdk as sdk

from adapters.claude.asking import ASKING
from adapters.streaming import Stream
from adapters.summaries import line, of_call
from orchestrator.agent import Event, OnEvent, Session, Text, Thinking, ToolCall, ToolResult


class Reader:
    """Tells what the messages of one CLI say."""

    def __init__(self, tell: OnEvent) -> None:
        self._stream = Stream(tell)
        self._streamed = ""
        """The words of the present block that were told while they were written."""
        self._session: str | None = None

    async def tell(self, event: Event) -> None:
        """Tell an event that is no piece of words, which end before it."""
        await self._stream.tell(event)

    async def end(self) -> None:
        """Nothing more comes: tell what is left of the words."""
        await self._stream.end()

    async def session(self, session_id: str) -> None:
        """Tell the conversation's id, unless it is known."""
        if session_id != self._session:
            self._session = session_id
            await self.tell(Session(session_id))

    async def read(self, message: sdk.Message) -> None:
        """Tell what *message* says."""
        match message:
            case sdk.SystemMessage(subtype="init", data={"session_id": str() as session_id}):
                await self.session(session_id)
            case sdk.SystemMessage(subtype="thinking_tokens"):
                await self._stream.writes()
            case sdk.StreamEvent(parent_tool_use_id=None):
                await self._heard(message.event)
            case sdk.AssistantMessage(error=None) | sdk.UserMessage():
                of_agent = isinstance(message, sdk.AssistantMessage)
                for block in message.content if isinstance(message.content, list) else ():
                    if of_agent and message.parent_tool_use_id is None and isinstance(block, sdk.TextBlock):
                        await self._whole(block.text)
                        continue
                    for event in _read_block(block, of_agent=of_agent):
                        await self.tell(event)

    async def _heard(self, event: Mapping[str, Any]) -> None:
        """Take one event of the model's stream."""
        match event:
            case {"type": "message_start" | "content_block_start"}:
                await self._stream.end()
                self._streamed = ""
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str() as piece}}:
                self._streamed += piece
                await self._stream.add(piece)
            case {"type": "content_block_delta"}:  # of a thought, or of a tool's input
                await self._stream.writes()
            case {"type": "content_block_stop" | "message_stop"}:
                await self._stream.end()

    async def _whole(self, text: str) -> None:
        """Take a block of words that is complete, and tell what of it was not told yet."""
        told, self._streamed = self._streamed, ""
        if not told:
            await self.tell(Text(text))
        elif text.startswith(told):
            await self._stream.add(text.removeprefix(told))
        await self._stream.end()


def _read_block(block: sdk.ContentBlock, *, of_agent: bool) -> Iterator[Event]:
    match block:
        case sdk.TextBlock() if of_agent:
            yield Text(block.text)
        case sdk.ThinkingBlock() if block.thinking:
            yield Thinking(block.thinking)
        case sdk.ToolUseBlock() | sdk.ServerToolUseBlock():
            # Its questions are told as such.
            words = "" if block.name == ASKING else of_call(block.input)
            yield ToolCall(block.id, block.name, words)
        case sdk.ToolResultBlock():
            yield ToolResult(block.tool_use_id, not block.is_error, line(_plain(block.content)))


def _plain(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(block.get("text", f"[{block.get('type')}]") for block in content)
    return content or ""
