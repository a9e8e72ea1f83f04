"""Gemini CLI under the daemon, over the Agent Client Protocol."""

from tests.agents import brands
from tests.agents.brands import needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, by_command

pytestmark = needs_agents


class TestGeminiOverAcp(AgentContract):
    kind = Kind("acp", brands.gemini_acp, by_command, told_late=None, steers=False)
