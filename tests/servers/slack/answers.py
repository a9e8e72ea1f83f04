"""What apps say in answer to an interaction: with its acknowledgement, or to its response_url.

Documented (docs.slack.dev/interactivity/handling-user-interaction): a response_url works five times in half an hour;
a response is seen by one person unless `response_type` is `in_channel`, and is a new message unless it says
`replace_original` or `delete_original`. Not documented is what is answered afterwards; here it is 404.
"""

from typing import Any

from tests.servers.slack import words
from tests.servers.slack.args import Args
from tests.servers.slack.blocks import check_message
from tests.servers.slack.model import Channel, Interaction, Json, Message, SlackError
from tests.servers.slack.payloads import message_json
from tests.servers.slack.workspace import Workspace

USES = 5
SECONDS = 1800.0
TEXT = 40_000


def to_url(workspace: Workspace, token: str, body: Any) -> None:
    """A POST to a response_url; SlackError if it is not good for it."""
    interaction = workspace.urls.get(token)
    if interaction is None:
        raise SlackError("invalid_url")
    if workspace.clock.now() - interaction.triggered > SECONDS:
        raise SlackError("expired_url")
    if interaction.url_uses >= USES:
        raise SlackError("used_url")
    if not isinstance(body, dict):
        raise SlackError("invalid_payload")
    respond(workspace, interaction, body)
    interaction.url_uses += 1
    interaction.responses.append(body)
    workspace.news.tell()


def respond(workspace: Workspace, interaction: Interaction, body: Json) -> None:
    """Do what a response says."""
    channel = workspace.channels.get(interaction.channel)
    if channel is None or channel.deleted:
        raise SlackError("channel_not_found")
    if channel.archived:
        raise SlackError("is_archived")
    args = Args(body)
    original = interaction.message
    if args.flag("delete_original"):
        if original is None:
            raise SlackError("message_not_found")
        workspace.delete(channel, original)
        return
    text = words.stored(args.get("text"))[:TEXT]
    blocks = check_message(args.values["blocks"]) if args.values.get("blocks") else []
    if not text and not blocks:
        raise SlackError("no_text")
    if args.flag("replace_original"):
        if original is None:
            raise SlackError("message_not_found")
        before = message_json(original, channel, workspace.base)
        original.text, original.blocks = text, blocks
        workspace.change(channel, original, before)
        return
    _say(workspace, interaction, channel, args, text, blocks)


def _say(
    workspace: Workspace,
    interaction: Interaction,
    channel: Channel,
    args: Args,
    text: str,
    blocks: list[Json],
) -> None:
    app = interaction.app
    thread = args.get("thread_ts") or None
    message = Message(
        workspace.clock.stamp(), channel.id, app.user_id, text, app.bot_id, app.id, thread, blocks=blocks
    )
    if args.get("response_type", "ephemeral") == "in_channel":
        workspace.post(channel, message)
    else:
        message.ephemeral_to = interaction.user
        workspace.post_ephemeral(channel, message)
