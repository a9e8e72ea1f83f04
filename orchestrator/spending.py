"""Spending: amounts of tokens and of money, how people write them, and the caps on them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.errors import UserError

_AMOUNT = re.compile(
    r"(?P<sign>\$|usd)? *(?P<number>\d+(?:\.\d+)?) *(?P<size>[km])? *(?P<unit>tokens?|usd|\$)?"
)
_SIZES = {"": 1, "k": 1_000, "m": 1_000_000}
_MOST = 1e12
_MANY = 1_000_000
"""Runs, which is no limit."""
STEPS = (100, 95, 80)
"""Percents of a cap at which people are told, highest first."""


class Unit(StrEnum):
    """What is counted."""

    TOKENS = "tokens"
    MONEY = "usd"


EXPECTED: Mapping[Unit, float] = {Unit.TOKENS: 100_000.0, Unit.MONEY: 0.5}
"""What a run is taken to use where nothing is known of its project."""


class Scope(StrEnum):
    """What a cap is on."""

    ALL = "all"
    """All projects together, each day."""
    PROJECT = "project"
    """One project, each day."""
    EACH_TASK = "each task"
    """Every task of one project by itself, as long as it lives."""
    TASK = "task"
    """One task, as long as it lives; in place of what its project says of each."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many tokens, or so many US dollars."""

    unit: Unit
    value: float

    def __str__(self) -> str:
        if self.unit is Unit.MONEY:
            return f"${self.value:,.2f}"
        for size, sign in ((1_000_000, "M"), (1_000, "k")):
            if self.value >= size:
                return f"{self.value / size:.4g}{sign} tokens"
        return f"{self.value:.0f} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was used."""

    tokens: int = 0
    cost: float = 0.0
    calls: int = 0

    def of(self, unit: Unit) -> float:
        """The use in *unit*."""
        return self.tokens if unit is Unit.TOKENS else self.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap. Of a day, or of a task's life: see its scope."""

    scope: Scope
    of: str
    """The project or the task; "" for all."""
    amount: Amount
    told: int = 0
    """The highest step of which people were told."""
    told_on: int = 0
    """The day of that; 0 where the cap is of no day."""

    @property
    def daily(self) -> bool:
        """Whether it begins anew each day."""
        return self.scope in (Scope.ALL, Scope.PROJECT)

    def __str__(self) -> str:
        match self.scope:
            case Scope.ALL:
                return f"{self.amount} a day for all projects"
            case Scope.PROJECT:
                return f"{self.amount} a day for {self.of}"
            case Scope.EACH_TASK:
                return f"{self.amount} for each task of {self.of}"
            case _:
                return f"{self.amount} for {self.of}"


def parse_amount(text: str) -> Amount:
    """The amount that somebody wrote: `2M`, `500k tokens`, `$20`, `0.5 usd`; UserError where it is none."""
    found = _AMOUNT.fullmatch(text.strip().lower().replace(",", "").replace("_", ""))
    if found is None or (found["sign"] and found["unit"]):
        raise UserError(f"{text!r} is no amount: write tokens as `500k` or `2M`, money as `$20`")
    money = bool(found["sign"]) or found["unit"] in ("usd", "$")
    value = float(found["number"]) * _SIZES[found["size"] or ""]
    if not 0 < value <= _MOST:
        raise UserError(f"{text!r} is out of bounds; `budget remove` takes a cap away")
    if not money and value != int(value):
        raise UserError(f"{text!r}: tokens are whole; write money as `$20`")
    return Amount(Unit.MONEY if money else Unit.TOKENS, value)


def step(used: float, amount: float) -> int:
    """The highest of the steps that *used* has reached; 0 for none."""
    return next((one for one in STEPS if used * 100 >= amount * one), 0)


def launches(amount: float, used: float, reserved: float, expected: float, *, busy: bool) -> int:
    """How many more runs may be begun, each expected to use so much; the last of the money is for one alone."""
    left = amount - used - reserved
    if left <= 0:
        return 0
    fits = int(min(left, _MANY * expected) / expected) if expected > 0 else _MANY
    return fits if fits or busy else 1


def day_of(at: float) -> int:
    """The day of a time (Unix seconds) in this host's time zone, as a number that grows by one a day."""
    return datetime.fromtimestamp(at).astimezone().date().toordinal()


def midnight_after(at: float) -> float:
    """When the next day begins (Unix seconds)."""
    here = datetime.fromtimestamp(at).astimezone()
    tomorrow = datetime.fromordinal(here.date().toordinal() + 1)
    return tomorrow.astimezone().timestamp()
