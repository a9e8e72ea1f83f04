"""What people say to agents: answers to what they ask, and words while they work."""

from dataclasses import replace
from typing import Annotated, Literal

from orchestrator.agent import SendMode
from orchestrator.commands.arguments import FreeText, Option
from orchestrator.commands.context import Answer, Context
from orchestrator.commands.registry import Registry
from orchestrator.commands.tasks import OneTask, keep, note_of
from orchestrator.errors import Conflict, Forbidden, UserError
from orchestrator.policy import Answerer, Effect, answerers, exact_rules
from orchestrator.projects import Role
from orchestrator.runs.asking import can_be_always, one_line
from orchestrator.runs.meter import fits, rests_over_budget
from orchestrator.store import messages, people, policies, questions, runs, tasks
from orchestrator.store.messages import MessageState, QuestionState, Words, in_answer_to
from orchestrator.store.outbox import key_of
from orchestrator.store.questions import OpenQuestion
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Lane, Post, Verdict
from orchestrator.words import code, plain, said

here = Registry()
_ALLOWING = {"allow": Effect.ALLOW, "yes": Effect.ALLOW, "y": Effect.ALLOW}
_DECIDING = {**_ALLOWING, "deny": Effect.DENY, "no": Effect.DENY, "n": Effect.DENY}


class ForAgent(OneTask):
    """Words for an agent."""

    text: Annotated[str, FreeText("the words")]
    mode: Annotated[
        Literal["queue", "steer", "interrupt"], Option("after its turn, within it, or in place of it")
    ] = "queue"


@here.command(
    "task tell",
    role=Role.OPERATOR,
    summary="Say something to a task's agent, now or when it has finished its turn.",
    example="task tell swift-falcon use tabs mode:steer",
)
async def tell(ctx: Context, args: ForAgent) -> Answer:
    """What plain words in the task's thread do, from anywhere and in any mode."""
    task = await tasks.get(ctx.tx, args.task)
    return await say(ctx, task, args.text, SendMode(args.mode))


class Reply(OneTask):
    """An answer to an agent."""

    text: Annotated[
        str, FreeText("the answer; where it asks for permission: allow, deny, or the words it is denied with")
    ]
    question: Annotated[str | None, Option("which question, where several are open")] = None
    always: Annotated[bool, Option("allow exactly this in the project from now on; for admins")] = False


@here.command(
    "task answer",
    role=Role.OPERATOR,
    summary="Answer what an agent asks.",
    example="task answer swift-falcon green",
    aliases=("answer",),
    audits=True,
)
async def answer(ctx: Context, args: Reply) -> Answer:
    """The first answer counts."""
    task = await tasks.get(ctx.tx, args.task)
    if args.question:
        asked = await questions.find(ctx.tx, args.question)
        if asked is None or asked.task_id != task.id:
            raise UserError(f"task {task.id} has no question {args.question!r}")
    else:
        pending = await questions.unanswered(ctx.tx, task.id)
        if not pending and _rests(task):
            about = {"project_id": task.project_id, "task_id": task.id}
            await people.record(ctx.tx, ctx.now, ctx.person.id, ctx.line, Verdict.OK, **about)
            return await go_on(ctx, task, args.text)
        if not pending:
            raise Conflict(f"task {task.id} asks nothing at the moment; it is {task.status}")
        asked = pending[0]
    return await give_answer(ctx, task, asked, args.text, always=args.always)


