"""Options of agents: the base of every adapter's own."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrator.settings import bytes_of


def _size(value: str | None) -> str | None:
    if value is not None:
        bytes_of(value)
    return value


class Section(BaseModel):
    """A part of the settings of an agent. What is unknown is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class AgentOptions(Section):
    """The settings of an agent."""

    memory_max: Annotated[str | None, AfterValidator(_size)] = Field(
        None, description="Memory that a run may hold, as `4G`, instead of `runs.memory_max`."
    )
