"""What the Claude Code adapter does where its CLI refuses, or keeps a message to itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="needs the claude extra")

from adapters.claude import adapter as adapter_module
from adapters.claude import launching
from adapters.claude.about import Options
from adapters.claude.adapter import ClaudeAdapter
from orchestrator.agent import CannotSend, RunContext, SendMode
from orchestrator.errors import UserError


def test_where_no_cli_is_found_none_is_started_outside_of_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launching, "BUNDLED", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ("bwrap", "--chdir", "/", "--")
    context = RunContext(run_id="r", task_id="t", epoch=1, workdir="/", prompt="x", wrapper=words)
    files = launching.Files()
    with pytest.raises(UserError, match="`cli_path`"):
        files.write(context, Options())
    files.close()


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
        await asyncio.wait_for(adapter.send("x", SendMode.INTERRUPT), 60)
    assert not adapter._unread


async def test_a_stop_waits_for_the_cli_no_longer_than_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def end_marked(mark: str) -> None:
        ended.set()

    monkeypatch.setattr(adapter_module, "end_marked", end_marked)
    adapter = ClaudeAdapter(0.01)
    adapter._mark = "a run"
    monkeypatch.setattr(adapter, "_close", ended.wait)
    await asyncio.wait_for(adapter.stop(), 60)
    assert ended.is_set()
