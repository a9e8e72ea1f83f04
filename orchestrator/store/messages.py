"""Words and answers of people for agents, and the agents' open questions, in the store."""

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
    row = await tx.first(sa.select(message).where(message.c.id == message_id)) if changed else None
    return _words(row) if row else None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuestion:
    """What an agent has asked and how it was answered."""

    id: str
    task_id: str
    run_id: str
    request_id: str
    text: str
    choices: tuple[str, ...]
    asked_at: float
    answer: str | None = None
    answered_by: str = ""


def _question(row: Row) -> OpenQuestion:
    return OpenQuestion(**{**row, "choices": tuple(row["choices"])})


async def ask(tx: Tx, new: OpenQuestion) -> bool:
    """Store a question; False where it is known."""
    return await tx.execute(insert_new(question).values(**asdict(new))) > 0


async def find_question(tx: Tx, question_id: str) -> OpenQuestion | None:
    """Return the question, or None."""
    row = await tx.first(sa.select(question).where(question.c.id == question_id))
    return _question(row) if row else None


async def open_questions(tx: Tx, task_id: str) -> list[OpenQuestion]:
    """The unanswered questions of a task, oldest first."""
    rows = await tx.all(
        sa.select(question)
        .where(question.c.task_id == task_id, question.c.answer.is_(None))
        .order_by(question.c.asked_at)
    )
    return [_question(row) for row in rows]


async def old_questions(tx: Tx, before: float) -> list[OpenQuestion]:
    """Questions that nobody has answered since *before*."""
    rows = await tx.all(sa.select(question).where(sa.text("answer IS NULL"), question.c.asked_at <= before))
    return [_question(row) for row in rows]


async def answer(tx: Tx, question_id: str, text: str, by: str) -> bool:
    """Answer a question; False where another was faster."""
    return bool(
        await tx.execute(
            question.update()
            .where(question.c.id == question_id, question.c.answer.is_(None))
            .values(answer=text, answered_by=by)
        )
    )


async def close(tx: Tx, run_id: str) -> None:
    """Close what a run has asked: it has ended and can no longer be told."""
    where = (question.c.run_id == run_id, sa.text("answer IS NULL"))
    await tx.execute(question.update().where(*where).values(answer="", answered_by=""))
    await tx.execute(
        message.update()
        .where(message.c.run_id == run_id, message.c.state.in_((*_WITH_AGENT, MessageState.KEPT)))
        .values(state=MessageState.KEPT, run_id="")
    )
