"""Routes of messages, reactions and typing."""

from typing import Any
from urllib.parse import unquote

from tests.servers.discord import checks, payloads
from tests.servers.discord.errors import Form, refused
from tests.servers.discord.model import COMPONENTS_V2, DM, SUPPRESS_EMBEDS, Bot, Channel, File, Json, Post
from tests.servers.discord.permissions import BITS
from tests.servers.discord.rest import Answer, Call, route
from tests.servers.discord.world import Draft

SENDS = "POST /channels/{channel}/messages"


@route(SENDS, (5, 5.0))
def create(call: Call) -> Answer:
    """A new message. A nonce that has been used is answered with the message that used it (documented)."""
    channel = call.channel()
    body = call.body
    talk(call, channel)
    checks.message(body)
    flags = checks.flags(body.get("flags"), checks.CREATE_FLAGS)
    checks.files([len(file.data) for file in call.files])
    full(body, call.files)
    attach(call, channel, body)
    nonce = body.get("nonce")
    if nonce is not None and body.get("enforce_nonce"):
        earlier = call.world.earlier(call.bot, nonce)
        if earlier is not None:
            return 200, payloads.post(call.world, earlier, call.bot) | {"nonce": nonce}
    draft = Draft(
        call.bot,
        channel,
        body.get("content") or "",
        body.get("embeds") or [],
        body.get("components") or [],
        call.files,
        flags,
        reply_to=replied(call, channel),
        nonce=nonce,
        allowed=body.get("allowed_mentions"),
    )
    made = call.world.say(draft)
    if nonce is not None:
        call.world.nonces[call.bot.id, str(nonce)] = (made.id, call.world.now())
    return 200, payloads.post(call.world, made, call.bot) | ({"nonce": nonce} if nonce is not None else {})


@route("GET /channels/{channel}/messages")
def history(call: Call) -> Answer:
    """Messages, newest first; without the permission to read history there are none (documented)."""
    channel = call.channel()
    if not call.world.permissions(channel) & BITS["READ_MESSAGE_HISTORY"]:
        return 200, []
    limit = page(call)
    found = [one for one in call.world.posts_in(channel.id) if not one.ephemeral]
    before, after = call.query.get("before"), call.query.get("after")
    if "around" in call.query:
        middle = int(call.query["around"])
        nearest = sorted(found, key=lambda one: abs(int(one.id) - middle))[:limit]
        found = sorted(nearest, key=lambda one: int(one.id))
    elif after is not None:
        found = [one for one in found if int(one.id) > int(after)][:limit]
    elif before is not None:
        found = [one for one in found if int(one.id) < int(before)]
    newest = found[-limit:][::-1]
    return 200, [payloads.post(call.world, one, call.bot) for one in newest]


@route("GET /channels/{channel}/messages/{message}")
def single(call: Call) -> Answer:
    channel = call.channel("READ_MESSAGE_HISTORY")
    found = call.world.post(channel, call.args["message"])
    if found.ephemeral:
        raise refused(10008)
    return 200, payloads.post(call.world, found, call.bot)


@route("PATCH /channels/{channel}/messages/{message}", (5, 5.0))
def edit(call: Call) -> Answer:
    """Edit an own message; not in an archived thread (documented), which this does not unarchive."""
    channel = call.channel()
    found = call.world.post(channel, call.args["message"])
    if found.ephemeral:
        raise refused(10008)
    if found.author is not call.bot:
        raise refused(50005)
    if found.kind not in (0, 19, 20, 23):
        raise refused(50021)
    unlocked(call, channel)
    call.world.edit(found, **edited(call, found))
    return 200, payloads.post(call.world, found, call.bot)


@route("DELETE /channels/{channel}/messages/{message}", (5, 1.0))
def delete(call: Call) -> Answer:
    channel = call.channel()
    found = call.world.post(channel, call.args["message"])
    if found.author is not call.bot:
        call.may(channel, "MANAGE_MESSAGES")
    if channel.archived and channel.locked:
        call.may(channel, "MANAGE_THREADS")
    call.world.delete(found)
    return 204, None


@route("PUT /channels/{channel}/messages/{message}/reactions/{emoji}/@me", (1, 0.25), shares="reactions")
def react(call: Call) -> Answer:
    """React; not in an archived thread (documented)."""
    channel = call.channel("READ_MESSAGE_HISTORY")
    found = call.world.post(channel, call.args["message"])
    emoji = unquote(call.args["emoji"])
    if emoji not in found.reactions:
        call.may(channel, "ADD_REACTIONS")
    if not emoji or emoji.isascii():
        raise refused(10014)
    active(channel)
    call.world.react(found, call.bot, emoji)
    return 204, None


