"""Claude Code under the daemon, over its bridge to the Agent Client Protocol."""

from tests.agents import brands
from tests.agents.brands import needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, asks_claude, by_command, of_plan

pytestmark = needs_agents


class TestClaudeOverAcp(AgentContract):
    kind = Kind("acp", brands.claude_agent_acp, by_command, of_plan, asks_claude(), told_late=62.0)
