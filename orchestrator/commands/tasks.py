"""Commands that queue tasks and move them."""

import random
from typing import Annotated, Any

from orchestrator.commands.agents import ANY
from orchestrator.commands.arguments import Arguments, FreeText, Option, Positional
from orchestrator.commands.context import Answer, Context
from orchestrator.commands.registry import Registry
from orchestrator.errors import Conflict, NotFound, UserError
from orchestrator.lifecycle import one_line, recovery_actions
from orchestrator.projects import Role
from orchestrator.runs.meter import fits, rests_over_budget
from orchestrator.store import messages, projects, runs, tasks
from orchestrator.store.messages import MessageState, Words
from orchestrator.store.outbox import key_of
from orchestrator.tasks import RUNNING, Priority, Task, TaskEvent, TaskStatus
from orchestrator.transport import Action, Post
from orchestrator.words import plain
from orchestrator.words import task_id as new_task_id

here = Registry()
_TITLE_MAX = 200
_random = random.SystemRandom()


class OneTask(Arguments):
    """A task by its id."""

    task: Annotated[str, Positional("the task", complete="task", implied="task")]


def _not_while_merging(task: Task) -> None:
    """Conflict where a person has approved the task's work: nobody can say what would become of its merge."""
    if task.status is TaskStatus.AWAITING_APPROVAL and task.approved_by:
        raise Conflict(f"task {task.id} is approved by {task.approved_by} already; it is being merged")


class Add(Arguments):
    """A new task."""

    project: Annotated[str, Positional("the project", complete="project", implied="project")]
    text: Annotated[str, FreeText("what is to be done; the first line is the title")]
    priority: Annotated[Priority, Option("how soon")] = Priority.NORMAL
    after: Annotated[tuple[str, ...], Option("tasks that must be finished first", complete="task")] = ()
    retries: Annotated[int | None, Option("how often it is tried again")] = None
    agent: Annotated[str | None, Option("the only agent that may do it", complete="agent")] = None


def split_title(text: str) -> tuple[str, str]:
    """The title (the first line, shortened at a word) and the body (empty where the title says it all)."""
    first, _, rest = text.strip().partition("\n")
    if len(first) <= _TITLE_MAX:
        return first.strip(), rest.strip("\n")
    cut = first.rfind(" ", 0, _TITLE_MAX)
    return first[: cut if cut > 0 else _TITLE_MAX].strip() + "…", text.strip()


def task_data(task: Task) -> dict[str, Any]:
    """A task for machines."""
    return {
        "id": task.id,
        "project": task.project_id,
        "title": task.title,
        "status": task.status,
        "priority": task.priority.name.lower(),
        "reason": task.reason,
        "branch": task.branch,
        "agent": task.agent_id,
        "attempts": task.attempts,
        "created_at": task.created_at,
    }


@here.command(
    "task add",
    role=Role.OPERATOR,
    summary="Queue a task.",
    example="task add api fix the login timeout priority:high",
    aliases=("add",),
)
async def add(ctx: Context, args: Add) -> Answer:
    """Store the task; it starts when its turn comes."""
    try:
        project = await projects.get(ctx.tx, args.project)
    except NotFound as unknown:
        raise NotFound(f"{unknown}; a task begins with its project: `task add <project> …`") from None
    title, body = split_title(args.text)
    if args.retries is not None and not 0 <= args.retries <= 100:
        raise UserError(f"retries must be between 0 and 100, not {args.retries}")

    async def taken(word: str) -> bool:
        return await tasks.find(ctx.tx, word) is not None

    task = Task(
        id=await new_task_id(taken, _random),
        project_id=project.id,
        title=title,
        body=body,
        priority=args.priority,
        created_at=ctx.now,
        updated_at=ctx.now,
        requested_by=ctx.person.id,
        max_retries=project.max_retries if args.retries is None else args.retries,
        **await _whose(ctx, args.agent),
    )
    needs = tuple(dict.fromkeys(args.after))
    await tasks.add(ctx.tx, task, needs)
    words = f"📝 Queued **{task.id}** in {project.id}: {plain(title)}"
    if needs:
        words += f"\nIt waits for {', '.join(needs)}."
    else:  # at once, and not when a cycle comes to it
        task = await tasks.transition(ctx.tx, task, TaskEvent.DEPS_MET, ctx.now)
    if ctx.files:
        await keep(ctx, task, "")
    return Post(text=words, actions=(edit_action(task),), data=task_data(task))


async def _whose(ctx: Context, agent: str | None) -> dict[str, Any]:
    """The columns that say which agent a task is for, where one was named, or `any`."""
    if agent is None:
        return {}
    if agent.lower() == ANY:
        return {"agent_id": "", "pinned": False}
    return {"agent_id": (await projects.get_agent(ctx.tx, agent)).id, "pinned": True}


