"""Block Kit's rules, as far as Slack documents them: who breaks one gets `invalid_blocks` and a pointer to it.

From docs.slack.dev/reference/block-kit. That all texts together may have about 13,200 characters is not documented;
it was measured (slackapi/bolt-js#2509). Properties that a block does not have are refused, as Slack does.
"""

import json
from collections.abc import Callable
from typing import Any

from tests.servers.slack.model import Json, SlackError

WHOLE = 13_200
MARKDOWN = 12_000
_KEYS = {
    "section": {"text", "fields", "accessory", "expand"},
    "header": {"text"},
    "divider": set(),
    "context": {"elements"},
    "actions": {"elements"},
    "markdown": {"text"},
    "image": {"image_url", "slack_file", "alt_text", "title"},
    "input": {"label", "element", "dispatch_action", "hint", "optional"},
    "rich_text": {"elements"},
}
_BUTTON = {"type", "text", "action_id", "url", "value", "style", "confirm", "accessibility_label"}
_MENUS = {"static_select", "multi_static_select", "overflow", "radio_buttons", "checkboxes"}
_CHOICES = {
    "static_select": 100,
    "multi_static_select": 100,
    "overflow": 5,
    "radio_buttons": 10,
    "checkboxes": 10,
}
_FREE = {
    "plain_text_input",
    "users_select",
    "conversations_select",
    "channels_select",
    "external_select",
    "datepicker",
    "timepicker",
    "datetimepicker",
    "number_input",
    "email_text_input",
    "url_text_input",
    "multi_users_select",
    "multi_conversations_select",
    "multi_channels_select",
    "rich_text_input",
    "file_input",
}


def check_message(value: Any) -> list[Json]:
    """The blocks of a message, or SlackError."""
    blocks = _parsed(value)
    checker = _Checker(50, _KEYS.keys() - {"input"})
    checker.blocks(blocks)
    checker.refuse()
    if sum(_characters(block) for block in blocks) > WHOLE:
        raise SlackError("msg_blocks_too_long")
    return blocks


def check_view(view: Json) -> None:
    """Refuse a view that Slack would not show."""
    checker = _Checker(100, _KEYS.keys() - {"markdown"})
    kind = view.get("type")
    if kind not in ("modal", "home"):
        raise SlackError("invalid_arguments", "view type must be modal or home [json-pointer:/view/type]")
    if kind == "modal":
        checker.text(view.get("title"), "/view/title", 24, plain=True)
        for button in ("submit", "close"):
            if view.get(button) is not None:
                checker.text(view[button], f"/view/{button}", 24, plain=True)
        inputs = any(isinstance(one, dict) and one.get("type") == "input" for one in view.get("blocks") or [])
        if inputs and not view.get("submit"):
            checker.wrong("/view/submit", "a view with inputs must have a submit button")
    checker.size(view.get("private_metadata", ""), "/view/private_metadata", 3000)
    checker.size(view.get("callback_id", ""), "/view/callback_id", 255)
    blocks = view.get("blocks")
    if isinstance(blocks, list):
        checker.blocks(blocks, "/view/blocks")
    else:
        checker.wrong("/view/blocks", "missing required field: blocks")
    if checker.errors:
        raise SlackError("invalid_arguments", *checker.errors)
    if len(json.dumps(view)) > 250_000:
        raise SlackError("view_too_large")


def _parsed(value: Any) -> list[Json]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise SlackError("invalid_blocks_format") from None
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise SlackError("invalid_blocks_format")
    return value


def _characters(value: Any) -> int:
    """How many characters of text are in it."""
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(_characters(one) for one in value.values() if isinstance(one, dict | list))
    return sum(_characters(one) for one in value) if isinstance(value, list) else 0


