"""The frontends' contract, its rules and its scenarios, over the scripted platform and the terminal."""

import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots import registry
from bots.features import MEANINGS, Feature
from bots.scripted import ScriptedSettings
from orchestrator.store.database import Database
from orchestrator.support import Level
from tests.contract import frontends, scenarios
from tests.contract.frontends import FrontendContract, Platform
from tests.contract.platforms import Files, Terminal
from tests.contract.scenarios import FrontendScenarios


class TestScripted(FrontendContract, FrontendScenarios):
    @pytest.fixture(params=[True, False], ids=["idempotent", "not idempotent"])
    def platform(self, request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
        return Files(ScriptedSettings(folder=tmp_path / "p", idempotent=request.param, text_max=1000))


class TestTerminal(FrontendContract, FrontendScenarios):
    @pytest.fixture
    async def platform(self, database: Database, tmp_path: Path) -> AsyncIterator[Platform]:
        one = Terminal(database, tmp_path)
        yield one
        await one.close()


def test_every_feature_is_asserted_by_a_rule_or_a_scenario() -> None:
    source = inspect.getsource(frontends) + inspect.getsource(scenarios)
    assert [one for one in Feature if f"Feature.{one.name}" not in source] == []


@pytest.mark.parametrize("name", registry.settings_models())
def test_every_feature_of_every_frontend_is_told_and_what_lacks_says_what_it_is(name: str) -> None:
    support = registry.support(name)
    assert set(support) == set(Feature) == set(MEANINGS)
    assert all(one.how for one in support.values() if one.level is Level.DEGRADED)