def edit_action(task: Task) -> Action:
    """The button that asks for a task's new words."""
    text = f"{task.title}\n{task.body}".rstrip() if task.body else task.title
    line = here["task edit"].to_line({"task": task.id, "text": text})
    return Action(label="Edit", line=line, form=("text",), needs_form=True)


class Edit(OneTask):
    """Changes of a task that has not begun."""

    text: Annotated[str, FreeText("the new words; without them only the options change")] = ""
    priority: Annotated[Priority | None, Option("how soon")] = None
    retries: Annotated[int | None, Option("how often it is tried again")] = None
    agent: Annotated[
        str | None, Option("the only agent that may do it from now on; `any` for every", complete="agent")
    ] = None


@here.command(
    "task edit", role=Role.OPERATOR, summary="Change a task.", example="task edit swift-falcon priority:high"
)
async def edit(ctx: Context, args: Edit) -> Answer:
    """Change what is named; the words of a running task cannot be changed, but it can be told more."""
    task = await tasks.get(ctx.tx, args.task)
    changes: dict[str, Any] = await _whose(ctx, args.agent)
    if args.text:
        if task.status in RUNNING:
            raise Conflict(f"task {task.id} is {task.status}: say it in its thread, or `task stop` it first")
        changes["title"], changes["body"] = split_title(args.text)
    if args.priority is not None:
        changes["priority"] = int(args.priority)
    if args.retries is not None:
        if not 0 <= args.retries <= 100:
            raise UserError(f"retries must be between 0 and 100, not {args.retries}")
        changes["max_retries"] = args.retries
    if not changes:
        raise UserError(f"name what to change, for example `task edit {task.id} priority:high`")
    await tasks.update(ctx.tx, task.id, **changes)
    changed = await tasks.get(ctx.tx, task.id)
    await ctx.lifecycle.show(ctx.tx, changed)
    return Post(text=f"✏️ {one_line(changed)}", data=task_data(changed))


class Depend(OneTask):
    """A need of a task."""

    on: Annotated[str, Positional("the task that must be finished first", complete="task")]
    remove: Annotated[bool, Option("take the need away instead")] = False


@here.command(
    "task depend",
    role=Role.OPERATOR,
    summary="Make a task wait for another.",
    example="task depend swift-falcon calm-otter",
)
async def depend(ctx: Context, args: Depend) -> Answer:
    """Only a task that has not begun can be made to wait."""
    task = await tasks.get(ctx.tx, args.task)
    if args.remove:
        if not await tasks.undepend(ctx.tx, task.id, args.on):
            raise UserError(f"task {task.id} does not need {args.on}; `task show {task.id}` lists its needs")
        return Post(text=f"🔓 **{task.id}** no longer needs {args.on}.")
    if task.status is not TaskStatus.DEFINED and task.attempts:
        raise Conflict(f"task {task.id} is {task.status}: only one that has not begun can be made to wait")
    await tasks.depend(ctx.tx, task.id, args.on)
    return Post(text=f"🔗 **{task.id}** waits for {args.on}.")


@here.command(
    "task stop",
    role=Role.OPERATOR,
    summary="Stop a task; its work is kept on its branch.",
    example="task stop",
    aliases=("stop",),
)
async def stop(ctx: Context, args: OneTask) -> Answer:
    """Stop the run, or take the task out of the queue."""
    task = await tasks.get(ctx.tx, args.task)
    _not_while_merging(task)
    blast = await ctx.lifecycle.stop(ctx.tx, task, ctx.person.id)
    data = {"task": task.id, "freed": list(blast.freed), "stuck": list(blast.stuck)}
    return Post(text=f"⛔ **{task.id}** is stopped; {blast}.", actions=recovery_actions(task), data=data)


@here.command(
    "task skip",
    role=Role.OPERATOR,
    summary="Count a task as done, so that those which wait for it can go on.",
    example="task skip swift-falcon",
)
async def skip(ctx: Context, args: OneTask) -> Answer:
    """Nothing is merged by it."""
    task = await tasks.get(ctx.tx, args.task)
    _not_while_merging(task)
    blast = await ctx.lifecycle.skip(ctx.tx, task, ctx.person.id)
    data = {"task": task.id, "freed": list(blast.freed), "stuck": list(blast.stuck)}
    return Post(text=f"⏭ **{task.id}** is skipped; {blast}.", data=data)


class Restart(OneTask):
    """A new beginning."""

    note: Annotated[str, FreeText("what the agent is told this time")] = ""


