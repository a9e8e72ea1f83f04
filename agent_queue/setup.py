"""`agent-queue setup <frontend>`: walks a person through a platform's tokens, and writes down what was found.

Secrets go to `.env` beside the configuration, readable by its owner alone. A configuration that is there is kept as it
is typed, with one section more; where that cannot be done safely, the section is shown to be pasted.
"""

import asyncio
import getpass
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from agent_queue.configuration import DEFAULT_PATH, load_settings
from bots import registry
from bots.asking import Check, Found
from orchestrator.errors import UserError

_FRONTENDS = re.compile(r"^frontends:[ \t]*(?:#.*)?$", re.MULTILINE)
_TRIES = 5


def run(name: str, config: Path | None) -> int:
    """Set frontend *name* up; returns the exit code. Nothing is written before everything is known."""
    registry.check(name)
    path = (config or DEFAULT_PATH).expanduser()
    if not sys.stdin.isatty():
        raise UserError("setup asks questions: run it in a terminal")
    signal.signal(signal.SIGINT, _interrupted)  # asyncio's own would wait for the answer to a question
    try:
        found = asyncio.run(registry.walk(name, Keyboard()))
    except (EOFError, KeyboardInterrupt):
        print("\nNothing was written.")  # noqa: T201 - the program's output
        return 1
    for line in write(name, found, path):
        print(line)  # noqa: T201
    return 0


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class Keyboard:
    """The person at this terminal."""

    def say(self, text: str) -> None:
        """Print a paragraph."""
        print(f"\n{text}")  # noqa: T201

    def found(self, good: bool, text: str) -> None:
        """Print a line with its sign."""
        print(f"{'✅' if good else '⚠️ '} {text}", flush=True)  # noqa: T201

    def ask(self, question: str, *, default: str = "", check: Check = str) -> str:
        """Ask; what is wrong with an answer is said, and it is asked again."""
        shown = f"{question} [{default}]: " if default else f"{question}: "
        return self._until(lambda: input(shown).strip() or default, check)

    def secret(self, question: str, *, check: Check = str) -> str:
        """Ask without an echo; an empty answer is none."""

        def some(words: str) -> str:
            if not words:
                raise ValueError("that was empty (what you type or paste is not shown)")
            return check(words)

        return self._until(lambda: getpass.getpass(f"{question} (not shown): ").strip(), some)

    def choose(self, question: str, options: Sequence[str]) -> int:
        """Ask for a number."""
        for number, option in enumerate(options, 1):
            print(f"  {number}. {option}")  # noqa: T201

        def place(words: str) -> str:
            if not (words.isascii() and words.isdigit() and 1 <= int(words) <= len(options)):
                raise ValueError(f"say a number from 1 to {len(options)}")
            return words

        return int(self.ask(question, default="1" if len(options) == 1 else "", check=place)) - 1

    def again(self, question: str) -> bool:
        """Enter is yes."""
        return input(f"{question} [Enter: yes, n: go on without] ").strip().lower() not in ("n", "no")

    def _until(self, take: Callable[[], str], check: Check) -> str:
        for _ in range(_TRIES):
            try:
                return check(take())
            except ValueError as fault:
                self.found(False, f"that {fault}" if str(fault).startswith("must") else str(fault))
        raise UserError("too many answers that are none; begin again")


def write(name: str, found: Found, path: Path) -> list[str]:
    """Write the secrets and the section; returns what is to be told. UserError where a file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    told = []
    if found.secrets:
        keep_secrets(path.parent / ".env", found.secrets)
        told.append(f"{', '.join(found.secrets)}: in {path.parent / '.env'}, readable by you alone.")
    before = path.read_text() if path.exists() else None
    text = whole(name, found) if before is None else with_section(before, name, found)
    if text is None or not _usable(path, text):
        told.append(f"Put this under `frontends:` in {path}, in place of what it says of {name}:\n")
        told.append(_indented(_yaml({name: dict(found.section)})))
    else:
        _replace(path, text, 0o600 if before is None else path.stat().st_mode & 0o777)
        told.append(f"The frontend {name}: in {path}.")
    told += _who(found, before)
    told.append(f"Start it with `agent-queue`, or say `restart` where it runs. Then say {found.next}.")
    return told


def _who(found: Found, before: str | None) -> list[str]:
    if before is None or not found.account:
        return []
    return [
        f"To be known there: `person link <your name> {found.account}`, said where you are an admin already."
    ]


def whole(name: str, found: Found) -> str:
    """A configuration to begin with: the person at the keyboard as its admin, the terminal chat and *name*."""
    user = getpass.getuser()
    accounts = [f"terminal:{user}", *([found.account] if found.account else [])]
    people = _yaml({"people": {user: {"role": "admin", "accounts": accounts}}})
    return f"{people}\nfrontends:\n  terminal: {{}}\n{_indented(_yaml({name: dict(found.section)}))}"


def with_section(text: str, name: str, found: Found) -> str | None:
    """*text* with the section added and nothing else changed; None where that cannot be done safely."""
    known = yaml.safe_load(text) or {}
    if not isinstance(known, Mapping):
        return None
    section = _indented(_yaml({name: dict(found.section)}))
    if "frontends" not in known:
        return f"{text.rstrip()}\n\nfrontends:\n  terminal: {{}}\n{section}".lstrip()
    there = known["frontends"] or {}
    head = _FRONTENDS.search(text)
    if head is None or not isinstance(there, Mapping) or name in there:
        return None
    end = head.end() + 1
    behind = text[end:]
    indent = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*( +)\S", behind)
    if there and indent is None:
        return None
    spaces = indent[1] if indent and there else "  "
    section = _indented(_yaml({name: dict(found.section)}), spaces)
    return f"{text[:end].rstrip()}\n{section}{behind}"


def _usable(path: Path, text: str) -> bool:
    """Whether the configuration *text* at *path* could be loaded, beside the `.env` that is there."""
    trial = path.with_name(f".{path.name}.new")
    _replace(trial, text, 0o600)
    try:
        load_settings(trial)
    except UserError:
        return False
    finally:
        trial.unlink()
    return True


def keep_secrets(path: Path, secrets: Mapping[str, str]) -> None:
    """Set *secrets* in a `.env` file, what else it says kept; nobody but its owner can read it from then on."""
    lines = path.read_text().splitlines() if path.exists() else []
    named = re.compile(rf"\s*(?:export\s+)?(?:{'|'.join(map(re.escape, secrets))})\s*=")
    kept = [line for line in lines if not named.match(line)]
    fresh = [f'{name}="{value}"' for name, value in secrets.items()]
    _replace(path, "\n".join([*kept, *fresh]) + "\n", 0o600)


def _replace(path: Path, text: str, mode: int) -> None:
    """Write a file, whole or not at all."""
    fresh = path.with_name(f"{path.name}.writing")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
        fresh.replace(path)
    except OSError as fault:
        raise UserError(f"{path} cannot be written: {fault.strerror or fault}") from fault


def _yaml(content: Mapping[str, object]) -> str:
    """*content* as block YAML, every text in quotes, as `#` and `:` mean something else there."""
    lines: list[str] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            lines += [f"{key}:", *(f"  {line}" for line in _yaml(value).splitlines())]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _indented(text: str, by: str = "  ") -> str:
    return "".join(f"{by}{line}\n" for line in text.splitlines())
