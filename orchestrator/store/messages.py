"""Words and answers of people for agents, in the store, and what becomes of them when a run ends."""

from dataclasses import asdict, dataclass
from enum import StrEnum

import sqlalchemy as sa

from orchestrator.store.database import Row, Signal, Tx, insert_new
from orchestrator.store.schema import message, question, task


class MessageState(StrEnum):
    """What has become of somebody's words."""

    QUEUED = "queued"
    """To be given to the working agent."""
    SENT = "sent"
    """Given to it; it has not said yet what it does with it."""
    DELIVERED = "delivered"
    KEPT = "kept"
    """The agent could not take it; the next run is told."""
    WITHDRAWN = "withdrawn"


class QuestionState(StrEnum):
    """What has become of an agent's question."""

    OPEN = "open"
    """An agent waits for the answer."""
    KEPT = "kept"
    """Its run has ended; an answer is for the next one."""
    ANSWERED = "answered"
    VOID = "void"
    """Nobody wants to know any more."""


_OPEN = sa.text("state IN ('queued', 'sent', 'kept')")
_WITH_AGENT = (MessageState.QUEUED, MessageState.SENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a person said to a task's agent; an answer where `request_id` is set."""

    id: str
    task_id: str
    run_id: str = ""
    at: float
    author: str
    text: str
    mode: str
    request_id: str = ""
    state: MessageState
    files: tuple[str, ...] = ()
    """What was sent with it, by the names under which it is kept."""
    transport: str = ""
    channel: str = ""
    root: str | None = None
    remote: str = ""
    """Where it was said and what it is known by there, where it can be reacted to."""


def _words(row: Row) -> Words:
    return Words(**{**row, "state": MessageState(row["state"]), "files": tuple(row["files"])})


async def add(tx: Tx, words: Words) -> None:
    """Store somebody's words, once by their id."""
    await tx.execute(insert_new(message).values(**asdict(words)))
    tx.signals.add(Signal.MESSAGES)


async def queued(tx: Tx, task_id: str, run_id: str) -> list[Words]:
    """What the run's agent has not answered for yet, oldest first: to be told, and again after a restart."""
    rows = await tx.all(
        sa.select(message)
        .where(
            _OPEN,
            message.c.task_id == task_id,
            message.c.state.in_(_WITH_AGENT),
            message.c.run_id == run_id,
        )
        .order_by(message.c.at, message.c.id)
    )
    return [_words(row) for row in rows]


async def find(tx: Tx, message_id: str) -> Words | None:
    """Return the words, or None."""
    row = await tx.first(sa.select(message).where(message.c.id == message_id))
    return _words(row) if row else None


async def hand_over(tx: Tx, message_id: str) -> Words | None:
    """Mark words as given to the agent and return them as they read now; None where they were taken back."""
    await tx.execute(
        message.update()
        .where(message.c.id == message_id, message.c.state == MessageState.QUEUED)
        .values(state=MessageState.SENT)
    )
    words = await find(tx, message_id)
    return words if words and words.state is MessageState.SENT else None


async def change(tx: Tx, message_id: str, text: str | None) -> bool:
    """Give words that no agent has been told yet another text, or take them back; False where it has."""
    values = {"text": text} if text is not None else {"state": MessageState.WITHDRAWN}
    kept = sa.and_(
        message.c.state == MessageState.KEPT, message.c.run_id == ""
    )  # else it is in a prompt already
    where = (message.c.id == message_id, sa.or_(message.c.state == MessageState.QUEUED, kept))
    return bool(await tx.execute(message.update().where(*where).values(**values)))


async def settle(tx: Tx, message_id: str, state: MessageState) -> Words | None:
    """Store what became of queued words; returns them, or None where they were settled."""
    changed = await tx.execute(
        message.update()
        .where(message.c.id == message_id, message.c.state.in_(_WITH_AGENT))
        .values(state=state)
    )
    words = await find(tx, message_id) if changed else None
    if words and words.request_id and state is MessageState.KEPT:
        await _keep_answer(tx, words)
    return words


async def claim_kept(tx: Tx, task_id: str, run_id: str) -> list[Words]:
    """Everything that no run was told, claimed for the prompt of *run_id*."""
    where = (
        _OPEN,
        message.c.task_id == task_id,
        message.c.state == MessageState.KEPT,
    )
    await tx.execute(message.update().where(*where).values(run_id=run_id))
    rows = await tx.all(sa.select(message).where(*where).order_by(message.c.at, message.c.id))
    return [_words(row) for row in rows]


async def files(tx: Tx, task_id: str) -> list[str]:
    """All that people have sent to a task's agents, oldest first."""
    where = (message.c.task_id == task_id, message.c.state != MessageState.WITHDRAWN)
    lists = await tx.column(sa.select(message.c.files).where(*where).order_by(message.c.at, message.c.id))
    return [name for names in lists for name in names]


async def files_held(tx: Tx) -> set[str]:
    """All that has been sent to tasks that are not finished."""
    open_ = sa.text("task.status <> 'COMPLETED'")
    lists = await tx.column(
        sa.select(message.c.files).join(task, task.c.id == message.c.task_id).where(open_)
    )
    return {name for names in lists for name in names}


async def told(tx: Tx, run_id: str) -> list[Words]:
    """The run has begun, and so was told what was claimed for its prompt: that is returned."""
    where = (message.c.run_id == run_id, message.c.state == MessageState.KEPT)
    rows = await tx.all(sa.select(message).where(*where).order_by(message.c.at, message.c.id))
    await tx.execute(message.update().where(*where).values(state=MessageState.DELIVERED))
    return [_words(row) for row in rows]


async def close(tx: Tx, run_id: str) -> bool:
    """The run has ended: what it was not told is kept for the next one, what it asked stays open for it.

    True where an answer was on its way to it.
    """
    mine = message.c.run_id == run_id
    answers = await tx.all(
        sa.select(message).where(_OPEN, mine, message.c.state.in_(_WITH_AGENT), message.c.request_id != "")
    )
    kept = [await _keep_answer(tx, _words(row)) for row in answers]
    await tx.execute(
        message.update()
        .where(mine, message.c.state.in_((*_WITH_AGENT, MessageState.KEPT)))
        .values(state=MessageState.KEPT, run_id="")
    )
    await tx.execute(
        question.update()
        .where(question.c.run_id == run_id, question.c.state == QuestionState.OPEN)
        .values(state=QuestionState.KEPT)
    )
    return any(kept)


async def _keep_answer(tx: Tx, words: Words) -> bool:
    """Keep an answer that its agent was not told: for the next run's prompt, and for when that asks again.

    False where no person gave it: it is decided anew.
    """
    where = (
        question.c.task_id == words.task_id,
        question.c.run_id == words.run_id,
        question.c.request_id == words.request_id,
        question.c.state != QuestionState.VOID,
    )
    asked = await tx.first(sa.select(question).where(*where))
    fields: dict[str, str] = {"state": MessageState.WITHDRAWN}
    if asked is not None:
        told = in_answer_to(words.text, asked["text"])
        fields = {"state": MessageState.KEPT, "run_id": "", "request_id": "", "text": told}
        await tx.execute(question.update().where(*where).values(granted=asked["wish"] is not None))
    await tx.execute(message.update().where(message.c.id == words.id).values(**fields))
    return asked is not None


def in_answer_to(answer: str, text: str) -> str:
    """An answer as it reads where its question is not at hand."""
    return f"{answer} (in answer to: {text})"
