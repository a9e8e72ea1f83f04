"""The grammar as slash commands: what is registered, and from a command with its options back to a line. Pure.

All commands are subcommands of one, `/aq`: a command of two words stands in the group of its first. `/aq say` takes a
line as one types it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from orchestrator.commands.arguments import Argument, FreeText
from orchestrator.commands.registry import Command, Registry
from orchestrator.errors import UserError

ROOT: Final = "aq"
SAY: Final = "say"
LINE: Final = "line"
WHOLE_MAX: Final = 8_000
"""Characters of all names, descriptions and values of one command."""
OPTIONS_MAX: Final = 25
CHOICES_MAX: Final = 25
DESCRIPTION_MAX: Final = 100
_CHOICE_MAX: Final = 100
_STRING_MAX: Final = 6_000
_SHORTEST: Final = 12

_SUBCOMMAND, _GROUP, _STRING, _INTEGER, _BOOLEAN, _NUMBER = 1, 2, 3, 4, 5, 10
_KINDS = {int: _INTEGER, float: _NUMBER, bool: _BOOLEAN}
_GROUPS_WORDS = {
    "agent": "The agents that do the work.",
    "person": "Who may do what.",
    "project": "What is worked on.",
    "repo": "The repositories.",
    "task": "What is to be done.",
}


class Said(NamedTuple):
    """A slash command as a person filled it in: the command's words, its values, and which is being typed."""

    path: str
    values: Mapping[str, Any]
    focused: str = ""


def commands(registry: Registry) -> list[dict[str, Any]]:
    """What is registered with Discord, its descriptions as long as the limit of the whole allows."""
    for most in range(DESCRIPTION_MAX, _SHORTEST, -4):
        made = _command(registry, most)
        if weight(made) <= WHOLE_MAX:
            return [made]
    raise ValueError(f"the commands need {weight(made):,} characters; Discord takes {WHOLE_MAX:,}")


def weight(command: Mapping[str, Any]) -> int:
    """The characters of a command that Discord counts: of names, descriptions and values."""
    own = sum(
        len(value) for name in ("name", "description", "value") if isinstance(value := command.get(name), str)
    )
    return own + sum(
        weight(one)
        for part in ("options", "choices")
        for one in command.get(part, ())
        if isinstance(one, Mapping)
    )


def _command(registry: Registry, most: int) -> dict[str, Any]:
    groups: dict[str, list[dict[str, Any]]] = {}
    alone: list[dict[str, Any]] = [_say(most)]
    for command in registry:
        words = command.path.split()
        made = {
            "type": _SUBCOMMAND,
            "name": words[-1],
            "description": _short(command.summary, most),
            "options": _options(command, most),
        }
        if len(words) == 1:
            alone.append(made)
        elif len(words) == 2:
            groups.setdefault(words[0], []).append(made)
        else:
            raise ValueError(f"{command.path}: Discord has commands of at most two words below `/aq`")
    tops = [
        {
            "type": _GROUP,
            "name": name,
            "description": _short(_GROUPS_WORDS.get(name, name), most),
            "options": made,
        }
        for name, made in groups.items()
    ]
    if max(len(tops) + len(alone), *map(len, groups.values()), 0) > OPTIONS_MAX:
        raise ValueError(f"Discord has at most {OPTIONS_MAX} commands beside one another")
    return {
        "type": 1,
        "name": ROOT,
        "description": _short("Queue tasks for agents, look after them and decide.", most),
        "options": tops + sorted(alone, key=lambda one: str(one["name"])),
    }


def _say(most: int) -> dict[str, Any]:
    """The subcommand for a line as it is typed: the way to speak to an agent where messages cannot be read."""
    line = {
        "type": _STRING,
        "name": LINE,
        "description": _short("a command, or in a task's thread words for its agent", most),
        "required": True,
        "max_length": _STRING_MAX,
        "autocomplete": True,
    }
    words = _short("Say a line as you would type it.", most)
    return {"type": _SUBCOMMAND, "name": SAY, "description": words, "options": [line]}


def _options(command: Command, most: int) -> list[dict[str, Any]]:
    told = [*command.options.values(), *((command.text,) if command.text else ())]
    told.sort(
        key=lambda one: (
            not _required(one),
            not isinstance(one.marker, FreeText),
            one not in command.positionals,
        )
    )
    return [_option(one, most) for one in told]


def _required(argument: Argument) -> bool:
    return argument.required and argument.implied is None


