"""The parser: a line as a person typed it becomes an invocation, or a refusal that helps."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.commands.arguments import Argument, Arguments
from orchestrator.commands.registry import CONFIRM, Command, Registry
from orchestrator.commands.scanner import Fault, Word, option_key, scan, seen, shown, words_of
from orchestrator.errors import UserError

SIGILS = frozenset({"/aq", "!aq", "aq"})
Known = Callable[[str, str], bool]
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_PLAINLY = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is too large a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "string_unicode": "holds half of a character (a lone surrogate); type it again",
    "string_pattern_mismatch": "has characters that are not allowed, or has them in the wrong place",
    "missing": "is missing",
}


_SURE = 0.8
"""Likeness from which a mistyped command can be meant to be only one."""


class ParseError(UserError):
    """The line cannot be run. The text names the argument, shows the usage, and suggests what is near."""

    def __init__(
        self,
        message: str,
        *,
        argument: str | None = None,
        usage: Sequence[str] = (),
        suggestions: Sequence[str] = (),
    ) -> None:
        super().__init__("\n".join([message, *(f"usage: `{line}`" for line in usage)]))
        self.argument = argument
        self.usage = tuple(usage)
        self.suggestions = tuple(suggestions)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command with its arguments, ready for its handler."""

    command: Command
    arguments: Arguments
    confirmed: bool = False
    """`confirm:yes` was said. Always False for a command that asks for none."""


def parse(registry: Registry, line: str, *, implied: Mapping[str, str], known: Known) -> Invocation:
    """Return what *line* says, or raise ParseError.

    *implied* has the ids that the thread or channel stands for, by kind. `known(kind, word)` tells whether
    *word* is the id of a thing of that kind.
    """
    line = line[start_of(line) :]
    first, _, body = line.partition("\n")
    words = list(islice(words_of(first), registry.longest))
    found = registry.match([word for word, _, _ in words])
    if found is None:
        raise _unknown(registry, [word for word, _, _ in words])
    command, length = found
    try:
        return _invocation(command, first, words[length - 1][2], body, implied, known)
    except Fault as fault:
        name = fault.argument.name if fault.argument else None
        raise ParseError(str(fault), argument=name, usage=[command.usage]) from None


def start_of(line: str) -> int:
    """Return where *line*'s command begins, the sigil aside."""
    at = len(line)
    for nth, (word, begin, end) in enumerate(words_of(line)):
        if nth or word not in SIGILS:
            return begin
        at = end
    return at


