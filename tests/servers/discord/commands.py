"""Application commands: their documented limits, and what a person's client makes of them."""

import re
from typing import Any

from tests.servers.discord.errors import ClientRefused, Form
from tests.servers.discord.model import Json

_NAME = re.compile(r"^[-_'\w]{1,32}$")
SUBCOMMAND, GROUP, STRING, INTEGER, BOOLEAN = 1, 2, 3, 4, 5
USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = 6, 7, 8, 9, 10, 11
COMMANDS = 100
CHARACTERS = 8000


def check(listed: list[Json]) -> None:
    """Check all commands of one bulk overwrite."""
    form = Form()
    names = [(one.get("type", 1), one.get("name")) for one in listed]
    if sum(kind == 1 for kind, _ in names) > COMMANDS:
        form.wrong("commands", "BASE_TYPE_MAX_LENGTH", "Must be 100 or fewer in length.")
    for at, one in enumerate(listed):
        if names.count(names[at]) > 1:
            sentence = "Application command names must be unique"
            form.wrong(str(at), "APPLICATION_COMMANDS_DUPLICATE_NAME", sentence)
        _command(form, str(at), one)
    form.check()


def _command(form: Form, path: str, one: Json) -> None:
    if one.get("type", 1) != 1:
        form.text(f"{path}.name", one.get("name") or "", 1, 32)
        return
    _name(form, f"{path}.name", one.get("name"))
    _described(form, path, one)
    _options(form, path, one, 0)
    if size(one) > CHARACTERS:
        sentence = f"Command exceeds maximum size ({CHARACTERS})"
        form.wrong(path, "APPLICATION_COMMAND_TOO_LARGE", sentence)


def size(one: Json) -> int:
    """What counts towards the 8,000: names, descriptions and choices' values, for the longest language."""
    own = len(one.get("name") or "") + len(one.get("description") or "")
    choices = sum(len(str(c["name"])) + len(str(c["value"])) for c in one.get("choices") or [])
    return own + choices + sum(size(option) for option in one.get("options") or [])