@here.command(
    "task restart",
    role=Role.OPERATOR,
    summary="Run a task again, on its branch as it is.",
    example="task restart swift-falcon keep the old flag working",
)
async def restart(ctx: Context, args: Restart) -> Answer:
    """A stopped, failed, rejected or finished task goes back into the queue with its tries counted anew."""
    task = await tasks.get(ctx.tx, args.task)
    _not_while_merging(task)
    if await rests_over_budget(ctx.tx, task) and not await fits(ctx.tx, task):
        how = f"`budget raise $5 task:{task.id}` gives it more"
        raise Conflict(f"task {task.id} has used all that it may; {how}, and it goes on")
    if args.note or ctx.files:
        await keep(ctx, task, args.note)
    moved = await ctx.lifecycle.advance(
        ctx.tx,
        task,
        TaskEvent.ADMIN_RESTART,
        reason=f"restarted by {ctx.person.id}",
        failures=0,
        tests_returned=False,
        approved_by="",
        not_before=None,
    )
    return Post(text=f"🔁 **{task.id}** is queued again.", data=task_data(moved))


@here.command(
    "task approve",
    role=Role.OPERATOR,
    summary="Approve finished work; it is merged.",
    example="task approve swift-falcon",
    aliases=("approve",),
)
async def approve(ctx: Context, args: OneTask) -> Answer:
    """The merge follows in the background, and the thread tells how it went."""
    task = await tasks.get(ctx.tx, args.task)
    task.after(TaskEvent.PR_MERGED)
    _not_while_merging(task)
    await tasks.approve(ctx.tx, task.id, ctx.person.id)
    await ctx.lifecycle.settle_review(ctx.tx, task, f"Approve: {ctx.person.id}", ctx.person.id)
    return Post(
        text=f"👍 **{task.id}** is approved by {plain(ctx.person.id)}; merging.", data=task_data(task)
    )


class Reject(OneTask):
    """What is wrong with the work."""

    why: Annotated[str, FreeText("what is wrong; the agent is told if the task is restarted")] = ""


@here.command(
    "task reject",
    role=Role.OPERATOR,
    summary="Reject finished work; the branch is kept.",
    example="task reject swift-falcon the test is missing",
    aliases=("reject",),
)
async def reject(ctx: Context, args: Reject) -> Answer:
    """Nothing is merged; a restart gives the reason to the agent."""
    task = await tasks.get(ctx.tx, args.task)
    _not_while_merging(task)
    words = f"rejected by {ctx.person.id}" + (f": {args.why}" if args.why else "")
    feedback = args.why or "A reviewer has rejected the work without giving a reason."
    task = await ctx.lifecycle.advance(ctx.tx, task, TaskEvent.PR_CLOSED, reason=words, feedback=feedback)
    blast = await ctx.lifecycle.blast(ctx.tx, task.id)
    text = f"👎 **{task.id}** is {plain(words)}; {blast}."
    return Post(text=text, actions=recovery_actions(task), data=task_data(task))


@here.command(
    "task delete",
    role=Role.OPERATOR,
    summary="Delete a task and its record; its branch is kept.",
    example="task delete swift-falcon confirm:yes",
    confirm=True,
)
async def delete(ctx: Context, args: OneTask) -> Answer:
    """Refused while it runs."""
    task = await tasks.get(ctx.tx, args.task)
    _not_while_merging(task)
    if task.status in RUNNING:
        raise Conflict(f"task {task.id} is {task.status}; `task stop {task.id}` first")
    for run in await runs.of_task(ctx.tx, task.id):
        if await runs.lease(ctx.tx, run.id):
            raise Conflict(f"the workspace of task {task.id} is being cleared; try again in a moment")
    behind = [t.id for t in await tasks.dependents(ctx.tx, task.id)]
    await tasks.delete(ctx.tx, task.id)
    more = (
        f" {' and '.join(behind)} no longer {'waits' if len(behind) == 1 else 'wait'} for it."
        if behind
        else ""
    )
    return Post(text=f"🗑 **{task.id}** is deleted.{more}")


async def keep(ctx: Context, task: Task, text: str) -> None:
    """Keep words for the task's next run."""
    await messages.add(ctx.tx, note_of(ctx, task, text))


def note_of(ctx: Context, task: Task, text: str) -> Words:
    """What somebody says, as it is kept for the next run."""
    return Words(
        id=key_of(ctx.event.event_id, "words"),
        task_id=task.id,
        at=ctx.now,
        author=ctx.person.id,
        text=text,
        mode="queue",
        state=MessageState.KEPT,
        files=ctx.files,
        transport=ctx.event.place.transport,
        channel=ctx.event.place.channel,
        root=ctx.event.root,
        remote=ctx.event.message,
    )
