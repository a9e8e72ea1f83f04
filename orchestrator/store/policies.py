"""The rules of projects' policies in the store, in their order."""

from dataclasses import asdict

import sqlalchemy as sa

from orchestrator.errors import NotFound
from orchestrator.policy import Answerer, Effect, Rule
from orchestrator.store.database import Tx
from orchestrator.store.schema import policy_rule

_ORDER = (policy_rule.c.place, policy_rule.c.id)


async def rules(tx: Tx, project_id: str) -> list[Rule]:
    """The project's own rules."""
    columns = (policy_rule.c.effect, policy_rule.c.tool, policy_rule.c.path, policy_rule.c.command)
    rows = await tx.all(
        sa.select(*columns, policy_rule.c.by).where(policy_rule.c.project_id == project_id).order_by(*_ORDER)
    )
    return [Rule(**{**row, "effect": Effect(row["effect"]), "by": Answerer(row["by"])}) for row in rows]


async def add(tx: Tx, project_id: str, rule: Rule, *, first: bool = False) -> None:
    """Add a rule behind the others, or before them."""
    edge = sa.func.min(policy_rule.c.place) if first else sa.func.max(policy_rule.c.place)
    outermost = await tx.scalar(sa.select(edge).where(policy_rule.c.project_id == project_id)) or 0
    place = outermost - 1 if first else outermost + 1
    await tx.execute(policy_rule.insert().values(project_id=project_id, place=place, **asdict(rule)))


async def remove(tx: Tx, project_id: str, number: int) -> Rule:
    """Remove the rule of that number, from 1, and return it; NotFound where there is none."""
    ids = await tx.column(
        sa.select(policy_rule.c.id).where(policy_rule.c.project_id == project_id).order_by(*_ORDER)
    )
    if not 1 <= number <= len(ids):
        raise NotFound(f"project {project_id} has no rule {number}; `policy show {project_id}` lists them")
    gone = (await rules(tx, project_id))[number - 1]
    await tx.execute(policy_rule.delete().where(policy_rule.c.id == ids[number - 1]))
    return gone
