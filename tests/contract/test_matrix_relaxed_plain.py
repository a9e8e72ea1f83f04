"""The frontends' contract on a Synapse with no limits of rate, in a plain room."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_queue.synapse import Homeserver
from tests.contract.frontends import FrontendContract
from tests.contract.scenarios import FrontendScenarios
from tests.matrix.platform import Matrix, in_matrix


class TestMatrix(FrontendContract, FrontendScenarios):
    @pytest.fixture
    async def platform(self, relaxed_homeserver: Homeserver, tmp_path: Path) -> AsyncIterator[Matrix]:
        async with in_matrix(relaxed_homeserver, tmp_path, encrypted=False) as platform:
            yield platform
