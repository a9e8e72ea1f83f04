"""What people do with what Slack shows of us: slash commands, buttons, forms, shortcuts, the App Home.

A button with a form opens it, for which Slack gives three seconds; everything else is stored and acknowledged. An
answer is an ordinary message under its key: a response_url knows no key, so that what was said through it could not be
found again, and it ends after half an hour.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog
from pydantic import ValidationError

from bots.slack.hearing import Errands, Hearing
from bots.slack.manifest import SHORTCUT
from bots.slack.modals import (
    FORM,
    INPUT_MAX,
    QUEUE,
    Origin,
    form_view,
    home_view,
    notice_view,
    queue_view,
    values,
)
from bots.slack.reading import mapping, mentioned, stamp, string
from bots.slack.rendering import PRESS, context, escaped
from bots.slack.session import Session, ask
from bots.slack.settings import NAME
from bots.slack.workspace import Workspace
from orchestrator.commands.catalog import COMMANDS
from orchestrator.transport import Inbound, InboundKind, Intake, Later, Place, Refused, Unknown, Wire

log = structlog.get_logger(__name__)

Json = Mapping[str, Any]
_TEXT_BYTES: Final = 2_000
_PRESSES_MAX: Final = 500
_ROOM_PATIENCE: Final = 1.5


class Pressing:
    """Takes the interactions of one workspace."""

    def __init__(
        self, session: Session, intake: Intake, workspace: Workspace, hearing: Hearing, *, errand: Errands
    ) -> None:
        self._web = session.web
        self._intake = intake
        self._workspace = workspace
        self._hearing = hearing
        self._errand = errand
        self._rooms: dict[str, str] = {}
        """People's direct messages with us."""
        self._at_home: dict[str, str] = {}
        """Who has pressed something in their App Home, by the event's id."""
        self._asked: dict[str, str] = {}
        """Slash commands that are not answered yet, with who said them, by the event's id."""

    # -- slash commands

    async def command(self, body: Json) -> Json:
        """Store a slash command. Nobody else sees that it was said, so its answer says what it answers."""
        channel, user = string(body.get("channel_id"), 32), string(body.get("user_id"), 32)
        if not await self._workspace.admits(channel):
            return {"response_type": "ephemeral", "text": escaped(self._not_there(), _TEXT_BYTES)}
        text = string(body.get("text"))
        self._workspace.met(user, string(body.get("user_name")))
        await self._workspace.learn_names(mentioned(text) - {self._workspace.identity.user})
        said = self._workspace.reader().plain(text).strip()
        event_id = f"slash:{string(body.get('trigger_id'), 200)}"
        first = said.split("\n", 1)[0]
        _keep(
            self._asked, event_id, f"{self._workspace.name(user)}: {string(body.get('command'), 32)} {first}"
        )
        await self._hearing.said(self._event(event_id, channel, user, text=said))
        return {}

    # -- buttons

    async def press(self, body: Json) -> None:
        """Run a button's stored line, or open its form."""
        actions = body.get("actions")
        action = mapping(actions[0]) if isinstance(actions, list) and actions else {}
        name = string(action.get("action_id"), 255)
        user = mapping(body.get("user"))
        self._workspace.met(string(user.get("id"), 32), string(user.get("name") or user.get("username")))
        if name.startswith("say:"):
            await self._press_at_home(body, string(action.get("value"), 2_000))
        elif name.startswith(PRESS):
            await self._press_action(body, action, name.removeprefix(PRESS))

    async def _press_action(self, body: Json, action: Json, stored: str) -> None:
        origin = _origin(body, stored)
        if origin is None:
            return
        form = await self._intake.form(stored)
        if form is not None:
            label = string(mapping(action.get("text")).get("text"), 75)
            view = form_view(form, label, origin)
            self._errand(self._show(string(body.get("trigger_id"), 200), view))
            return
        await self._act(f"press:{string(body.get('trigger_id'), 200)}", body, origin, {})

    async def _act(self, event_id: str, body: Json, origin: Origin, fields: Mapping[str, str]) -> None:
        user = string(mapping(body.get("user")).get("id"), 32)
        event = self._event(
            event_id,
            origin.channel,
            user,
            kind=InboundKind.ACTION,
            action=origin.action,
            subject=origin.subject,
            root=origin.root,
            fields=fields,
        )
        await self._hearing.said(event)

    async def _press_at_home(self, body: Json, line: str) -> None:
        """Say *line* for who pressed it, in their direct messages, where the answer comes."""
        user = string(mapping(body.get("user")).get("id"), 32)
        event_id = f"press:{string(body.get('trigger_id'), 200)}"
        _keep(self._at_home, event_id, user)
        await self._hearing.said(self._event(event_id, await self._room(user), user, text=line))

    async def _room(self, user: str) -> str:
        """Somebody's direct messages with us; Slack takes their own id as well, but shows us nothing there.

        Raises where Slack does not answer in time: then it shows them an error, and nothing is done.
        """
        if user not in self._rooms:
            try:
                async with asyncio.timeout(_ROOM_PATIENCE):
                    answer = await ask(self._web.conversations_open(users=[user]))
            except Later as refusal:
                if not str(refusal).startswith("missing_scope"):
                    raise
                log.warning("slack.no_direct_messages", user=user, error=str(refusal))
                return user
            self._rooms[user] = string(mapping(answer.get("channel")).get("id"), 32) or user
            self._workspace.entered(self._rooms[user])
        return self._rooms[user]

    # -- forms

    async def submission(self, body: Json) -> Json:
        """Take what was filled in; a view is sent off once, so it is known by its own id."""
        view = mapping(body.get("view"))
        origin, given = Origin.of(view), values(view)
        if origin is None:
            return {}
        event_id = f"form:{string(view.get('id'), 64)}"
        match string(view.get("callback_id")):
            case callback if callback == FORM:
                await self._act(event_id, body, origin, given)
            case callback if callback == QUEUE:
                return await self._queue(event_id, body, origin, given)
        return {}

    async def _queue(self, event_id: str, body: Json, origin: Origin, given: Mapping[str, str]) -> Json:
        user = string(mapping(body.get("user")).get("id"), 32)
        try:
            line = task_line(given.get("text", ""), given.get("project", ""))
        except ValidationError as wrong:
            first = wrong.errors()[0]
            block = "project" if "project" in first["loc"] else "text"
            return {"response_action": "errors", "errors": {block: first["msg"]}}
        await self._hearing.said(self._event(event_id, origin.channel, user, text=line, root=origin.root))
        return {}

    # -- shortcuts

    async def shortcut(self, body: Json) -> None:
        """Make a task of a message, by a form where it fits into one."""
        if string(body.get("callback_id")) != SHORTCUT:
            return
        message, user = mapping(body.get("message")), mapping(body.get("user"))
        channel = string(mapping(body.get("channel")).get("id"), 32)
        trigger = string(body.get("trigger_id"), 200)
        if not await self._workspace.admits(channel):
            self._errand(self._show(trigger, notice_view("Queue as a task", self._not_there())))
            return
        raw = string(message.get("text"))
        self._workspace.met(string(user.get("id"), 32), string(user.get("name")))
        await self._workspace.learn_names(mentioned(raw))
        text = self._workspace.reader().plain(raw).strip()
        ts, thread = stamp(message.get("ts")), stamp(message.get("thread_ts"))
        origin = Origin(channel=channel, root=thread if thread and thread != ts else None, subject=ts)
        if not text:
            words = "That message holds no words to make a task of."
            self._errand(self._show(trigger, notice_view("Queue as a task", words)))
        elif len(text) <= INPUT_MAX:
            self._errand(self._show(trigger, queue_view(text, origin)))
        else:
            await self._queue_at_once(trigger, string(user.get("id"), 32), text, origin)

    async def _queue_at_once(self, trigger: str, user: str, text: str, origin: Origin) -> None:
        """Make a task of what no form can hold."""
        try:
            line = task_line(text)
        except ValidationError as wrong:
            words = f"No task can be made of that message: {wrong.errors()[0]['msg']}."
            self._errand(self._show(trigger, notice_view("Queue as a task", words)))
            return
        event = self._event(f"shortcut:{trigger}", origin.channel, user, text=line, root=origin.root)
        await self._hearing.said(event)

    # -- the App Home

    async def show_home(self, user: str) -> None:
        """Publish what waits for people to somebody's App Home."""
        place = Place(transport=NAME, channel=f"home {user}")
        event = Inbound(
            event_id=f"home:{user}",
            place=place,
            account=user,
            name=self._workspace.name(user),
            text="inbox",
        )
        post = await self._intake.look(event)
        try:
            await ask(self._web.views_publish(user_id=user, view=home_view(post)))
        except (Refused, Later, Unknown) as failed:
            log.warning("slack.home_not_shown", user=user, error=str(failed))

    def introduced(self, wire: Wire) -> Wire:
        """*wire* with a line on top that says which slash command it answers."""
        asked = self._asked.get(str(wire.get("reply_to") or ""))
        return {**wire, "blocks": [context(asked), *wire["blocks"]]} if asked and wire.get("blocks") else wire

    def answered(self, reply_to: str) -> None:
        """An event was answered: if it was pressed in somebody's App Home, that shows how things are now."""
        user = self._at_home.pop(reply_to, "")
        if user:
            self._errand(self.show_home(user))

    # -- what they share

    async def _show(self, trigger: str, view: Json) -> None:
        try:
            await ask(self._web.views_open(trigger_id=trigger, view=dict(view)))
        except (Refused, Later, Unknown) as failed:
            log.warning("slack.form_not_shown", error=str(failed))

    def _event(self, event_id: str, channel: str, user: str, **more: Any) -> Inbound:
        place = Place(transport=NAME, channel=channel)
        return Inbound(event_id=event_id, place=place, account=user, name=self._workspace.name(user), **more)

    def _not_there(self) -> str:
        return f"I am not in this channel: invite me (`/invite @{self._workspace.identity.name}`), and say it again."


def _keep(kept: dict[str, str], name: str, value: str) -> None:
    """Keep *value*, and not too many others."""
    kept[name] = value
    if len(kept) > _PRESSES_MAX:
        kept.pop(next(iter(kept)))


def task_line(text: str, project: str = "") -> str:
    """The command that makes a task of *text*, which stays text whatever it says. ValidationError where it cannot."""
    text = text.strip()
    named = COMMANDS.to_line("task add", {"project": project.strip() or "here", "text": text})
    if project.strip():
        return named
    return f"task add\n{text}"  # as others write it, without the project, which the channel stands for


def _origin(body: Json, action: str) -> Origin | None:
    """Where a button was pressed."""
    container, message = mapping(body.get("container")), mapping(body.get("message"))
    where = mapping(body.get("channel")).get("id") or container.get("channel_id")
    channel, ts = string(where, 32), stamp(message.get("ts")) or stamp(container.get("message_ts"))
    if not channel or not ts:
        return None
    thread = stamp(message.get("thread_ts")) or stamp(container.get("thread_ts"))
    return Origin(
        channel=channel, root=thread if thread and thread != ts else None, subject=ts, action=action
    )
