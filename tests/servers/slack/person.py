"""A person with Slack's client: what they type, click and submit, and what they see of it."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tests.servers.slack import answers, forms, modals, words
from tests.servers.slack.blocks import check_view
from tests.servers.slack.delivery import Delivery
from tests.servers.slack.model import (
    App,
    Channel,
    File,
    Interaction,
    Json,
    Message,
    PersonError,
    SlackError,
    User,
    View,
)
from tests.servers.slack.payloads import command_json, interaction_json, message_json, view_json
from tests.servers.slack.workspace import Workspace

_MENU_VALUES = ("static_select", "radio_buttons", "overflow")


class Person:
    """A member of the workspace. What Slack's client does not let one do raises PersonError."""

    def __init__(self, workspace: Workspace, delivery: Delivery, user: User) -> None:
        self.user = user
        self._workspace = workspace
        self._delivery = delivery

    @property
    def id(self) -> str:
        return self.user.id

    @property
    def name(self) -> str:
        return self.user.name

    @property
    def home_view(self) -> Json | None:
        """What was published last for this person's home tab."""
        homes = [view for (_, user), view in self._workspace.homes.items() if user == self.id]
        return homes[-1].content if homes else None

    # Messages

    async def say(
        self, channel: str, text: str, thread: str | None = None, files: Sequence[tuple[str, bytes]] = ()
    ) -> str:
        """Say something, and return its ts; mentions are written `<@U...>`, as picked from the client's list."""
        place = self._writable(channel)
        written = words.typed(text)
        message = Message(self._workspace.clock.stamp(), place.id, self.id, written, thread_ts=thread)
        message.client_msg_id = str(uuid4())
        message.shared = [self._file(place, name, data) for name, data in files]
        message.subtype = "file_share" if files else ""
        message.blocks = forms.rich_text(written) if written else []
        self._workspace.post(place, message)
        return message.ts

    async def edit(self, channel: str, ts: str, text: str) -> None:
        """Change what was said."""
        place = self._writable(channel)
        message = self._own(place, ts)
        before = message_json(message, place, self._workspace.base)
        message.text = words.typed(text)
        message.blocks = forms.rich_text(message.text)
        message.edited = self._workspace.clock.stamp()
        self._workspace.change(place, message, before)

    async def delete(self, channel: str, ts: str) -> None:
        place = self._writable(channel)
        self._workspace.delete(place, self._own(place, ts))

    async def react(self, channel: str, ts: str, name: str) -> None:
        place = self._writable(channel)
        message = self._workspace.message(place, ts)
        users = message.reactions.setdefault(name, [])
        if self.id in users:
            raise PersonError(f"{self.name} has already reacted with {name}")
        users.append(self.id)
        self._workspace.tell_reaction(place, message, self.id, name, added=True)

    async def unreact(self, channel: str, ts: str, name: str) -> None:
        place = self._writable(channel)
        message = self._workspace.message(place, ts)
        message.reactions[name].remove(self.id)
        if not message.reactions[name]:
            del message.reactions[name]
        self._workspace.tell_reaction(place, message, self.id, name, added=False)

    # Interactions

    async def slash(self, channel: str, command: str, text: str = "") -> Interaction:
        """Run a command; it works in channels and direct messages, but documented not in threads."""
        place = self._writable(channel)
        app = self._app(lambda one: command in one.commands, command)
        interaction = self._workspace.begin("slash_command", app, self.id, place.id, None)
        url = self._workspace.response_url(interaction)
        sent = words.typed(text) if app.escapes_commands else words.escaped(self._named(text))
        payload = command_json(interaction, self.user, place, command, sent, url)
        body = await self._delivery.interact(interaction, "slash_commands", payload, answers=True)
        self._answer(interaction, body)
        return interaction

    async def press(
        self, channel: str, ts: str, action_id: str, *, value: str | None = None, block_id: str = ""
    ) -> Interaction:
        """Press a button of a message, or choose *value* in a menu of it."""
        place = self._inside(channel)
        message = self._seen(place, ts)
        block, element = _element(message.blocks, action_id, block_id, f"message {ts}")
        app = self._app(lambda one: one.bot_id == message.bot_id, "the message's app")
        interaction = self._workspace.begin("block_actions", app, self.id, place.id, message)
        interaction.message_thread = message.thread_ts
        container = {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": place.id,
            "is_ephemeral": bool(message.ephemeral_to),
        }
        if message.thread_ts:
            container["thread_ts"] = message.thread_ts
        payload = interaction_json(
            interaction,
            self.user,
            container=container,
            channel={"id": place.id, "name": "directmessage" if place.im else place.name},
            message=message_json(message, place, self._workspace.base),
            state={"values": {}},
            response_url=self._workspace.response_url(interaction),
            actions=[self._action(block, element, value)],
        )
        await self._delivery.interact(interaction, "interactive", payload, answers=False)
        return interaction

    async def press_view(self, view: View, action_id: str, *, value: str | None = None) -> Interaction:
        """Press a button of a modal or of the home tab; there is no response_url then."""
        block, element = _element(view.content["blocks"], action_id, "", f"view {view.id}")
        interaction = self._workspace.begin("block_actions", view.app, self.id, "", None)
        interaction.view = view
        payload = interaction_json(
            interaction,
            self.user,
            container={"type": "view", "view_id": view.id},
            view=view_json(view),
            actions=[self._action(block, element, value)],
        )
        await self._delivery.interact(interaction, "interactive", payload, answers=False)
        return interaction

    async def shortcut(self, channel: str, ts: str, callback_id: str) -> Interaction:
        """Choose a shortcut from a message's menu."""
        place = self._inside(channel)
        message = self._workspace.message(place, ts)
        app = self._app(lambda one: callback_id in one.shortcuts, callback_id)
        interaction = self._workspace.begin("message_action", app, self.id, place.id, message)
        payload = interaction_json(
            interaction,
            self.user,
            callback_id=callback_id,
            action_ts=self._workspace.clock.stamp(),
            message_ts=message.ts,
            channel={"id": place.id, "name": "directmessage" if place.im else place.name},
            message=message_json(message, place, self._workspace.base),
            response_url=self._workspace.response_url(interaction),
        )
        await self._delivery.interact(interaction, "interactive", payload, answers=False)
        return interaction

    async def submit(self, view: View, values: dict[str, dict[str, Any]]) -> Interaction:
        """Fill a modal in and submit it; what the client itself refuses raises PersonError."""
        if view.closed or view.user != self.id:
            raise PersonError(f"{self.name} does not see view {view.id}")
        state = forms.state(view.content["blocks"], values)
        interaction = self._workspace.begin("view_submission", view.app, self.id, "", None)
        payload = interaction_json(interaction, self.user, view=view_json(view, state), response_urls=[])
        interaction.view = view
        body = await self._delivery.interact(interaction, "interactive", payload, answers=True)
        if interaction.acked:
            self._submitted(interaction, view, body if isinstance(body, dict) else {})
        return interaction

    async def dismiss(self, view: View) -> Interaction | None:
        """Close a modal; its app hears of it only if the view says `notify_on_close`."""
        view.closed = True
        if not view.content.get("notify_on_close"):
            return None
        interaction = self._workspace.begin("view_closed", view.app, self.id, "", None)
        payload = interaction_json(interaction, self.user, view=view_json(view), is_cleared=False)
        await self._delivery.interact(interaction, "interactive", payload, answers=False)
        return interaction

    async def home(self) -> None:
        """Open the app's home tab."""
        for app in self._workspace.apps:
            place = self._workspace.direct(app, self.id)
            view = self._workspace.homes.get((app.id, self.id))
            inner: Json = {"type": "app_home_opened", "user": self.id, "channel": place.id, "tab": "home"}
            inner |= {"event_ts": self._workspace.clock.stamp()} | ({"view": view_json(view)} if view else {})
            self._workspace.tell_app(app, inner)

    # Within

    def _submitted(self, interaction: Interaction, view: View, body: Json) -> None:
        """Do what the acknowledgement of a submission says; without a word the view closes."""
        action = body.get("response_action", "")
        if action == "errors":
            interaction.errors = dict(body.get("errors") or {})
            known = {block.get("block_id") for block in view.content["blocks"]}
            interaction.failed = not interaction.errors or not interaction.errors.keys() <= known
        elif action in ("update", "push"):
            try:
                check_view(body.get("view") or {})
            except SlackError:
                interaction.failed = True
                return
            if action == "update":
                modals.replace(self._workspace, view, body["view"])
            else:
                interaction.view = modals.shown(self._workspace, view.app, self.id, body["view"], view)
        elif action in ("", "clear"):
            view.closed = True
            interaction.view = view.previous if not action else None
            below = view.previous if action else None
            while below is not None:
                below.closed, below = True, below.previous
        else:
            interaction.failed = True
        self._workspace.news.tell()

    def _answer(self, interaction: Interaction, body: Any) -> None:
        """Show what a command was acknowledged with; what Slack cannot show is an error to the person."""
        if not body:
            return
        try:
            answers.respond(
                self._workspace, interaction, body if isinstance(body, dict) else {"text": str(body)}
            )
        except SlackError:
            interaction.failed = True

    def _action(self, block: Json, element: Json, value: str | None) -> Json:
        action = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": block["block_id"],
            "action_ts": self._workspace.clock.stamp(),
        }
        if element["type"] == "button":
            given = {key: element[key] for key in ("text", "value", "style") if key in element}
            return action | given
        if element["type"] in _MENU_VALUES:
            return action | {"selected_option": forms.option(element, str(value))}
        return action | {"value": value}

    def _named(self, text: str) -> str:
        """A command's text as it arrives where mentions are not made entities."""
        for user in self._workspace.users.values():
            text = text.replace(f"<@{user.id}>", f"@{user.name}")
        return text

    def _inside(self, channel: str) -> Channel:
        place = self._workspace.channels.get(channel)
        if place is None or place.deleted or self.id not in place.members:
            raise PersonError(f"{self.name} is not in {channel}")
        return place

    def _writable(self, channel: str) -> Channel:
        place = self._inside(channel)
        if place.archived:
            raise PersonError(f"{channel} is archived")
        return place

    def _own(self, place: Channel, ts: str) -> Message:
        message = self._workspace.message(place, ts)
        if message.user != self.id:
            raise PersonError(f"{ts} is not {self.name}'s")
        return message

    def _seen(self, place: Channel, ts: str) -> Message:
        for message in place.ephemerals:
            if message.ts == ts and message.ephemeral_to == self.id:
                return message
        return self._workspace.message(place, ts)

    def _app(self, is_it: Any, what: str) -> App:
        """The app that offers it; without the scope `commands` it could not have been installed with it."""
        app = next((one for one in self._workspace.apps if is_it(one)), None)
        if app is None or ("commands" not in app.scopes and (what in app.commands or what in app.shortcuts)):
            raise PersonError(f"there is no {what} in this workspace")
        return app

    def _file(self, place: Channel, name: str, data: bytes) -> File:
        now = self._workspace.clock.now()
        file = File(self._workspace.new_id("F"), name, len(data), self.id, now, name, data, True, {place.id})
        self._workspace.files[file.id] = file
        return file


def _element(blocks: list[Json], action_id: str, block_id: str, where: str) -> tuple[Json, Json]:
    """The block and the element that a person clicks."""
    for block in blocks:
        if block_id and block.get("block_id") != block_id:
            continue
        for element in [*block.get("elements", []), block.get("accessory"), block.get("element")]:
            if isinstance(element, dict) and element.get("action_id") == action_id:
                return block, element
    raise PersonError(f"{where} has nothing with action_id {action_id!r}")
