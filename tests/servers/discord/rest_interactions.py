"""Routes of interactions: the callback, and the webhook of a token: the original response and follow-ups.

They need no bot token and are not under the global limit (both documented).
"""

from typing import Any

from tests.servers.discord import checks, payloads
from tests.servers.discord.errors import Form, Refused, refused
from tests.servers.discord.model import EPHEMERAL, LOADING, TOKEN_SECONDS, Channel, Interaction, Json, Post
from tests.servers.discord.rest import Answer, Call, route
from tests.servers.discord.rest_messages import active, edited, full
from tests.servers.discord.world import Draft

_HOOK = (5, 2.0)
_MESSAGE, _DEFER, _DEFER_UPDATE, _UPDATE, _CHOICES, _MODAL = 4, 5, 6, 7, 8, 9


@route("POST /interactions/{interaction}/{token}/callback", None, open=True)
def callback(call: Call) -> Answer:
    """The first response: once, and within three seconds; after that the interaction is unknown (documented)."""
    world = call.world
    found = world.interactions.get(call.args["interaction"])
    if found is None or found.token != call.args["token"]:
        raise refused(10062)
    if found.acked_at is not None:
        raise refused(40060)
    if found.expired or world.now() - found.made_at > found.patience:
        raise refused(10062)
    kind, data = call.body.get("type"), call.body.get("data") or {}
    _fits(found, kind)
    message = _respond(call, found, int(kind or 0), data)
    found.acked_at, found.callback = world.now(), kind
    found.settle()
    if call.query.get("with_response", "").lower() not in ("true", "1"):
        return 204, None
    return 200, _told(call, found, message)


@route("POST /webhooks/{application}/{token}", _HOOK, open=True)
def follow_up(call: Call) -> Answer:
    """A further message. While the response is still loading it is that response instead (documented)."""
    found = _interaction(call)
    if found.loading:
        return _edit(call, found, _original(call, found))
    channel = _open(call, found)
    body = call.body
    checks.message(body)
    checks.files([len(file.data) for file in call.files])
    full(body, call.files)
    made = _post(call, found, channel, body, checks.flags(body.get("flags"), checks.ANSWER_FLAGS))
    found.followups.append(made.id)
    return 200, payloads.post(call.world, made, found.bot)


@route("GET /webhooks/{application}/{token}/messages/{message}", _HOOK, open=True)
def read(call: Call) -> Answer:
    found = _interaction(call)
    return 200, payloads.post(call.world, _message(call, found), found.bot)


@route("PATCH /webhooks/{application}/{token}/messages/{message}", _HOOK, open=True)
def change(call: Call) -> Answer:
    found = _interaction(call)
    return _edit(call, found, _message(call, found))


@route("DELETE /webhooks/{application}/{token}/messages/{message}", _HOOK, open=True)
def delete(call: Call) -> Answer:
    """Delete a response. An original that still is loading counts as answered then."""
    found = _interaction(call)
    post = _message(call, found)
    if post.id == found.original:
        found.loading = False
    call.world.delete(post)
    return 204, None


def _interaction(call: Call) -> Interaction:
    """The interaction of a token: known once it is acknowledged, valid for 15 minutes (documented)."""
    world = call.world
    for found in world.interactions.values():
        if found.token == call.args["token"] and found.bot.id == call.args["application"]:
            if world.now() - found.made_at > TOKEN_SECONDS:
                raise refused(50027)
            if found.acked_at is None:
                raise refused(10015)
            return found
    raise refused(10015)


def _fits(found: Interaction, kind: Any) -> None:
    """Refuse a response that the kind of interaction does not take (documented)."""
    allowed = {
        2: {_MESSAGE, _DEFER, _MODAL},
        3: {_MESSAGE, _DEFER, _DEFER_UPDATE, _UPDATE, _MODAL},
        4: {_CHOICES},
        5: {_MESSAGE, _DEFER},
    }[found.kind]
    if found.kind == 5 and found.message_id is not None:
        allowed |= {_DEFER_UPDATE, _UPDATE}
    form = Form()
    form.one_of("type", kind, sorted(allowed))
    form.check()


