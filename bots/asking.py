"""How a frontend's setup speaks with the person at the keyboard: the seam of `agent-queue setup`.

Each `bots/<name>/setup.py` has `async def walk(person: Person) -> Found`: it asks, checks every answer against the
platform, names what is missing in words, and changes nothing on this machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Check = Callable[[str], str]
"""Returns an answer as it is to be used, or raises ValueError with what is wrong with it."""


class Person(Protocol):
    """Whoever sits at the keyboard. Nobody else waits meanwhile, so that a call may block."""

    def say(self, text: str) -> None:
        """Show a paragraph."""

    def found(self, good: bool, text: str) -> None:
        """Show how one thing stands."""

    def ask(self, question: str, *, default: str = "", check: Check = str) -> str:
        """Ask until the answer is one."""

    def secret(self, question: str, *, check: Check = str) -> str:
        """Ask for something that is not shown while it is typed."""

    def choose(self, question: str, options: Sequence[str]) -> int:
        """Ask which of *options*; returns its place."""

    def again(self, question: str) -> bool:
        """Wait until something was done elsewhere; False where the person goes on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is to be written down for a frontend."""

    section: Mapping[str, Any]
    """Its section of the configuration; what is secret stands in it as `${NAME}`."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """The values for these names."""
    account: str = ""
    """The person's own account on the platform, where it is known."""
    next: str = ""
    """What the person can say first, once the daemon runs."""
