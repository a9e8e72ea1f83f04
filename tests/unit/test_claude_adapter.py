"""What the Claude Code adapter does where its CLI refuses, or keeps a message to itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="needs the claude extra")

from adapters.claude.adapter import ClaudeAdapter
from orchestrator.agent import CannotSend, SendMode


class Refusing:
    """A client whose CLI takes no interrupt."""

    async def interrupt(self) -> None:
        raise Exception("no")  # noqa: TRY002 - as the SDK does

    async def query(self, prompt: AsyncIterator[dict[str, Any]]) -> None:
        raise AssertionError


async def test_after_an_interrupt_that_failed_nothing_is_awaited() -> None:
    adapter = ClaudeAdapter(1.0)
    adapter._client = Refusing()  # type: ignore[assignment]
    with pytest.raises(CannotSend, match="did not take it: no"):
        await asyncio.wait_for(adapter.send("x", SendMode.INTERRUPT), 5)
    assert not adapter._unread
