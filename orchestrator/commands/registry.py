"""The registry: every command there is, found by its words, with its usage, help and line."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from orchestrator.commands.arguments import Argument, Arguments, FreeText, Option, Positional
from orchestrator.commands.scanner import option_key, quoted, spelled
from orchestrator.projects import Role

Handler = Callable[[Any, Any], Awaitable[Any]]
H = TypeVar("H", bound=Handler)

CONFIRM = Argument(
    attribute="confirm", name="confirm", marker=Option("yes, really do it"), kind=bool, default=False
)
"""The option that every command with `confirm=True` has."""

_PATH = re.compile(r"[a-z][a-z0-9-]*( [a-z][a-z0-9-]*)*")
_NUMBERS = {int: "N", float: "X"}
_TYPES = {int: "a whole number", float: "a number", bool: "yes or no"}


@dataclass(frozen=True, kw_only=True)
class Command:
    """One definition, of which the parser, the help and every frontend's form are views."""

    path: str
    """Its words, lower case, with single spaces."""
    model: type[Arguments]
    handler: Handler
    role: Role
    summary: str
    example: str
    confirm: bool = False
    """Does nothing unless `confirm:yes` is said."""
    aliases: tuple[str, ...] = ()
    audits: bool = False
    """Writes its own lines of the audit trail."""

    def __post_init__(self) -> None:
        for path in (self.path, *self.aliases):
            if not _PATH.fullmatch(path) or path.split()[0] == "aq":
                raise ValueError(f"{path!r}: a command is lower-case words with single spaces, not 'aq'")
        if self.confirm and any(argument.name == CONFIRM.name for argument in self.model.declared):
            raise ValueError(f"{self.path}: `confirm` is declared already, by confirm=True")

    @cached_property
    def positionals(self) -> tuple[Argument, ...]:
        """The arguments that are words by their place, in order."""
        return tuple(one for one in self.model.declared if isinstance(one.marker, Positional))

    @cached_property
    def text(self) -> Argument | None:
        """The free text, where the command takes one."""
        return next((one for one in self.model.declared if isinstance(one.marker, FreeText)), None)

    @cached_property
    def options(self) -> Mapping[str, Argument]:
        """Every argument that may be given by name, positionals too, under its `option_key`."""
        named = [one for one in self.model.declared if not isinstance(one.marker, FreeText)]
        return {option_key(one.name): one for one in (*named, *((CONFIRM,) if self.confirm else ()))}

    @cached_property
    def usage(self) -> str:
        """The line with its placeholders: `<needed>`, `[optional]`."""
        rest = [one for one in self.options.values() if one not in self.positionals]
        shown = [*self.positionals, *((self.text,) if self.text else ()), *rest]
        return " ".join([self.path, *(_placeholder(one) for one in shown)])

    def to_line(
        self, values: Arguments | Mapping[str, Any], *, confirmed: bool = False, named: bool = False
    ) -> str:
        """Return the line that says *values*; parsed again, wherever it is said, it gives the same.

        *named* writes every argument by its name. Raises pydantic's ValidationError where a mapping does not
        fit the model.
        """
        said = values if isinstance(values, Arguments) else self.model.model_validate(dict(values))
        if not isinstance(said, self.model):
            raise TypeError(f"{self.path} takes {self.model.__name__}, not {type(said).__name__}")
        parts, complete = self._positional_parts(said, named)
        text: str = (getattr(said, self.text.attribute) if self.text else None) or ""
        body = "" if not text or (complete and "\n" not in text) else f"\n{text}"
        parts += [quoted(text)] if text and not body else []
        parts += [
            f"{one.name}:{spell(one, getattr(said, one.attribute))}"
            for one in self.model.declared
            if isinstance(one.marker, Option) and getattr(said, one.attribute) != one.default
        ]
        parts += ["confirm:yes"] if confirmed and self.confirm else []
        return " ".join([self.path, *parts]) + body

    def _positional_parts(self, said: Arguments, named: bool) -> tuple[list[str], bool]:
        """Return the positionals as words where no reader can take them for another's, else by name.

        Also returns whether none was left out, so that a word of free text cannot be taken for one.
        """
        values = [(one, getattr(said, one.attribute)) for one in self.positionals]
        complete = all(value is not None for _, value in values)
        by_place = complete and not named and not any(one.many for one in self.positionals)
        parts = [
            spell(one, value)
            if by_place and not (one.implied and self.text)
            else f"{one.name}:{spell(one, value)}"
            for one, value in values
            if value is not None
        ]
        return parts, complete


