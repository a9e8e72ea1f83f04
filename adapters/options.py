"""Options of agents: the base of every adapter's own."""

from pydantic import BaseModel, ConfigDict


class AgentOptions(BaseModel):
    """The settings of an agent. What is unknown is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
