"""The policy of a project: what its agents may do unasked, what is asked of whom, what is denied. Pure.

A request is cut into its parts: each path, each simple command. For each part the first rule that fits decides; of
the parts' rulings the strictest is the request's: one part that is denied or asked is enough.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import reduce
from operator import or_

from orchestrator import globs, shell
from orchestrator.agent import ToolKind
from orchestrator.patterns import Pattern, Patterns, exactly


class Effect(StrEnum):
    """What a rule does, the mildest first."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Answerer(StrEnum):
    """Who must answer what is asked, the mildest first."""

    ANYONE = "anyone"
    REQUESTER = "requester"
    TWO = "two"
    ADMIN = "admin"


_EFFECTS, _ANSWERERS = tuple(Effect), tuple(Answerer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. What it does not name, it does not look at."""

    effect: Effect
    tool: str = ""
    """A kind of tool, or a glob of tools' own names."""
    path: str = ""
    """A glob: relative to the worktree, or absolute for what lies outside."""
    command: str = ""
    by: Answerer = Answerer.ANYONE

    def __str__(self) -> str:
        named = [("tool", self.tool), ("path", self.path), ("command", self.command)]
        parts = [f"{name}:{_spelled(value)}" for name, value in named if value]
        parts += [f"by:{self.by}"] if self.by is not Answerer.ANYONE else []
        return " ".join([str(self.effect), *parts])


def _spelled(value: str) -> str:
    if value.isascii() and not set(value) & set(' "\\'):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an agent wants to do."""

    tool: str = ""
    """The tool's own name."""
    kind: ToolKind = ToolKind.OTHER
    paths: tuple[str, ...] = ()
    """Relative to the worktree, or absolute where they lie outside of it, with links resolved."""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of a wish, and by which rule, in words."""

    effect: Effect
    rule: str
    by: Answerer = Answerer.ANYONE


DEFAULT: tuple[Rule, ...] = (
    Rule(effect=Effect.ASK, path="**/.git"),
    Rule(effect=Effect.ASK, path="**/.env*"),
    Rule(effect=Effect.ALLOW, tool=ToolKind.READ, path="**"),
    Rule(effect=Effect.ALLOW, tool=ToolKind.EDIT, path="**"),
    Rule(effect=Effect.ASK, tool="*"),
)
"""What holds after a project's own rules."""


_Numbered = Sequence[tuple[str, Rule]]


def decide(rules: Sequence[Rule], wish: Wish) -> Ruling:
    """What becomes of *wish* in a project with *rules*."""
    numbered = [(f"rule {number}", rule) for number, rule in enumerate(rules, 1)]
    numbered += [(f"default {number}", rule) for number, rule in enumerate(DEFAULT, 1)]
    rulings = [*_of_command(numbered, wish)] if wish.command else []
    if wish.paths or not wish.command:
        rulings += [found for path in wish.paths or ("",) if (found := _of_path(numbered, wish, path))]
    return max(rulings, key=lambda one: (_EFFECTS.index(one.effect), _ANSWERERS.index(one.by)))


def exact_rules(wish: Wish) -> tuple[Rule, ...]:
    """The rules that allow *wish* and nothing else; none where no rule could."""
    line = shell.taken_apart(wish.command) if wish.command else None
    if line and (not line.plain or not all(map(all, line.commands))):
        return ()
    tool = wish.kind if wish.kind is not ToolKind.OTHER else globs.literal(wish.tool)
    allow = [Rule(effect=Effect.ALLOW, tool=tool, path=globs.literal(path)) for path in wish.paths]
    commands = line.commands if line else ()
    allow += [Rule(effect=Effect.ALLOW, tool=tool, command=exactly(words)) for words in commands]
    unique = tuple(dict.fromkeys(allow))
    return unique if tool and unique and decide(unique, wish).effect is Effect.ALLOW else ()


def answerers(by: Answerer, requester: str) -> str:
    """Who may answer, in words; *requester* asked for the task."""
    match by:
        case Answerer.ANYONE:
            return "anyone with the role operator"
        case Answerer.REQUESTER:
            return f"{requester}, who asked for the task, or an admin"
        case Answerer.TWO:
            return "two people with the role operator; one is enough to deny"
        case Answerer.ADMIN:
            return "an admin"


def _of_command(numbered: _Numbered, wish: Wish) -> Iterator[Ruling]:
    """The rulings of what the wish's command runs, or might run."""
    line = shell.taken_apart(wish.command)
    named = [(name, rule) for name, rule in numbered if not rule.path and _tool_fits(rule.tool, wish)]
    patterns = Patterns([_pattern(rule) for _, rule in named])
    note = "" if line.plain else ", for more than plain commands"
    for fitting in _readings(patterns, line):
        name, rule = named[patterns.first(fitting)]
        yield Ruling(rule.effect, f"{name}: {rule}{note}", rule.by)
    if not line.whole:  # what asks or denies might fit the rest
        strict = [rule for _, rule in named if rule.command and rule.effect is not Effect.ALLOW]
        yield from (
            Ruling(Effect.ASK, f"too long to be looked through for: {rule}", rule.by) for rule in strict
        )


def _pattern(rule: Rule) -> Pattern:
    """Of a rule that names no command: any."""
    return Pattern(rule.command or "*", exact=bool(rule.command) and rule.effect is Effect.ALLOW)


def _readings(patterns: Patterns, line: shell.Line) -> set[int]:
    """The rules that fit, for each way to read each command of *line*.

    What asks or denies is looked for from each word on, too, and through options. That is a reading of its own: a rule
    that fits only so hides none that fits the words as they are.
    """
    found: set[int] = set()
    for words in line.commands or ((),):
        strict, loose = patterns.fitting(words), patterns.fitting(words, loose=True)
        if line.plain:
            somewhere = reduce(or_, loose) & ~patterns.exact
            found |= {strict[0], strict[0] | somewhere}
        else:
            found |= {fitting & ~patterns.exact for fitting in (*strict, *loose)}
    return found


def _of_path(numbered: _Numbered, wish: Wish, path: str) -> Ruling | None:
    """The ruling of the first rule that fits *path*, "" where the wish has none; None where it has no say."""
    for name, rule in numbered:
        if _tool_fits(rule.tool, wish) and _fits(rule, wish, path):
            return Ruling(rule.effect, f"{name}: {rule}", rule.by)
    if _outside(path):
        return Ruling(Effect.ASK, "outside of the worktree")
    return None  # a path within, of a command that decides


def _fits(rule: Rule, wish: Wish, path: str) -> bool:
    if rule.path:
        return bool(path) and _path_fits(rule, path)
    if rule.command:
        return False
    if path:
        # a command's paths are decided by what names paths; and who allows a tool allows it in the worktree
        return not wish.command and not (rule.effect is Effect.ALLOW and _outside(path))
    return True


def _tool_fits(tool: str, wish: Wish) -> bool:
    if tool in ("", "*"):
        return True
    if tool in tuple(ToolKind):  # an agent's tool that is called so is none
        return tool == wish.kind
    return fnmatchcase(wish.tool, tool)


def _path_fits(rule: Rule, path: str) -> bool:
    """What allows, allows just what it names; what asks or denies holds for all below it, in any case of letters."""
    if _outside(path) != rule.path.startswith("/"):
        return False
    if rule.effect is Effect.ALLOW:
        return globs.compiled(rule.path).fullmatch(path) is not None
    pattern = globs.compiled(rule.path, any_case=True)
    return any(pattern.fullmatch(one) for one in _and_above(path))


def _and_above(path: str) -> Iterator[str]:
    while path not in ("", "/"):
        yield path
        path = posixpath.dirname(path)


def _outside(path: str) -> bool:
    return path.startswith("/")
