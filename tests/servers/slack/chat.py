"""chat.*: saying things, and changing what was said.

Documented at docs.slack.dev/reference/methods/chat.postMessage and chat.update. Seen by others, not documented: a
thread_ts that names no message is taken, and what is posted is neither in the channel nor in a thread that anybody
sees (slackapi/python-slack-sdk#840); a text of chat.update may have 4,000 bytes once it is escaped.
"""

import json
import re
from typing import Any

from tests.servers.slack import words
from tests.servers.slack.args import Args, method
from tests.servers.slack.blocks import MARKDOWN, check_message
from tests.servers.slack.model import App, Channel, Json, Message, SlackError
from tests.servers.slack.payloads import DOMAIN, TEAM, message_json
from tests.servers.slack.workspace import Workspace

POSTED_TEXT = 40_000
UPDATED_TEXT = 4_000
METADATA = 16_384
_TS = re.compile(r"\d{9,10}\.\d{6}")


@method("chat.postMessage", "chat:write", tier=0)
def post_message(workspace: Workspace, app: App, args: Args) -> Json:
    channel = _target(workspace, app, args.text("channel"))
    thread = thread_ts(args)
    text, blocks, attachments = _content(args)
    metadata = check_metadata(args)
    _pace(workspace, app, channel)
    message = Message(
        workspace.clock.stamp(),
        channel.id,
        app.user_id,
        text[:POSTED_TEXT],
        app.bot_id,
        app.id,
        thread,
        blocks,
        attachments,
        metadata,
        broadcast=args.flag("reply_broadcast"),
    )
    if message.broadcast:
        message.subtype = "thread_broadcast"
    workspace.post(channel, message, linked=_linked(args))
    answer = _told(workspace, channel, message)
    if len(text) > POSTED_TEXT:
        answer |= {"warning": "message_truncated", "response_metadata": {"warnings": ["message_truncated"]}}
    return answer


