"""The configuration file: YAML read with the line of every key, `${VAR}` filled in, every fault kept.

`read` does not stop at the first fault and raises nothing: what is wrong is in `Document.faults`, and the
models of `settings` add theirs, so that a person sees everything at once.
"""

import difflib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import UserError

ModelT = TypeVar("ModelT", bound=BaseModel)
Loc = tuple[str | int, ...]
"""Where in the document a value stands: keys, and places in lists."""

ENV = ".env"
"""The file of secrets beside a configuration file."""
_SIZE_MAX = 1 << 20
_DEPTH_MAX = 30
_REFERENCE = re.compile(
    r"\$(?:\$|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\{))", re.ASCII
)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MESSAGES = {
    "model_type": "must be a mapping (`key: value` lines)",
    "model_attributes_type": "must be a mapping (`key: value` lines)",
    "dict_type": "must be a mapping (`key: value` lines)",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text; quote it if it is",
}
_CONVERTED = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))


def _one_line(text: str) -> str:
    """*text* on one line, with what a terminal could not show written out."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. Line 0 means the whole file, an empty key no key in particular."""

    key: str
    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return _one_line(": ".join(part for part in (place, self.key, self.message) if part))


class ConfigError(UserError):
    """The configuration cannot be used. The text has one line for each of `faults`."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(slots=True)
class Document:
    """A configuration file as read so far, and what is wrong with it."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Loc, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    _spoilt: set[Loc] = field(default_factory=set)

    def nearest(self, loc: Loc) -> Loc:
        """The longest beginning of *loc* that stands in the file."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return loc

    def fault(self, loc: Loc, message: str, *, line: int | None = None) -> None:
        """Keep a fault at *loc*, unless the value there is known to be unusable: that would say it twice."""
        if any(loc[:n] in self._spoilt for n in range(1, len(loc) + 1)):
            return
        at = self.lines.get(self.nearest(loc), 0) if line is None else line
        self.faults.append(Fault(".".join(str(part) for part in loc), self.path, at, message))

    def spoil(self, loc: Loc, *messages: str) -> None:
        """Keep faults at *loc* that make its value unusable: whatever is said of it later is dropped."""
        for message in messages:
            self.fault(loc, message)
        self._spoilt.add(loc)

    def validated(self, model: type[ModelT], data: Any, at: Loc = ()) -> ModelT | None:
        """*data*, which stands at *at*, as *model*; else None, and a fault for each thing that is wrong.

        The model's validators find the folder of the file, against which paths are read, as their context.
        """
        try:
            return model.model_validate(data, context=self.path.absolute().parent)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False):
                self._add(model, at, detail)
            return None

    def _add(self, model: type[BaseModel], at: Loc, detail: ErrorDetails) -> None:
        loc, kind = (*at, *detail["loc"]), detail["type"]
        if kind == "missing":
            self.fault(loc, "is missing")
        elif kind == "extra_forbidden":
            self.fault(loc, f"unknown key; {suggestion(str(loc[-1]), _keys(model, detail['loc'][:-1]))}")
        elif kind != "default_factory_not_called":  # that only follows from another fault
            message = _MESSAGES.get(kind) or detail["msg"].removeprefix("Value error, ")
            self.fault(self.nearest(loc), message.replace("Input should", "must"))

    def check(self) -> None:
        """Raise ConfigError where there is any fault, in the order of the file's lines, other files after."""
        if self.faults:
            raise ConfigError(sorted(self.faults, key=lambda f: (f.file != self.path, f.line)))


