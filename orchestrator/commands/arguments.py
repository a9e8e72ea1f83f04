"""Arguments: the typed model of what a command takes; parser, help, completion and schema follow from it.

A command's model subclasses `Arguments`; each field is `Annotated` with exactly one of the three markers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined

ID_MAX = 64
OPTION_MAX = 500
TEXT_MAX = 20_000
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a field's annotation allows."""

    kind: type
    many: bool
    optional: bool
    choices: Mapping[str, Any]


def _enum_word(member: Enum) -> str:
    return (member.value if isinstance(member.value, str) else member.name).lower()


def _choices(annotation: Any) -> Mapping[str, Any]:
    if get_origin(annotation) is Literal:
        return {str(value): value for value in get_args(annotation)}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {_enum_word(member): member for member in annotation}
    return {}


def _shape(annotation: Any) -> _Shape:
    """Return what *annotation* allows, or raise TypeError where a line could not carry it."""
    optional, many, base = False, False, annotation
    if get_origin(base) in (Union, UnionType) and NoneType in get_args(base):
        optional, (base, *rest) = True, [part for part in get_args(base) if part is not NoneType]
        if rest:
            raise TypeError(f"{annotation}: a union of types cannot be told apart in a line")
    if get_origin(base) is tuple:
        item, *rest = get_args(base)
        if rest != [...]:
            raise TypeError(f"{annotation}: write tuple[item, ...]")
        many, base = True, item
    choices = _choices(base)
    if not choices and base not in (str, int, float, bool):
        raise TypeError(f"{annotation}: not str, int, float, bool, an Enum, a Literal or a tuple of these")
    return _Shape(kind=str if choices else base, many=many, optional=optional, choices=choices)


def _pick(choices: Mapping[str, Any], word: str) -> Any:
    """Return the choice that *word* names, whatever its case; None where it names none."""
    if word in choices:
        return choices[word]
    folded = word.casefold()
    return next((value for name, value in choices.items() if name.casefold() == folded), None)