def _nearest(word: str, candidates: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(word[:64].casefold(), list(candidates), n=3, cutoff=0.6)


def _unknown(registry: Registry, words: Sequence[str]) -> ParseError:
    """Return the refusal of a line that begins with *words*, which are no command."""
    if not words:
        return ParseError("say a command; `help` lists them", suggestions=["help"])
    names = {" ".join(name): command for name, command in registry.names().items()}
    group = sorted(name for name in names if name.startswith(f"{words[0]} "))
    said = shown(" ".join(words[:2] if group else words[:1]))
    near = _near_commands(words, names, group)
    if near:
        usage = list(dict.fromkeys(names[name].usage for name in near if name in names))
        text = f"there is no command {said}; did you mean {_either(near)}?"
        return ParseError(text, usage=usage, suggestions=near)
    if group:
        return ParseError(f"{said} is not a whole command; there is {_either(group)}", suggestions=group)
    return ParseError(f"there is no command {said}; `help` lists all", suggestions=["help"])


def _near_commands(words: Sequence[str], names: Iterable[str], group: Sequence[str]) -> list[str]:
    """Return the commands nearest to *words*: of *group*, where the first word is right."""
    if group:
        seconds = {name.partition(" ")[2]: name for name in group}
        return [seconds[near] for near in _nearest(" ".join(words[1:2]), seconds)]
    candidates = {*names, *(name.split()[0] for name in names)}
    for length in range(len(words), 0, -1):
        said = " ".join(words[:length])
        if near := _nearest(said, candidates):
            return near[:1] if _alike(said, near[0]) >= _SURE else near
    return []


def _alike(word: str, name: str) -> float:
    return difflib.SequenceMatcher(None, word[:64].casefold(), name).ratio()


def _either(names: Sequence[str]) -> str:
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def _invocation(
    command: Command, first: str, at: int, body: str, implied: Mapping[str, str], known: Known
) -> Invocation:
    """Read the arguments in *first* from *at*, and the *body*; raises Fault."""
    given, words = _read(command, first, at)
    confirmed = command.confirm and given.pop(CONFIRM.attribute, False)
    left = words[_place(command, words, given, implied, known) :]
    _take_text(command, first, left, body, given)
    missing = [one for one in command.model.declared if one.required and one.attribute not in given]
    if missing:
        names = " and ".join(f"`{one.name}` ({one.marker.help})" for one in missing)
        place = {
            "task": "; name it, or say this in its thread",
            "project": "; name it, or say this in its channel",
        }
        raise Fault(f"{command.path} needs {names}" + place.get(missing[0].implied or "", ""), missing[0])
    return Invocation(command, _modelled(command, given), confirmed)


def validated(command: Command, given: Mapping[str, Any]) -> Arguments:
    """Return the arguments of *command* with the values *given* by attribute; ParseError where they do not fit."""
    try:
        return _modelled(command, given)
    except Fault as fault:
        name = fault.argument.name if fault.argument else None
        raise ParseError(str(fault), argument=name, usage=[command.usage]) from None


def _modelled(command: Command, given: Mapping[str, Any]) -> Arguments:
    try:
        return command.model.model_validate(given)
    except ValidationError as error:
        raise _plain(error.errors(include_url=False)[0], command) from None


def _read(command: Command, first: str, at: int) -> tuple[dict[str, Any], list[Word]]:
    """Return the options that *first* gives from *at*, by attribute, and the words that are none."""
    given: dict[str, Any] = {}
    words: list[Word] = []
    try:
        for item in scan(first, at, command.options):
            if isinstance(item, Word):
                words.append(item)
            elif item.argument.attribute in given:
                raise Fault(f"{item.argument.name} is given twice; give it once", item.argument)
            else:
                given[item.argument.attribute] = _converted(item.argument, item.values)
    except Fault as fault:
        if not (command.text and fault.argument):
            raise
        raise Fault(f"{fault} (if it is text, put `\\` before it)", fault.argument) from None
    return given, words


def _converted(argument: Argument, values: Sequence[str]) -> Any:
    """Return *values* as the model takes them, switches and choices by their words."""
    if argument.kind is not bool and not argument.choices:
        return tuple(values) if argument.many else values[0]
    converted = tuple(_picked(argument, value) for value in values)
    return converted if argument.many else converted[0]


def _picked(argument: Argument, word: str) -> Any:
    picked = argument.pick(word) if argument.choices else _BOOLEANS.get(word.casefold())
    if picked is not None:
        return picked
    choices = list(argument.choices or ("yes", "no"))
    near = _nearest(word, [choice.casefold() for choice in choices])
    ask = f"; did you mean `{argument.word(argument.pick(near[0]))}`?" if near and argument.choices else ""
    raise Fault(f"{argument.name}: {shown(word)} is not one of {', '.join(choices)}{ask}", argument)


def _place(
    command: Command, words: Sequence[Word], given: dict[str, Any], implied: Mapping[str, str], known: Known
) -> int:
    """Put *words* to the positionals not given by name; return how many words that took.

    What can be implied takes a word only if it is known, or if the word could be nothing else.
    """
    pending = [one for one in command.positionals if one.attribute not in given]
    taken = 0
    for nth, argument in enumerate(pending):
        later, left = pending[nth + 1 :], len(words) - taken
        stand_in = implied.get(argument.implied) if argument.implied else None
        needed = sum(one.required and (one.implied or "") not in implied for one in later)
        if argument.required and stand_in is None:
            takes = left > 0
        elif left <= needed:
            takes = False
        else:
            surplus = command.text is None and left > len(later)
            takes = stand_in is None or surplus or known(argument.implied or "", words[taken].value)
        if takes:
            given[argument.attribute] = _positional(argument, words[taken])
            taken += 1
        elif stand_in is not None:
            given[argument.attribute] = (stand_in,) if argument.many else stand_in
    return taken


def _positional(argument: Argument, word: Word) -> Any:
    items = word.value.split(",") if argument.many and word.quoted is None else [word.value]
    if argument.many and items == [""]:
        return ()
    return _converted(argument, items)


def _take_text(command: Command, first: str, left: Sequence[Word], body: str, given: dict[str, Any]) -> None:
    """Make the free text of the words that are *left* in *first*, and of the *body*."""
    if command.text is None:
        if left:
            raise _unexpected(command, left[0])
        if body.strip():
            raise Fault(f"{command.path} takes no text after the first line")
        return
    if not left:
        if body.strip():
            given[command.text.attribute] = body
        return
    if len(left) == 1 and left[0].quoted is not None:
        head = left[0].quoted
    else:
        gaps = ["", *(first[a.end : b.start] if b.joined else " " for a, b in pairwise(left))]
        head = "".join(gap + word.text for gap, word in zip(gaps, left, strict=True))
    given[command.text.attribute] = f"{head}\n{body}" if body else head


def _unexpected(command: Command, word: Word) -> Fault:
    """Return the refusal of a word that no argument takes."""
    name = re.split("[:=]", seen(word.text).lstrip("-"), maxsplit=1)[0]
    near = _nearest(option_key(name), command.options)
    ask = f"; did you mean `{command.options[near[0]].name}:`?" if near else ""
    return Fault(f"{command.path} has no place for the word {shown(word.value)}{ask}")


def _plain(details: ErrorDetails, command: Command) -> Fault:
    """Return pydantic's finding in plain words, with the argument's name."""
    where = details["loc"][0] if details["loc"] else None
    argument = next((one for one in command.model.declared if one.attribute == where), None)
    kind, text = details["type"], details["msg"]
    if kind in ("value_error", "assertion_error"):
        text = str(details["ctx"]["error"])
    elif kind in _PLAINLY:
        text = f"{shown(str(details['input']))} {_PLAINLY[kind]}"
    else:
        text = re.sub(r"^\w+ should ", "must ", text)
    return Fault(f"{argument.name}: {text}" if argument else text, argument)
