"""Codex under the daemon, over its app server."""

from typing import Any

from tests.agents import brands
from tests.agents.brands import Brand, needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind

pytestmark = needs_agents


def here(brand: Brand) -> dict[str, Any]:
    return {"path": brand.program, "config": {"features.default_mode_request_user_input": True}}


def colour() -> dict[str, Any]:
    options = [{"label": one, "description": one} for one in ("red", "blue")]
    asked = {"id": "colour", "header": "Colour", "question": "Which colour?", "options": options}
    return {"tool": "request_user_input", "args": {"questions": [asked]}}


class TestCodex(AgentContract):
    kind = Kind("codex", brands.codex_app_server, here, question=colour())
