"""The outbox in the store: what is to be said, how it was cut into messages, and what became of each."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from orchestrator.store.database import Row, Signal, Tx, insert_new
from orchestrator.store.schema import action, outbox, thread, wire
from orchestrator.transport import Action, Lane


class Op(StrEnum):
    """What is done on the platform."""

    POST = "post"
    OPEN = "open"
    EDIT = "edit"
    DELETE = "delete"
    REACT = "react"


class Sending(StrEnum):
    """Where one message stands."""

    READY = "ready"
    SENDING = "sending"
    """Claimed, perhaps sent: found so at a start, its outcome is unknown."""
    SENT = "sent"
    REFUSED = "refused"
    HELD = "held"
    """Unknown, and the platform cannot be read back yet."""


QUEUED, CUT = "ready", "cut"


def key_of(*parts: object) -> str:
    """An idempotency key of 22 characters that follows from the logical event."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return urlsafe_b64encode(digest)[:22].decode()


def root_key(thread_id: int) -> str:
    """The key of the message that a thread hangs on."""
    return key_of("thread", thread_id)


def part_key(key: str, part: int, *, attachment: bool = False) -> str:
    """The key of one of the messages, or of the attachments, that the post under *key* becomes."""
    if attachment:
        return key_of(key, "attachment", part)
    return key_of(key, part) if part else key


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to be said or done in one lane."""

    id: int = 0
    transport: str
    lane: str
    key: str
    op: Op = Op.POST
    channel: str
    thread_id: int | None = None
    root: str | None = None
    """The platform's id of the message that a thread hangs on which is no task's."""
    subject: str = ""
    """OPEN: the thread's title. EDIT and DELETE: the key of the message meant. REACT: a person's message."""
    urgency: int
    post: dict[str, Any]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as the platform gets it."""

    id: int
    outbox_id: int
    transport: str
    lane: str
    key: str
    op: Op
    channel: str
    thread_id: int | None
    root: str | None
    subject: str
    urgency: int
    payload: dict[str, Any]
    state: Sending
    attempts: int
    not_before: float | None
    sent_at: float | None
    unsure_since: float | None
    """When it was first sent with an outcome that is still unknown."""
    remote_id: str | None
    error: str


def _entry(row: Row) -> Entry:
    return Entry(**{k: v for k, v in row.items() if k != "state"} | {"op": Op(row["op"])})


def _message(row: Row) -> Message:
    return Message(**{**row, "op": Op(row["op"]), "state": Sending(row["state"])})


async def enqueue(tx: Tx, new: Entry) -> bool:
    """Store something to be said; False where its key is known, so that a repeat says nothing twice."""
    values = {k: getattr(new, k) for k in new.__slots__ if k != "id"}
    stored = await tx.execute(insert_new(outbox).values(**values, state=QUEUED)) > 0
    if stored:
        tx.signals.add(Signal.OUTBOX)
    return stored


def _unsent(transport: str, *lane: str) -> sa.Subquery:
    """What is not sent on a platform, or in a lane of it: lane, channel, urgency, id."""
    queued = sa.select(outbox.c.lane, outbox.c.channel, outbox.c.urgency, outbox.c.id).where(
        sa.text("state = 'ready'"),
        outbox.c.transport == transport,
        *(outbox.c.lane == one for one in lane),
    )
    cut = sa.select(wire.c.lane, wire.c.channel, wire.c.urgency, wire.c.outbox_id).where(
        sa.text("state IN ('ready', 'sending', 'held')"),
        wire.c.transport == transport,
        *(wire.c.lane == one for one in lane),
    )
    return sa.union_all(queued, cut).subquery()


async def urgency(tx: Tx, transport: str, lane: str) -> int | None:
    """The most urgent of what a lane has to send, or None where it has nothing."""
    found: int | None = await tx.scalar(sa.select(sa.func.min(_unsent(transport, lane).c.urgency)))
    return found


async def lanes(tx: Tx, transport: str) -> list[Row]:
    """Lanes with something to send: lane, channel, urgency, since (lowest id), most urgent and oldest first."""
    both = _unsent(transport)
    urgency, since = sa.func.min(both.c.urgency).label("urgency"), sa.func.min(both.c.id).label("since")
    channel = sa.func.min(both.c.channel).label("channel")  # a lane has one
    query = sa.select(both.c.lane, channel, urgency, since).group_by(both.c.lane).order_by(urgency, since)
    return list(await tx.all(query))


async def open_message(tx: Tx, transport: str, lane: str) -> Message | None:
    """The oldest message of a lane that is cut and not yet settled, or None."""
    row = await tx.first(
        sa.select(wire)
        .where(
            sa.text("state IN ('ready', 'sending', 'held')"),
            wire.c.transport == transport,
            wire.c.lane == lane,
        )
        .order_by(wire.c.id)
        .limit(1)
    )
    return _message(row) if row else None


async def head(tx: Tx, transport: str, lane: str, limit: int = 500) -> list[Entry]:
    """The first entries of a lane, in order."""
    rows = await tx.all(
        sa.select(outbox)
        .where(sa.text("state = 'ready'"), outbox.c.transport == transport, outbox.c.lane == lane)
        .order_by(outbox.c.id)
        .limit(limit)
    )
    return [_entry(row) for row in rows]


