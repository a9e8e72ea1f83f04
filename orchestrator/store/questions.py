"""What agents have asked, in the store: open until it is answered, through the ends of runs and of the daemon."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from orchestrator.agent import ToolKind
from orchestrator.policy import Answerer, Wish
from orchestrator.store.database import Row, Tx, insert_new
from orchestrator.store.messages import QuestionState
from orchestrator.store.schema import question

_UNANSWERED = sa.text("state IN ('open', 'kept')")


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
    state: QuestionState = QuestionState.OPEN
    wish: Wish | None = None
    """What it asks to be allowed; None where it is a question in words."""
    fingerprint: str = ""
    """Equal where the same thing is asked again."""
    by: Answerer = Answerer.ANYONE
    allowed_by: str = ""
    """The first of two people who must allow it."""
    granted: bool = False
    """Answered, but no agent has been told: it holds for the next time that the task's agent asks the same."""
    reminded: int = 0
    """How often people were reminded of it."""


def _question(row: Row) -> OpenQuestion:
    wish = row["wish"]
    if wish is not None:
        wish = Wish(**{**wish, "kind": ToolKind(wish["kind"]), "paths": tuple(wish["paths"])})
    fields = {"choices": tuple(row["choices"]), "wish": wish}
    fields |= {"state": QuestionState(row["state"]), "by": Answerer(row["by"])}
    return OpenQuestion(**{**row, **fields})


async def ask(tx: Tx, new: OpenQuestion) -> OpenQuestion | None:
    """Store a question; None where it is known.

    What an earlier run has asked and nobody has answered is the same question, and is returned as it is now.
    """
    kept = await tx.first(
        sa.select(question).where(
            question.c.task_id == new.task_id,
            question.c.fingerprint == new.fingerprint,
            question.c.state == QuestionState.KEPT,
        )
    )
    if kept is None:
        return new if await tx.execute(insert_new(question).values(**asdict(new))) > 0 else None
    fields = {"run_id": new.run_id, "request_id": new.request_id, "asked_at": new.asked_at, "reminded": 0}
    fields |= {"state": QuestionState.OPEN, "by": new.by}
    await tx.execute(question.update().where(question.c.id == kept["id"]).values(**fields))
    return await find(tx, kept["id"])


async def take_grant(tx: Tx, new: OpenQuestion) -> OpenQuestion | None:
    """The same question where people have answered it when no agent could be told; used up by being returned."""
    row = await tx.first(
        sa.select(question).where(
            question.c.task_id == new.task_id,
            question.c.fingerprint == new.fingerprint,
            question.c.granted.is_(True),
        )
    )
    if row is None:
        return None
    used = {"granted": False, "run_id": new.run_id, "request_id": new.request_id}
    await tx.execute(question.update().where(question.c.id == row["id"]).values(**used))
    return _question(row)


async def find(tx: Tx, question_id: str) -> OpenQuestion | None:
    """Return the question, or None."""
    row = await tx.first(sa.select(question).where(question.c.id == question_id))
    return _question(row) if row else None


async def unanswered(tx: Tx, task_id: str | None = None) -> list[OpenQuestion]:
    """What nobody has answered, of one task or of all: first what an agent waits for, oldest first."""
    query = sa.select(question).where(_UNANSWERED)
    if task_id is not None:
        query = query.where(question.c.task_id == task_id)
    rows = await tx.all(query.order_by(question.c.state.desc(), question.c.asked_at, question.c.id))
    return [_question(row) for row in rows]


async def waiting(tx: Tx, task_id: str | None = None) -> list[OpenQuestion]:
    """What agents wait for just now, oldest first."""
    return [one for one in await unanswered(tx, task_id) if one.state is QuestionState.OPEN]


async def reminded(tx: Tx, question_id: str, times: int) -> None:
    """People were reminded so many times."""
    await tx.execute(question.update().where(question.c.id == question_id).values(reminded=times))


async def allow_first(tx: Tx, question_id: str, by: str) -> None:
    """The first of two people has allowed it."""
    await tx.execute(question.update().where(_UNANSWERED, question.c.id == question_id).values(allowed_by=by))


async def answer(tx: Tx, question_id: str, text: str, by: str, *, granted: bool) -> bool:
    """Answer a question; False where another was faster, or nobody wants to know any more."""
    fields = {"answer": text, "answered_by": by, "state": QuestionState.ANSWERED, "granted": granted}
    return bool(
        await tx.execute(question.update().where(_UNANSWERED, question.c.id == question_id).values(**fields))
    )


async def take_back(tx: Tx, run_id: str, request_id: str) -> OpenQuestion | None:
    """The agent that has asked wants no answer any more; returns what was open."""
    where = (question.c.run_id == run_id, question.c.request_id == request_id)
    row = await tx.first(sa.select(question).where(_UNANSWERED, *where))
    await tx.execute(question.update().where(_UNANSWERED, *where).values(state=QuestionState.VOID))
    return _question(row) if row else None


async def void(tx: Tx, task_id: str) -> list[str]:
    """Nobody wants to know any more what the task's agents have asked; returns what was open.

    What was answered and not told holds no longer either.
    """
    ids = [one.id for one in await unanswered(tx, task_id)]
    await tx.execute(
        question.update().where(_UNANSWERED, question.c.id.in_(ids)).values(state=QuestionState.VOID)
    )
    await tx.execute(question.update().where(question.c.task_id == task_id).values(granted=False))
    return ids
