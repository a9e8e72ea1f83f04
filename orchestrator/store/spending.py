"""What was used, by day, project, agent, person and task, each call of a model once; and the caps on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.errors import NotFound
from orchestrator.spending import Amount, Budget, Scope, Spent, Unit, day_of
from orchestrator.store.database import Row, Signal, Tx, insert_new, upsert
from orchestrator.store.schema import budget, model_call, run, spending

KEYS = ("day", "project", "agent", "person", "task", "model")
"""By what the use can be summed."""
_COLUMNS = {
    name: spending.c[f"{name}_id"] if name not in ("day", "model") else spending.c[name] for name in KEYS
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one event tells."""

    at: float
    project_id: str
    agent_id: str
    person_id: str
    task_id: str
    model: str
    tokens: int
    cost: float
    call_id: str = ""
    """The model's own id of the call, where it is known."""


async def record(tx: Tx, use: Use) -> bool:
    """Count a use; False where the same call was counted before."""
    if use.call_id:
        told = insert_new(model_call).values(task_id=use.task_id, call_id=use.call_id, at=use.at)
        if not await tx.execute(told):
            return False
    calls = int(bool(use.tokens))
    values = {
        "day": day_of(use.at),
        "project_id": use.project_id,
        "agent_id": use.agent_id,
        "person_id": use.person_id,
        "task_id": use.task_id,
        "model": use.model,
        "tokens": use.tokens,
        "cost": use.cost,
        "calls": calls,
    }
    added = {
        "tokens": spending.c.tokens + use.tokens,
        "cost": spending.c.cost + use.cost,
        "calls": spending.c.calls + calls,
    }
    await tx.execute(upsert(spending, values, added))
    return True


async def spent(tx: Tx, *, since: int | None = None, project_id: str = "", task_id: str = "") -> Spent:
    """What was used since the day *since*, by one project or by one task, or by all."""
    query = sa.select(*_SUMS)
    if since is not None:
        query = query.where(spending.c.day >= since)
    if project_id:
        query = query.where(spending.c.project_id == project_id)
    if task_id:
        query = query.where(spending.c.task_id == task_id)
    return _spent(await tx.first(query))


async def by_project(tx: Tx, since: int) -> dict[str, Spent]:
    """What each project has used since the day *since*."""
    query = sa.select(spending.c.project_id, *_SUMS).where(spending.c.day >= since)
    return {row["project_id"]: _spent(row) for row in await tx.all(query.group_by(spending.c.project_id))}


async def table(
    tx: Tx, keys: Sequence[str], *, since: int, project_id: str = "", limit: int = 1000
) -> list[tuple[tuple[str, ...], Spent]]:
    """What was used since a day, summed by *keys* (of KEYS), most first."""
    columns = [_COLUMNS[key].label(key) for key in keys]
    query = sa.select(*columns, *_SUMS).where(spending.c.day >= since).group_by(*columns)
    if project_id:
        query = query.where(spending.c.project_id == project_id)
    order = (sa.desc("cost"), sa.desc("tokens"), *columns)
    rows = await tx.all(query.order_by(*order).limit(limit))
    return [(tuple(str(row[key]) for key in keys), _spent(row)) for row in rows]


_SUMS = tuple(
    sa.func.coalesce(sa.func.sum(spending.c[name]), 0).label(name) for name in ("tokens", "cost", "calls")
)


