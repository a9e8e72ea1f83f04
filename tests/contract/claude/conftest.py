"""What the tests of the Claude Code adapter share."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.agents.brands import claude_env
from tests.agents.drive import Drive, NewDrive, driving
from tests.servers.models import ModelServer


@pytest.fixture
def env(server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in list(os.environ):
        if name.startswith(("CLAUDE", "ANTHROPIC")):
            monkeypatch.delenv(name)
    return {**claude_env(tmp_path / "home", server.url), "AGENT_QUEUE_RUN": uuid4().hex}


@pytest.fixture
async def drive(env: dict[str, str], workdir: Path) -> AsyncIterator[NewDrive]:
    # Nothing here is to be ended by patience: that would outlast the test's.
    async with driving("claude", workdir, env, stop_grace=600.0) as made:

        def new(
            prompt: str, mode: str = "bypassPermissions", config: dict[str, Any] | None = None, **fields: Any
        ) -> Drive:
            settings = {"permission_mode": mode} if config is None else config
            return made(prompt, {"title": "A task", **settings}, **fields)

        yield new
