"""What tests of the whole orchestrator share."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.integration.chatting import Chat


@pytest.fixture
async def chat(tmp_path: Path, clock: Clock) -> AsyncIterator[Chat]:
    one = Chat(tmp_path, clock)
    await one.orchestrator.initialize()
    work = asyncio.create_task(one.gateway.run())
    yield one
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await one.orchestrator.shutdown()
