"""Which agent it is, before it says so itself and after."""

import pytest

from adapters.acp.quirks import QUIRKS, Quirks, find


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("opencode acp", "opencode"),
        ("~/bin/opencode acp", "opencode"),
        ("npx opencode-ai acp", "opencode"),
        ("npx -y opencode-ai@1.2.3 acp", "opencode"),
        ("npx @google/gemini-cli@latest --acp", "gemini"),
        ("env X=1 gemini --acp", "gemini"),
        ("node /opt/claude-agent-acp", "claude-agent-acp"),
        ("npx @agentclientprotocol/codex-acp", "codex-acp"),
    ],
)
def test_an_agent_is_known_by_any_word_of_its_command_line(line: str, name: str) -> None:
    assert find("", line.split()) is QUIRKS[name]


def test_who_is_not_known_gets_the_plain_protocol() -> None:
    assert find("", ["npx", "opencode-aid", "acp"]) == Quirks()


def test_the_name_that_it_tells_counts_more() -> None:
    assert find("OpenCode", ["gemini"]) is QUIRKS["opencode"]
