"""Makes channels for projects."""

import re
from typing import Any, Final

from bots.slack.reading import mapping, string
from bots.slack.session import Session, ask
from bots.slack.workspace import Workspace
from orchestrator.errors import UserError
from orchestrator.transport import Later, Refused, Unknown

_NAME_MAX: Final = 80
_TOPIC_MAX: Final = 250


def channel_name(name: str) -> str:
    """*name* as Slack's channels are called: lower case, without spaces or full stops."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.strip().lower()).strip("-_")[:_NAME_MAX]


async def make(session: Session, workspace: Workspace, name: str, topic: str, account: str) -> str:
    """The id of a public channel of ours called *name*, with *account* in it; UserError where it cannot be had."""
    called = channel_name(name)
    if not called:
        raise UserError(f"{name!r} cannot be a channel's name: letters, digits, hyphens and underscores")
    try:
        channel = workspace.ours(called) or await _created(session, workspace, called, topic)
        if account:
            await _invite(session, channel, account)
    except (Refused, Later, Unknown) as failed:
        raise UserError(f"Slack makes no channel #{called} for us: {failed}") from failed
    return channel


async def _created(session: Session, workspace: Workspace, name: str, topic: str) -> str:
    try:
        answer = await ask(session.web.conversations_create(name=name))
    except Refused as refusal:
        if not str(refusal).startswith("name_taken"):
            raise
        await workspace.look_around()  # a daemon before us may have made it, and not lived to hear so
        if found := workspace.ours(name):
            return found
        raise UserError(
            f"there is a channel #{name} already, and it is not of my making: name another one (`channel:…`), or "
            "invite me there and bind the project to it"
        ) from refusal
    made: Any = mapping(answer.get("channel"))
    channel = string(made.get("id"), 32)
    workspace.entered(channel, name)
    try:
        await ask(session.web.conversations_setTopic(channel=channel, topic=topic[:_TOPIC_MAX]))
    except (Refused, Later, Unknown):
        return channel  # a channel without its topic serves as well
    return channel


async def _invite(session: Session, channel: str, account: str) -> None:
    try:
        await ask(session.web.conversations_invite(channel=channel, users=[account]))
    except Refused as refusal:
        if not str(refusal).startswith(("already_in_channel", "cant_invite_self")):
            raise
