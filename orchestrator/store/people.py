"""People, their accounts on platforms, pairing codes and the audit trail in the store."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from orchestrator.errors import Conflict, NotFound
from orchestrator.projects import Person, Role
from orchestrator.store.database import Row, Tx, upsert
from orchestrator.store.schema import account, audit, pairing, person

CONFIGURED, PAIRED = "config", "pairing"
_TOLD_EVERY = 60.0


async def sync(tx: Tx, people: Mapping[str, tuple[Role, Collection[tuple[str, str]]]]) -> None:
    """Make the people of the configuration exactly those given: person -> (role, (transport, account)…)."""
    await tx.execute(person.delete().where(person.c.source == CONFIGURED, person.c.id.not_in(list(people))))
    for name, (role, accounts) in people.items():
        row = {"id": name, "role": int(role), "source": CONFIGURED}
        await tx.execute(upsert(person, row, {"role": int(role), "source": CONFIGURED}))
        configured = (account.c.person_id == name, account.c.source == CONFIGURED)
        await tx.execute(account.delete().where(*configured))  # those that were paired stay
        for transport, name_there in accounts:
            await _link(tx, transport, name_there, name, CONFIGURED)


async def _link(tx: Tx, transport: str, name_there: str, person_id: str, source: str) -> None:
    row = {"transport": transport, "account": name_there, "person_id": person_id, "source": source}
    await tx.execute(upsert(account, row, {"person_id": person_id, "source": source}))


async def everybody(tx: Tx) -> list[Row]:
    """All people, each with its accounts as `transport:account`, by name."""
    accounts = sa.func.group_concat(account.c.transport + ":" + account.c.account, ", ").label("accounts")
    return list(
        await tx.all(
            sa.select(person, accounts)
            .join(account, account.c.person_id == person.c.id, isouter=True)
            .group_by(person.c.id)
            .order_by(person.c.id)
        )
    )


async def set_role(tx: Tx, person_id: str, role: Role) -> None:
    """Give a paired person another role; refused for one of the configuration."""
    await _paired(tx, person_id)
    await tx.execute(person.update().where(person.c.id == person_id).values(role=int(role)))


async def remove(tx: Tx, person_id: str) -> None:
    """Take every right from a paired person; refused for one of the configuration."""
    await _paired(tx, person_id)
    await tx.execute(account.delete().where(account.c.person_id == person_id))
    await tx.execute(person.delete().where(person.c.id == person_id))


async def _known(tx: Tx, person_id: str) -> Row:
    row = await tx.first(sa.select(person.c.source).where(person.c.id == person_id))
    if row is None:
        raise NotFound(f"there is no person {person_id!r}; `person list` shows them")
    return row


async def _paired(tx: Tx, person_id: str) -> None:
    row = await _known(tx, person_id)
    if row["source"] == CONFIGURED:
        raise Conflict(f"{person_id} stands in the configuration; change that, and `restart`")


async def of_account(tx: Tx, transport: str, name_there: str) -> Person | None:
    """The person behind an account, or None."""
    row = await tx.first(
        sa.select(person.c.id, person.c.role)
        .join(account, account.c.person_id == person.c.id)
        .where(account.c.transport == transport, account.c.account == name_there)
    )
    return Person(id=row["id"], role=Role(row["role"])) if row else None


async def pairing_code(
    tx: Tx, transport: str, name_there: str, name: str, code: str, now: float, valid: float
) -> tuple[str, bool, bool]:
    """The account's one-time code, whether it is new, and whether it is to be told: that is once a minute."""
    row = await tx.first(
        sa.select(pairing).where(pairing.c.transport == transport, pairing.c.account == name_there)
    )
    if row is not None and row["expires_at"] > now:
        due = now - row["told_at"] >= _TOLD_EVERY
        if due:
            await tx.execute(pairing.update().where(pairing.c.code == row["code"]).values(told_at=now))
        return str(row["code"]), False, due
    fresh = {"name": name, "code": code, "expires_at": now + valid, "told_at": now}
    await tx.execute(upsert(pairing, {"transport": transport, "account": name_there, **fresh}, fresh))
    return code, True, True


async def pair(tx: Tx, code: str, person_id: str, role: Role, now: float) -> Row:
    """Confirm a pairing code: its account becomes *person_id*, with *role* where the person is new."""
    row = await tx.first(sa.select(pairing).where(pairing.c.code == code.upper(), pairing.c.expires_at > now))
    if row is None:
        raise NotFound(f"there is no valid pairing code {code!r}; codes expire, and each works once")
    await tx.execute(pairing.delete().where(pairing.c.code == row["code"]))
    if await tx.first(sa.select(person.c.id).where(person.c.id == person_id)) is None:
        await tx.execute(person.insert().values(id=person_id, role=int(role), source=PAIRED))
    await _link(tx, row["transport"], row["account"], person_id, PAIRED)
    return row


async def link_by_code(tx: Tx, code: str, person_id: str, now: float) -> Row:
    """Confirm a pairing code for somebody who is known."""
    await _known(tx, person_id)
    return await pair(tx, code, person_id, Role.NONE, now)


async def link(tx: Tx, transport: str, name_there: str, person_id: str) -> None:
    """Give somebody who is known one more account; Conflict where it is another's."""
    await _known(tx, person_id)
    owner = await of_account(tx, transport, name_there)
    if owner is not None and owner.id != person_id:
        raise Conflict(f"{transport}:{name_there} is {owner.id}'s; `person remove {owner.id}` takes it away")
    if owner is None:
        await _link(tx, transport, name_there, person_id, PAIRED)


async def unlink(tx: Tx, transport: str, name_there: str) -> str:
    """Take an account from whoever has it, whose id is returned; refused for one of the configuration."""
    row = await tx.first(
        sa.select(account.c.person_id, account.c.source).where(
            account.c.transport == transport, account.c.account == name_there
        )
    )
    if row is None:
        raise NotFound(f"nobody has the account {transport}:{name_there}; `person list` shows them")
    if row["source"] == CONFIGURED:
        raise Conflict(f"{transport}:{name_there} stands in the configuration; change that, and `restart`")
    await tx.execute(
        account.delete().where(account.c.transport == transport, account.c.account == name_there)
    )
    return str(row["person_id"])


async def record(
    tx: Tx,
    now: float,
    who: str,
    what: str,
    verdict: str,
    detail: str = "",
    *,
    project_id: str = "",
    task_id: str = "",
) -> None:
    """Add a line to the audit trail."""
    row = {"at": now, "who": who, "what": what[:500], "verdict": verdict, "detail": detail[:500]}
    await tx.execute(audit.insert().values(**row, project_id=project_id, task_id=task_id))


def _about(who: str | None, task_id: str | None) -> list[sa.ColumnElement[bool]]:
    where = [] if who is None else [audit.c.who == who]
    if task_id is not None:
        where.append(sa.or_(audit.c.task_id == task_id, audit.c.what.contains(task_id, autoescape=True)))
    return where


async def trail(
    tx: Tx, limit: int = 50, offset: int = 0, *, who: str | None = None, task_id: str | None = None
) -> list[Row]:
    """Lines of the audit trail, latest first; all, or one person's, or those about a task."""
    query = sa.select(audit).where(*_about(who, task_id)).order_by(audit.c.id.desc())
    return list(await tx.all(query.limit(limit).offset(offset)))


async def trail_length(tx: Tx, *, who: str | None = None, task_id: str | None = None) -> int:
    """How many lines the audit trail has."""
    query = sa.select(sa.func.count()).select_from(audit).where(*_about(who, task_id))
    return int(await tx.scalar(query) or 0)
