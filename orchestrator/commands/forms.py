"""Forms: what a person is asked before a button's line is run, and the line that comes of it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.commands.arguments import Argument, FreeText
from orchestrator.commands.parser import Invocation, parse, validated
from orchestrator.commands.registry import Registry, spell
from orchestrator.transport import Form, FormField


def form_of(registry: Registry, line: str, names: Sequence[str]) -> Form:
    """Return what is asked for the arguments *names* of *line*, each with the value that it has there."""
    said = _said(registry, line)
    by_name = {one.name: one for one in said.command.model.declared}
    fields = tuple(_field(by_name[name], getattr(said.arguments, by_name[name].attribute)) for name in names)
    about = getattr(said.arguments, "task", None)
    title = f"{said.command.path} {about}" if about else said.command.summary.rstrip(".")
    return Form(title=title, fields=fields)


def filled(registry: Registry, line: str, names: Sequence[str], values: Mapping[str, str]) -> str:
    """Return *line* with what was filled in for *names*; ParseError where that cannot be."""
    said = _said(registry, line)
    given: dict[str, Any] = {
        one.attribute: value
        for one in said.command.model.declared
        if (value := getattr(said.arguments, one.attribute)) != one.default
    }
    for one in said.command.model.declared:
        if one.name not in names or one.name not in values:
            continue
        words = values[one.name].strip()
        given.pop(one.attribute, None)
        if words:
            given[one.attribute] = tuple(words.split(",")) if one.many else words
    arguments = validated(said.command, given)
    return registry.to_line(said.command.path, arguments, confirmed=said.confirmed)


def _said(registry: Registry, line: str) -> Invocation:
    return parse(registry, line, implied={}, known=lambda kind, word: True)


def _field(argument: Argument, value: Any) -> FormField:
    text = isinstance(argument.marker, FreeText)
    shown = str(value or "") if text else "" if value in (None, ()) else spell(argument, value)
    return FormField(
        name=argument.name,
        label=argument.marker.help,
        value=shown,
        required=argument.required,
        long=text,
        max_length=argument.marker.limit,
    )
