"""Routes of the application, users, guilds, channels and threads."""

from tests.servers.discord import checks, payloads
from tests.servers.discord.errors import Refused, refused
from tests.servers.discord.model import DM, TEXT, Channel, Guild, Json, stamp
from tests.servers.discord.permissions import BITS, in_guild
from tests.servers.discord.rest import Answer, Call, route, too_much
from tests.servers.discord.rest_messages import page


@route("GET /users/@me")
def me(call: Call) -> Answer:
    return 200, payloads.user(call.bot) | {
        "mfa_enabled": True,
        "verified": True,
        "locale": "en-US",
        "flags": 0,
    }


@route("GET /users/{user}")
def somebody(call: Call) -> Answer:
    found = call.world.users.get(call.args["user"])
    if found is None:
        raise refused(10013)
    return 200, payloads.user(found)


@route("POST /users/@me/channels")
def direct(call: Call) -> Answer:
    """The direct messages with somebody."""
    other = call.world.users.get(str(call.body.get("recipient_id")))
    if other is None:
        raise refused(10013)
    return 200, payloads.channel(call.world, call.world.direct(call.bot, other), call.bot)


@route("GET /oauth2/applications/@me")
@route("GET /applications/@me")
def application(call: Call) -> Answer:
    bot = call.bot
    flags = (1 << 19 if bot.allowed & payloads.MESSAGE_CONTENT else 0) | 1 << 23
    owner = {"id": "1", "username": "owner", "discriminator": "0", "avatar": None, "public_flags": 0}
    about = {"id": bot.id, "name": bot.name, "description": "", "icon": None, "bot_public": False}
    more = {"bot_require_code_grant": False, "verify_key": "00", "team": None, "summary": ""}
    return 200, {**about, **more, "owner": owner, "flags": flags, "bot": payloads.user(bot)}


@route("GET /gateway/bot")
def gateway_bot(call: Call) -> Answer:
    limits = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
    url = call.world.origin.replace("http://", "ws://") + "/gateway"
    return 200, {"url": url, "shards": 1, "session_start_limit": limits}


@route("GET /users/@me/guilds")
def guilds(call: Call) -> Answer:
    found = [guild for guild in call.world.guilds.values() if call.bot.id in guild.members]
    return 200, [
        {"id": one.id, "name": one.name, "icon": None, "owner": False, "features": []} for one in found
    ]


@route("GET /guilds/{guild}")
def guild(call: Call) -> Answer:
    return 200, payloads.plain_guild(_guild(call))


@route("GET /guilds/{guild}/channels")
def channels(call: Call) -> Answer:
    """All channels but threads (documented)."""
    found = [
        one for one in call.world.channels.values() if one.guild_id == _guild(call).id and not one.is_thread
    ]
    return 200, [payloads.channel(call.world, one, call.bot) for one in found]


@route("POST /guilds/{guild}/channels", (10, 10.0))
def new_channel(call: Call) -> Answer:
    """A text channel: its name is written small and with hyphens. Overwrites are taken and not kept."""
    found = _guild(call)
    if not in_guild(found) & BITS["MANAGE_CHANNELS"]:
        raise refused(50013)
    name = "-".join(checks.name(call.body.get("name")).lower().split())
    made = call.world.channel(found, name, call.body.get("topic"))
    return 201, payloads.channel(call.world, made, call.bot)


@route("GET /guilds/{guild}/roles")
def roles(call: Call) -> Answer:
    found = _guild(call)
    return 200, [payloads.role(found, id_, name) for id_, name in found.roles.items()]


@route("GET /guilds/{guild}/members/{user}")
def member(call: Call) -> Answer:
    found = _guild(call)
    who = call.world.users.get(call.args["user"])
    if who is None:
        raise refused(10013)
    if who.id not in found.members:
        raise Refused(404, {"message": "Unknown Member", "code": 10007})
    return 200, payloads.member(call.world, found, who) | {"user": payloads.user(who)}


@route("GET /guilds/{guild}/threads/active")
def active_threads(call: Call) -> Answer:
    """The active threads of a guild that the bot can see."""
    every = [one for one in call.world.channels.values() if one.guild_id == _guild(call).id and one.is_thread]
    found = [one for one in every if not one.archived and call.world.sees(call.bot, one)]
    return 200, _threads(call, sorted(found, key=lambda one: -int(one.id)))


@route("GET /channels/{channel}/threads/archived/public")
def archived_threads(call: Call) -> Answer:
    """The archived threads of a channel, the last archived first (documented)."""
    parent = call.channel("READ_MESSAGE_HISTORY")
    every = [one for one in call.world.channels.values() if one.parent_id == parent.id and one.archived]
    found = sorted(every, key=lambda one: -one.archived_at)
    before = call.query.get("before")
    if before:
        found = [one for one in found if stamp(one.archived_at) < before]
    limit = page(call)
    return 200, _threads(call, found[:limit]) | {"has_more": len(found) > limit}


@route("GET /channels/{channel}")
def channel(call: Call) -> Answer:
    return 200, payloads.channel(call.world, call.channel(), call.bot)