class Registry:
    """The commands, by path and alias. Iterates in the order of their paths."""

    def __init__(self, commands: Iterable[Command] = ()) -> None:
        self._commands: dict[str, Command] = {}
        self._names: dict[tuple[str, ...], Command] = {}
        self._longest = 0
        for command in commands:
            self.add(command)

    def add(self, command: Command) -> None:
        """Add *command*; raises ValueError where its path or an alias is taken."""
        names = [tuple(path.split()) for path in (command.path, *command.aliases)]
        for name in names:
            if name in self._names or names.count(name) > 1:
                raise ValueError(f"the command {' '.join(name)!r} is registered twice")
        self._commands[command.path] = command
        self._names.update(dict.fromkeys(names, command))
        self._longest = max(self._longest, *map(len, names))

    def command(
        self,
        path: str,
        *,
        role: Role,
        summary: str,
        example: str,
        aliases: Sequence[str] = (),
        confirm: bool = False,
        audits: bool = False,
    ) -> Callable[[H], H]:
        """Register the decorated `async def handler(ctx, args: SomeArguments)` under *path*."""

        def register(handler: H) -> H:
            self.add(
                Command(
                    path=path,
                    model=_model_of(handler),
                    handler=handler,
                    role=role,
                    summary=summary,
                    example=example,
                    confirm=confirm,
                    aliases=tuple(aliases),
                    audits=audits,
                )
            )
            return handler

        return register

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._commands.values(), key=lambda command: command.path.split()))

    def __len__(self) -> int:
        return len(self._commands)

    def __getitem__(self, path: str) -> Command:
        """Return the command with the path or alias *path*; KeyError where there is none."""
        return self._names[tuple(path.split())]

    @property
    def longest(self) -> int:
        """How many words the longest path has."""
        return self._longest

    def names(self) -> Mapping[tuple[str, ...], Command]:
        """Every path and alias, as words, with its command."""
        return self._names

    def match(self, words: Sequence[str]) -> tuple[Command, int] | None:
        """Return the command whose path is the longest beginning of *words*, and that path's length."""
        for length in range(min(len(words), self._longest), 0, -1):
            if command := self._names.get(tuple(words[:length])):
                return command, length
        return None

    def to_line(self, path: str, values: Arguments | Mapping[str, Any], *, confirmed: bool = False) -> str:
        """Return the line that says *values* to the command *path*: what a button stores and shows.

        Raises KeyError where there is no such command, else as `Command.to_line`.
        """
        command = self[path]
        line = command.to_line(values, confirmed=confirmed)
        found = self.match(line.split("\n", 1)[0].split()[: self._longest])
        named = found is None or found[0] is not command  # a value reads like a longer command's word
        return command.to_line(values, confirmed=confirmed, named=True) if named else line

    def usage(self, command: Command) -> str:
        """Return *command*'s line with its placeholders."""
        return command.usage


def _model_of(handler: Handler) -> type[Arguments]:
    parameters = list(inspect.signature(handler, eval_str=True).parameters.values())
    model = parameters[1].annotation if len(parameters) == 2 else None
    if not (isinstance(model, type) and issubclass(model, Arguments)):
        raise TypeError(f"{handler!r}: a handler is `async def handler(ctx, args: SomeArguments)`")
    return model


def spell(argument: Argument, value: Any) -> str:
    """Return *value* as it is written in a line: a word, quoted where it must be, or a comma list."""
    if not argument.many:
        return spelled(argument.word(value))
    return ",".join(spelled(argument.word(item)) for item in value) or '""'


