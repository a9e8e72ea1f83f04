"""Claude Code where its CLI says late, or not at all, that it has taken a message in; words wait meanwhile."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("claude_agent_sdk", reason="drives Claude Code: needs the claude extra")

import claude_agent_sdk as sdk

from orchestrator.agent import Outcome, Result
from tests.agents.drive import NewDrive
from tests.servers.models import script

pytestmark = pytest.mark.claude

_BETWEEN = """\
#!{python}
import json, subprocess, sys, threading

cli = subprocess.Popen([{cli!r}, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

def to_us(line):
    {to_us}
    return line

def to_cli(lines):
    {to_cli}

def give():
    for line in to_cli(sys.stdin.buffer):
        cli.stdin.write(line)
        cli.stdin.flush()
    cli.stdin.close()

threading.Thread(target=give, daemon=True).start()
for line in cli.stdout:
    sys.stdout.buffer.write(to_us(line))
    sys.stdout.buffer.flush()
sys.exit(cli.wait())
"""
_MENTIONS_NONE = """
    told = json.loads(line)
    if told["type"] == "result":
        line = json.dumps({**told, "user_message_uuids": ["of-another"]}).encode() + b"\\n"
"""
_MENTIONS_NOTHING = """
    told = json.loads(line)
    told.pop("user_message_uuids", None)
    line = json.dumps(told).encode() + b"\\n"
"""
_TAKES_TWO_AT_ONCE = """
    said = []
    for line in lines:
        if json.loads(line)["type"] != "user":
            yield line
            continue
        said.append(line)
        if len(said) != 2:
            yield from said[-2:]
"""

Between = Callable[..., dict[str, Any]]


@pytest.fixture
def between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Between:
    """Makes settings with a program that stands between us and the CLI, and changes what one of them says."""
    monkeypatch.setattr("adapters.claude.adapter._PATIENCE", 1.0)
    cli = str(Path(sdk.__file__).parent / "_bundled/claude")

    def new(to_us: str = "", to_cli: str = "yield from lines") -> dict[str, Any]:
        program = tmp_path / "claude"
        program.write_text(_BETWEEN.format(python=sys.executable, cli=cli, to_us=to_us, to_cli=to_cli))
        program.chmod(0o755)
        return {"permission_mode": "bypassPermissions", "cli_path": str(program)}

    return new


@pytest.mark.parametrize("to_us", [_MENTIONS_NONE, _MENTIONS_NOTHING])
async def test_words_that_wait_are_given_where_the_cli_does_not_mention_the_last_ones(
    drive: NewDrive, between: Between, to_us: str
) -> None:
    run = drive(script({"text": "first"}), config=between(to_us))
    await run.start()
    given = [await run.queue(script({"text": text})) for text in ("second", "third")]
    assert await run.result() == Result(Outcome.DONE, "third")
    assert all(task.done() for task in given)
    assert run.words() == "first\nsecond\nthird\n"


@pytest.mark.parametrize("to_us", ["", _MENTIONS_NOTHING])
async def test_words_that_wait_are_answered_where_the_cli_begins_late_with_those_before(
    drive: NewDrive, between: Between, to_us: str
) -> None:
    run = drive(script({"text": "first"}), config=between(to_us, _TAKES_TWO_AT_ONCE))
    await run.start()
    given = [await run.queue(script({"text": text})) for text in ("second", "third")]
    assert await run.result() == Result(Outcome.DONE, "third")
    assert all(task.done() for task in given)
    assert run.words() == "first\nsecond\nthird\n"
