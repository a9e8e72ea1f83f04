"""The policy of a project: what its agents may do unasked, what is asked of whom, what is denied. Pure.

A request is cut into its parts: each path, each simple command. For each part the first rule that fits decides; of
the parts' rulings the strictest is the request's: one part that is denied or asked is enough.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from orchestrator import globs, shell
from orchestrator.agent import ToolKind


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


@dataclass(frozen=True, slots=True)
class _Part:
    """One path, one command, or neither where a wish has none."""

    path: str = ""
    words: tuple[str, ...] = ()
    plain: bool = True
    """The command is certainly this and nothing else."""


def decide(rules: Sequence[Rule], wish: Wish) -> Ruling:
    """What becomes of *wish* in a project with *rules*."""
    numbered = [(f"rule {number}", rule) for number, rule in enumerate(rules, 1)]
    numbered += [(f"default {number}", rule) for number, rule in enumerate(DEFAULT, 1)]
    rulings = [found for part in _parts(wish) if (found := _of_part(numbered, wish, part))]
    return max(rulings, key=lambda one: (_EFFECTS.index(one.effect), _ANSWERERS.index(one.by)))


def exact_rules(wish: Wish) -> tuple[Rule, ...]:
    """The rules that allow *wish* and nothing else; none where no rule could."""
    line = shell.taken_apart(wish.command) if wish.command else None
    if line and (not line.plain or not all(map(all, line.commands))):
        return ()
    tool = wish.kind if wish.kind is not ToolKind.OTHER else globs.literal(wish.tool)
    allow = [Rule(effect=Effect.ALLOW, tool=tool, path=globs.literal(path)) for path in wish.paths]
    commands = line.commands if line else ()
    allow += [Rule(effect=Effect.ALLOW, tool=tool, command=shell.exactly(words)) for words in commands]
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


def _parts(wish: Wish) -> Iterator[_Part]:
    if wish.command:
        line = shell.taken_apart(wish.command)
        yield from (_Part(words=words, plain=line.plain) for words in line.commands or ((),))
    yield from (_Part(path=path) for path in wish.paths)
    if not wish.command and not wish.paths:
        yield _Part()


def _of_part(numbered: Sequence[tuple[str, Rule]], wish: Wish, part: _Part) -> Ruling | None:
    """The ruling of the first rule that fits *part*; None where it has no say."""
    for name, rule in numbered:
        if _fits(rule, wish, part):
            note = "" if part.plain else ", for more than plain commands"
            return Ruling(rule.effect, f"{name}: {rule}{note}", rule.by)
    if _outside(part.path):
        return Ruling(Effect.ASK, "outside of the worktree")
    return None  # a path within, of a command that decides


def _fits(rule: Rule, wish: Wish, part: _Part) -> bool:
    if not _tool_fits(rule.tool, wish):
        return False
    if rule.path:
        return bool(part.path) and _path_fits(rule, part.path)
    if rule.command:
        return bool(part.words) and _command_fits(rule, part)
    if part.path:
        # a command's paths are decided by what names paths; and who allows a tool allows it in the worktree
        return not wish.command and not (rule.effect is Effect.ALLOW and _outside(part.path))
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


def _command_fits(rule: Rule, part: _Part) -> bool:
    if rule.effect is Effect.ALLOW:
        return part.plain and shell.matches(rule.command, part.words)
    return shell.matches(rule.command, part.words, by_name=True)
