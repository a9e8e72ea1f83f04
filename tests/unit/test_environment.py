"""What an agent and its supervisor find in their environment: what was built for them, and nothing else."""

import sys
from pathlib import Path

from orchestrator.runs.process import MARK
from orchestrator.runs.prompt import build_env, plain_env

OURS = str(Path(sys.executable).parent)
DAEMON = {
    "HOME": "/home/ann",
    "PATH": f"{OURS}:/usr/bin",
    "PYTHONPATH": "/somewhere",
    "VIRTUAL_ENV": OURS,
    "DISCORD_TOKEN": "secret",
    "ANTHROPIC_API_KEY": "key",
    MARK: "the run that the daemon itself works for",
}


def test_a_supervisor_gets_no_secret_no_mark_and_none_of_our_python() -> None:
    env = plain_env(DAEMON)
    assert set(env) == {"HOME", "PATH", "LANG"}
    if sys.prefix != sys.base_prefix:
        assert env["PATH"] == "/usr/bin"


def test_an_agent_gets_besides_only_what_is_passed_and_its_own_mark() -> None:
    env = build_env(DAEMON, ["ANTHROPIC_API_KEY", "NOT_SET"], "r1", "swift-falcon")
    assert set(env) - set(plain_env(DAEMON)) == {
        "ANTHROPIC_API_KEY",
        "TERM",
        "GIT_TERMINAL_PROMPT",
        "AGENT_QUEUE_RUN",
        "AGENT_QUEUE_TASK",
    }
    assert env[MARK] == "r1"