@route("PATCH /channels/{channel}", (5, 5.0))
def change(call: Call) -> Answer:
    """Change a channel or a thread; its name twice in ten minutes."""
    found = call.channel()
    if found.kind == DM:
        raise refused(50024)
    if "name" in call.body:
        checks.name(call.body["name"])
    if found.is_thread:
        changes = _thread_changes(call, found)
    else:
        call.may(found, "MANAGE_CHANNELS")
        changes = {key: call.body[key] for key in ("name", "topic") if key in call.body}
        if len(changes.get("topic") or "") > 1024:
            raise refused(50035)
    if "name" in call.body and call.paced:
        wait = call.pace.rename(call.bot.id, found.id)
        if wait is not None:
            raise Refused(429, too_much(wait, everywhere=False))
    if found.is_thread:
        call.world.change_thread(found, call.bot, **changes)
    else:
        call.world.change_channel(found, **changes)
    return 200, payloads.channel(call.world, found, call.bot)


@route("DELETE /channels/{channel}")
def delete(call: Call) -> Answer:
    found = call.channel()
    if found.kind == DM:
        raise refused(50024)
    call.may(found, "MANAGE_THREADS" if found.is_thread else "MANAGE_CHANNELS")
    told = payloads.channel(call.world, found, call.bot)
    call.world.delete_channel(found)
    return 200, told


@route("POST /channels/{channel}/messages/{message}/threads", (10, 10.0), shares="threads")
def thread_of_message(call: Call) -> Answer:
    """A thread made of a message, once (documented: a message has at most one)."""
    parent = call.channel("CREATE_PUBLIC_THREADS")
    if parent.kind != TEXT:
        raise refused(50024)
    about = call.world.post(parent, call.args["message"])
    if about.ephemeral:
        raise refused(10008)
    if about.kind not in (0, 19, 20, 23):
        raise refused(50021)
    name = checks.name(call.body.get("name"))
    minutes = checks.auto_archive(call.body.get("auto_archive_duration", 1440))
    if about.thread_id is not None:
        raise refused(160004)
    made = call.world.thread(parent, call.bot, name, about, auto_archive=minutes)
    return 201, payloads.channel(call.world, made, call.bot)


@route("POST /channels/{channel}/threads", (10, 10.0), shares="threads")
def thread(call: Call) -> Answer:
    """A thread of its own; without a type it is a private one (documented)."""
    parent = call.channel()
    kind = call.body.get("type", 12)
    call.may(parent, "CREATE_PRIVATE_THREADS" if kind == 12 else "CREATE_PUBLIC_THREADS")
    if parent.kind != TEXT or kind not in (11, 12):
        raise refused(50024)
    name = checks.name(call.body.get("name"))
    minutes = checks.auto_archive(call.body.get("auto_archive_duration", 1440))
    made = call.world.thread(parent, call.bot, name, None, kind=kind, auto_archive=minutes)
    return 201, payloads.channel(call.world, made, call.bot)


@route("PUT /channels/{channel}/thread-members/@me")
def join(call: Call) -> Answer:
    """Join a thread that is not archived (documented)."""
    found = call.channel()
    if not found.is_thread:
        raise refused(50024)
    if found.archived:
        raise refused(50083)
    call.world.join(found, call.bot)
    return 204, None


@route("PUT /channels/{channel}/thread-members/{user}")
def add_member(call: Call) -> Answer:
    """Add somebody to a thread that is not archived (documented)."""
    found = call.channel()
    if not found.is_thread:
        raise refused(50024)
    if found.archived:
        raise refused(50083)
    call.may(found, "SEND_MESSAGES_IN_THREADS")
    who = call.world.users.get(call.args["user"])
    if who is None or who.id not in call.world.guilds[found.guild_id or ""].members:
        raise refused(10013)
    call.world.join(found, who)
    return 204, None


def _guild(call: Call) -> Guild:
    found = call.world.guilds.get(call.args["guild"])
    if found is None:
        raise refused(10004)
    if call.bot.id not in found.members:
        raise refused(50001)
    return found


def _threads(call: Call, found: list[Channel]) -> Json:
    members = [payloads.thread_member(one, call.bot.id) for one in found if call.bot.id in one.members]
    return {"threads": [payloads.channel(call.world, one, call.bot) for one in found], "members": members}


def _thread_changes(call: Call, thread: Channel) -> Json:
    """What is to change in a thread.

    Documented: its creator or MANAGE_THREADS changes the name, archives, and sets the duration; only MANAGE_THREADS
    locks; a member unarchives, a locked one only with MANAGE_THREADS. An archived thread takes no change but to be
    unarchived (seen: 50083 for a lock or a name, discord-api-docs issue 6928).
    """
    body = call.body
    manager = bool(call.world.permissions(thread) & BITS["MANAGE_THREADS"])
    names = {"name": "name", "archived": "archived", "locked": "locked"}
    names |= {"auto_archive_duration": "auto_archive", "rate_limit_per_user": "slow"}
    changes = {ours: body[key] for key, ours in names.items() if key in body}
    if "auto_archive" in changes:
        checks.auto_archive(changes["auto_archive"])
    if thread.archived and body.get("archived") is not False:
        if set(changes) <= {"archived"}:
            return {}
        raise refused(50083)
    wakes = thread.archived and changes.get("archived") is False
    mere = wakes and set(changes) == {"archived"}
    if {"locked", "slow"} & set(changes) or thread.locked or (wakes and thread.locked):
        allowed = manager
    elif mere:
        allowed = call.bot.id in thread.members or manager
    else:
        allowed = manager or thread.owner_id == call.bot.id
    if not allowed:
        raise refused(50013)
    return changes
