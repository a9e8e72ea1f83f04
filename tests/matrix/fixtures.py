"""Homeservers for tests: at most two per worker, started by the first test that asks, ended with the session."""

from collections.abc import Iterator

import pytest

from agent_queue import synapse
from agent_queue.synapse import Homeserver


@pytest.fixture(scope="session")
def relaxed_homeserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homeserver]:
    """A homeserver without limits of rate."""
    yield from _served(tmp_path_factory, relaxed=True)


@pytest.fixture(scope="session")
def default_homeserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homeserver]:
    """A homeserver with the limits that Synapse has by default."""
    yield from _served(tmp_path_factory, relaxed=False)


def _served(folders: pytest.TempPathFactory, *, relaxed: bool) -> Iterator[Homeserver]:
    if synapse.python() is None:
        pytest.skip("Synapse is not installed: make synapse")
    homeserver = Homeserver(folders.mktemp("synapse"), relaxed=relaxed)
    homeserver.boot()
    try:
        yield homeserver
    finally:
        homeserver.halt()
