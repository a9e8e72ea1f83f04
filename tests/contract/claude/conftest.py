"""What the tests of the Claude Code adapter share."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.agent import RunContext
from tests.contract.claude.runs import Drive, NewDrive
from tests.servers.models import ModelServer


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
def env(server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in list(os.environ):
        if name.startswith(("CLAUDE", "ANTHROPIC")):
            monkeypatch.delenv(name)
    return {
        "PATH": os.defpath,
        "HOME": str(tmp_path / "home"),
        "CLAUDE_CONFIG_DIR": str(tmp_path / "home" / "claude"),
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "x",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
        "AGENT_QUEUE_RUN": uuid4().hex,
    }


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
async def drive(env: dict[str, str], workdir: Path) -> AsyncIterator[NewDrive]:
    drives: list[Drive] = []

    def new(
        prompt: str, mode: str = "bypassPermissions", config: dict[str, Any] | None = None, **fields: Any
    ) -> Drive:
        settings = {"permission_mode": mode} if config is None else config
        context = RunContext(
            run_id="r-1", task_id="t-1", epoch=1, workdir=str(workdir), prompt=prompt,
            config={"title": "A task", **settings}, env=env,
        )  # fmt: skip
        drives.append(Drive(replace(context, **fields)))
        return drives[-1]

    yield new
    for started in drives:
        await started.adapter.stop()


@pytest.fixture
def gate(workdir: Path) -> Path:
    """A pipe that holds back the agent's `cat` of it until `release`."""
    path = workdir / "gate"
    os.mkfifo(path)
    return path