def suggestion(word: str, known: Iterable[str]) -> str:
    """What may have been meant by the unknown *word*: the nearest of *known*, or all of them."""
    choices = list(known)
    near = difflib.get_close_matches(word.lower(), choices, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(choices) or 'none'}"


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that the mapping at *loc* within *model* may have."""
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models(field.annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def read(path: Path, env: Mapping[str, str]) -> Document:
    """Read *path*; `${VAR}` comes from *env*, else from the file `.env` beside it. Raises nothing."""
    document = Document(path)
    text = _read_text(path, document.faults)
    if text is None:
        return document
    dotenv = path.parent / ENV
    known = {**_read_dotenv(dotenv, document.faults), **env}
    try:
        root = yaml.compose(text, Loader=_Composer)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        document.fault((), f"bad YAML: {', '.join(filter(None, (error.context, error.problem)))}", line=line)
        return document
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.fault(
            (), f"bad YAML: the character U+{ord(text[error.position]):04X} may not stand here", line=line
        )
        return document
    except (ValueError, OverflowError):  # the scanner's, for an escape such as "\\UFFFFFFFF"
        document.fault((), "bad YAML: an escape names no character", line=1)
        return document
    if isinstance(root, yaml.MappingNode):
        document.data = _Reader(document, known, dotenv).mapping(root, ())
    elif root is not None:
        document.fault((), "the file must hold `key: value` lines", line=root.start_mark.line + 1)
    return document


def _read_text(path: Path, faults: list[Fault], *, needed: bool = True) -> str | None:
    """The text of a file, or None with a fault (without one where it need not exist and does not)."""
    line = 0
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            problem = "is not a file"
        elif status.st_size > _SIZE_MAX:
            problem = f"is larger than {_SIZE_MAX} bytes: not a configuration"
        else:
            return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if not needed:
            return None
        problem = "does not exist; write it, or name another file"
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = "is not UTF-8 text; save it as UTF-8"
    faults.append(Fault("", path, line, problem))
    return None


def _read_dotenv(path: Path, faults: list[Fault]) -> dict[str, str]:
    """The variables of a `.env` file: KEY=VALUE lines, `#` comments, a pair of quotes around a value."""
    values: dict[str, str] = {}
    for number, line in enumerate((_read_text(path, faults, needed=False) or "").split("\n"), 1):
        line = line.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not _VARIABLE.fullmatch(name.rstrip()):
            faults.append(Fault("", path, number, "must read NAME=value"))
            continue
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name.rstrip()] = value
    return values


class _Composer(yaml.SafeLoader):
    """Composes nodes, and refuses what a configuration has no use for: anchors, tags, endless nesting."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            problem = (
                "anchors (&), aliases (*) and tags (!) are not used here; write the value out, or quote it"
            )
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if self._depth >= _DEPTH_MAX:
            problem = f"more than {_DEPTH_MAX} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Turns nodes into plain values, noting the line of each."""

    def __init__(self, document: Document, known: Mapping[str, str], dotenv: Path) -> None:
        self._document = document
        self._known = known
        self._dotenv = dotenv
        self._convert = yaml.constructor.SafeConstructor()

    def mapping(self, node: yaml.MappingNode, at: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._document.fault(at, "a key must be a single word", line=line)
                continue
            loc = (*at, key.value)
            if key.value in values:
                self._document.fault(
                    loc, f"is there twice; first in line {self._document.lines[loc]}", line=line
                )
                continue
            self._document.lines[loc] = line
            values[key.value] = self._value(value, loc)
        return values

    def _value(self, node: yaml.Node, at: Loc) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            for place, item in enumerate(node.value):
                self._document.lines[*at, place] = item.start_mark.line + 1
            return [self._value(item, (*at, place)) for place, item in enumerate(node.value)]
        if node.tag in _CONVERTED:
            try:
                return self._convert.construct_object(node)
            except ValueError:
                self._document.spoil(at, "is not a number; quote it if it is meant as text")
                return None
        return self._filled(str(node.value), at)

    def _filled(self, text: str, at: Loc) -> str:
        """*text* with its `${VAR}` and `$$` replaced; a value that is put in is not looked at again."""
        missing: dict[str, None] = {}

        def replace(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if match["broken"]:
                missing["`${` must read ${NAME} or ${NAME:-default}; write $$ for a dollar"] = None
            elif name and (name not in self._known or (default is not None and not self._known[name])):
                if default is None:
                    place = f"the environment or {self._dotenv}"
                    missing[f"${{{name}}} is not set; set it in {place}, or write ${{{name}:-default}}"] = (
                        None
                    )
                return default or ""
            return self._known[name] if name else "$"

        filled = _REFERENCE.sub(replace, text)
        if missing:
            self._document.spoil(at, *missing)
        return filled