async def give_answer(
    ctx: Context, task: Task, asked: OpenQuestion, text: str, *, always: bool = False
) -> Post:
    """Store an answer for the agent that waits for it, or for the run that it begins."""
    _check_open(asked)
    choice = _choice(asked, text)
    _check_person(ctx, task, asked, choice)
    if always:
        await _allow_always(ctx, task, asked, choice)
    if asked.by is Answerer.TWO and choice == Effect.ALLOW and not asked.allowed_by:
        return await _first_of_two(ctx, task, asked)
    kept = asked.state is QuestionState.KEPT
    granted = kept and asked.wish is not None
    await questions.answer(ctx.tx, asked.id, choice, ctx.person.id, granted=granted)
    await messages.add(ctx.tx, await _answer_words(ctx, task, asked, choice))
    await _note(ctx, task, asked, choice, "always" if always else "")
    note = f"{ctx.person.id}: {choice}"
    await ctx.lifecycle.settle(ctx.tx, key_of("ask", asked.id), task.id, note, ctx.person.id)
    if not kept:  # a person's time is not the agent's
        await runs.postpone(ctx.tx, asked.run_id, ctx.now - asked.asked_at)
    working = task.status is TaskStatus.WAITING_INPUT  # then what an earlier run asked keeps nobody waiting
    left = await (questions.waiting if working else questions.unanswered)(ctx.tx, task.id)
    if task.status in (TaskStatus.WAITING_INPUT, TaskStatus.PAUSED) and not left:
        reason = f"answered by {ctx.person.id}"
        await ctx.lifecycle.advance(ctx.tx, task, TaskEvent.HUMAN_REPLIED, reason=reason)
    return Post(text=said(choice, f"💬 {plain(ctx.person.id)} answers:") + _left(left))


def _left(left: list[OpenQuestion]) -> str:
    return f"\n\nIt waits for another answer: {plain(one_line(left[0])[:200])}" if left else ""


async def _answer_words(ctx: Context, task: Task, asked: OpenQuestion, choice: str) -> Words:
    """The answer as the agent gets it: it waits for it, or works on something else, or the next run is told."""
    words = replace(note_of(ctx, task, choice), id=key_of(ctx.event.event_id, asked.id), files=())
    if asked.state is QuestionState.OPEN:
        queued = replace(words, run_id=asked.run_id, state=MessageState.QUEUED)
        return replace(queued, request_id=asked.request_id)
    words = replace(words, text=in_answer_to(choice, asked.text))
    live = await runs.live(ctx.tx, task.id)
    if live and task.status in (TaskStatus.IN_PROGRESS, TaskStatus.WAITING_INPUT):
        return replace(words, run_id=live[0].id, state=MessageState.QUEUED)
    return words


async def _first_of_two(ctx: Context, task: Task, asked: OpenQuestion) -> Post:
    """One of two people allows it; the card stays as it is."""
    await questions.allow_first(ctx.tx, asked.id, ctx.person.id)
    await _note(ctx, task, asked, Effect.ALLOW, "the first of two")
    post = Post(text=f"👍 {plain(ctx.person.id)} allows it; somebody else must allow it too.")
    key = key_of("first of two", asked.id)
    await ctx.lifecycle.thread(task).say(ctx.tx, post, key=key, urgency=Lane.URGENT)
    return Post(text="👍 Noted.", verdict=Verdict.OK)


async def _allow_always(ctx: Context, task: Task, asked: OpenQuestion, choice: str) -> None:
    """Make the rules that allow exactly this."""
    ctx.require(Role.ADMIN, "change a policy")
    if choice != Effect.ALLOW or asked.wish is None or not can_be_always(asked):
        raise UserError("no rule can allow exactly this; answer it without `always`")
    for rule in exact_rules(asked.wish):
        await policies.add(ctx.tx, task.project_id, rule, first=True)


def _check_open(asked: OpenQuestion) -> None:
    """Conflict where an answer comes too late."""
    if asked.state is QuestionState.ANSWERED:
        given = f": {code(asked.answer)}" if asked.answer else ""
        raise Conflict(f"the question was answered by {plain(asked.answered_by)}{given}")
    if asked.state is QuestionState.VOID:
        raise Conflict("the question is closed: its agent no longer wants an answer")


def _check_person(ctx: Context, task: Task, asked: OpenQuestion, choice: str) -> None:
    """Forbidden where somebody else must answer."""
    person = ctx.person
    may = {
        Answerer.ANYONE: True,
        Answerer.REQUESTER: person.role >= Role.ADMIN or person.id == task.requested_by,
        Answerer.ADMIN: person.role >= Role.ADMIN,
        Answerer.TWO: person.id != asked.allowed_by or choice != Effect.ALLOW,
    }
    if may[asked.by]:
        return
    who = answerers(asked.by, task.requested_by)
    if asked.by is Answerer.TWO:
        raise Forbidden(f"{person.id} has allowed it already: it takes {who}")
    raise Forbidden(f"{person.id} may not answer this: only {who}")


