"""Profiles: settings of agents by a name, as the configuration has them."""

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import UserError
from orchestrator.projects import Agent

Profiles = Mapping[str, Mapping[str, Any]]


def profile_of(profiles: Profiles, agent: Agent) -> Mapping[str, Any]:
    """The settings of an agent's profile; UserError where the configuration has none of that name."""
    if not agent.profile:
        return {}
    if agent.profile not in profiles:
        known = ", ".join(profiles) or "none"
        raise UserError(
            f"agent {agent.id} has the profile {agent.profile!r}, which the configuration does not have; "
            f"there are {known} (`profiles:`, then `restart`)"
        )
    return profiles[agent.profile]
