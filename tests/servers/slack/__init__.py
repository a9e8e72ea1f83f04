"""A stand-in of Slack for tests: Web API, Socket Mode, events by HTTP, people, faults and limits."""

from tests.servers.slack.faults import CutBefore, Error, Fault, Limited, LoseAnswer, Slow, Status
from tests.servers.slack.model import (
    App,
    Event,
    File,
    Interaction,
    Message,
    PersonError,
    Request,
    SlackError,
    View,
)
from tests.servers.slack.person import Person
from tests.servers.slack.server import SCOPES, SlackServer

__all__ = [
    "SCOPES",
    "App",
    "CutBefore",
    "Error",
    "Event",
    "Fault",
    "File",
    "Interaction",
    "Limited",
    "LoseAnswer",
    "Message",
    "Person",
    "PersonError",
    "Request",
    "SlackError",
    "SlackServer",
    "Slow",
    "Status",
    "View",
]
