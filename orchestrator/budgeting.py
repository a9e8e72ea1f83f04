"""How many more runs the budgets of the day have room for."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.spending import EXPECTED, Budget, Scope, Spent, Unit, day_of, launches
from orchestrator.store import spending
from orchestrator.store.database import Tx
from orchestrator.store.spending import Reserved


@dataclass(frozen=True, slots=True)
class Room:
    """What there is room for."""

    launches: int | None = None
    """Runs that may still be begun; None is no limit."""
    words: str = ""
    """The cap that leaves no more room, for people."""

    def __or__(self, other: "Room") -> "Room":
        """The narrower of two."""
        if self.launches is None or other.launches is None:
            return other if self.launches is None else self
        return min(self, other, key=lambda room: room.launches or 0)


async def rooms(tx: Tx, now: float) -> tuple[Room, Mapping[str, Room]]:
    """What all projects together have room for, and each that has a cap of its own. Bounded by the caps there are."""
    caps = [cap for cap in await spending.budgets(tx) if cap.daily]
    if not caps:
        return Room(), {}
    used = await spending.by_project(tx, day_of(now))
    aside = await spending.reserved(tx)
    whole, each = Room(), dict[str, Room]()
    for cap in caps:
        expected = (await spending.expected(tx, cap.of, EXPECTED))[cap.amount.unit]
        if cap.scope is Scope.ALL:
            whole |= _room(cap, list(used.values()), list(aside.values()), expected)
        else:
            one = _room(cap, [used.get(cap.of, Spent())], [aside.get(cap.of, Reserved())], expected)
            each[cap.of] = each.get(cap.of, Room()) | one
    return whole, each


async def expected(tx: Tx, project_id: str) -> Mapping[Unit, float]:
    """What a run of a project is taken to use: set aside for it when it is begun."""
    return await spending.expected(tx, project_id, EXPECTED)


def _room(cap: Budget, used: list[Spent], aside: list[Reserved], each: float) -> Room:
    unit = cap.amount.unit
    busy = sum(one.runs for one in aside) > 0
    number = launches(
        cap.amount.value,
        sum(one.of(unit) for one in used),
        sum(one.of(unit) for one in aside),
        each,
        busy=busy,
    )
    return Room(number, f"the budget of {cap} leaves no room for one more run")