def _options(form: Form, path: str, one: Json, depth: int) -> None:
    """Check options: groups only at the top, and subcommands in them; required ones first (documented)."""
    options = form.count(f"{path}.options", one.get("options"), 0, 25)
    names = [option.get("name") for option in options]
    optional = False
    for at, option in enumerate(options):
        where, kind = f"{path}.options.{at}", option.get("type")
        _name(form, f"{where}.name", option.get("name"))
        _described(form, where, option)
        form.one_of(f"{where}.type", kind, range(1, 12))
        if names.count(option.get("name")) > 1:
            form.wrong(f"{where}.name", "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "Names must be unique.")
        if kind in (SUBCOMMAND, GROUP):
            plain = any(other.get("type") not in (SUBCOMMAND, GROUP) for other in options)
            if plain or depth > 1 or (kind == GROUP and depth > 0):
                sentence = "Subcommands and groups cannot stand here."
                form.wrong(f"{where}.type", "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", sentence)
            _options(form, where, option, 1 if kind == GROUP else 2)
            continue
        if option.get("required") and optional:
            sentence = "Required options must be placed before non-required options"
            form.wrong(f"{where}.required", "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", sentence)
        optional = optional or not option.get("required")
        _choices(form, where, option)


def _choices(form: Form, path: str, option: Json) -> None:
    choices = form.count(f"{path}.choices", option.get("choices"), 0, 25)
    if choices and option.get("autocomplete"):
        sentence = "Choices and autocomplete exclude each other."
        form.wrong(f"{path}.autocomplete", "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID", sentence)
    if (choices or option.get("autocomplete")) and option.get("type") not in (STRING, INTEGER, NUMBER):
        sentence = "Choices are for strings, integers and numbers."
        form.wrong(f"{path}.choices", "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID", sentence)
    for at, choice in enumerate(choices):
        form.text(f"{path}.choices.{at}.name", choice.get("name") or "", 1, 100)
        if isinstance(choice.get("value"), str):
            form.text(f"{path}.choices.{at}.value", choice["value"], 1, 100)
    for key, least in (("min_length", 0), ("max_length", 1)):
        value = option.get(key)
        if value is not None and not least <= value <= 6000:
            form.wrong(f"{path}.{key}", "NUMBER_TYPE_MAX", f"Must be between {least} and 6000.")


def _name(form: Form, path: str, name: Any) -> None:
    if form.required(path, name) and (not _NAME.match(str(name)) or str(name) != str(name).lower()):
        form.wrong(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _described(form: Form, path: str, one: Json) -> None:
    if form.required(f"{path}.description", one.get("description")):
        form.text(f"{path}.description", one["description"], 1, 100)


# What a person's client does


def find(listed: list[Json], path: str) -> tuple[Json, list[Json]]:
    """The command of a path such as "aq task add", and the options from it down to the subcommand."""
    head, *rest = path.removeprefix("/").split()
    command = next((one for one in listed if one["name"] == head and one.get("type", 1) == 1), None)
    if command is None:
        raise ClientRefused(f"there is no command /{head}")
    at, steps = command, []
    for name in rest:
        subs = [option for option in at.get("options") or [] if option["type"] in (SUBCOMMAND, GROUP)]
        found = next((option for option in subs if option["name"] == name), None)
        if found is None:
            raise ClientRefused(f"/{path}: there is no {name!r} among {[option['name'] for option in subs]}")
        steps.append(found)
        at = found
    if any(option["type"] in (SUBCOMMAND, GROUP) for option in at.get("options") or []):
        raise ClientRefused(f"/{path} needs a subcommand")
    return command, steps


def fill(command: Json, steps: list[Json], given: dict[str, Any]) -> list[Json]:
    """The options that are sent, after the client has checked them: known, required, types, choices, lengths."""
    options = {one["name"]: one for one in (steps[-1] if steps else command).get("options") or []}
    unknown = set(given) - set(options)
    if unknown:
        raise ClientRefused(f"/{command['name']} has no option {sorted(unknown)}")
    missing = [name for name, one in options.items() if one.get("required") and name not in given]
    if missing:
        raise ClientRefused(f"/{command['name']} needs {missing}")
    values = [
        {"name": name, "type": options[name]["type"], "value": _value(options[name], value)}
        for name, value in given.items()
    ]
    return nest(steps, values)


def nest(steps: list[Json], values: list[Json]) -> list[Json]:
    """Values as they are sent: inside their subcommand, and that inside its group."""
    found = values
    for step in reversed(steps):
        found = [{"name": step["name"], "type": step["type"], "options": found}]
    return found


def _value(option: Json, value: Any) -> Any:
    name, kind = option["name"], option["type"]
    value = value if kind not in (USER, CHANNEL, ROLE, MENTIONABLE) else getattr(value, "id", value)
    kinds: dict[int, type | tuple[type, ...]] = {INTEGER: int, NUMBER: (int, float), BOOLEAN: bool}
    if not isinstance(value, kinds.get(kind, str)) or (isinstance(value, bool) and kind != BOOLEAN):
        raise ClientRefused(f"{name}: {value!r} is not of type {kind}")
    choices = [choice["value"] for choice in option.get("choices") or []]
    if choices and value not in choices:
        raise ClientRefused(f"{name}: {value!r} is not one of {choices}")
    amount = len(value) if isinstance(value, str) else value
    least, most = ("min_length", "max_length") if isinstance(value, str) else ("min_value", "max_value")
    if kind == STRING and not value:
        raise ClientRefused(f"{name}: it is empty")
    if option.get(least) is not None and amount < option[least]:
        raise ClientRefused(f"{name}: {value!r} is less than {option[least]}")
    limit = option.get(most, 6000 if kind == STRING else None)
    if limit is not None and amount > limit:
        raise ClientRefused(f"{name}: {value!r:.40} is more than {limit}")
    return value
