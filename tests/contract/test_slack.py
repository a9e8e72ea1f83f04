"""The frontends' contract on a stand-in of Slack, at Slack's pace."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.frontends import FrontendContract
from tests.contract.scenarios import FrontendScenarios
from tests.slack.platform import Slack, in_slack


class TestSlack(FrontendContract, FrontendScenarios):
    @pytest.fixture
    async def platform(self) -> AsyncIterator[Slack]:
        async with in_slack() as platform:
            yield platform
