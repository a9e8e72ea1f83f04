"""A person with Discord's own client: what they do, and what their client lets them do."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.servers.discord import checks, commands
from tests.servers.discord.errors import ClientRefused
from tests.servers.discord.model import DM, Bot, Channel, File, Guild, Interaction, Json, Post, User
from tests.servers.discord.world import Draft, World

_MODAL_SUBMIT, _COMPONENT, _COMMAND, _AUTOCOMPLETE = 5, 3, 2, 4


class Person(User):
    """Somebody who is no bot. People may do everything here but what the state of a thread forbids."""

    def __init__(self, world: World, id_: str, name: str, guild: Guild) -> None:
        super().__init__(id_, name)
        self.world = world
        self.guild = guild
        self._submitted: set[str] = set()

    # Saying things

    async def say(
        self,
        channel: str,
        text: str,
        reply_to: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
        *,
        ping: bool = True,
    ) -> str:
        """Say something in a channel or a thread; returns the message's id. *ping*: whether a reply notifies."""
        place = self._place(channel)
        self._may_talk(place)
        if len(text) > 2000:
            raise ClientRefused(f"{len(text)} characters: 2,000 are allowed without Nitro")
        if not text.strip() and not files:
            raise ClientRefused("there is nothing to send")
        if reply_to is not None:
            self.world.post(place, reply_to)
        kept = [File(self.world.snowflake(), name, data) for name, data in files]
        allowed = None if ping else {"parse": ["users", "roles", "everyone"], "replied_user": False}
        draft = Draft(self, place, text, files=kept, reply_to=reply_to, allowed=allowed)
        return self.world.say(draft).id

    async def dm(self, bot: Bot, text: str) -> str:
        """Say something to a bot alone; returns the message's id."""
        return await self.say(self.world.direct(self, bot).id, text)

    async def edit(self, message_id: str, text: str) -> None:
        post = self._own(message_id)
        self._active(self.world.channels[post.channel_id])
        self.world.edit(post, content=text)

    async def delete(self, message_id: str) -> None:
        self.world.delete(self._own(message_id))

    async def react(self, message_id: str, emoji: str) -> None:
        post = self._seen(message_id)
        self._active(self.world.channels[post.channel_id])
        self.world.react(post, self, emoji)

    async def unreact(self, message_id: str, emoji: str) -> None:
        post = self._seen(message_id)
        self._active(self.world.channels[post.channel_id])
        self.world.unreact(post, self, emoji)

    async def type(self, channel: str) -> None:
        """Begin to type."""
        self.world.type(self._place(channel), self)

    # Threads

    async def thread(self, message_id: str, name: str) -> str:
        """Make a thread of a message; returns its id, which is the message's."""
        post = self._seen(message_id)
        if post.thread_id is not None:
            raise ClientRefused("the message has a thread already")
        return self.world.thread(self.world.channels[post.channel_id], self, name, post).id

    async def change_thread(self, thread: str, **changes: Any) -> None:
        """Change a thread as a moderator does: `name`, `archived`, `locked`."""
        self.world.change_thread(self._place(thread), self, **changes)

    # Interactions

    async def slash(self, channel: str, path: str, /, **options: Any) -> Interaction:
        """Use a command such as "aq task add", and wait until it is acknowledged or has failed."""
        return await self.begin(channel, path, **options).answered()

    def begin(self, channel: str, path: str, /, **options: Any) -> Interaction:
        """Use a command, and do not wait."""
        place = self._place(channel)
        bot, command, steps = self._command(place, path)
        data = _invoked(command, commands.fill(command, steps, options))
        return self.world.interact(bot, self, place, _COMMAND, data)

    async def complete(
        self, channel: str, path: str, option: str, partial: str, /, **others: Any
    ) -> list[tuple[str, str | int | float]]:
        """What is offered while an option of a command is typed; empty where the bot does not answer in time."""
        place = self._place(channel)
        bot, command, steps = self._command(place, path)
        options = (steps[-1] if steps else command).get("options") or []
        about = next((one for one in options if one["name"] == option), None)
        if about is None or not about.get("autocomplete"):
            raise ClientRefused(f"/{path}: {option!r} is no option with autocomplete")
        typed = [
            {"name": one["name"], "type": one["type"], "value": others[one["name"]]}
            for one in options
            if one["name"] in others
        ]
        typed.append({"name": option, "type": about["type"], "value": partial, "focused": True})
        data = _invoked(command, commands.nest(steps, typed))
        found = await self.world.interact(bot, self, place, _AUTOCOMPLETE, data).answered()
        return found.choices or []

    async def press(self, message_id: str, custom_id: str, values: Sequence[str] = ()) -> Interaction:
        """Press a button, or choose *values* of a select, and wait until it is acknowledged or has failed."""
        return await self.begin_press(message_id, custom_id, values).answered()

    def begin_press(self, message_id: str, custom_id: str, values: Sequence[str] = ()) -> Interaction:
        """Press a button, and do not wait."""
        post = self._seen(message_id)
        part = next((one for one in checks.buttons(post.components) if one["custom_id"] == custom_id), None)
        if part is None:
            raise ClientRefused(f"the message has no component {custom_id!r}")
        if part.get("disabled"):
            raise ClientRefused(f"{custom_id!r} is disabled")
        if not isinstance(post.author, Bot):
            raise ClientRefused("the message is nobody's who could answer")
        data: Json = {"custom_id": custom_id, "component_type": part["type"], "id": part["id"]}
        if part["type"] != 2:
            offered = {one["value"] for one in part.get("options") or []}
            if offered and not set(values) <= offered:
                raise ClientRefused(f"{sorted(offered)} are offered, not {list(values)}")
            data["values"] = list(values)
        place = self.world.channels[post.channel_id]
        return self.world.interact(post.author, self, place, _COMPONENT, data, post.id)

    async def submit(self, interaction: Interaction, values: dict[str, str]) -> Interaction:
        """Send the form that an interaction was answered with, and wait for the acknowledgement."""
        return await self.begin_submit(interaction, values).answered()

    def begin_submit(self, interaction: Interaction, values: dict[str, str]) -> Interaction:
        """Send a form, and do not wait."""
        form = interaction.modal
        if form is None:
            raise ClientRefused("the interaction was not answered with a form")
        if interaction.user is not self or interaction.id in self._submitted:
            raise ClientRefused("the form is not open")
        data = {"custom_id": form["custom_id"], "components": _filled(form, values)}
        self._submitted.add(interaction.id)
        place = self.world.channels[interaction.channel_id]
        message = interaction.message_id
        return self.world.interact(interaction.bot, self, place, _MODAL_SUBMIT, data, message)

    # What the client knows

    def _place(self, id_: str) -> Channel:
        found = self.world.channels.get(id_)
        if found is None or (found.kind == DM and self.id not in found.members):
            raise ClientRefused(f"{self.name} sees no channel {id_}")
        return found

    def _seen(self, id_: str) -> Post:
        found = self.world.posts.get(id_)
        if found is None or found.gone or found.seen_by not in (None, self.id):
            raise ClientRefused(f"{self.name} sees no message {id_}")
        return found

    def _own(self, id_: str) -> Post:
        found = self._seen(id_)
        if found.author is not self:
            raise ClientRefused(f"message {id_} is {found.author.name}'s")
        return found

    def _may_talk(self, place: Channel) -> None:
        if place.locked:
            raise ClientRefused(f"{place.name} is locked")

    def _active(self, place: Channel) -> None:
        if place.archived:
            raise ClientRefused(f"{place.name} is archived")

    def _command(self, place: Channel, path: str) -> tuple[Bot, Json, list[Json]]:
        """The bot and the command behind a path. A guild's own command goes before a global one of its name."""
        here = [bot for bot in self.world.bots.values() if self._meets(bot, place)]
        head = path.removeprefix("/").split()[0]
        for scope in (place.guild_id, None) if place.guild_id else (None,):
            for bot in here:
                listed = bot.commands.get(scope, [])
                if any(one["name"] == head and one["type"] == 1 for one in listed):
                    return bot, *commands.find(listed, path)
        raise ClientRefused(f"nobody here has a command /{head}")

    def _meets(self, bot: Bot, place: Channel) -> bool:
        if place.guild_id is None:
            return bot.id in place.members
        return bot.id in self.world.guilds[place.guild_id].members


