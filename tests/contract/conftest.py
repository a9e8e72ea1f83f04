"""What the contract tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bots.terminal.client import ChatClient
from tests.agents.drive import Gate
from tests.contract.terminal_house import House, open_house
from tests.servers.models import ModelServer


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def client(house: House) -> AsyncIterator[ChatClient]:
    async with ChatClient(house.socket) as connected:
        yield connected


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ModelServer]:
    """The scripted model that agents speak to."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The folder that an agent works in."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Holds back an agent's command."""
    return Gate(tmp_path)
