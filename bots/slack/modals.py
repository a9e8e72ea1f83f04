"""Views that are opened over Slack: forms of buttons, a message to be queued, the App Home. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bots.slack.markdown import Element, literal
from bots.slack.reading import mapping, string
from bots.slack.rendering import context, home_blocks, one_line, shortened
from orchestrator.transport import Form, FormField, Post

FORM: Final = "aq:form"
QUEUE: Final = "aq:queue"
INPUT_MAX: Final = 3_000
"""Characters that one of Slack's inputs holds."""
_TITLE_MAX: Final = 24
_LABEL_MAX: Final = 200
_OFFERS_MAX: Final = 20
_OFFERED: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "AWAITING_APPROVAL": (("Approve", "task approve"), ("Diff", "task diff"), ("Show", "task show")),
    "FAILED": (("Retry", "task restart"), ("Show", "task show")),
}
"""What is offered for a task that waits for somebody, as its label and the words of its command."""
_OTHERWISE: Final = (("Show", "task show"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a view was opened: kept in it, for when it is sent off."""

    channel: str
    root: str | None = None
    subject: str = ""
    """The message that it is about."""
    action: str = ""

    def kept(self) -> str:
        """As a view keeps it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> "Origin | None":
        """What *view* has kept; None where that cannot be read."""
        try:
            found = mapping(json.loads(string(view.get("private_metadata"), 3_000) or "{}"))
        except ValueError:
            return None
        channel = string(found.get("channel"), 32)
        if not channel:
            return None
        return cls(
            channel=channel,
            root=string(found.get("root"), 64) or None,
            subject=string(found.get("subject"), 64),
            action=string(found.get("action"), 200),
        )


def form_view(form: Form, label: str, origin: Origin) -> dict[str, Any]:
    """The modal of a button's form."""
    blocks = [context(form.title)] if form.title else []
    for one in form.fields:
        if len(one.value) > INPUT_MAX:  # cut, it would be sent off cut
            blocks.append(context(f"{one.label}: it is too long for a form; say it as a command."))
        else:
            blocks.append(_input(one))
    return _modal(FORM, label, blocks, origin, submit="Send")


def queue_view(text: str, origin: Origin) -> dict[str, Any]:
    """The modal that makes a task of a message."""
    fields = (
        FormField(
            name="project", label="Project (none: the one that this channel is bound to)", max_length=64
        ),
        FormField(
            name="text",
            label="What is to be done",
            value=text,
            required=True,
            long=True,
            max_length=INPUT_MAX,
        ),
    )
    return _modal(QUEUE, "Queue as a task", [_input(one) for one in fields], origin, submit="Queue")


def notice_view(title: str, words: str) -> dict[str, Any]:
    """A modal that only says something."""
    return _modal("aq:notice", title, _rich(words), None)


def _modal(
    callback: str, title: str, blocks: list[Element], origin: Origin | None, *, submit: str = ""
) -> dict[str, Any]:
    view: dict[str, Any] = {
        "type": "modal",
        "callback_id": callback,
        "title": _plain(title, _TITLE_MAX),
        "close": _plain("Cancel" if submit else "Close", _TITLE_MAX),
        "blocks": blocks,
    }
    view |= {"submit": _plain(submit, _TITLE_MAX)} if submit else {}
    return view | ({"private_metadata": origin.kept()} if origin else {})


def _input(one: FormField) -> Element:
    limit = max(1, min(one.max_length, INPUT_MAX))
    element: Element = {
        "type": "plain_text_input",
        "action_id": "value",
        "multiline": one.long,
        "max_length": max(limit, len(one.value)),
    }
    element |= {"initial_value": one.value} if one.value else {}
    return {
        "type": "input",
        "block_id": one.name,
        "optional": not one.required,
        "label": _plain(one.label or one.name, _LABEL_MAX),
        "element": element,
    }


def values(view: Mapping[str, Any]) -> dict[str, str]:
    """What was filled in, by argument."""
    state = mapping(mapping(view.get("state")).get("values"))
    return {
        string(name, 64): string(mapping(mapping(inputs).get("value")).get("value"))
        for name, inputs in state.items()
    }


def home_view(post: Post) -> dict[str, Any]:
    """The App Home: what a look says, and what may be done about each task in it."""
    items = [mapping(one) for one in post.data.get("items") or ()][:_OFFERS_MAX]
    offers = {
        f"{task}: {string(one.get('title'), 200)}": [
            (label, f"{line} {task}") for label, line in _OFFERED.get(string(one.get("status")), _OTHERWISE)
        ]
        for one in items
        if (task := string(one.get("id"), 64))
    }
    return {"type": "home", "callback_id": "aq:home", "blocks": home_blocks(post, offers)}


def _plain(text: str, most: int) -> Element:
    return {"type": "plain_text", "text": shortened(one_line(text), most) or "…", "emoji": False}


def _rich(words: str) -> list[Element]:
    return [{"type": "rich_text", "elements": literal(words)}]
