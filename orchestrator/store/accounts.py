"""Accounts that agents work with, and their limits, in the store. One that was never limited or warned has no row."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from orchestrator.store.database import Row, Signal, Tx, upsert
from orchestrator.store.schema import agent, agent_account, run


class AccountState(StrEnum):
    """Whether an account takes requests."""

    OK = "ok"
    LIMITED = "limited"
    TRYING = "trying"
    """Its limit should be over: one task finds out whether requests go through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as it stands. Times are Unix seconds."""

    id: str
    state: AccountState = AccountState.OK
    reason: str = ""
    """What the agent said of the limit."""
    resets_at: float | None = None
    """When the limit is over, by the agent or by our backoff; of an account that is ok, when its window begins anew."""
    strikes: int = 0
    """How often it was limited with no request that went through between."""
    used: float | None = None
    """The share of its window that is used up; None where nobody has told it."""
    window_words: str = ""
    """What the agent last said of the window."""
    updated_at: float = 0.0
    """When it came into its state."""
    canary: str = ""
    """The task that is to find out whether requests go through, and then the one that does."""
    canary_run: str = ""


_CLOSED = sa.text("state <> 'ok'")


def _account(row: Row) -> Account:
    return Account(**{**row, "state": AccountState(row["state"])})


async def get(tx: Tx, account_id: str) -> Account:
    """The account; one of which nothing is stored is ok."""
    row = await tx.first(sa.select(agent_account).where(agent_account.c.id == account_id))
    return _account(row) if row else Account(id=account_id)


async def put(tx: Tx, account_id: str, **fields: Any) -> None:
    """Change fields of an account; where its state changes, whom it concerns is told."""
    new = {"id": account_id, "state": AccountState.OK, "updated_at": 0.0, **fields}
    await tx.execute(upsert(agent_account, new, fields))
    if "state" in fields:
        tx.signals.add(Signal.WORK)


async def known(tx: Tx) -> list[Account]:
    """Every account of which something is stored."""
    return [_account(row) for row in await tx.all(sa.select(agent_account).order_by(agent_account.c.id))]


async def closed(tx: Tx) -> list[Account]:
    """The accounts that are limited or being tried."""
    rows = await tx.all(sa.select(agent_account).where(_CLOSED).order_by(agent_account.c.id))
    return [_account(row) for row in rows]


async def of_agents(tx: Tx, agent_ids: Collection[str]) -> dict[str, str]:
    """The account of each of these agents that there is."""
    rows = await tx.all(sa.select(agent.c.id, agent.c.account).where(agent.c.id.in_(list(agent_ids))))
    return {row["id"]: row["account"] for row in rows}


async def next_reset(tx: Tx) -> float | None:
    """When the next limit is over, or None where none is."""
    due = sa.select(sa.func.min(agent_account.c.resets_at)).where(_CLOSED, agent_account.c.state == "limited")
    found: float | None = await tx.scalar(due)
    return found


async def begin_trying(tx: Tx, account_id: str, task_id: str, run_id: str) -> None:
    """A run begins on the account: if it is to be tried, this one tries it."""
    await tx.execute(
        agent_account.update()
        .where(agent_account.c.id == account_id, agent_account.c.state == AccountState.TRYING)
        .values(canary=task_id, canary_run=run_id)
    )


async def went_through(tx: Tx, run_id: str, now: float) -> None:
    """A request of the run went through: if it tried an account, that one is ok."""
    opened = await tx.execute(
        agent_account.update()
        .where(agent_account.c.canary_run == run_id, agent_account.c.state == AccountState.TRYING)
        .values(
            state=AccountState.OK,
            reason="",
            resets_at=None,
            strikes=0,
            used=None,
            window_words="",
            updated_at=now,
            canary="",
            canary_run="",
        )
    )
    if opened:
        tx.signals.add(Signal.WORK)


async def tried(tx: Tx, since: float) -> set[str]:
    """The accounts that a live run tries, which has begun after *since*."""
    return set(
        await tx.column(
            sa.select(agent_account.c.id)
            .join(run, run.c.id == agent_account.c.canary_run)
            .where(
                agent_account.c.state == AccountState.TRYING,
                run.c.ended_at.is_(None),
                run.c.created_at > since,
            )
        )
    )
