"""What the contract tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from bots.terminal.client import ChatClient
from tests.contract.terminal_house import House, open_house


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def client(house: House) -> AsyncIterator[ChatClient]:
    async with ChatClient(house.socket) as connected:
        yield connected
