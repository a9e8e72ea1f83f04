"""Completion: what may follow in an unfinished line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.commands.arguments import Argument
from orchestrator.commands.parser import start_of
from orchestrator.commands.registry import Command, Registry
from orchestrator.commands.scanner import Fault, Given, clean, option_key, scan, seen, words_of
from orchestrator.projects import Role

_NAMED = re.compile(r"(?:--|[—–―])?([^\W\d_][\w-]*)[:=]")


@dataclass(frozen=True, slots=True)
class Completion:
    """What may stand from *start* to the end of the line."""

    start: int
    words: tuple[str, ...] = ()
    kind: str | None = None
    """Where not None, also the ids of this kind that begin with *prefix*; the store knows them."""
    prefix: str = ""


def complete(registry: Registry, line: str, *, role: Role, implied: Mapping[str, str]) -> Completion:
    """Return what may follow in *line* at its end, for a person with *role*; *implied* as in `parse`."""
    begin = start_of(line)
    if "\n" in line[begin:] or (begin == len(line) and line and not line[-1].isspace()):
        return Completion(len(line))
    spans = list(words_of(line, begin))
    start = spans[-1][1] if spans and spans[-1][2] == len(line) else len(line)
    done = [word for word, word_start, _ in spans if word_start < start]
    look = seen(line[start:]).casefold()
    paths = {
        name[len(done)]
        for name, command in registry.names().items()
        if command.role <= role and name[: len(done)] == tuple(done) and len(name) > len(done)
    }
    words = tuple(sorted(path for path in paths if path.startswith(look)))
    found = registry.match(done)
    if found is None or found[0].role > role:
        return Completion(start, words)
    more = _complete_argument(found[0], line, spans[found[1] - 1][2], start, implied)
    return replace(more, words=words + more.words) if more.start == start else more


def _complete_argument(
    command: Command, line: str, at: int, start: int, implied: Mapping[str, str]
) -> Completion:
    """Complete the word that begins at *start*, *command*'s arguments beginning at *at*."""
    given: set[str] = set()
    count = 0
    try:
        for item in scan(line[:start], at, command.options):
            if isinstance(item, Given):
                given.add(item.argument.attribute)
            else:
                count += 1
    except Fault as fault:
        if fault.argument and fault.dangling:
            return _complete_value(fault.argument, line, start)
        return Completion(start)
    partial = line[start:]
    ended = "--" in line[at:start].split()
    named = None if ended else _NAMED.match(partial)
    if named and (argument := command.options.get(option_key(named[1]))):
        return _complete_value(argument, line, start + named.end())
    look = seen(partial).casefold()
    dash = look.startswith("-")
    names = [
        f"--{one.name}" if dash else f"{one.name}:"
        for one in command.options.values()
        if one.attribute not in given and one not in command.positionals
    ]
    words = tuple(name for name in names if name.startswith(look) and not ended)
    pending = [one for one in command.positionals if one.attribute not in given]
    reachable = [] if dash else _reachable(pending, count, implied)
    kind = next((one.marker.complete for one in reachable if one.marker.complete), None)
    choices = tuple(c for one in reachable for c in one.choices if c.casefold().startswith(look))
    return Completion(start, choices + words, kind, clean(partial) if kind else "")


def _reachable(pending: Sequence[Argument], count: int, implied: Mapping[str, str]) -> list[Argument]:
    """Return the positionals that the word after *count* words may be, as some may be left out."""
    spare = 0
    reachable = []
    for nth, argument in enumerate(pending):
        if nth - spare <= count <= nth:
            reachable.append(argument)
        spare += not argument.required or (argument.implied or "") in implied
    return reachable


def _complete_value(argument: Argument, line: str, start: int) -> Completion:
    if argument.many:
        start = max(start, line.rfind(",") + 1)
    prefix = clean(line[start:])
    choices = ("yes", "no") if argument.kind is bool else tuple(argument.choices)
    words = tuple(word for word in choices if word.casefold().startswith(prefix.casefold()))
    kind = argument.marker.complete
    return Completion(start, words, kind, prefix if kind else "")