async def said(tx: Tx, keys: Sequence[str]) -> list[Entry]:
    """What was put into the outbox under *keys*, on every frontend."""
    rows = await tx.all(sa.select(outbox).where(outbox.c.key.in_(list(keys))).order_by(outbox.c.id))
    return [_entry(row) for row in rows]


async def cut(tx: Tx, entries: Sequence[Entry], payloads: Sequence[dict[str, Any]]) -> None:
    """Replace *entries* (merged into one) by the messages *payloads*; keys follow from the first entry's."""
    first = entries[0]
    ids = [entry.id for entry in entries]
    await tx.execute(outbox.update().where(outbox.c.id.in_(ids)).values(state=CUT))
    common = {
        "outbox_id": first.id,
        "transport": first.transport,
        "lane": first.lane,
        "channel": first.channel,
        "thread_id": first.thread_id,
        "root": first.root,
        "urgency": first.urgency,
        "state": Sending.READY,
        "attempts": 0,
    }
    if first.op is Op.EDIT and payloads:
        messages = await _edits(tx, first, [one for one in payloads if not one.get("attachment")])
    else:
        messages = _parts(first, payloads)
    for message in messages:
        await tx.execute(wire.insert().values(**common | message))


def _parts(entry: Entry, payloads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages and then the attachments that a post becomes; the latter are in no hurry."""
    later = Op.POST if entry.op is Op.OPEN else entry.op
    messages: list[dict[str, Any]] = []
    for part, payload in enumerate(payloads):
        attachment = bool(payload.get("attachment"))
        message: dict[str, Any] = {
            "op": later if part else entry.op,
            "key": part_key(entry.key, part, attachment=attachment),
            "subject": entry.subject,
            "payload": payload,
        }
        if attachment:
            message["urgency"] = max(entry.urgency, int(Lane.NOTICE))
        messages.append(message)
    return messages


async def _edits(tx: Tx, edit: Entry, payloads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An edit as changes of its subject's messages: what is too much is deleted, what is more is sent anew."""
    same = (wire.c.transport == edit.transport, wire.c.key == edit.subject)
    owner = await tx.scalar(sa.select(wire.c.outbox_id).where(*same))
    sent = await tx.all(sa.select(wire.c.payload).where(wire.c.outbox_id == owner))
    there = sum(not row["payload"].get("attachment") for row in sent)
    if owner is None:  # forgotten since: only a thread's root can still be changed
        payloads, there = payloads[:1], 1
    messages = []
    for part in range(max(len(payloads), there)):
        subject = part_key(edit.subject, part)
        message: dict[str, Any] = {"op": Op.EDIT, "key": part_key(edit.key, part), "subject": subject}
        message["payload"] = payloads[part] if part < len(payloads) else {}
        if part >= len(payloads):
            message["op"] = Op.DELETE
        elif part >= there:
            message |= {"op": Op.POST, "key": subject, "subject": "", "outbox_id": owner}
        messages.append(message)
    return messages


async def claim(tx: Tx, message_id: int, now: float) -> bool:
    """Mark a message as being sent; committed before the send. False where it was given up meanwhile."""
    changed = await tx.execute(
        wire.update()
        .where(wire.c.id == message_id, sa.text("state IN ('ready', 'sending', 'held')"))
        .values(state=Sending.SENDING, sent_at=now, attempts=wire.c.attempts + 1)
    )
    return changed > 0


async def give_up(tx: Tx, transport: str, channel: str, why: str) -> int:
    """Send nothing any more of what waits for a channel, and forget its threads; returns how much that was."""
    here = (outbox.c.transport == transport, outbox.c.channel == channel)
    queued = await tx.execute(outbox.update().where(sa.text("state = 'ready'"), *here).values(state=CUT))
    cut_ = await tx.execute(
        wire.update()
        .where(
            sa.text("state IN ('ready', 'sending', 'held')"),
            wire.c.transport == transport,
            wire.c.channel == channel,
        )
        .values(state=Sending.REFUSED, error=why)
    )
    await tx.execute(thread.delete().where(thread.c.transport == transport, thread.c.channel == channel))
    return queued + cut_


async def settle(tx: Tx, message_id: int, state: Sending, **fields: Any) -> None:
    """Store what became of a message."""
    await tx.execute(wire.update().where(wire.c.id == message_id).values(state=state, **fields))


async def remote_id(tx: Tx, transport: str, key: str) -> str | None:
    """The platform's id of the message sent under *key*, or None."""
    found: str | None = await tx.scalar(
        sa.select(wire.c.remote_id).where(wire.c.transport == transport, wire.c.key == key)
    )
    return found


async def others(tx: Tx, message: Message, remotes: Sequence[str]) -> set[str]:
    """Which of the platform's ids are known to be those of other messages than *message*."""
    rows = await tx.all(
        sa.select(wire.c.remote_id).where(
            wire.c.transport == message.transport,
            wire.c.remote_id.in_(list(remotes)),
            wire.c.id != message.id,
        )
    )
    return {str(row["remote_id"]) for row in rows}


async def task_of_message(tx: Tx, transport: str, remote: str) -> str | None:
    """The task that a message of ours with buttons is about, wherever it stands, or None."""
    found: str | None = await tx.scalar(
        sa.select(action.c.task_id)
        .join(outbox, outbox.c.key == action.c.card)
        .join(wire, wire.c.outbox_id == outbox.c.id)
        .where(wire.c.transport == transport, wire.c.remote_id == remote)
        .limit(1)
    )
    return found


async def shown(tx: Tx, transport: str, remote: str) -> tuple[dict[str, Any], str | None] | None:
    """What our message with the platform's id *remote* shows now, and its thread's root; None if it is unknown."""
    row = await tx.first(
        sa.select(wire.c.key, wire.c.payload, thread.c.root)
        .outerjoin(thread, thread.c.id == wire.c.thread_id)
        .where(wire.c.transport == transport, wire.c.remote_id == remote)
    )
    if row is None:
        return None
    edited = await tx.scalar(
        sa.select(wire.c.payload)
        .where(sa.text("op = 'edit'"), wire.c.transport == transport, wire.c.subject == row["key"])
        .where(wire.c.state == Sending.SENT)
        .order_by(wire.c.id.desc())
        .limit(1)
    )
    return (edited if edited is not None else row["payload"]), row["root"]


async def waiting(tx: Tx) -> list[Row]:
    """Per transport, how much is unsent and how much is held: transport, unsent, held."""
    queued = sa.select(outbox.c.transport, sa.literal(0).label("held")).where(sa.text("state = 'ready'"))
    cut_ = sa.select(
        wire.c.transport, sa.case((wire.c.state == Sending.HELD, 1), else_=0).label("held")
    ).where(sa.text("state IN ('ready', 'sending', 'held')"))
    both = sa.union_all(queued, cut_).subquery()
    query = sa.select(
        both.c.transport, sa.func.count().label("unsent"), sa.func.sum(both.c.held).label("held")
    ).group_by(both.c.transport)
    return list(await tx.all(query))


async def prune(tx: Tx, before: float, limit: int = 1000) -> int:
    """Forget what was said before *before*; threads keep their own roots."""
    unsettled = sa.select(wire.c.outbox_id).where(sa.text("state IN ('ready', 'sending', 'held')"))
    old = (
        sa.select(outbox.c.id)
        .where(sa.text("state = 'cut'"), outbox.c.at < before, outbox.c.id.not_in(unsettled))
        .limit(limit)
    )
    return await tx.execute(outbox.delete().where(outbox.c.id.in_(old)))


async def open_thread(tx: Tx, task_id: str, transport: str, channel: str) -> tuple[int, bool]:
    """The thread of a task in a channel and whether it is new."""
    where = (thread.c.task_id == task_id, thread.c.transport == transport, thread.c.channel == channel)
    found = await tx.scalar(sa.select(thread.c.id).where(*where))
    if found is not None:
        return int(found), False
    made = await tx.insert_id(thread.insert().values(task_id=task_id, transport=transport, channel=channel))
    if made is None:
        raise RuntimeError("a thread row was not stored")
    return made, True


async def threads(tx: Tx, task_id: str) -> list[Row]:
    """The threads of a task: id, transport, channel, root."""
    return list(await tx.all(sa.select(thread).where(thread.c.task_id == task_id).order_by(thread.c.id)))


async def thread_root(tx: Tx, thread_id: int) -> str | None:
    """The platform's id of a thread's root message, or None while it is not open."""
    found: str | None = await tx.scalar(sa.select(thread.c.root).where(thread.c.id == thread_id))
    return found


async def set_root(tx: Tx, thread_id: int, root: str) -> None:
    """Store the root message of a thread that is now open."""
    await tx.execute(thread.update().where(thread.c.id == thread_id).values(root=root))


async def task_of(tx: Tx, transport: str, channel: str, root: str) -> str | None:
    """The task whose thread has this root message, or None."""
    found: str | None = await tx.scalar(
        sa.select(thread.c.task_id).where(
            thread.c.transport == transport, thread.c.channel == channel, thread.c.root == root
        )
    )
    return found


async def add_action(tx: Tx, stored: Action, card: str, task_id: str | None, now: float) -> None:
    """Store a button's command line."""
    row = {
        "id": stored.id,
        "card": card,
        "label": stored.label,
        "line": stored.line,
        "role": int(stored.role),
        "form": list(stored.form),
        "task_id": task_id,
        "at": now,
    }
    await tx.execute(insert_new(action).values(**row))


async def find_action(tx: Tx, action_id: str) -> Row | None:
    """The stored button, or None."""
    return await tx.first(sa.select(action).where(action.c.id == action_id))


async def settle_card(tx: Tx, card: str, by: str) -> None:
    """Close all buttons of a card: the first valid press settles it."""
    await tx.execute(
        action.update().where(action.c.card == card, action.c.settled_by.is_(None)).values(settled_by=by)
    )