def _placeholder(argument: Argument) -> str:
    if isinstance(argument.marker, FreeText):
        inner = f"{argument.name}…"
    elif isinstance(argument.marker, Positional):
        inner = f"{argument.name},…" if argument.many else argument.name
    elif argument.kind is bool:
        inner = f"--{argument.name}"
    else:
        inner = f"{argument.name}:{_value_placeholder(argument)}"
    if not argument.required:
        return f"[{inner}]"
    return inner if isinstance(argument.marker, Option) else f"<{inner}>"


def _value_placeholder(argument: Argument) -> str:
    if 0 < len(argument.choices) <= 4:
        word = "|".join(argument.choices)
    else:
        word = _NUMBERS.get(argument.kind) or argument.marker.complete or "…"
    return f"{word},…" if argument.many and word != "…" else word


def _groups(registry: Registry, role: Role) -> Mapping[str, list[Command]]:
    """Return the commands that *role* may use by first word; those that stand alone under `general`."""
    usable = [command for command in registry if command.role <= role]
    firsts = [command.path.split()[0] for command in usable]
    groups: dict[str, list[Command]] = {"general": []}
    for command, first in zip(usable, firsts, strict=True):
        groups.setdefault(first if firsts.count(first) > 1 else "general", []).append(command)
    return {name: commands for name, commands in groups.items() if commands}


def help_overview(registry: Registry, role: Role) -> str:
    """Return the commands that *role* may use, grouped by first word, as Markdown."""
    groups = _groups(registry, role)
    if not groups:
        return "There is no command that you may use."
    parts = [
        "\n".join([f"**{name}**", *(f"- `{command.path}`: {command.summary}" for command in commands)])
        for name, commands in groups.items()
    ]
    return "\n\n".join([*parts, "`help` with a command's words tells more, as in `help task add`."])


def help_command(command: Command) -> str:
    """Return how *command* is used, as Markdown."""
    return f"**{command.path}**: {command.summary}\n\n{_details(command)}"


def commands_page(registry: Registry) -> str:
    """Return `docs/commands.md`: every command, as Markdown."""
    parts = [
        "# Commands",
        "Generated from the definitions in `orchestrator/commands`; a test compares them.",
        "A line is a command's words, then its arguments in any order: words, `name:value`, `name=value` or "
        "`--name value`. A value with spaces stands in double quotes. Only the names listed here are "
        "options, all other words stay text; `\\name:value` is text too, and so is all after `--`. "
        "Lines after the first are text as they stand.",
    ]
    for name, commands in _groups(registry, Role.ADMIN).items():
        parts.append(f"## {name}")
        parts += [f"### {command.path}\n\n{command.summary}\n\n{_details(command)}" for command in commands]
    return "\n\n".join(parts) + "\n"


def _details(command: Command) -> str:
    declared = [*command.model.declared, *((CONFIRM,) if command.confirm else ())]
    rows = "\n".join(
        f"- **{one.name}**: {'; '.join(_facts(one))}" for one in declared
    )  # a name is no command
    needs = f"Needs the role {command.role.name.lower()}." if command.role else "Everybody may use it."
    also = f" Also: {', '.join(f'`{alias}`' for alias in command.aliases)}." if command.aliases else ""
    parts = [f"`{command.usage}`", rows, f"For example: `{command.example}`", needs + also]
    return "\n\n".join(part for part in parts if part)


def _facts(argument: Argument) -> Iterator[str]:
    yield argument.marker.help
    if argument.choices:
        yield ("any of " if argument.many else "one of ") + ", ".join(argument.choices)
    elif argument.kind in _TYPES:
        yield _TYPES[argument.kind]
    if argument.many and not argument.choices:
        yield "several with commas"
    if argument.implied:
        yield f"may be left out where the {argument.implied} is plain from the place"
    default = argument.default
    if not argument.required and default not in (None, "", (), False):
        yield f"{spell(argument, default)} unless said"