@method("chat.postEphemeral", "chat:write", tier=4)
def post_ephemeral(workspace: Workspace, app: App, args: Args) -> Json:
    channel = writable(workspace.joined(app, args.text("channel")))
    user = args.text("user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    text, blocks, attachments = _content(args)
    stamp, thread = workspace.clock.stamp(), thread_ts(args)
    message = Message(
        stamp,
        channel.id,
        app.user_id,
        text,
        app.bot_id,
        app.id,
        thread,
        blocks,
        attachments,
        ephemeral_to=user,
    )
    workspace.post_ephemeral(channel, message)
    return {"message_ts": message.ts}


@method("chat.update", "chat:write", tier=3)
def update(workspace: Workspace, app: App, args: Args) -> Json:
    """Without blocks a text takes the old blocks away; without metadata the old metadata stays; {} removes it."""
    channel = workspace.channel_for(app, args.text("channel"))
    if channel.archived:
        raise SlackError("is_inactive")
    message = workspace.message(channel, args.text("ts"))
    if message.user != app.user_id or app.user_id not in channel.members:
        raise SlackError("cant_update_message")
    if message.streaming == "streaming" and not workspace.stream_ended(message):
        raise SlackError("streaming_state_conflict")
    if not {"text", "blocks", "attachments", "markdown_text"} & args.values.keys():
        raise SlackError("no_text")
    text, blocks, attachments = _content(args, old=message)
    if "text" in args and len(text.encode()) > UPDATED_TEXT:
        raise SlackError("msg_too_long")
    metadata = check_metadata(args) if "metadata" in args else message.metadata
    before = message_json(message, channel, workspace.base)
    message.text, message.blocks, message.metadata = text, blocks, metadata
    message.attachments = attachments
    message.streaming = ""
    if not blocks:
        message.edited = workspace.clock.stamp()
    workspace.change(channel, message, before, linked=_linked(args))
    return _told(workspace, channel, message) | {"text": message.text}


@method("chat.delete", "chat:write", tier=3)
def delete(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.channel_for(app, args.text("channel"))
    message = workspace.message(channel, args.text("ts"))
    if channel.archived or message.user != app.user_id:
        raise SlackError("cant_delete_message")
    workspace.delete(channel, message)
    return {"channel": channel.id, "ts": message.ts}


@method("chat.getPermalink", tier=0)
def permalink(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.channel_for(app, args.text("channel"))
    message = workspace.message(channel, args.text("message_ts"))
    link = f"https://{DOMAIN}.slack.com/archives/{channel.id}/p{message.ts.replace('.', '')}"
    if message.is_reply:
        link += f"?thread_ts={message.thread_ts}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}


@method("assistant.threads.setStatus", "assistant:write", "chat:write", tier=0)
def set_status(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.joined(app, args.text("channel_id"))
    thread = args.text("thread_ts")
    if thread not in channel.messages:
        raise SlackError("invalid_thread_ts")
    if "status" not in args:
        raise SlackError("invalid_arguments", "missing required field: status")
    messages = args.data("loading_messages") or []
    if len(messages) > 10:
        raise SlackError(
            "invalid_arguments", "no more than 10 items allowed [json-pointer:/loading_messages]"
        )
    if args.get("status"):
        workspace.statuses[channel.id, thread] = (args.get("status"), workspace.clock.now())
    else:
        workspace.statuses.pop((channel.id, thread), None)
    workspace.news.tell()
    return {}


@method("auth.test", tier=0)
def auth_test(workspace: Workspace, app: App, args: Args) -> Json:
    return {
        "url": f"https://{DOMAIN}.slack.com/",
        "team": DOMAIN,
        "user": app.user.name,
        "team_id": TEAM,
        "user_id": app.user_id,
        "bot_id": app.bot_id,
        "is_enterprise_install": False,
    }


def writable(channel: Channel) -> Channel:
    if channel.archived:
        raise SlackError("is_archived")
    return channel


def thread_ts(args: Args) -> str | None:
    """The thread that is answered; one that is no timestamp is refused, one that names nothing is not."""
    if "thread_ts" not in args or args.values["thread_ts"] == "":
        return None
    thread = args.get("thread_ts")
    if not isinstance(args.values["thread_ts"], str) or not _TS.fullmatch(thread):
        raise SlackError("invalid_thread_ts", f"{thread} is not a valid thread_ts")
    return thread


def check_metadata(args: Args) -> Json | None:
    """Metadata as documented: event_type and event_payload, together at most 16 KB; {} stands for none."""
    found: Any = args.data("metadata", "invalid_metadata_format")
    if not found:
        return None
    if not isinstance(found, dict):
        raise SlackError("invalid_metadata_format")
    kind, payload = found.get("event_type"), found.get("event_payload")
    if not isinstance(kind, str) or not kind or not isinstance(payload, dict):
        raise SlackError("invalid_metadata_schema")
    if found.keys() - {"event_type", "event_payload", "entities"}:
        raise SlackError("invalid_metadata_schema")
    if len(json.dumps(found).encode()) > METADATA:
        raise SlackError("metadata_too_large")
    return found


def _target(workspace: Workspace, app: App, name: str) -> Channel:
    """Documented: an id, a channel's name, or a person's id, which stands for the direct message."""
    if name in workspace.users:
        return workspace.direct(app, name)
    named = (one.id for one in workspace.channels.values() if one.name and one.name == name.removeprefix("#"))
    return writable(workspace.joined(app, next(named, name)))


def _content(args: Args, old: Message | None = None) -> tuple[str, list[Json], list[Json]]:
    """Text, blocks and attachments; of an update those that stay are the *old* one's."""
    has_blocks = "blocks" in args and args.values["blocks"] != ""
    if args.get("markdown_text"):
        if args.get("text") or (has_blocks and args.values["blocks"]):
            raise SlackError("markdown_text_conflict")
        marked = args.get("markdown_text")
        if len(marked) > MARKDOWN:
            raise SlackError("msg_too_long")
        return words.stored(marked), [{"type": "markdown", "text": marked}], []
    text = words.stored(args.get("text"))
    blocks = check_message(args.values["blocks"]) if has_blocks else []
    attachments = args.data("attachments", "invalid_attachments") or []
    if old is not None:
        text = text if "text" in args else old.text
        blocks = blocks if has_blocks or "text" in args else old.blocks
        attachments = attachments if "attachments" in args else old.attachments
    if not text.strip() and not blocks and not attachments and not (old and old.shared):
        raise SlackError("no_text")
    return text, blocks, attachments


def _linked(args: Args) -> bool:
    return args.flag("link_names") or args.get("parse") == "full"


def _pace(workspace: Workspace, app: App, channel: Channel) -> None:
    if workspace.paced:
        workspace.rates.post(app.id, channel.id, workspace.clock.now())


def _told(workspace: Workspace, channel: Channel, message: Message) -> Json:
    shown = message_json(message, channel, workspace.base, metadata=True)
    return {"channel": channel.id, "ts": message.ts, "message": shown}


@method("reactions.add", "reactions:write", tier=3)
def add_reaction(workspace: Workspace, app: App, args: Args) -> Json:
    channel, message, name = _reacted(workspace, app, args)
    users = message.reactions.setdefault(name, [])
    if app.user_id in users:
        raise SlackError("already_reacted")
    users.append(app.user_id)
    workspace.tell_reaction(channel, message, app.user_id, name, added=True)
    return {}


@method("reactions.remove", "reactions:write", tier=2)
def remove_reaction(workspace: Workspace, app: App, args: Args) -> Json:
    channel, message, name = _reacted(workspace, app, args)
    if app.user_id not in message.reactions.get(name, []):
        raise SlackError("no_reaction")
    message.reactions[name].remove(app.user_id)
    if not message.reactions[name]:
        del message.reactions[name]
    workspace.tell_reaction(channel, message, app.user_id, name, added=False)
    return {}


@method("reactions.get", "reactions:read", tier=3)
def get_reactions(workspace: Workspace, app: App, args: Args) -> Json:
    channel = workspace.channel_for(app, args.text("channel"))
    message = workspace.message(channel, args.text("timestamp"))
    return {
        "type": "message",
        "channel": channel.id,
        "message": message_json(message, channel, workspace.base),
    }


def _reacted(workspace: Workspace, app: App, args: Args) -> tuple[Channel, Message, str]:
    """The message and the emoji; `invalid_name` where that is no emoji's name. Which emoji exist is not checked."""
    channel = writable(workspace.joined(app, args.text("channel")))
    name = args.text("name")
    if not re.fullmatch(r"[a-z0-9_'+-]+(::skin-tone-[2-6])?", name):
        raise SlackError("invalid_name")
    return channel, workspace.message(channel, args.text("timestamp")), name
