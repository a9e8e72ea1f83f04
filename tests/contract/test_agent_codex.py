"""Codex under the daemon, over its app server."""

from typing import Any

from tests.agents import brands
from tests.agents.brands import Brand, needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind, asks_codex

pytestmark = needs_agents


def here(brand: Brand) -> dict[str, Any]:
    return {"path": brand.program, "config": {"features.default_mode_request_user_input": True}}


class TestCodex(AgentContract):
    kind = Kind("codex", brands.codex_app_server, here, question=asks_codex())
