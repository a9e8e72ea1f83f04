"""chat.*Stream: a message that grows while it is read.

Documented (docs.slack.dev/reference/methods/chat.startStream and its siblings): markdown_text of at most 12,000
characters in a call, or chunks; a recipient in channels; always a reply; updates meanwhile are refused. The
documentation is of two minds on thread_ts, which its newer pages call optional; here it is required.

Not documented, but measured by others: Slack ends a stream after about five minutes, appended to or not
(slackapi/node-slack-sdk#2702), and it can only be updated then (slackapi/python-slack-sdk#1859); and a stream has an
end in all, at about 12,000 characters of text (CopilotKit/CopilotKit#6063), with task cards at about 10,600 bytes in
which details and output count twice (openclaw/openclaw#143882). Not known: what is answered for a thread that is not
there; here `messaging_processing_failed`.
"""

from typing import Any

from tests.servers.slack import words
from tests.servers.slack.args import Args, method
from tests.servers.slack.blocks import MARKDOWN, check_message
from tests.servers.slack.chat import check_metadata, thread_ts, writable
from tests.servers.slack.model import App, Channel, Json, Message, SlackError
from tests.servers.slack.payloads import message_json
from tests.servers.slack.workspace import Workspace

CARDS_TOO = 10_600
"""How many bytes a stream may have that has more than text."""
_CHUNKS = {"markdown_text": "text", "task_update": "id", "plan_update": "title", "blocks": "blocks"}
_STATES = {"pending", "in_progress", "complete", "error"}


@method("chat.startStream", "chat:write", tier=2)
def start(workspace: Workspace, app: App, args: Args) -> Json:
    if not workspace.streaming:
        raise SlackError("unknown_method")
    channel = writable(workspace.joined(app, args.text("channel")))
    if not args.get("thread_ts"):
        raise SlackError("invalid_arguments", "missing required field: thread_ts")
    thread = thread_ts(args)
    if not channel.im:
        _recipient(workspace, channel, args)
    if args.get("task_display_mode", "timeline") not in ("timeline", "plan"):
        raise SlackError("invalid_arguments", "must be timeline or plan [json-pointer:/task_display_mode]")
    head = channel.messages.get(thread or "")
    if head is None or head.is_reply:
        raise SlackError("messaging_processing_failed")
    text, chunks = _pieces(args)
    _fits(Message("", channel.id, app.user_id), text, chunks)
    stamp = workspace.clock.stamp()
    written = words.stored(text)
    message = Message(stamp, channel.id, app.user_id, written, app.bot_id, app.id, thread, chunks=chunks)
    message.streaming, message.stream_began = "streaming", workspace.clock.now()
    message.streamed = text
    workspace.post(channel, message)
    return {"channel": channel.id, "ts": message.ts}


@method("chat.appendStream", "chat:write", tier=4)
def append(workspace: Workspace, app: App, args: Args) -> Json:
    channel, message = _streaming(workspace, app, args)
    text, chunks = _pieces(args)
    if not text and not chunks:
        raise SlackError("no_text")
    _fits(message, text, chunks)
    _grow(workspace, channel, message, text, chunks, quiet=True)
    return {"channel": channel.id, "ts": message.ts}


@method("chat.stopStream", "chat:write", tier=2)
def stop(workspace: Workspace, app: App, args: Args) -> Json:
    channel, message = _streaming(workspace, app, args)
    text, chunks = _pieces(args)
    blocks = check_message(args.values["blocks"]) if args.values.get("blocks") else []
    metadata = check_metadata(args)
    _fits(message, text, chunks)
    message.blocks, message.metadata = blocks, metadata
    message.streaming = "stopped"
    _grow(workspace, channel, message, text, chunks, quiet=False)
    shown = message_json(message, channel, workspace.base)
    return {"channel": channel.id, "ts": message.ts, "message": shown}


def _recipient(workspace: Workspace, channel: Channel, args: Args) -> None:
    if not args.get("recipient_team_id"):
        raise SlackError("missing_recipient_team_id")
    if not args.get("recipient_user_id"):
        raise SlackError("missing_recipient_user_id")
    if args.get("recipient_user_id") not in workspace.users:
        raise SlackError("user_not_found")


def _streaming(workspace: Workspace, app: App, args: Args) -> tuple[Channel, Message]:
    if not workspace.streaming:
        raise SlackError("unknown_method")
    channel = writable(workspace.joined(app, args.text("channel")))
    message = workspace.message(channel, args.text("ts"))
    ended = message.streaming != "streaming" or workspace.stream_ended(message)
    if message.user != app.user_id or ended:
        raise SlackError("message_not_in_streaming_state")
    return channel, message


def _grow(
    workspace: Workspace, channel: Channel, message: Message, text: str, chunks: list[Json], *, quiet: bool
) -> None:
    before = message_json(message, channel, workspace.base)
    message.streamed += text
    message.text = words.stored(message.streamed)
    for chunk in chunks:
        known = [one for one in message.chunks if chunk.get("id") and one.get("id") == chunk["id"]]
        if known:
            known[0].update(chunk)
        else:
            message.chunks.append(chunk)
    workspace.change(channel, message, before, quiet=quiet)


def _fits(message: Message, text: str, chunks: list[Json]) -> None:
    """Refuse what would make the whole message too long; a task's update is counted as one more, to be strict."""
    whole, cards = message.streamed + text, [*message.chunks, *chunks]
    once = sum(len(str(card.get("title", "")).encode()) for card in cards)
    twice = sum(len(str(card.get(part, "")).encode()) for card in cards for part in ("details", "output"))
    too_much = len(whole.encode()) + once + 2 * twice > CARDS_TOO if cards else len(whole) > MARKDOWN
    if too_much:
        raise SlackError("msg_too_long")


def _pieces(args: Args) -> tuple[str, list[Json]]:
    """What is added: text, and the chunks that are no text."""
    text = args.get("markdown_text")
    chunks: Any = args.data("chunks") or []
    if not isinstance(chunks, list):
        raise SlackError("invalid_arguments", "must be an array [json-pointer:/chunks]")
    others = []
    for number, chunk in enumerate(chunks):
        _check(chunk, number)
        if chunk["type"] == "markdown_text":
            text += chunk["text"]
        else:
            others.append(dict(chunk))
    if len(text) > MARKDOWN:
        raise SlackError("msg_too_long")
    return text, others


def _check(chunk: Any, number: int) -> None:
    place = f"[json-pointer:/chunks/{number}]"
    kind = chunk.get("type") if isinstance(chunk, dict) else None
    if kind not in _CHUNKS:
        raise SlackError("invalid_arguments", f"unsupported type: {kind} {place}")
    if not chunk.get(_CHUNKS[kind]):
        raise SlackError("invalid_arguments", f"missing required field: {_CHUNKS[kind]} {place}")
    if kind == "blocks":
        check_message(chunk["blocks"])
    if kind == "task_update" and (not chunk.get("title") or chunk.get("status", "pending") not in _STATES):
        raise SlackError("invalid_arguments", f"invalid task_update {place}")
