"""conversations.*, users.*: who and what there is, and what was said.

Documented: the scopes depend on the kind of the channel; history has no replies but those that were broadcast, and
is newest first; replies begin with the thread's head and are oldest first; metadata comes only with
include_all_metadata.
"""

import re

from tests.servers.slack.args import Args, method, need, page
from tests.servers.slack.model import App, Channel, Json, Message, SlackError
from tests.servers.slack.payloads import channel_json, message_json, user_json
from tests.servers.slack.workspace import Workspace

_TYPES = {"public_channel": "channels", "private_channel": "groups", "im": "im", "mpim": "mpim"}


@method("conversations.list", tier=2)
def list_channels(workspace: Workspace, app: App, args: Args) -> Json:
    found = [
        one for one in _of_types(workspace, app, args) if app.user_id in one.members or one.kind == "channel"
    ]
    items, cursor = page(found, args)
    return {
        "channels": [channel_json(one, app) for one in items],
        "response_metadata": {"next_cursor": cursor},
    }


@method("users.conversations", tier=3)
def own_channels(workspace: Workspace, app: App, args: Args) -> Json:
    user = args.get("user", app.user_id)
    found = [one for one in _of_types(workspace, app, args) if {user, app.user_id} <= set(one.members)]
    items, cursor = page(found, args)
    return {
        "channels": [channel_json(one, app) for one in items],
        "response_metadata": {"next_cursor": cursor},
    }


@method("conversations.info", tier=3)
def info(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.channel_for(app, args.text("channel"))
    need(app, f"{channel.family}:read")
    return {"channel": channel_json(channel, app)}


@method("conversations.members", tier=4)
def members(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.channel_for(app, args.text("channel"))
    need(app, f"{channel.family}:read")
    items, cursor = page(channel.members, args)
    return {"members": items, "response_metadata": {"next_cursor": cursor}}


@method("conversations.history", tier=3)
def history(workspace: Workspace, app: App, args: Args) -> Json:
    channel = _readable(workspace, app, args)
    shown = [one for one in channel.messages.values() if not one.is_reply or one.broadcast]
    found = [one for one in reversed(shown) if _within(one, args)]
    items, cursor = page(found, args, most=999)
    return _messages(workspace, channel, items, cursor, args)


@method("conversations.replies", tier=3)
def replies(workspace: Workspace, app: App, args: Args) -> Json:
    """The *ts* of a reply stands for its whole thread."""
    channel = _readable(workspace, app, args)
    asked = channel.messages.get(args.text("ts"))
    head = channel.messages.get(asked.thread_ts or "") if asked is not None and asked.is_reply else asked
    if head is None:
        raise SlackError("thread_not_found")
    found = [head, *(one for one in channel.replies(head.ts) if _within(one, args))]
    items, cursor = page(found, args, default=1000)
    return _messages(workspace, channel, items, cursor, args)


@method("conversations.join", "channels:join", tier=3)
def join(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.channel_for(app, args.text("channel"))
    if channel.kind != "channel":
        raise SlackError("method_not_supported_for_channel_type")
    if channel.archived:
        raise SlackError("is_archived")
    if app.user_id in channel.members:
        return {"channel": channel_json(channel, app), "warning": "already_in_channel"}
    workspace.join(channel, app.user_id)
    return {"channel": channel_json(channel, app)}


@method("conversations.create", tier=2)
def create(workspace: Workspace, app: App, args: Args) -> Json:
    private = args.flag("is_private")
    need(app, "groups:write" if private else "channels:manage")
    name = args.get("name")
    if not name:
        raise SlackError("invalid_name_required")
    if len(name) > 80:
        raise SlackError("invalid_name_maxlength")
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise SlackError("invalid_name_specials")
    if any(one.name == name and not one.deleted for one in workspace.channels.values()):
        raise SlackError("name_taken")
    channel = workspace.add_channel(name, [app.user_id], private=private)
    channel.creator = app.user_id
    return {"channel": channel_json(channel, app)}


@method("conversations.setTopic", tier=2)
def set_topic(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.joined(app, args.text("channel"))
    need(app, "groups:write" if channel.private else "channels:manage")
    channel.topic = args.text("topic")
    if len(channel.topic) > 250:
        raise SlackError("too_long")
    return {"channel": channel_json(channel, app)}


@method("conversations.invite", tier=3)
def invite(workspace: Workspace, app: App, args: Args) -> Json:
    """One person at a time."""
    channel = workspace.joined(app, args.text("channel"))
    need(app, "groups:write" if channel.private else "channels:manage")
    user = args.text("users")
    if user not in workspace.users:
        raise SlackError("user_not_found")
    if user == app.user_id:
        raise SlackError("cant_invite_self")
    if user in channel.members:
        raise SlackError("already_in_channel")
    workspace.join(channel, user)
    return {"channel": channel_json(channel, app)}


@method("conversations.open", "im:write", tier=3)
def open_direct(workspace: Workspace, app: App, args: Args) -> Json:
    """A direct message with one person; groups of people are not there."""
    users = [one for one in args.get("users").split(",") if one]
    if not users:
        raise SlackError("users_list_not_supplied")
    if len(users) > 1:
        raise SlackError("not_enough_users", "group messages are not in this stand-in")
    if users[0] not in workspace.users or users[0] == app.user_id:
        raise SlackError("user_not_found")
    return {"channel": {"id": workspace.direct(app, users[0]).id}}


@method("users.info", "users:read", tier=4)
def user_info(workspace: Workspace, app: App, args: Args) -> Json:
    user = workspace.users.get(args.text("user"))
    if user is None:
        raise SlackError("user_not_found")
    return {"user": user_json(user)}


@method("users.list", "users:read", tier=2)
def users(workspace: Workspace, app: App, args: Args) -> Json:
    items, cursor = page(list(workspace.users.values()), args)
    return {"members": [user_json(one) for one in items], "response_metadata": {"next_cursor": cursor}}


def _of_types(workspace: Workspace, app: App, args: Args) -> list[Channel]:
    """The channels of the kinds that were asked for, each of which needs its scope."""
    kinds = [one.strip() for one in (args.get("types") or "public_channel").split(",")]
    if not set(kinds) <= _TYPES.keys():
        raise SlackError("invalid_types")
    families = {_TYPES[kind] for kind in kinds}
    for family in sorted(families):
        need(app, f"{family}:read")
    left_out = args.flag("exclude_archived")
    found = [one for one in workspace.channels.values() if one.family in families and not one.deleted]
    return [one for one in found if not (left_out and one.archived)]


def _readable(workspace: Workspace, app: App, args: Args) -> Channel:
    channel = workspace.channel_for(app, args.text("channel"))
    need(app, f"{channel.family}:history")
    return workspace.joined(app, channel.id)


def _within(message: Message, args: Args) -> bool:
    oldest, latest = args.get("oldest", "0"), args.get("latest") or "99999999999"
    at, inclusive = float(message.ts), args.flag("inclusive")
    after = at > float(oldest or 0) or (inclusive and message.ts == oldest)
    return after and (at < float(latest) or (inclusive and message.ts == latest))


def _messages(workspace: Workspace, channel: Channel, items: list[Message], cursor: str, args: Args) -> Json:
    metadata = args.flag("include_all_metadata")
    shown = [message_json(one, channel, workspace.base, metadata=metadata) for one in items]
    more = {"response_metadata": {"next_cursor": cursor}} if cursor else {}
    return {"messages": shown, "has_more": bool(cursor), **more}
