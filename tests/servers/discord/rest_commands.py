"""Routes of application commands, global and of a guild."""

from typing import Any

from tests.servers.discord import commands
from tests.servers.discord.errors import refused
from tests.servers.discord.model import Bot, Json
from tests.servers.discord.rest import Answer, Call, route

_A_DAY, _CREATES = 86_400.0, 200
_OWN = "/applications/{application}/commands"
_GUILD = "/applications/{application}/guilds/{guild}/commands"


@route(f"PUT {_GUILD}", (5, 20.0))
@route(f"PUT {_OWN}", (5, 20.0))
def overwrite(call: Call) -> Answer:
    """Replace all commands. Those whose name is known keep their id; new ones count towards 200 a day (documented)."""
    bot, scope = _scope(call)
    commands.check(call.listed)
    known = {(one["type"], one["name"]): one for one in bot.commands.get(scope, [])}
    found = [_register(call, bot, scope, one, known) for one in call.listed]
    bot.commands[scope] = found
    return 200, found


@route(f"GET {_GUILD}")
@route(f"GET {_OWN}")
def listed(call: Call) -> Answer:
    bot, scope = _scope(call)
    return 200, bot.commands.get(scope, [])


@route(f"POST {_GUILD}", (5, 20.0))
@route(f"POST {_OWN}", (5, 20.0))
def create(call: Call) -> Answer:
    """Add one command; one of the same name is replaced (documented)."""
    bot, scope = _scope(call)
    mine = bot.commands.setdefault(scope, [])
    key = (call.body.get("type", 1), call.body.get("name"))
    others = [one for one in mine if (one["type"], one["name"]) != key]
    commands.check([*others, call.body])
    known = {(one["type"], one["name"]): one for one in mine}
    made = _register(call, bot, scope, call.body, known)
    bot.commands[scope] = [*others, made]
    return 200 if key in known else 201, made


@route(f"DELETE {_GUILD}/{{command}}")
@route(f"DELETE {_OWN}/{{command}}")
def delete(call: Call) -> Answer:
    bot, scope = _scope(call)
    mine = bot.commands.get(scope, [])
    if all(one["id"] != call.args["command"] for one in mine):
        raise refused(10063)
    bot.commands[scope] = [one for one in mine if one["id"] != call.args["command"]]
    return 204, None


def _scope(call: Call) -> tuple[Bot, str | None]:
    """Whose commands, and where."""
    if call.args["application"] != call.bot.id:
        raise refused(20012)
    scope = call.args.get("guild")
    if scope is not None and scope not in call.world.guilds:
        raise refused(10004)
    if scope is not None and call.bot.id not in call.world.guilds[scope].members:
        raise refused(50001)
    return call.bot, scope


def _register(call: Call, bot: Bot, scope: str | None, one: Json, known: dict[Any, Json]) -> Json:
    """A command as it is kept."""
    kind = one.get("type", 1)
    earlier = known.get((kind, one["name"]))
    if earlier is None:
        now = call.world.now()
        bot.commands_made[:] = [at for at in bot.commands_made if now - at < _A_DAY]
        if len(bot.commands_made) >= _CREATES:
            raise refused(30034)
        bot.commands_made.append(now)
    about: Json = {"application_id": bot.id, "version": call.world.snowflake(), "type": kind}
    about |= {"id": earlier["id"] if earlier else call.world.snowflake(), "default_member_permissions": None}
    about |= {"nsfw": False, "contexts": None, "integration_types": [0], "options": [], "description": ""}
    return about | one | ({"guild_id": scope} if scope else {"dm_permission": one.get("dm_permission", True)})
