"""Things as Slack writes them in JSON."""

from typing import Any

from tests.servers.slack.model import App, Channel, File, Interaction, Json, Message, User, View

TEAM = "T0AGENTS"
DOMAIN = "agents"


def user_json(user: User) -> Json:
    return {
        "id": user.id,
        "team_id": TEAM,
        "name": user.name,
        "real_name": user.name.title(),
        "deleted": False,
        "is_bot": bool(user.bot_id),
        "is_app_user": False,
        "profile": {
            "real_name": user.name.title(),
            "display_name": user.name,
            **({"bot_id": user.bot_id} if user.bot_id else {}),
        },
    }


def channel_json(channel: Channel, app: App) -> Json:
    if channel.im:
        other = next((one for one in channel.members if one != app.user_id), "")
        return {
            "id": channel.id,
            "created": channel.created,
            "is_im": True,
            "user": other,
            "is_archived": False,
        }
    return {
        "id": channel.id,
        "name": channel.name,
        "name_normalized": channel.name,
        "created": channel.created,
        "is_channel": not channel.private,
        "is_group": channel.private,
        "is_im": False,
        "is_mpim": False,
        "is_private": channel.private,
        "is_archived": channel.archived,
        "creator": channel.creator,
        "topic": {"value": channel.topic, "creator": "", "last_set": 0},
        "is_member": app.user_id in channel.members,
        "num_members": len(channel.members),
        "context_team_id": TEAM,
    }


def file_json(file: File, base: str) -> Json:
    address = f"{base}/files-pri/{TEAM}-{file.id}"
    return {
        "id": file.id,
        "created": int(file.created),
        "name": file.name,
        "title": file.title or file.name,
        "size": len(file.data or b""),
        "user": file.owner,
        "mode": "hosted",
        "is_external": False,
        "url_private": f"{address}/{file.name}",
        "url_private_download": f"{address}/download/{file.name}",
        "channels": sorted(file.channels),
    }


def message_json(message: Message, channel: Channel, base: str, *, metadata: bool = False) -> Json:
    """A message in an answer or an event; its metadata only where it was asked for."""
    if message.tombstone:
        core: Json = {
            "type": "message",
            "subtype": "tombstone",
            "text": "This message was deleted.",
            "user": "USLACKBOT",
            "hidden": True,
            "ts": message.ts,
        }
        return core | _thread(message, channel)
    optional: dict[str, Any] = {
        "subtype": message.subtype,
        "client_msg_id": message.client_msg_id,
        "bot_id": message.bot_id,
        "app_id": message.app_id,
        "blocks": message.blocks,
        "attachments": message.attachments,
        "edited": {"user": message.user, "ts": message.edited} if message.edited else None,
        "files": [file_json(file, base) for file in message.shared],
        "reactions": [
            {"name": name, "users": users, "count": len(users)} for name, users in message.reactions.items()
        ],
        "metadata": message.metadata if metadata else None,
        "streaming_state": {"streaming": "in_progress", "stopped": "completed"}.get(message.streaming, ""),
    }
    core = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text, "team": TEAM}
    return core | {name: value for name, value in optional.items() if value} | _thread(message, channel)


def _thread(message: Message, channel: Channel) -> Json:
    if message.is_reply:
        root = channel.messages.get(message.thread_ts or "")
        return {"thread_ts": message.thread_ts} | ({"parent_user_id": root.user} if root else {})
    replies = channel.replies(message.ts)
    if not replies:
        return {}
    users = list(dict.fromkeys(reply.user for reply in replies))
    return {
        "thread_ts": message.ts,
        "reply_count": len(replies),
        "reply_users_count": len(users),
        "reply_users": users,
        "latest_reply": replies[-1].ts,
        "is_locked": False,
    }


def event_json(app: App, event_id: str, at: float, inner: Json) -> Json:
    """The outer part of an Events API payload."""
    authorization = {
        "enterprise_id": None,
        "team_id": TEAM,
        "user_id": app.user_id,
        "is_bot": True,
        "is_enterprise_install": False,
    }
    return {
        "token": app.verification_token,
        "team_id": TEAM,
        "context_team_id": TEAM,
        "context_enterprise_id": None,
        "api_app_id": app.id,
        "event": inner,
        "type": "event_callback",
        "event_id": event_id,
        "event_time": int(at),
        "authorizations": [authorization],
        "is_ext_shared_channel": False,
        "event_context": f"4-{event_id}",
    }


def command_json(
    interaction: Interaction, user: User, channel: Channel, command: str, text: str, url: str
) -> Json:
    return {
        "token": interaction.app.verification_token,
        "team_id": TEAM,
        "team_domain": DOMAIN,
        "channel_id": channel.id,
        "channel_name": "directmessage" if channel.im else channel.name,
        "user_id": user.id,
        "user_name": user.name,
        "command": command,
        "text": text,
        "api_app_id": interaction.app.id,
        "is_enterprise_install": "false",
        "response_url": url,
        "trigger_id": interaction.trigger_id,
    }


def interaction_json(interaction: Interaction, user: User, **more: Any) -> Json:
    """What all interactive payloads have in common."""
    return {
        "type": interaction.kind,
        "token": interaction.app.verification_token,
        "team": {"id": TEAM, "domain": DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": TEAM},
        "api_app_id": interaction.app.id,
        "trigger_id": interaction.trigger_id,
        **more,
    }


def view_json(view: View, state: Json | None = None) -> Json:
    content = view.content
    return {
        "id": view.id,
        "team_id": TEAM,
        "type": content["type"],
        "blocks": content["blocks"],
        "private_metadata": content.get("private_metadata", ""),
        "callback_id": content.get("callback_id", ""),
        "external_id": content.get("external_id", ""),
        "state": {"values": state or {}},
        "hash": view.hash,
        "title": content.get("title"),
        "close": content.get("close"),
        "submit": content.get("submit"),
        "clear_on_close": bool(content.get("clear_on_close")),
        "notify_on_close": bool(content.get("notify_on_close")),
        "previous_view_id": view.previous.id if view.previous else None,
        "root_view_id": _root(view).id,
        "app_id": view.app.id,
        "app_installed_team_id": TEAM,
        "bot_id": view.app.bot_id,
    }


def _root(view: View) -> View:
    return _root(view.previous) if view.previous else view