def _refuse_empty(value: str) -> None:
    if not value.strip():
        raise ValueError("is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What all markers share: words for people, and limits on what a value may hold."""

    help: str
    complete: str | None = None
    """The kind of thing whose names complete this value: task, project, repo, agent."""
    max_length: int | None = None
    """Longest value (each item, for a list), in characters; None is the default of its sort."""
    multiline: ClassVar[bool] = False

    @property
    def limit(self) -> int:
        """Longest value, in characters."""
        return self.max_length or ID_MAX

    def check(self, value: str) -> None:
        """Raise ValueError where *value* is too long or holds what no argument may hold."""
        if len(value) > self.limit:
            raise ValueError(f"is {len(value):,} characters long; at most {self.limit:,} are allowed")
        if bad := _UNSPEAKABLE.search(value):
            if bad[0] >= "\ud800":
                raise ValueError("holds half of a character (a lone surrogate); type it again")
            raise ValueError(f"holds a control character (U+{ord(bad[0]):04X}); remove it")
        if "\n" in value and not self.multiline:
            raise ValueError("must be one line; it holds a line break")


@dataclass(frozen=True, slots=True)
class Positional(Marker):
    """A word by its place in the line, or by name.

    *implied* is the kind of thing that the thread or channel may imply, where the word is not said.
    """

    help: str
    complete: str | None = None
    implied: str | None = None
    max_length: int | None = None

    def check(self, value: str) -> None:
        """Raise ValueError also where *value* is empty."""
        _refuse_empty(value)
        Marker.check(self, value)


@dataclass(frozen=True, slots=True)
class Option(Marker):
    """A value by its name: `name:value`, `name=value`, `--name value`."""

    help: str
    complete: str | None = None
    max_length: int | None = None

    @property
    def limit(self) -> int:
        """Longest value, in characters: what completes is an id."""
        return self.max_length or (ID_MAX if self.complete else OPTION_MAX)


@dataclass(frozen=True, slots=True)
class FreeText(Marker):
    """All words that nothing else takes, and all lines after the first. At most one in a command."""

    help: str
    complete: str | None = field(default=None, init=False)
    max_length: int | None = None
    multiline: ClassVar[bool] = True

    @property
    def limit(self) -> int:
        """Longest text, in characters."""
        return self.max_length or TEXT_MAX

    def check(self, value: str) -> None:
        """Raise ValueError also where *value* is empty."""
        _refuse_empty(value)
        Marker.check(self, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One declared argument of a command."""

    attribute: str
    """The field of the model."""
    name: str
    """As it is written in a line: the field's name with hyphens, without a trailing underscore."""
    marker: Marker
    kind: type
    """str, int, float or bool."""
    many: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)
    """The words that may be said, each with its value; empty where any value may be."""
    required: bool = False
    default: Any = None

    @property
    def implied(self) -> str | None:
        """The kind whose id is taken from the thread or channel where it is not said."""
        return self.marker.implied if isinstance(self.marker, Positional) else None

    @property
    def verbatim(self) -> bool:
        """Whether a bare value keeps invisible characters: prose does, ids and choices do not."""
        return isinstance(self.marker, Option) and not (self.choices or self.marker.complete)

    def pick(self, word: str) -> Any:
        """Return the choice that *word* names, whatever its case; None where it names none."""
        return _pick(self.choices, word)

    def accept(self, value: Any) -> Any:
        """Return *value* with words for choices; raises ValueError where it holds what may not be said."""
        if isinstance(value, (list, tuple)):
            return tuple(self._accept(item, in_list=True) for item in value)
        return value if not self.required and value == self.default else self._accept(value)

    def _accept(self, value: Any, *, in_list: bool = False) -> Any:
        if isinstance(value, bytes):
            raise ValueError("must be text, not bytes")  # noqa: TRY004 - pydantic reports ValueError only
        if not isinstance(value, str):
            return value
        self.marker.check(value)
        if in_list and not value:
            raise ValueError("holds an empty item")
        picked = self.pick(value) if self.choices else None
        return value if picked is None else picked

    def word(self, value: Any) -> str:
        """Return the word that stands for the single *value* in a line, unquoted."""
        if self.choices:
            return next(word for word, choice in self.choices.items() if choice == value)
        if self.kind is bool:
            return "yes" if value else "no"
        return str(value)


class Arguments(BaseModel):
    """Base of every command's arguments: frozen, closed, each value within its marker's limits."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    declared: ClassVar[tuple[Argument, ...]] = ()
    """The arguments in the order of the fields."""
    _by_attribute: ClassVar[Mapping[str, Argument]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.declared = tuple(_argument(cls, name) for name in cls.model_fields)
        cls._by_attribute = {argument.attribute: argument for argument in cls.declared}
        names = [argument.name for argument in cls.declared]
        if len(set(names)) < len(names):
            raise TypeError(f"{cls.__name__}: two fields are written alike in a line")
        if sum(isinstance(argument.marker, FreeText) for argument in cls.declared) > 1:
            raise TypeError(f"{cls.__name__}: at most one free text")

    @field_validator("*", mode="before")
    @classmethod
    def _accept(cls, value: Any, info: ValidationInfo) -> Any:
        return cls._by_attribute[str(info.field_name)].accept(value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        resolved = handler.resolve_ref_schema(handler(schema))
        for argument in cls.declared:
            described = resolved["properties"][argument.attribute]
            resolved["properties"][argument.attribute] = _described(described, argument)
        return resolved


class Nothing(Arguments):
    """A command without arguments."""


def _argument(model: type[Arguments], name: str) -> Argument:
    info = model.model_fields[name]
    markers = [mark for mark in info.metadata if isinstance(mark, Marker)]
    where = f"{model.__name__}.{name}"
    if len(markers) != 1:
        raise TypeError(f"{where}: annotate it with one of Positional, Option, FreeText")
    marker, shape = markers[0], _shape(info.annotation)
    default = None if info.default is PydanticUndefined else info.default
    if shape.optional and (info.is_required() or default is not None):
        raise TypeError(f"{where}: None can be said only by saying nothing; make it the default")
    if isinstance(marker, FreeText) and (shape.kind is not str or shape.many or shape.choices):
        raise TypeError(f"{where}: free text is a str")
    if isinstance(marker, FreeText) and default:
        raise TypeError(f'{where}: the default of free text is None or ""')
    return Argument(
        attribute=name,
        name=name.rstrip("_").replace("_", "-"),
        marker=marker,
        kind=shape.kind,
        many=shape.many,
        choices=shape.choices,
        required=info.is_required(),
        default=default,
    )


def _described(schema: JsonSchemaValue, argument: Argument) -> JsonSchemaValue:
    """Return a field's JSON *schema* in the words that a line uses, with its help and limits."""
    described = dict(schema)
    if argument.choices:
        item: JsonSchemaValue = {"type": "string", "enum": list(argument.choices)}
        described = {"type": "array", "items": item} if argument.many else item
    elif argument.kind is str:
        _limit(described, argument.marker.limit)
    if not argument.required and argument.default is not None:
        described["default"] = _plain(argument)
    elif not argument.required:
        described["default"] = None
    if argument.choices and described.get("default", "") is None:
        described = {"anyOf": [described, {"type": "null"}], "default": described.pop("default")}
    return {**described, "description": argument.marker.help}


def _limit(schema: JsonSchemaValue, length: int) -> None:
    if schema.get("type") == "string":
        schema["maxLength"] = length
    for part in [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]:
        _limit(part, length)


def _plain(argument: Argument) -> Any:
    def one(value: Any) -> Any:
        return argument.word(value) if argument.choices else value

    return [one(value) for value in argument.default] if argument.many else one(argument.default)
