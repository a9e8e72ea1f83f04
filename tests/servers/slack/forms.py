"""What a client makes of what is typed and chosen: rich text, and the state of a modal's inputs."""

from collections.abc import Iterable
from typing import Any

from tests.servers.slack.model import Json, PersonError
from tests.servers.slack.words import unescaped

_WIDE = ("channel", "here", "everyone")


def rich_text(text: str) -> list[Json]:
    """The block that Slack's client sends along with a text; styles are left out."""
    section = {"type": "rich_text_section", "elements": list(_elements(text))}
    return [{"type": "rich_text", "elements": [section]}]


def _elements(text: str) -> Iterable[Json]:
    rest = text
    while rest:
        plain, found, after = rest.partition("<")
        if plain:
            yield {"type": "text", "text": unescaped(plain)}
        if not found:
            return
        entity, _, rest = after.partition(">")
        target, _, label = entity.partition("|")
        if target.startswith("@"):
            yield {"type": "user", "user_id": target[1:]}
        elif target.removeprefix("!") in _WIDE:
            yield {"type": "broadcast", "range": target[1:]}
        elif target.startswith("#"):
            yield {"type": "channel", "channel_id": target[1:]}
        elif target.startswith("!subteam^"):
            yield {"type": "usergroup", "usergroup_id": target.removeprefix("!subteam^")}
        else:
            yield {"type": "link", "url": unescaped(target), **({"text": label} if label else {})}


def option(element: Json, value: str) -> Json:
    """The option of a menu that has this value."""
    groups = element.get("option_groups") or [{"options": element.get("options", [])}]
    options: list[Json] = [one for group in groups for one in group["options"]]
    for one in options:
        if one["value"] == value:
            return one
    raise PersonError(f"{element.get('action_id')} has no option {value!r}")


def state(blocks: list[Json], values: dict[str, dict[str, Any]]) -> Json:
    """The values of a modal that is submitted, with what was filled in from the start."""
    left = {block: dict(actions) for block, actions in values.items()}
    found: Json = {}
    for block in blocks:
        if block["type"] != "input":
            continue
        element = block["element"]
        given = left.get(block["block_id"], {}).pop(element.get("action_id"), None)
        value = _value(element, given)
        if _empty(value) and not block.get("optional"):
            raise PersonError(f"{block['block_id']} must be filled in")
        found[block["block_id"]] = {element.get("action_id"): value}
    unknown = [f"{block}/{action}" for block, actions in left.items() for action in actions]
    if unknown:
        raise PersonError(f"the view has no input {', '.join(unknown)}")
    return found


def _value(element: Json, given: Any) -> Json:
    kind = element["type"]
    if kind in ("static_select", "radio_buttons"):
        chosen = option(element, given) if given is not None else element.get("initial_option")
        return {"type": kind, "selected_option": chosen}
    if kind in ("checkboxes", "multi_static_select"):
        several = [option(element, one) for one in given] if given is not None else []
        return {"type": kind, "selected_options": several or element.get("initial_options", [])}
    if kind in ("users_select", "conversations_select", "channels_select"):
        name = f"selected_{kind.removesuffix('s_select')}"
        return {"type": kind, name: given}
    text = given if given is not None else element.get("initial_value")
    least, most = int(element.get("min_length", 0)), int(element.get("max_length", 3000))
    if text and not least <= len(text) <= most:
        raise PersonError(f"{element.get('action_id')} takes {least} to {most} characters")
    return {"type": kind, "value": text or None}


def _empty(value: Json) -> bool:
    return not any(part for name, part in value.items() if name != "type")
