"""Signs of life: what counts as one, and what is done about a run that gives none. Pure."""

from enum import StrEnum

from orchestrator.agent import Accepted, Event, Probed
from orchestrator.settings import RunSettings

ANSWER = 15.0
"""Seconds in which a probe's answer has come through the journal, or comes no more."""
_WORK = 0.02
"""The share of the time that processes at work compute at least; an idle agent's timers take less."""
_WORK_IN_TOOL = 0.002
"""The same while a tool that the agent has called has not answered: it may wait for a network or a disk."""


class Care(StrEnum):
    """What was done last about a run that gives no sign of life."""

    NONE = ""
    PROBED = "probed"
    """Its supervisor was asked what the run's processes do."""
    NUDGED = "nudged"
    """The agent was asked whether it is still at work."""
    ASKED = "asked"
    """The supervisor was asked once more."""
    STOPPED = "stopped"


def is_sign(event: Event) -> bool:
    """Whether an event shows that the agent works. What the supervisor writes by itself does not."""
    if isinstance(event, Probed):
        return event.alive and event.cpu > event.seconds * (_WORK_IN_TOOL if event.in_tool else _WORK)
    return not isinstance(event, Accepted)


def due(care: Care, quiet: float, waited: float, settings: RunSettings) -> Care | None:
    """What is to be done now about a run that has been *quiet* for so many seconds, or None.

    *care* is what was done last, *waited* seconds ago.
    """
    if quiet < settings.quiet_after:
        return None
    match care:
        case Care.NONE:
            return Care.PROBED
        case Care.PROBED:
            return Care.NUDGED if waited >= ANSWER else None
        case Care.NUDGED:
            return Care.ASKED if waited >= settings.nudge_grace else None
        case _:
            return Care.STOPPED if waited >= ANSWER else None
