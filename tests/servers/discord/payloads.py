"""What is told of the world, as JSON: to a bot, so without what it may not see."""

from typing import TYPE_CHECKING, Any

from tests.servers.discord.model import (
    DM,
    HAS_THREAD,
    Bot,
    Channel,
    File,
    Guild,
    Interaction,
    Json,
    Post,
    User,
    stamp,
)
from tests.servers.discord.permissions import ALL, in_channel, in_guild

if TYPE_CHECKING:
    from tests.servers.discord.world import World

MESSAGE_CONTENT, MEMBERS, PRESENCES = 1 << 15, 1 << 1, 1 << 8


def user(one: User) -> Json:
    found = {
        "id": one.id,
        "username": one.name,
        "discriminator": "0000" if isinstance(one, Bot) else "0",
        "global_name": None if isinstance(one, Bot) else one.name.title(),
        "avatar": None,
        "public_flags": 0,
    }
    return found | ({"bot": True} if isinstance(one, Bot) else {})


def member(world: "World", guild: Guild, one: User) -> Json:
    """A member, without the user."""
    roles = [_role_of(world, guild, one)] if isinstance(one, Bot) else []
    joined = stamp(guild.members.get(one.id, world.now()))
    found = {"roles": roles, "nick": None, "avatar": None, "joined_at": joined, "premium_since": None}
    return found | {"deaf": False, "mute": False, "flags": 0, "pending": False}


