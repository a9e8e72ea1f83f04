"""Codex under the daemon, over its bridge to the Agent Client Protocol."""

from pathlib import Path

from tests.agents import brands
from tests.agents.brands import Brand, needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, asks_codex, by_command

pytestmark = needs_agents


def asking(home: Path, url: str) -> Brand:
    """Codex asks people in its default mode where its configuration lets it."""
    brand = brands.codex_acp(home, url)
    with (home / ".codex/config.toml").open("a") as config:
        config.write("[features]\ndefault_mode_request_user_input = true\n")
    return brand


class TestCodexOverAcp(AgentContract):
    kind = Kind("acp", asking, by_command, question=asks_codex(), told_late=62.0)
