"""A task done by the real Claude Code: it asks before it runs a command, a person allows it, its work is merged."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.sessions import Session, git
from bots.scripted import shown
from tests.agents.brands import claude_env
from tests.servers.models import ModelServer

pytest.importorskip("claude_agent_sdk", reason="the claude extra is not installed")
pytestmark = pytest.mark.claude


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as one:
        yield one


async def test_claude_writes_asks_and_is_merged(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = {
        name: value
        for name, value in claude_env(tmp_path / "home", server.url).items()
        if name.startswith(("ANTHROPIC", "CLAUDE", "DISABLE", "IS_"))
    }
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    one = Session(tmp_path)
    one.prepare()
    config = json.loads(one.config.read_text()) | {"runs": {"pass_env": list(passed)}}
    one.config.write_text(json.dumps(config))
    script = [{"sh": "echo by Claude > made.txt"}, {"text": "All done."}]
    with one.running():
        for line in (
            f"repo add r clone {one.folder / 'git' / 'origin.git'}",
            "agent add claude claude permission-mode:default",
            "project add p repo:r approval:auto",
        ):
            assert (await one.answered(one.say(line)))["wire"]["verdict"] == "ok", line
        one.say(f"task add p Write it\nSCRIPT{json.dumps(script)}")

        def question(session: Session) -> tuple[str, str] | None:
            for message in shown(session.seen(), root=None):
                for said in shown(session.seen(), root=message["id"]):
                    for action in said["wire"].get("actions", ()):
                        if action["label"].lower() == "allow":
                            return message["id"], action["id"]
            return None

        root, action = await one.until(question)
        assert one.statuses() == {"WAITING_INPUT": 1}
        asked = [m["wire"] for m in shown(one.seen(), root=root) if m["wire"].get("actions")]
        assert "made.txt" in asked[0]["text"]
        one.say("", root=root, action=action)
        await one.until(lambda s: s.statuses() == {"COMPLETED": 1})
        assert git(one.folder / "git" / "origin.git", "show", "main:made.txt") == "by Claude\n"
        [(tokens, session_id)] = one.query("SELECT tokens, session_id FROM run")
        assert tokens > 0
        assert session_id