def role(guild: Guild, id_: str, name: str) -> Json:
    colour = {"color": 0, "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None}}
    more = {"hoist": False, "icon": None, "unicode_emoji": None, "position": 0 if id_ == guild.id else 1}
    held = in_guild(guild) if id_ == guild.id or name.startswith("bot ") else 0
    more |= {"managed": name.startswith("bot "), "mentionable": True, "flags": 0}
    return {"id": id_, "name": name.removeprefix("bot "), "permissions": str(held), **colour, **more}


def channel(world: "World", one: Channel, bot: Bot | None = None) -> Json:
    """A channel, a thread or a direct message."""
    found: Json = {"id": one.id, "type": one.kind, "last_message_id": one.last_message_id, "flags": 0}
    if one.kind == DM:
        others = [world.users[id_] for id_ in one.members if bot is None or id_ != bot.id]
        return found | {"recipients": [user(other) for other in others]}
    found |= {"guild_id": one.guild_id, "name": one.name, "parent_id": one.parent_id}
    found |= {"rate_limit_per_user": one.slow, "nsfw": False}
    if not one.is_thread:
        denied = [
            {"id": each.id, "type": 1, "allow": "0", "deny": str(one.denied)}
            for each in world.bots.values()
            if one.denied and one.guild_id and each.id in world.guilds[one.guild_id].members
        ]
        return found | {"topic": one.topic, "position": one.position, "permission_overwrites": denied}
    about: Json = {"archived": one.archived, "locked": one.locked, "auto_archive_duration": one.auto_archive}
    about |= {"archive_timestamp": stamp(one.archived_at), "create_timestamp": stamp(world.made(one.id))}
    found |= {"owner_id": one.owner_id, "thread_metadata": about, "member_count": min(len(one.members), 50)}
    found |= {"message_count": one.sent, "total_message_sent": one.sent}
    if bot is not None and bot.id in one.members:
        found["member"] = thread_member(one, bot.id)
    return found


def thread_member(thread: Channel, id_: str) -> Json:
    return {"id": thread.id, "user_id": id_, "join_timestamp": stamp(thread.members[id_]), "flags": 1}


def guild(world: "World", one: Guild, bot: Bot) -> Json:
    """A guild as GUILD_CREATE tells it: with its channels and its active threads (documented)."""
    found = plain_guild(one)
    places = [each for each in world.channels.values() if each.guild_id == one.id]
    seen = [each for each in places if each.is_thread and not each.archived and world.sees(bot, each)]
    me = member(world, one, bot) | {"user": user(bot)}
    found |= {"joined_at": stamp(one.members[bot.id]), "large": False}
    found |= {"member_count": len(one.members), "members": [me], "presences": [], "voice_states": []}
    found |= {"channels": [channel(world, each) for each in places if not each.is_thread]}
    found |= {"threads": [channel(world, each, bot) for each in seen]}
    return found | {"stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": []}


def plain_guild(one: Guild) -> Json:
    """A guild as REST tells it."""
    nothing = dict.fromkeys(
        ("icon", "splash", "discovery_splash", "afk_channel_id", "application_id", "system_channel_id")
    ) | dict.fromkeys(("rules_channel_id", "vanity_url_code", "description", "banner"))
    numbers = dict.fromkeys(("verification_level", "default_message_notifications", "mfa_level"), 0)
    numbers |= dict.fromkeys(("explicit_content_filter", "system_channel_flags", "premium_tier"), 0)
    lists: Json = {"emojis": [], "features": [], "stickers": []}
    roles = [role(one, id_, name) for id_, name in one.roles.items()]
    more: Json = {"afk_timeout": 300, "preferred_locale": "en-US", "nsfw_level": 0, "roles": roles}
    return {"id": one.id, "name": one.name, "owner_id": one.owner_id, **nothing, **numbers, **lists, **more}


def attachment(world: "World", channel_id: str, one: File) -> Json:
    url = f"{world.origin}/attachments/{channel_id}/{one.id}/{one.name}"
    found = {"id": one.id, "filename": one.name, "size": len(one.data), "url": url, "proxy_url": url}
    described = {"description": one.description} if one.description else {}
    return found | {"content_type": one.kind} | described


def content_hidden(world: "World", post: Post, bot: Bot, intents: int | None) -> bool:
    """Whether a bot without the message content intent may not see what a message says.

    Documented exceptions: its own messages, direct messages, and messages that mention it. For REST the portal's
    switch counts, since no intents are sent there. Replies and interactions that concern it give it the message too,
    but those are told elsewhere.
    """
    if (bot.allowed if intents is None else intents) & MESSAGE_CONTENT:
        return False
    return post.author is not bot and post.guild_id is not None and bot.id not in post.mentions


def post(world: "World", one: Post, bot: Bot, intents: int | None = None, *, whole: bool = False) -> Json:
    """A message. *whole*: it is told in an interaction, where nothing is hidden (documented)."""
    hidden = not whole and content_hidden(world, one, bot, intents)
    found = _frame(world, one)
    if not hidden:
        found["content"] = one.content
        found["embeds"] = [{"type": "rich", **embed} for embed in one.embeds]
        found["components"] = one.components
        found["attachments"] = [attachment(world, one.channel_id, file) for file in one.files]
    if one.reactions:
        found["reactions"] = [_reaction(emoji, who, bot) for emoji, who in one.reactions.items()]
    if one.thread_id and one.thread_id in world.channels:
        found["thread"] = channel(world, world.channels[one.thread_id], bot)
    if one.reference:
        found["message_reference"] = one.reference
    if one.kind in (19, 21) and one.reference:
        replied = world.posts.get(one.reference["message_id"])
        told = None if replied is None or replied.gone else replied
        found["referenced_message"] = told and post(world, _without_reply(told), bot, intents)
    if one.interaction is not None:
        found["interaction_metadata"] = _metadata(one, one.interaction)
        found["webhook_id"] = found["application_id"] = one.interaction.bot.id
    return found


def _frame(world: "World", one: Post) -> Json:
    users = [world.users[id_] for id_ in sorted(one.mentions) if id_ in world.users]
    roles = world.guilds[one.guild_id].roles if one.guild_id else {}
    found: Json = {"id": one.id, "channel_id": one.channel_id, "author": user(one.author), "type": one.kind}
    found |= {"content": "", "embeds": [], "components": [], "attachments": [], "pinned": False, "tts": False}
    found |= {"timestamp": stamp(world.made(one.id)), "mention_everyone": "everyone" in one.pings}
    found |= {"edited_timestamp": None if one.edited_at is None else stamp(one.edited_at)}
    found |= {"mentions": [user(who) for who in users], "mention_roles": sorted(one.pings & set(roles))}
    return found | {"flags": one.flags | (HAS_THREAD if one.thread_id else 0)}


def post_event(world: "World", one: Post, bot: Bot, intents: int, *, nonce: bool) -> Json:
    """A message as the gateway tells it: with the guild and the author's membership."""
    found = post(world, one, bot, intents)
    if one.guild_id is not None:
        found["guild_id"] = one.guild_id
        if one.interaction is None:
            found["member"] = member(world, world.guilds[one.guild_id], one.author)
    return found | ({"nonce": one.nonce} if nonce and one.nonce is not None else {})


def interaction(world: "World", one: Interaction) -> Json:
    """An INTERACTION_CREATE."""
    place = world.channels[one.channel_id]
    in_a_guild = world.guilds[one.guild_id] if one.guild_id else None
    found: Json = {
        "id": one.id,
        "application_id": one.bot.id,
        "type": one.kind,
        "token": one.token,
        "version": 1,
    }
    found |= {"data": one.data, "channel_id": one.channel_id, "channel": channel(world, place, one.bot)}
    found |= {"locale": "en-US", "entitlements": [], "attachment_size_limit": 10 * 1024**2}
    found |= {"authorizing_integration_owners": {"0": one.guild_id or "0"}, "context": 0 if in_a_guild else 1}
    found |= {"app_permissions": str(in_channel(in_a_guild, place))}
    if one.message_id is not None:
        found["message"] = post(world, world.posts[one.message_id], one.bot, whole=True)
    if in_a_guild is None:
        return found | {"user": user(one.user)}
    who = member(world, in_a_guild, one.user) | {"user": user(one.user), "permissions": str(ALL)}
    about = {"id": in_a_guild.id, "locale": "en-US", "features": []}
    return found | {"guild_id": in_a_guild.id, "guild": about, "guild_locale": "en-US", "member": who}


def _reaction(emoji: str, who: list[str], bot: Bot) -> Json:
    counts = {"burst": 0, "normal": len(who)}
    found: Json = {"count": len(who), "count_details": counts, "me": bot.id in who, "me_burst": False}
    return found | {"emoji": {"id": None, "name": emoji}, "burst_colors": []}


def _without_reply(one: Post) -> Post:
    """A message that is told inside another one does not tell of a third."""
    kept: dict[str, Any] = {
        key: value for key, value in vars(one).items() if key not in ("reference", "kind")
    }
    return Post(**kept)


def _metadata(one: Post, about: Interaction) -> Json:
    owners = {"0": about.guild_id or "0"}
    found: Json = {"id": about.id, "type": about.kind, "user": user(about.user)}
    found |= {"authorizing_integration_owners": owners}
    if one.id != about.original and about.original is not None:
        found["original_response_message_id"] = about.original
    return found | ({"interacted_message_id": about.message_id} if about.kind == 3 else {})


def _role_of(world: "World", guild: Guild, bot: Bot) -> str:
    return next(id_ for id_, name in guild.roles.items() if name == f"bot {bot.name}")