def _option(argument: Argument, most: int) -> dict[str, Any]:
    kind = _STRING if argument.many else _KINDS.get(argument.kind, _STRING)
    made: dict[str, Any] = {
        "type": kind,
        "name": argument.name,
        "description": _short(argument.marker.help, most),
        "required": _required(argument),
    }
    if argument.choices and not argument.many and len(argument.choices) <= CHOICES_MAX:
        made["choices"] = [{"name": one, "value": one} for one in argument.choices]
        return made
    if kind == _STRING:
        if not argument.many:
            made["max_length"] = min(argument.marker.limit, _STRING_MAX)
        made["autocomplete"] = bool(argument.choices or argument.marker.complete)
    return made


def _short(text: str, most: int) -> str:
    """*text* within *most* characters, cut between words."""
    text = " ".join(text.replace("`", "'").split())
    if len(text) <= most:
        return text
    return f"{text[: most - 1].rsplit(' ', 1)[0].rstrip(' ,:;.')}…"


def said(data: Mapping[str, Any]) -> Said:
    """What a person filled in, from an interaction's `data`."""
    words: list[str] = []
    options = data.get("options")
    while True:
        listed = [one for one in options if isinstance(one, Mapping)] if isinstance(options, Sequence) else []
        if len(listed) == 1 and listed[0].get("type") in (_SUBCOMMAND, _GROUP):
            words.append(str(listed[0].get("name", "")))
            options = listed[0].get("options")
            continue
        values = {str(one.get("name", "")): one.get("value") for one in listed}
        focused = next((str(one.get("name", "")) for one in listed if one.get("focused")), "")
        return Said(" ".join(words), values, focused)


def line_of(registry: Registry, given: Said) -> str:
    """The line that a slash command says; UserError where a value cannot be said."""
    if given.path == SAY:
        return str(given.values.get(LINE) or "").strip()
    command = _named(registry, given.path)
    values: dict[str, Any] = {}
    for one in command.model.declared:
        values[one.attribute] = one.default
        if (value := given.values.get(one.name)) is not None:
            values[one.attribute] = _value(command, one, value)
    arguments = command.model.model_construct(**values)
    return registry.to_line(command.path, arguments, confirmed=given.values.get("confirm") is True)


def partial(registry: Registry, given: Said) -> tuple[str, str]:
    """The unfinished line whose completions are values of what is being typed, and what stands before them."""
    typed = str(given.values.get(given.focused) or "")
    if given.path == SAY:
        return typed, ""
    before = f"{_named(registry, given.path).path} {given.focused}:"
    return before + typed, before


def choices(lines: Sequence[str], before: str) -> list[dict[str, Any]]:
    """Completions as Discord's choices: those that it can carry."""
    kept = (line.removeprefix(before) for line in lines)
    shown = list(dict.fromkeys(one for one in kept if one.strip() and len(one) <= _CHOICE_MAX))
    return [{"name": one, "value": one} for one in shown[:CHOICES_MAX]]


def _named(registry: Registry, path: str) -> Command:
    try:
        return registry[path]
    except KeyError:
        raise UserError(
            f"there is no command `{path}` any more; Discord shows the present ones after a while"
        ) from None


def _value(command: Command, argument: Argument, value: Any) -> Any:
    """The value of an argument as its command has it."""
    if argument.many:
        value = tuple(part.strip() for part in str(value).split(",") if part.strip())
    elif argument.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif argument.kind is str:
        value = str(value)
    try:
        accepted = argument.accept(value)
    except ValueError as fault:
        raise UserError(f"`{command.path}`: {argument.name} {fault}") from None
    if argument.choices:
        wrong = [
            one
            for one in (accepted if argument.many else (accepted,))
            if one not in argument.choices.values()
        ]
        if wrong and accepted != argument.default:
            names = ", ".join(argument.choices)
            raise UserError(f"`{command.path}`: {argument.name} is not one of {names}")
    return accepted


def same(ours: Any, theirs: Any) -> bool:
    """Whether what is registered is what we would register: Discord adds to it, and leaves out what is empty."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        names = {
            *ours,
            *(name for name in ("options", "choices", "autocomplete", "required") if name in theirs),
        }
        return all(same(ours.get(name), theirs.get(name)) for name in names)
    if isinstance(ours, list) or isinstance(theirs, list):
        mine, other = ours or [], theirs or []
        return len(mine) == len(other) and all(map(same, mine, other))
    return bool(ours == theirs or (not ours and not theirs))
