"""OpenCode under the daemon, over its server."""

from typing import Any

from tests.agents import brands
from tests.agents.brands import Brand, needs_agents
from tests.contract.agents import AgentContract
from tests.contract.agents_at_work import Kind

pytestmark = needs_agents


def here(brand: Brand) -> dict[str, Any]:
    return {"path": brand.program, "retry_patience": 2.0}


def colour() -> dict[str, Any]:
    options = [{"label": one, "description": one} for one in ("red", "blue")]
    asked = {"question": "Which colour?", "header": "Colour", "options": options}
    return {"tool": "question", "args": {"questions": [asked]}}


class TestOpenCode(AgentContract):
    kind = Kind("opencode", brands.opencode_serve, here, question=colour(), told_late=2.0)
