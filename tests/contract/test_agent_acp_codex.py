"""Codex under the daemon, over its bridge to the Agent Client Protocol."""

from typing import Any

from tests.agents import brands
from tests.agents.brands import Brand, needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind

pytestmark = needs_agents


def here(brand: Brand) -> dict[str, Any]:
    return {"argv": brand.argv}


class TestCodexOverAcp(AgentContract):
    kind = Kind("acp", brands.codex_acp, here, lacks=frozenset({"limits", "steer", "usage"}))