async def settled(*interactions: Interaction) -> None:
    """Wait until all of some interactions are acknowledged or have failed."""
    await asyncio.gather(*(one.answered() for one in interactions))


def _invoked(command: Json, options: list[Json]) -> Json:
    about = {"id": command["id"], "name": command["name"], "type": 1, "options": options}
    return about | ({"guild_id": command["guild_id"]} if "guild_id" in command else {})


def _filled(form: Json, values: dict[str, str]) -> list[Json]:
    """A form with what was written into it, after the client has checked it."""
    left = dict(values)
    parts = []
    for number, part in enumerate(form["components"], 1):
        if part["type"] == 18:
            inner = _written(part["component"], left)
            parts.append({"type": 18, "id": number, "component": inner})
        elif part["type"] == 1:
            parts.append({"type": 1, "id": number, "components": [_written(part["components"][0], left)]})
    if left:
        raise ClientRefused(f"the form has no field {sorted(left)}")
    return parts


def _written(field: Json, values: dict[str, str]) -> Json:
    """A field as it is sent."""
    name = field["custom_id"]
    if field["type"] != 4:
        return {"type": field["type"], "custom_id": name, "values": [values.pop(name)]}
    text = values.pop(name, field.get("value") or "")
    if field.get("required", True) and not text:
        raise ClientRefused(f"{name} is required")
    least = field.get("min_length") or 0
    if text and not least <= len(text) <= (field.get("max_length") or 4000):
        raise ClientRefused(f"{name} has {len(text)} characters")
    return {"type": 4, "custom_id": name, "value": text}
