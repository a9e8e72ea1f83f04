"""What an ACP agent asks of people: may it do something, and what a form of its asks for."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from acp import schema
from acp.exceptions import RequestError
from pydantic import TypeAdapter

from adapters.acp.calls import Call
from adapters.acp.quirks import Quirks
from adapters.requests import Requests
from orchestrator.agent import PermissionRequest, Question

_CANCELLED = {"outcome": {"outcome": "cancelled"}}
_FORM: TypeAdapter[Any] = TypeAdapter(schema.CreateElicitationRequest)
_YES, _NO = "yes", "no"
_CUSTOM = "_custom"
"""The ending of the name of a field for free words, beside one with choices."""


class Desk:
    """Where an agent's requests wait for people, however long that takes."""

    def __init__(self, requests: Requests, workdir: str, quirks: Quirks) -> None:
        self._requests = requests
        self._workdir = workdir
        self._quirks = quirks
        self.closed = False
        """The turn is being ended: nobody is asked."""
        self.denied: list[tuple[str, str]] = []
        """What was denied in this turn, and the words with which."""

    async def permit(self, call: Call, options: Sequence[schema.PermissionOption]) -> dict[str, Any]:
        """Ask whether *call* may be done, and return the agent's option for what people chose."""
        request = call.request(uuid4().hex, self._workdir)
        choice = await self._ask(request)
        if choice is None:
            return _CANCELLED
        if choice != "allow":
            self.denied.append((request.action, "" if choice == "deny" else choice))
        kinds = ("allow_once", "allow_always") if choice == "allow" else ("reject_once", "reject_always")
        for kind in kinds:
            for option in options:
                if option.kind == kind:
                    return {"outcome": {"outcome": "selected", "optionId": option.option_id}}
        return _CANCELLED

    async def fill(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask what a form asks for, one question for each of its fields."""
        form = _FORM.validate_python(params)
        if isinstance(
            form, schema.CreateUrlSessionElicitationRequest | schema.CreateUrlRequestElicitationRequest
        ):
            text = f"{form.message}\n{form.url}\nOpen it, and say `{_YES}` when that is done."
            choice = await self._ask(Question(uuid4().hex, text, (_YES, _NO)))
            return {"action": "cancel" if choice is None else "accept" if choice == _YES else "decline"}
        if isinstance(form, schema.CreateOtherElicitationRequest):
            raise RequestError.invalid_params({"details": f"a request of mode {form.mode} cannot be asked"})
        fields = form.requested_schema.properties or {}
        free = _free_words(fields)
        content: dict[str, Any] = {}
        for name, asked in fields.items():
            if name in free.values():
                continue
            message = "" if content or self._quirks.question_is_title else form.message
            answer = await self._field(message, name, asked, free.get(name))
            if answer is None:
                return {"action": "cancel"}
            content |= answer
        return {"action": "accept", "content": content}

    async def _field(self, message: str, name: str, asked: Any, free: str | None) -> dict[str, Any] | None:
        """Ask for one field until the answer fits it, or its field for *free* words; None where nobody is to be asked
        any more."""
        values = _values(asked)
        about = _lines(name, asked, message, titled=self._quirks.question_is_title)
        lines = [message, *about]
        while True:
            text = "\n".join(filter(None, lines))
            choice = await self._ask(Question(uuid4().hex, text, tuple(values)))
            if choice is None:
                return None
            try:
                return {name: _read(asked, choice, values)}
            except ValueError as fault:
                if free is not None:
                    return {free: choice}
                lines = [message, *about, f"(Not understood: {fault})"]

    async def _ask(self, request: Question | PermissionRequest) -> str | None:
        """What people chose; None where the turn is ended meanwhile."""
        if self.closed:
            return None
        try:
            return await self._requests.ask(request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None


def _options(asked: Any) -> Sequence[schema.EnumOption]:
    if isinstance(asked, schema.StringPropertySchema):
        return asked.one_of or [schema.EnumOption(const=one, title=one) for one in asked.enum or ()]
    if isinstance(asked, schema.MultiSelectPropertySchema):
        items: Any = asked.items
        told = getattr(items, "any_of", None) or ()
        return told or [schema.EnumOption(const=one, title=one) for one in getattr(items, "enum", None) or ()]
    return ()


def _values(asked: Any) -> dict[str, Any]:
    """What people choose from, and the value that each stands for."""
    if isinstance(asked, schema.BooleanPropertySchema):
        return {_YES: True, _NO: False}
    return {option.title: option.const for option in _options(asked)}


def _free_words(fields: Mapping[str, Any]) -> dict[str, str]:
    """By the name of a field with choices, that of the one for words of one's own beside it."""
    found = {}
    for name, asked in fields.items():
        note = (getattr(asked, "field_meta", None) or {}).get("codex")
        if isinstance(note, Mapping) and note.get("role") == "user_note":
            found[str(note.get("questionId"))] = name
        elif name.endswith(_CUSTOM) and name.removesuffix(_CUSTOM) in fields:
            found[name.removesuffix(_CUSTOM)] = name
    return found


def _lines(name: str, asked: Any, message: str, *, titled: bool) -> list[str]:
    """What is asked, beside the form's *message*, and what the choices mean."""
    title, more = getattr(asked, "title", None), getattr(asked, "description", None)
    label = (title if titled else more) or title or more or name
    lines = [] if message and _options(asked) else [label]
    lines += [f"- {one.title}: {one.description}" for one in _options(asked) if one.description]
    if isinstance(asked, schema.MultiSelectPropertySchema):
        lines.append("(Several may be chosen: name them all, with commas between.)")
    return lines


def _read(asked: Any, choice: str, values: Mapping[str, Any]) -> Any:
    """The field's value for what people said; ValueError with the reason where it has none."""
    if isinstance(asked, schema.MultiSelectPropertySchema):
        return [_one(part.strip(), values) for part in choice.split(",") if part.strip()]
    if values:
        return _one(choice, values)
    if isinstance(asked, schema.IntegerPropertySchema):
        return int(choice)
    if isinstance(asked, schema.NumberPropertySchema):
        return float(choice)
    return choice


def _one(choice: str, values: Mapping[str, Any]) -> Any:
    for label, value in values.items():
        if choice.casefold() in (label.casefold(), str(value).casefold()):
            return value
    raise ValueError(f"{choice} is none of {', '.join(values)}")
