"""views.*: modals and the home tab.

Documented (docs.slack.dev/surfaces/modals, reference/methods/views.open): a trigger_id is good for 3 s and for one
view; a view may have three layers; `hash` guards against a race.
"""

import secrets
from typing import Any

from tests.servers.slack.args import Args, method
from tests.servers.slack.blocks import check_view
from tests.servers.slack.model import App, Interaction, Json, SlackError, View
from tests.servers.slack.payloads import view_json
from tests.servers.slack.workspace import Workspace

TRIGGER_SECONDS = 3.0
LAYERS = 3


@method("views.open", tier=4)
def open_view(workspace: Workspace, app: App, args: Args) -> Json:
    interaction = _trigger(workspace, app, args)
    view = shown(workspace, app, interaction.user, _content(args, "modal"))
    interaction.exchanged, interaction.view = True, view
    workspace.news.tell()
    return {"view": view_json(view)}


@method("views.push", tier=4)
def push_view(workspace: Workspace, app: App, args: Args) -> Json:
    interaction = _trigger(workspace, app, args)
    below = interaction.view
    if below is None:
        raise SlackError("not_found")
    if below.previous is not None and below.previous.previous is not None:
        raise SlackError("push_limit_reached")
    view = shown(workspace, app, interaction.user, _content(args, "modal"), below)
    interaction.exchanged, interaction.view = True, view
    workspace.news.tell()
    return {"view": view_json(view)}


@method("views.update", tier=4)
def update_view(workspace: Workspace, app: App, args: Args) -> Json:
    content = _content(args)
    view = _known(workspace, app, args)
    if "hash" in args and args.get("hash") != view.hash:
        raise SlackError("hash_conflict")
    if content["type"] != view.content["type"]:
        raise SlackError("invalid_arguments", "the type of a view cannot change [json-pointer:/view/type]")
    replace(workspace, view, content)
    return {"view": view_json(view)}


@method("views.publish", tier=4)
def publish(workspace: Workspace, app: App, args: Args) -> Json:
    user = args.text("user_id")
    if user not in workspace.users:
        raise SlackError("invalid_arguments", "user_not_found [json-pointer:/user_id]")
    content = _content(args, "home")
    old = workspace.homes.get((app.id, user))
    if "hash" in args and old is not None and args.get("hash") != old.hash:
        raise SlackError("hash_conflict")
    if old is None:
        workspace.homes[app.id, user] = old = shown(workspace, app, user, content)
    else:
        replace(workspace, old, content)
    workspace.news.tell()
    return {"view": view_json(old)}


def shown(workspace: Workspace, app: App, user: str, content: Json, below: View | None = None) -> View:
    """A new view that somebody sees."""
    external = content.get("external_id")
    if external and any(one.content.get("external_id") == external for one in workspace.views.values()):
        raise SlackError("duplicate_external_id")
    content = content | {"blocks": workspace.numbered(content["blocks"])}
    view = View(workspace.new_id("V"), app, user, content, _hash(workspace), previous=below)
    workspace.views[view.id] = view
    return view


def replace(workspace: Workspace, view: View, content: Json) -> None:
    view.content = content | {"blocks": workspace.numbered(content["blocks"])}
    view.hash = _hash(workspace)
    workspace.news.tell()


def _hash(workspace: Workspace) -> str:
    return f"{int(workspace.clock.now())}.{secrets.token_hex(4)}"


def _content(args: Args, kind: str = "") -> Json:
    content: Any = args.data("view")
    if not isinstance(content, dict):
        raise SlackError("invalid_arguments", "missing required field: view")
    check_view(content)
    if kind and content["type"] != kind:
        raise SlackError("invalid_arguments", f"must be of type {kind} [json-pointer:/view/type]")
    return content


def _trigger(workspace: Workspace, app: App, args: Args) -> Interaction:
    """What a trigger_id belongs to, if it is still good."""
    interaction = workspace.triggers.get(args.text("trigger_id"))
    if interaction is None or interaction.app is not app:
        raise SlackError("invalid_trigger_id")
    if interaction.exchanged:
        raise SlackError("exchanged_trigger_id")
    if workspace.clock.now() - interaction.triggered > TRIGGER_SECONDS:
        raise SlackError("expired_trigger_id")
    return interaction


def _known(workspace: Workspace, app: App, args: Args) -> View:
    if "view_id" in args:
        view = workspace.views.get(args.get("view_id"))
    else:
        external = args.text("external_id")
        named = (one for one in workspace.views.values() if one.content.get("external_id") == external)
        view = next(named, None)
    if view is None or view.closed or view.app is not app:
        raise SlackError("not_found")
    return view