def _respond(call: Call, found: Interaction, kind: int, data: Json) -> Post | None:
    """Do what a first response says; what it made or changed."""
    if kind == _MODAL:
        checks.modal(data)
        found.modal = data
        return None
    if kind == _CHOICES:
        found.choices = [(one["name"], one["value"]) for one in checks.choices(data)]
        return None
    if kind in (_UPDATE, _DEFER_UPDATE):
        post = call.world.posts[found.message_id or ""]
        if post.gone:
            raise refused(10008)
        if kind == _UPDATE:
            active(call.world.channels[post.channel_id])
            call.body = data
            call.world.edit(post, **edited(call, post))
        found.original = post.id
        found.ephemeral = post.ephemeral
        return post
    return _answer(call, found, kind, data)


def _answer(call: Call, found: Interaction, kind: int, data: Json) -> Post:
    """A message as the first response, or one that says that the application is thinking."""
    channel = _open(call, found)
    if kind == _DEFER:
        flags = checks.flags(data.get("flags"), EPHEMERAL) | LOADING
        data = {}
    else:
        flags = checks.flags(data.get("flags"), checks.ANSWER_FLAGS)
        checks.message(data)
        checks.files([len(file.data) for file in call.files])
        full(data, call.files)
    made = _post(call, found, channel, data, flags)
    found.original = made.id
    found.deferred = found.loading = kind == _DEFER
    found.ephemeral = made.ephemeral
    return made


def _post(call: Call, found: Interaction, channel: Channel, body: Json, flags: int) -> Post:
    draft = Draft(
        found.bot,
        channel,
        body.get("content") or "",
        body.get("embeds") or [],
        body.get("components") or [],
        call.files,
        flags,
        kind=20 if found.kind == 2 and found.original is None else 0,
        allowed=body.get("allowed_mentions"),
        interaction=found,
    )
    return call.world.say(draft)


def _edit(call: Call, found: Interaction, post: Post) -> Answer:
    """Change a response; the first change of a loading one is what people see as the answer, and may ping them.

    That such a change pings is what is seen; it is not documented.
    """
    active(_channel(call, post.channel_id))
    first = found.loading and post.id == found.original
    changes = edited(call, post)
    changes["flags"] = changes.get("flags", post.flags) & ~LOADING
    if first:
        found.loading = False
        post.content = changes.get("content", "")
        call.world.notify(post, call.body.get("allowed_mentions"))
    call.world.edit(post, unseen=first, **changes)
    return 200, payloads.post(call.world, post, found.bot)


def _message(call: Call, found: Interaction) -> Post:
    """A message of an interaction: the original response or a follow-up, and no other."""
    wanted = call.args["message"]
    if wanted in ("@original", found.original):
        return _original(call, found)
    if wanted not in found.followups or call.world.posts[wanted].gone:
        raise refused(10008)
    return call.world.posts[wanted]


def _original(call: Call, found: Interaction) -> Post:
    if found.original is None or call.world.posts[found.original].gone:
        raise refused(10008)
    return call.world.posts[found.original]


def _channel(call: Call, id_: str) -> Channel:
    found = call.world.channels.get(id_)
    if found is None:
        raise refused(10003)
    return found


def _open(call: Call, found: Interaction) -> Channel:
    """Where to respond; a locked thread that is archived takes nothing (seen: discord-api-docs issue 5517)."""
    channel = _channel(call, found.channel_id)
    if found.guild_id and found.bot.id not in call.world.guilds[found.guild_id].members:
        raise Refused(403, {"message": "Missing Access", "code": 50001})
    if channel.archived and channel.locked:
        raise refused(50083)
    return channel


def _told(call: Call, found: Interaction, message: Post | None) -> Json:
    """What is said of a callback where it is asked for (documented)."""
    about: Json = {"id": found.id, "type": found.kind}
    if message is None:
        return {"interaction": about, "resource": {"type": found.callback}}
    about |= {"response_message_id": message.id, "response_message_loading": found.loading}
    about |= {"response_message_ephemeral": message.ephemeral}
    resource = {"type": found.callback, "message": payloads.post(call.world, message, found.bot)}
    return {"interaction": about, "resource": resource}
