"""`agent-queue setup discord`: the application, its token, the server and the home channel, each tried out."""

import discord
from pydantic import SecretStr, ValidationError

from bots.asking import Found, Person
from bots.discord.places import RIGHTS
from bots.discord.session import open_client
from bots.discord.settings import API, DiscordSettings
from orchestrator.errors import UserError

TOKEN = "DISCORD_TOKEN"  # noqa: S105 - the variable's name
_EXTRA = "manage_channels"
"""Asked for besides, so that a channel can be made for a project."""


async def walk(person: Person, api: str = API) -> Found:
    """Ask for the token, invite the bot, and choose the home channel; nothing is posted."""
    person.say(
        "1. At https://discord.com/developers/applications make a New Application.\n"
        "2. Under Bot choose Reset Token and copy it.\n"
        "3. There, switch on Message Content Intent: without it plain words in a task's thread do not reach its "
        "agent, while slash commands, mentions and buttons do."
    )
    token, client, info = await _signed_in(person, api)
    try:
        if not _reads_content(info):
            person.found(False, "the Message Content Intent is off; it can be switched on at any time")
        guild = await _guild(person, client, info)
        home = await _home(person, client, guild)
    finally:
        await client.close()
    me = person.ask(f"Your own user id (Enter: {info.owner}'s)", default=str(info.owner.id), check=_user)
    return Found(
        section={"token": f"${{{TOKEN}}}", "home": str(home.id), "guild": str(guild.id)},
        secrets={TOKEN: token},
        account=f"discord:{me}",
        next=f"in #{home.name}, `/aq status`",
    )


def _user(words: str) -> str:
    if not (words.isascii() and words.isdigit()):
        raise ValueError("must be a user id of digits, as Copy User ID gives it")
    return words


async def _signed_in(person: Person, api: str) -> tuple[str, discord.Client, discord.AppInfo]:
    """A token that Discord takes, a client that is signed in with it, and what the application is."""
    while True:
        token = person.secret("The bot's token")
        try:
            settings = DiscordSettings(token=SecretStr(token), home="00000", api=api)
        except ValidationError as fault:
            person.found(False, str(fault.errors()[0]["msg"]).removeprefix("Value error, "))
            continue
        client = open_client(settings, blind=True, tap=lambda _: None)
        try:
            await client.login(token)
            info = await client.application_info()
        except (discord.DiscordException, OSError) as fault:
            await client.close()
            known = isinstance(fault, discord.LoginFailure)
            words = "Discord does not know that token; reset it and copy the new one"
            away = f"Discord cannot be reached, so the token was not tried: {fault or type(fault).__name__}"
            person.found(False, words if known else away)
            continue
        person.found(True, f"signed in as {client.user}")
        return token, client, info


def _reads_content(info: discord.AppInfo) -> bool:
    return info.flags.gateway_message_content or info.flags.gateway_message_content_limited


async def _guild(person: Person, client: discord.Client, info: discord.AppInfo) -> discord.Guild:
    """The server that the bot is to work in, once it was invited to one."""
    rights = discord.Permissions(**dict.fromkeys((*RIGHTS, _EXTRA), True))
    address = discord.utils.oauth_url(info.id, permissions=rights, scopes=("bot", "applications.commands"))
    while not (guilds := [one async for one in client.fetch_guilds(limit=None)]):
        person.say(f"Invite the bot to your server:\n\n{address}")
        if not person.again("Done?"):
            raise UserError("the bot is in no server yet; run setup again when it is")
    place = person.choose("Which server", [one.name for one in guilds]) if len(guilds) > 1 else 0
    person.found(True, f"the bot is in the server {guilds[place].name}")
    return await client.fetch_guild(guilds[place].id)


async def _home(person: Person, client: discord.Client, guild: discord.Guild) -> discord.TextChannel:
    """The home channel, where the bot lacks no right, or the person goes on without."""
    while True:
        channels = await guild.fetch_channels()
        rooms = [one for one in channels if isinstance(one, discord.TextChannel)]
        if not rooms:
            raise UserError(f"the bot sees no text channel in {guild.name}; make one and let it in")
        room = rooms[person.choose("The home channel", [f"#{one.name}" for one in rooms])]
        if client.user is None:
            raise UserError("the bot has been signed out; run setup again")
        guild = await client.fetch_guild(guild.id)  # its roles may have been changed meanwhile
        allowed = room.permissions_for(await guild.fetch_member(client.user.id))
        lacking = [words for name, words in RIGHTS.items() if not getattr(allowed, name)]
        if not lacking:
            person.found(True, f"the bot may do what it must in #{room.name}")
            return room
        person.found(False, f"in #{room.name} the bot lacks {', '.join(lacking)}")
        if not person.again("Given, or another channel?"):
            return room