@route(
    "DELETE /channels/{channel}/messages/{message}/reactions/{emoji}/{user}", (1, 0.25), shares="reactions"
)
def unreact(call: Call) -> Answer:
    channel = call.channel()
    found = call.world.post(channel, call.args["message"])
    who = call.bot if call.args["user"] == "@me" else call.world.users.get(call.args["user"])
    if who is None:
        raise refused(10013)
    if who is not call.bot:
        call.may(channel, "MANAGE_MESSAGES")
    active(channel)
    call.world.unreact(found, who, unquote(call.args["emoji"]))
    return 204, None


@route("POST /channels/{channel}/typing", (5, 5.0))
def typing(call: Call) -> Answer:
    channel = call.channel()
    talk(call, channel)
    call.world.type(channel, call.bot)
    return 204, None


def page(call: Call) -> int:
    """How many are asked for: up to 100 (documented)."""
    form = Form()
    asked = call.query.get("limit", "50")
    if not asked.isdecimal() or not 1 <= int(asked) <= 100:
        form.wrong("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.")
    form.check()
    return int(asked)


def talk(call: Call, channel: Channel) -> None:
    """Refuse where the bot may not send: a locked thread, a missing permission, somebody who is a bot.

    A message does not unarchive a locked thread (documented), not even one of a moderator.
    """
    if channel.kind == DM:
        others = [call.world.users[id_] for id_ in channel.members if id_ != call.bot.id]
        if all(isinstance(one, Bot) for one in others):
            raise refused(50007)
        return
    call.may(channel, "SEND_MESSAGES_IN_THREADS" if channel.is_thread else "SEND_MESSAGES")
    if channel.locked and channel.archived:
        raise refused(50083)
    if channel.locked and not call.world.permissions(channel) & BITS["MANAGE_THREADS"]:
        raise refused(160005)


def active(channel: Channel) -> None:
    """Refuse in an archived thread."""
    if channel.archived:
        raise refused(50083)


def unlocked(call: Call, channel: Channel) -> None:
    """Refuse to change a message in an archived thread, and in a locked one without MANAGE_THREADS (documented)."""
    active(channel)
    if channel.locked and not call.world.permissions(channel) & BITS["MANAGE_THREADS"]:
        raise refused(160005)


def attach(call: Call, channel: Channel, body: Json) -> None:
    """Refuse files and embeds where the bot may send none.

    Whether Discord drops embeds in silence where EMBED_LINKS is missing is not certain: here they are refused.
    """
    if call.files:
        call.may(channel, "ATTACH_FILES")
    if body.get("embeds"):
        call.may(channel, "EMBED_LINKS")


def full(body: Json, files: list[File]) -> None:
    """Refuse a message with nothing in it."""
    if not (str(body.get("content") or "").strip() or body.get("embeds") or body.get("components") or files):
        raise refused(50006)


def replied(call: Call, channel: Channel) -> str | None:
    """The message that is replied to; one that is gone is refused, unless that is said to be fine (documented)."""
    reference = call.body.get("message_reference")
    if not reference:
        return None
    call.may(channel, "READ_MESSAGE_HISTORY")
    found = call.world.posts.get(str(reference.get("message_id")))
    if found is not None and not found.gone and found.channel_id == channel.id:
        return found.id
    if reference.get("fail_if_not_exists", True) is False:
        return None
    form = Form()
    form.wrong("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
    form.check()
    return None


def edited(call: Call, post: Post) -> dict[str, Any]:
    """What an edit changes: fields that are absent stay, null empties them, and something has to be left.

    `attachments` lists those that are to stay beside the new ones (documented).
    """
    body = call.body
    checks.message(body)
    checks.files([len(file.data) for file in call.files])
    changes: dict[str, Any] = {}
    if "content" in body:
        changes["content"] = body["content"] or ""
    for key in ("embeds", "components"):
        if key in body:
            changes[key] = body[key] or []
    if "flags" in body:
        set_flags = checks.flags(body["flags"], checks.EDIT_FLAGS | post.flags)
        changes["flags"] = (post.flags & ~SUPPRESS_EMBEDS) | set_flags
    kept = post.files
    if "attachments" in body:
        ids = {str(one.get("id")) for one in body["attachments"] or []}
        kept = [file for file in post.files if file.id in ids]
    changes["files"] = [*kept, *call.files]
    checks.files([len(file.data) for file in changes["files"]])
    left = {key: changes.get(key, getattr(post, key)) for key in ("content", "embeds", "components")}
    if changes.get("flags", post.flags) & COMPONENTS_V2 and (left["content"] or left["embeds"]):
        checks.message(left | {"flags": COMPONENTS_V2})
    full(left, changes["files"])
    return changes
