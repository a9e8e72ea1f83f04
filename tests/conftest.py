"""What every test can ask for: an empty store, a clock that stands still until it is moved."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.store.database import Database
from orchestrator.store.migrate import upgrade
from tests.matrix.fixtures import default_homeserver, relaxed_homeserver

__all__ = ["default_homeserver", "relaxed_homeserver"]

settings.register_profile(
    "shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("shared-machine")


class Clock:
    """A clock for tests."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    upgrade(path)
    return path


@pytest.fixture
async def database(tmp_path: Path, empty_database: Path) -> AsyncIterator[Database]:
    path = tmp_path / "store.db"
    shutil.copy(empty_database, path)
    db = Database(path)
    yield db
    await db.close()
