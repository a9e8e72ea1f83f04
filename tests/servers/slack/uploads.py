"""files.*: uploads in three steps, and downloads.

Documented (docs.slack.dev/messaging/working-with-files): ask for a URL, POST the bytes there, then complete the
upload, which shares the file in a channel. Slack shares it a moment later than it answers, so the answer names no
message; here too it names none. A length other than the one that was announced is refused, which is stricter than
anything that is documented.
"""

from typing import Any

from tests.servers.slack import words
from tests.servers.slack.args import Args, method
from tests.servers.slack.chat import thread_ts, writable
from tests.servers.slack.model import App, File, Json, Message, SlackError
from tests.servers.slack.payloads import file_json
from tests.servers.slack.workspace import Workspace


@method("files.getUploadURLExternal", "files:write", tier=4)
def upload_url(workspace: Workspace, app: App, args: Args) -> Json:
    name = args.text("filename")
    length = args.number("length", 0, 1 << 30)
    if length < 1:
        raise SlackError("invalid_arguments", "must be greater than 0 [json-pointer:/length]")
    file = File(workspace.new_id("F"), name, length, app.user_id, workspace.clock.now())
    workspace.files[file.id] = file
    return {"upload_url": f"{workspace.base}/upload/v1/{file.id}", "file_id": file.id}


def uploaded(workspace: Workspace, file_id: str, data: bytes) -> str:
    """The bytes of a file have come; returns what the upload server says."""
    file = workspace.files.get(file_id)
    if file is None or file.complete:
        raise SlackError("file_not_found")
    if len(data) != file.length:
        raise SlackError("length_mismatch")
    file.data = data
    return f"OK - {len(data)}"


@method("files.completeUploadExternal", "files:write", tier=4)
def complete(workspace: Workspace, app: App, args: Args) -> Json:
    asked: Any = args.data("files")
    if not isinstance(asked, list) or not asked:
        raise SlackError("invalid_arguments", "missing required field: files")
    files = [_uploaded(workspace, app, one) for one in asked]
    places = [one for one in [args.get("channel_id"), *args.get("channels").split(",")] if one]
    thread = thread_ts(args)
    if thread and len(places) != 1:
        raise SlackError("invalid_arguments", "thread_ts needs exactly one channel")
    channels = [writable(workspace.joined(app, place)) for place in places]
    for file, one in zip(files, asked, strict=True):
        file.complete, file.title = True, str(one.get("title") or file.name)
    for channel in channels:
        text = words.stored(args.get("initial_comment"))
        stamp = workspace.clock.stamp()
        message = Message(
            stamp, channel.id, app.user_id, text, app.bot_id, app.id, thread, shared=list(files)
        )
        message.subtype = "file_share"
        for file in files:
            file.channels.add(channel.id)
        workspace.post(channel, message)
    return {"files": [file_json(file, workspace.base) for file in files]}


@method("files.info", "files:read", tier=4)
def info(workspace: Workspace, app: App, args: Args) -> Json:
    file = workspace.files.get(args.text("file"))
    if file is None or not file.complete or not _visible(workspace, app, file):
        raise SlackError("file_not_found")
    return {"file": file_json(file, workspace.base), "comments": []}


@method("files.delete", "files:write", tier=3)
def delete(workspace: Workspace, app: App, args: Args) -> Json:
    """Its messages go with it, where they say nothing else."""
    file = workspace.files.get(args.text("file"))
    if file is None or not file.complete:
        raise SlackError("file_not_found")
    if file.owner != app.user_id:
        raise SlackError("cant_delete_file")
    del workspace.files[file.id]
    for channel in (workspace.channels[one] for one in file.channels):
        for message in [one for one in channel.messages.values() if file in one.shared]:
            message.shared.remove(file)
            if not message.shared and not message.text:
                workspace.delete(channel, message)
    return {}


def content(workspace: Workspace, app: App | None, file_id: str) -> File | None:
    """A file for who may read it; who may not gets Slack's page to log in."""
    file = workspace.files.get(file_id)
    if app is None or file is None or not file.complete or "files:read" not in app.scopes:
        return None
    return file if _visible(workspace, app, file) else None


def _visible(workspace: Workspace, app: App, file: File) -> bool:
    inside = (app.user_id in workspace.channels[one].members for one in file.channels)
    return file.owner == app.user_id or any(inside)


def _uploaded(workspace: Workspace, app: App, asked: Any) -> File:
    file = workspace.files.get(asked.get("id", "")) if isinstance(asked, dict) else None
    if file is None or file.data is None or file.owner != app.user_id or file.complete:
        raise SlackError("file_not_found")
    return file
