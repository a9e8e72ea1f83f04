"""OpenCode under the daemon, over the Agent Client Protocol."""

from tests.agents import brands
from tests.agents.brands import needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, by_command

pytestmark = needs_agents


class TestOpenCodeOverAcp(AgentContract):
    kind = Kind(
        "acp", brands.opencode_acp, lambda brand: {**by_command(brand), "retry_patience": 5.0}, told_late=2.0
    )