def _spent(row: Row | None) -> Spent:
    if row is None:
        return Spent()
    return Spent(tokens=int(row["tokens"]), cost=float(row["cost"]), calls=int(row["calls"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What the live runs of a project may still use of what was set aside for them."""

    runs: int = 0
    tokens: float = 0.0
    cost: float = 0.0

    def of(self, unit: Unit) -> float:
        """The reserve in *unit*."""
        return self.tokens if unit is Unit.TOKENS else self.cost

    def __add__(self, other: "Reserved") -> "Reserved":
        return Reserved(
            runs=self.runs + other.runs, tokens=self.tokens + other.tokens, cost=self.cost + other.cost
        )


async def reserved(tx: Tx) -> dict[str, Reserved]:
    """What is set aside, by project."""
    rest = {
        name: sa.func.sum(sa.func.max(0, run.c[f"reserved_{name}"] - run.c[name])).label(name)
        for name in ("tokens", "cost")
    }
    query = sa.select(run.c.project_id, sa.func.count().label("runs"), *rest.values())
    rows = await tx.all(query.where(sa.text("ended_at IS NULL")).group_by(run.c.project_id))
    return {
        row["project_id"]: Reserved(runs=row["runs"], tokens=row["tokens"], cost=row["cost"]) for row in rows
    }


async def expected(
    tx: Tx, project_id: str, unknown: Mapping[Unit, float], last: int = 20
) -> Mapping[Unit, float]:
    """What a run of a project, or of any (""), uses, by the last ones; *unknown* where there are none."""
    ended = sa.select(run.c.tokens, run.c.cost).where(run.c.ended_at.is_not(None))
    if project_id:
        ended = ended.where(run.c.project_id == project_id)
    recent = ended.order_by(run.c.ended_at.desc()).limit(last).subquery()
    row = await tx.first(
        sa.select(sa.func.avg(recent.c.tokens).label("tokens"), sa.func.avg(recent.c.cost).label("cost"))
    )
    if row is None or not row["tokens"]:
        return unknown
    return {Unit.TOKENS: float(row["tokens"]), Unit.MONEY: float(row["cost"])}


def _budget(row: Row) -> Budget:
    return Budget(
        scope=Scope(row["scope"]),
        of=row["of"],
        amount=Amount(Unit(row["unit"]), row["amount"]),
        told=row["told"],
        told_on=row["told_on"],
    )


async def budgets(tx: Tx) -> list[Budget]:
    """Every cap."""
    return [_budget(row) for row in await tx.all(sa.select(budget).order_by(budget.c.scope, budget.c.of))]


async def caps_of(tx: Tx, project_id: str, task_id: str) -> list[Budget]:
    """The caps that hold for a task: of its own, or of each task of its project; of the project; of all."""
    wanted = [
        (Scope.ALL, ""),
        (Scope.PROJECT, project_id),
        (Scope.EACH_TASK, project_id),
        (Scope.TASK, task_id),
    ]
    rows = await tx.all(sa.select(budget).where(sa.tuple_(budget.c.scope, budget.c.of).in_(wanted)))
    found = [_budget(row) for row in rows]
    own = {one.amount.unit for one in found if one.scope is Scope.TASK}
    return [one for one in found if one.scope is not Scope.EACH_TASK or one.amount.unit not in own]


async def put(tx: Tx, new: Budget) -> None:
    """Set a cap, in place of another of the same scope and unit."""
    values = {"scope": new.scope, "of": new.of, "unit": new.amount.unit, "amount": new.amount.value}
    fresh = {"told": new.told, "told_on": new.told_on}
    await tx.execute(upsert(budget, {**values, **fresh}, {"amount": new.amount.value, **fresh}))
    tx.signals.add(Signal.WORK)


async def tell(tx: Tx, one: Budget, step: int, day: int) -> None:
    """Remember that people were told of a step."""
    where = (budget.c.scope == one.scope, budget.c.of == one.of, budget.c.unit == one.amount.unit)
    await tx.execute(budget.update().where(*where).values(told=step, told_on=day))


async def remove(tx: Tx, scope: Scope, of: str, unit: Unit | None = None) -> None:
    """Take a cap away, in one unit or in both; NotFound where there is none."""
    where = [budget.c.scope == scope, budget.c.of == of]
    if unit is not None:
        where.append(budget.c.unit == unit)
    if not await tx.execute(budget.delete().where(*where)):
        raise NotFound(f"there is no cap on {of or 'all projects'}; `budget` shows those there are")
    tx.signals.add(Signal.WORK)


async def prune_calls(tx: Tx, before: float) -> int:
    """Forget the ids of calls that were counted before *before*."""
    return await tx.execute(model_call.delete().where(model_call.c.at < before))