class _Checker:
    """Goes through blocks and notes what is wrong."""

    def __init__(self, most: int, kinds: set[str]) -> None:
        self.errors: list[str] = []
        self._most = most
        self._kinds = kinds
        self._marked = 0

    def wrong(self, place: str, what: str) -> None:
        self.errors.append(f"{what} [json-pointer:{place}]")

    def refuse(self) -> None:
        if self.errors:
            raise SlackError("invalid_blocks", *self.errors, errors=list(self.errors))

    def blocks(self, blocks: list[Json], place: str = "/blocks") -> None:
        if len(blocks) > self._most:
            self.wrong(place, f"no more than {self._most} items allowed")
        seen: set[str] = set()
        for number, block in enumerate(blocks):
            where = f"{place}/{number}"
            kind = block.get("type") if isinstance(block, dict) else None
            if kind not in self._kinds:
                self.wrong(where, f"unsupported type: {kind}")
                continue
            for key in block.keys() - _KEYS[kind] - {"type", "block_id"}:
                self.wrong(where, f"invalid additional property: {key}")
            self._block_id(block.get("block_id"), seen, where)
            check: Callable[[Json, str], None] | None = getattr(self, f"_{kind}", None)
            if check is not None:
                check(block, where)

    def _block_id(self, block_id: Any, seen: set[str], where: str) -> None:
        if block_id is None:
            return
        self.size(block_id, f"{where}/block_id", 255)
        if block_id in seen:
            self.wrong(f"{where}/block_id", f"block_id {block_id!r} already exists")
        seen.add(str(block_id))

    def size(self, value: Any, place: str, most: int, least: int = 0) -> None:
        if not isinstance(value, str):
            self.wrong(place, "must be a string")
        elif len(value) > most:
            self.wrong(place, f"must be less than {most + 1} characters")
        elif len(value) < least:
            self.wrong(place, f"must be more than {least - 1} characters")

    def text(self, value: Any, place: str, most: int, *, plain: bool = False) -> None:
        """A text object."""
        if not isinstance(value, dict):
            self.wrong(place, "missing required field: text object")
            return
        kind = value.get("type")
        if kind not in ("plain_text", "mrkdwn") or (plain and kind != "plain_text"):
            self.wrong(f"{place}/type", f"unsupported type: {kind}")
        allowed = {"type", "text", "emoji" if kind == "plain_text" else "verbatim"}
        for key in value.keys() - allowed:
            self.wrong(place, f"invalid additional property: {key}")
        self.size(value.get("text"), f"{place}/text", most, 1)

    def _section(self, block: Json, where: str) -> None:
        if block.get("text") is None and not block.get("fields"):
            self.wrong(where, "missing required field: text or fields")
        if block.get("text") is not None:
            self.text(block["text"], f"{where}/text", 3000)
        fields = block.get("fields") or []
        if len(fields) > 10:
            self.wrong(f"{where}/fields", "no more than 10 items allowed")
        for number, field in enumerate(fields):
            self.text(field, f"{where}/fields/{number}", 2000)
        if block.get("accessory") is not None:
            self._elements([block["accessory"]], f"{where}/accessory")

    def _header(self, block: Json, where: str) -> None:
        self.text(block.get("text"), f"{where}/text", 150, plain=True)

    def _markdown(self, block: Json, where: str) -> None:
        text = block.get("text")
        self.size(text, f"{where}/text", MARKDOWN, 1)
        self._marked += len(text) if isinstance(text, str) else 0
        if self._marked > MARKDOWN:
            self.wrong(where, f"markdown blocks must be less than {MARKDOWN + 1} characters in all")

    def _context(self, block: Json, where: str) -> None:
        elements = block.get("elements") or []
        if not 1 <= len(elements) <= 10:
            self.wrong(f"{where}/elements", "must have 1 to 10 items")
        for number, one in enumerate(elements):
            if isinstance(one, dict) and one.get("type") == "image":
                self._picture(one, f"{where}/elements/{number}")
            else:
                self.text(one, f"{where}/elements/{number}", 3000)

    def _actions(self, block: Json, where: str) -> None:
        elements = block.get("elements") or []
        if not 1 <= len(elements) <= 25:
            self.wrong(f"{where}/elements", "must have 1 to 25 items")
        self._elements(elements, f"{where}/elements")

    def _image(self, block: Json, where: str) -> None:
        self._picture(block, where)

    def _picture(self, block: Json, where: str) -> None:
        if not block.get("image_url") and not block.get("slack_file"):
            self.wrong(where, "missing required field: image_url")
        self.size(block.get("alt_text"), f"{where}/alt_text", 2000)

    def _input(self, block: Json, where: str) -> None:
        self.text(block.get("label"), f"{where}/label", 2000, plain=True)
        if block.get("hint") is not None:
            self.text(block["hint"], f"{where}/hint", 2000, plain=True)
        element = block.get("element")
        if not isinstance(element, dict) or element.get("type") not in _MENUS | _FREE:
            self.wrong(f"{where}/element", "unsupported element of an input")
        else:
            self._elements([element], f"{where}/element")

    def _elements(self, elements: list[Any], where: str) -> None:
        seen: set[str] = set()
        for number, element in enumerate(elements):
            place = f"{where}/{number}"
            kind = element.get("type") if isinstance(element, dict) else None
            if kind == "image":
                self._picture(element, place)
            elif kind == "button":
                self._button(element, place)
            elif kind in _MENUS | _FREE:
                self._menu(element, place)
            else:
                self.wrong(place, f"unsupported type: {kind}")
                continue
            action = element.get("action_id")
            if action is not None:
                self.size(action, f"{place}/action_id", 255)
                if action in seen:
                    self.wrong(f"{place}/action_id", f"action_id {action!r} already exists in this block")
                seen.add(str(action))

    def _button(self, button: Json, place: str) -> None:
        for key in button.keys() - _BUTTON:
            self.wrong(place, f"invalid additional property: {key}")
        self.text(button.get("text"), f"{place}/text", 75, plain=True)
        self.size(button.get("value", ""), f"{place}/value", 2000)
        self.size(button.get("url", ""), f"{place}/url", 3000)
        if button.get("style") not in (None, "primary", "danger"):
            self.wrong(f"{place}/style", "must be primary or danger")
        if button.get("confirm") is not None:
            self._confirm(button["confirm"], f"{place}/confirm")

    def _confirm(self, confirm: Json, place: str) -> None:
        for part, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
            self.text(confirm.get(part), f"{place}/{part}", most, plain=part != "text")

    def _menu(self, menu: Json, place: str) -> None:
        if menu.get("placeholder") is not None:
            self.text(menu["placeholder"], f"{place}/placeholder", 150, plain=True)
        if menu["type"] == "plain_text_input":
            if not 0 <= int(menu.get("max_length", 3000)) <= 3000:
                self.wrong(f"{place}/max_length", "must be at most 3000")
        elif menu["type"] in _MENUS:
            groups = menu.get("option_groups") or [{"options": menu.get("options") or []}]
            for group in groups:
                self._options(group.get("options") or [], _CHOICES[menu["type"]], place)

    def _options(self, options: list[Json], most: int, place: str) -> None:
        if not 1 <= len(options) <= most:
            self.wrong(f"{place}/options", f"must have 1 to {most} items")
        for number, option in enumerate(options):
            self.text(option.get("text"), f"{place}/options/{number}/text", 75)
            self.size(option.get("value"), f"{place}/options/{number}/value", 150, 1)