def _choice(asked: OpenQuestion, text: str) -> str:
    """The choice that *text* names, by word or number; else the words themselves, with which a wish is denied."""
    said = text.strip()
    by_word: dict[str, str] = {choice.casefold(): choice for choice in asked.choices}
    by_word |= _DECIDING if asked.wish is not None else {}
    if said.casefold() in by_word:
        return by_word[said.casefold()]
    if said.isdecimal() and 1 <= int(said) <= len(asked.choices):
        return asked.choices[int(said) - 1]
    first = said.split(maxsplit=1)[0].casefold().strip(".,;:!") if said else ""
    if asked.wish is not None and first in (*_ALLOWING, "ok", "okay", "always", "sure"):
        raise UserError("say `allow` and nothing else to allow it; any other words deny it")
    return said


async def _note(ctx: Context, task: Task, asked: OpenQuestion, choice: str, detail: str) -> None:
    """The decision's line in the audit trail."""
    verdict = "answered"
    if asked.wish is not None:
        verdict = Effect.ALLOW if choice == Effect.ALLOW else Effect.DENY
    if choice not in tuple(Effect):
        detail = ctx.lifecycle.speaker.redact(choice)
    about = {"project_id": task.project_id, "task_id": task.id}
    await people.record(ctx.tx, ctx.now, ctx.person.id, one_line(asked), verdict, detail, **about)


def _rests(task: Task) -> bool:
    """Whether the task waits for an answer with its agent stopped."""
    return task.status is TaskStatus.PAUSED and task.not_before is None


async def _tell(ctx: Context, task: Task, run: Run, text: str, mode: SendMode) -> None:
    """Give words to the agent that works in *run*."""
    words = note_of(ctx, task, text)
    await messages.add(ctx.tx, replace(words, run_id=run.id, mode=mode, state=MessageState.QUEUED))


async def go_on(ctx: Context, task: Task, text: str) -> Post:
    """Give an answer that has come late to the task's next run, which it begins."""
    await keep(ctx, task, text)
    if await rests_over_budget(ctx.tx, task) and not await fits(ctx.tx, task):
        how = f"`budget raise $5 task:{task.id}`"
        return Post(
            text=f"📌 Kept for its next run: it has used all that it may, until somebody gives more ({how})."
        )
    reason = f"{ctx.person.id} replied"
    await ctx.lifecycle.advance(ctx.tx, task, TaskEvent.HUMAN_REPLIED, reason=reason)
    return Post(text="💬 It goes on with your answer.")


_SAID = {
    SendMode.QUEUE: "📨 Queued for the agent.",
    SendMode.STEER: "↪️ Told the agent at its work.",
    SendMode.INTERRUPT: "⚡ Interrupting.",
}


async def say(ctx: Context, task: Task, text: str, mode: SendMode = SendMode.QUEUE) -> Post:
    """Plain words in a task's thread: an answer, words for the working agent, or a note for its next run.

    `!` before them interrupts.
    """
    ctx.require(Role.OPERATOR, "speak to an agent")
    live = await runs.live(ctx.tx, task.id)
    pending = await questions.unanswered(ctx.tx, task.id)
    if text and pending and (pending[0].state is QuestionState.OPEN or not live):
        if ctx.files and live:
            await _tell(ctx, task, live[0], "", SendMode.QUEUE)
        elif ctx.files:
            await keep(ctx, task, "")
        return await give_answer(ctx, task, pending[0], text)
    working = (TaskStatus.ASSIGNED, TaskStatus.IN_PROGRESS, TaskStatus.WAITING_INPUT)
    if live and task.status in working:
        if text.startswith("!"):
            mode = SendMode.INTERRUPT
        await _tell(ctx, task, live[0], text.removeprefix("!").strip(), mode)
        return Post(text=_SAID[mode], reaction=_SAID[mode].split()[0])
    if _rests(task):
        return await go_on(ctx, task, text)
    await keep(ctx, task, text)
    if task.status is TaskStatus.AWAITING_APPROVAL and not task.approved_by:
        how = f"`task approve {task.id}` merges the work, `task reject {task.id} …` rejects it"
        return Post(text=f"📌 This approves nothing: {how}. Kept for its next run.")
    waits = task.status in (TaskStatus.DEFINED, TaskStatus.READY)
    return Post(
        text="📌 Kept for its next run" + ("." if waits else f"; `task restart {task.id}` starts one.")
    )
