"""The frontends' contract, its rules and its scenarios, on Discord: the real library against a server on loopback."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.frontends import FrontendContract
from tests.contract.scenarios import FrontendScenarios
from tests.discord.platform import Discord, on_discord


class TestDiscord(FrontendContract, FrontendScenarios):
    @pytest.fixture
    async def platform(self, tmp_path: Path) -> AsyncIterator[Discord]:
        async with on_discord(tmp_path) as platform:
            yield platform
