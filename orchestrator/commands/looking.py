"""Commands that look at tasks and change nothing: list, show, tree, log, diff, result, why."""

from collections.abc import Sequence
from typing import Annotated

from orchestrator.commands.arguments import Arguments, Nothing, Option, Positional
from orchestrator.commands.context import PAGE, Answer, Context, Deferred, Listing
from orchestrator.commands.registry import Registry
from orchestrator.commands.tasks import OneTask, edit_action, task_data
from orchestrator.errors import Conflict
from orchestrator.lifecycle import duration, flat, heading, mark, one_line
from orchestrator.planning import how_to_answer
from orchestrator.planning import why as explain
from orchestrator.projects import Role
from orchestrator.store import projects, questions, runs, tasks
from orchestrator.store.questions import OpenQuestion
from orchestrator.tasks import RUNNING, STATUS_MEANINGS, Task, TaskStatus
from orchestrator.transport import Card, File, Post
from orchestrator.words import code, plain, said
from orchestrator.workspaces import changes

here = Registry()
_TREE_MAX = 200


class Which(Arguments):
    """Which tasks are listed."""

    project: Annotated[
        str | None, Positional("only this project's", complete="project", implied="project")
    ] = None
    status: Annotated[tuple[TaskStatus, ...], Option("only in these statuses")] = ()
    all_: Annotated[bool, Option("finished ones too")] = False
    page: Annotated[int, Option("which page")] = 1


@here.command(
    "task list",
    role=Role.VIEWER,
    summary="List tasks: the open ones, newest first.",
    example="task list api status:ready,failed",
    aliases=("tasks",),
)
async def list_(ctx: Context, args: Which) -> Answer:
    """A page of tasks."""
    project = args.project
    if project is not None:
        await projects.get(ctx.tx, project)
    page = max(1, args.page)
    statuses = args.status or (tuple(TaskStatus) if args.all_ else None)
    found, total = await tasks.page(
        ctx.tx, project_id=project, statuses=statuses, offset=(page - 1) * PAGE, limit=PAGE
    )
    more = "task list" + (f" {project}" if project else "") + (" all:yes" if args.all_ else "")
    more += f" status:{','.join(s.lower() for s in args.status)}" if args.status else ""
    title = "Tasks" + (f" of {project}" if project else "")
    lines = [one_line(t) + ("" if project else f" ({t.project_id})") for t in found]
    none = "(none)" if statuses else f"(none open; `{more} all:yes` shows the finished ones)"
    return Listing(title, lines, [task_data(t) for t in found], total, page, more, none=none).post()


_AWAITED = {
    TaskStatus.AWAITING_APPROVAL: "to approve",
    TaskStatus.WAITING_INPUT: "to answer",
    TaskStatus.BLOCKED: "blocked",
    TaskStatus.FAILED: "failed",
}
"""What waits for a person, most welcome first."""


@here.command(
    "inbox",
    role=Role.VIEWER,
    summary="Show what waits for people: approvals, questions, failures.",
    example="inbox",
)
async def inbox(ctx: Context, args: Nothing) -> Answer:
    """What nobody but a person can move on, yours first."""
    found, total = await tasks.page(
        ctx.tx, project_id=ctx.project_id, statuses=tuple(_AWAITED), offset=0, limit=PAGE
    )
    asked: dict[str, list[OpenQuestion]] = {}
    for one in await questions.unanswered(ctx.tx):
        asked.setdefault(one.task_id, []).append(one)
    resting = [await tasks.get(ctx.tx, task_id) for task_id in asked]
    found += (more := [t for t in resting if t.status is TaskStatus.PAUSED and _here(ctx, t)])
    order = list(_AWAITED)
    found.sort(key=lambda task: (task.requested_by != ctx.person.id, order.index(_awaited(task))))
    lines = [_awaiting(task, asked.get(task.id, [])) for task in found]
    items = [
        task_data(task) | {"questions": [{"id": q.id, "text": q.text} for q in asked.get(task.id, [])]}
        for task in found
    ]
    none = "(nothing waits for you)"
    return Listing("Waits for people", lines, items, total + len(more), none=none).post()


def _here(ctx: Context, task: Task) -> bool:
    """Whether a task belongs to the channel that it is asked in."""
    return ctx.project_id in (None, task.project_id)


def _awaited(task: Task) -> TaskStatus:
    """As what a task waits: a paused one waits for an answer."""
    return TaskStatus.WAITING_INPUT if task.status is TaskStatus.PAUSED else task.status


def _awaiting(task: Task, asked: Sequence[OpenQuestion]) -> str:
    """A task that waits for people, with what its agent asks."""
    line = f"{one_line(task)} ({task.project_id}; {_AWAITED[_awaited(task)]})"
    return "\n".join([line, *(f"{plain(flat(one.text))} — {how_to_answer(task, one)}" for one in asked)])


_NOT_BEGUN = (TaskStatus.DEFINED, TaskStatus.READY)


@here.command("task show", role=Role.VIEWER, summary="Show a task.", example="task show swift-falcon")
async def show(ctx: Context, args: OneTask) -> Answer:
    """All that is known of a task."""
    task = await tasks.get(ctx.tx, args.task)
    needs = await tasks.needs(ctx.tx, task.id)
    needed_by = await tasks.dependents(ctx.tx, task.id)
    attempts = await runs.of_task(ctx.tx, task.id)
    fields = [
        ("status", f"{mark(task.status)} {task.status}: {task.reason or STATUS_MEANINGS[task.status]}"),
        ("project", task.project_id),
        ("priority", task.priority.name.lower()),
        ("asked by", f"{task.requested_by}, {duration(ctx.now - task.created_at)} ago"),
        ("runs", f"{task.attempts}, {task.failures} failed of {task.max_retries + 1} allowed"),
    ]
    if task.agent_id:
        fields.append(("agent", f"{task.agent_id}{' and no other' if task.pinned else ''}"))
    if task.branch:
        fields.append(("branch", task.branch))
    if tokens := sum(run.tokens for run in attempts):
        fields.append(("tokens", f"{tokens:,}"))
    if needs:
        fields.append(("needs", ", ".join(f"{mark(t.status)} {t.id}" for t in needs)))
    if needed_by:
        fields.append(("needed by", ", ".join(t.id for t in needed_by)))
    data = task_data(task) | {"needs": [t.id for t in needs], "needed_by": [t.id for t in needed_by]}
    card = Card(title=f"{task.id}: {task.title}", fields=tuple(fields))
    actions = (edit_action(task),) if task.status in _NOT_BEGUN else ()
    return Post(card=card, text=task.body, actions=actions, data=data)


@here.command(
    "task tree", role=Role.VIEWER, summary="Show what a task needs, and what needs it.", example="task tree"
)
async def tree(ctx: Context, args: OneTask) -> Answer:
    """The task with everything behind it, each below the one that it waits for."""
    root = await tasks.get(ctx.tx, args.task)
    needs = await tasks.needs(ctx.tx, root.id)
    behind = {t.id: t for t in await tasks.dependents(ctx.tx, root.id, transitive=True)}
    below: dict[str, list[str]] = {}
    for task_id, needed in await tasks.edges(ctx.tx, [root.id, *behind]):
        below.setdefault(needed, []).append(task_id)
    lines = [f"needs {mark(t.status)} {t.id} {t.title}" for t in needs]
    shown: set[str] = set()
    stack = [(root, 0)]
    while stack and len(lines) < _TREE_MAX:
        task, depth = stack.pop()
        again = " (see above)" if task.id in shown else ""
        lines.append(
            f"{'  ' * depth}{'└ ' if depth else ''}{mark(task.status)} {task.id} {task.title}{again}"
        )
        if not again:
            shown.add(task.id)
            stack += [(behind[child], depth + 1) for child in sorted(below.get(task.id, []), reverse=True)]
    if stack:
        lines.append(f"… and {len(stack)} more branches")
    data = {"needs": [t.id for t in needs], "behind": sorted(behind)}
    return Post(text="\n".join(lines), verbatim=True, data=data)


@here.command("why", role=Role.VIEWER, summary="Say why a task does not run.", example="why swift-falcon")
async def why(ctx: Context, args: OneTask) -> Answer:
    """The reasons, and when it may go on where that can be told."""
    task = await tasks.get(ctx.tx, args.task)
    services = ctx.services
    found = await explain(
        ctx.tx, task, services.settings.scheduling, services.limits, services.host.held, ctx.now
    )
    lines = [f"- {code(reason.code)} {reason.words}" for reason in found.reasons]
    if found.eta is not None and found.eta >= 1 and task.status is not TaskStatus.COMPLETED:
        what = "be done" if task.status in RUNNING else "go on"
        lines.append(f"\nIt may {what} in about {duration(found.eta)}.")
    data = {
        "task": task.id,
        "status": task.status,
        "reasons": [{"code": r.code, "words": r.words} for r in found.reasons],
        "eta": found.eta,
    }
    told = plain(flat(task.reason)) or STATUS_MEANINGS[task.status]
    again = task.status is TaskStatus.WAITING_INPUT or any(told in reason.words for reason in found.reasons)
    return Post(text=f"{heading(task) if again else one_line(task)}\n\n" + "\n".join(lines), data=data)


@here.command(
    "task log", role=Role.VIEWER, summary="Show what has happened to a task.", example="task log swift-falcon"
)
async def log(ctx: Context, args: OneTask) -> Answer:
    """Its moves and its runs."""
    task = await tasks.get(ctx.tx, args.task)
    rows = await tasks.history(ctx.tx, task.id)
    lines = [
        f"{duration(ctx.now - r['at'])} ago: "
        + ("" if r["event"] == r["status"] else f"{r['event']} → ")
        + r["status"]
        + (f" ({plain(flat(r['detail']))})" if r["detail"] else "")
        for r in rows
    ]
    for run in reversed(await runs.of_task(ctx.tx, task.id)):
        took = duration((run.ended_at or ctx.now) - run.created_at)
        lines.append(
            f"run {run.epoch} by {plain(run.agent_id)}: {run.outcome or 'alive'}, {took}, {run.tokens:,} tokens"
        )
    items = [{k: r[k] for k in ("at", "event", "status", "detail")} for r in rows]
    return Listing(f"Log of {task.id}", lines, items, len(lines), 1).post()


@here.command(
    "task result",
    role=Role.VIEWER,
    summary="Show the agent's last words.",
    example="task result swift-falcon",
)
async def result(ctx: Context, args: OneTask) -> Answer:
    """What the agent said at the end of its latest run."""
    task = await tasks.get(ctx.tx, args.task)
    attempts = await runs.of_task(ctx.tx, task.id, limit=1)
    if not attempts:
        raise Conflict(f"task {task.id} has not run yet; `why {task.id}` says what it waits for")
    run = attempts[0]
    text = run.result or "(it said nothing)"
    return Post(
        text=f"Run {run.epoch} by {plain(run.agent_id)}: {run.outcome or 'alive'}\n\n{said(text)}",
        data={"task": task.id, "run": run.epoch, "outcome": run.outcome, "result": run.result},
    )


@here.command(
    "task diff", role=Role.VIEWER, summary="Show what a task has changed.", example="task diff swift-falcon"
)
async def diff(ctx: Context, args: OneTask) -> Answer:
    """The committed change of its branch, attached."""
    task = await tasks.get(ctx.tx, args.task)
    project = await projects.get(ctx.tx, task.project_id)
    if not task.base_commit or not project.repo_id:
        raise Conflict(f"task {task.id} has changed nothing yet; it is {task.status}")
    repo = await projects.get_repo(ctx.tx, project.repo_id)

    async def look() -> Post:
        stat = await changes.diffstat(repo, task.base_commit, task.branch)
        text = await changes.diff(repo, task.base_commit, task.branch)
        return Post(
            text=f"**{task.id}**: {stat}" if text else f"**{task.id}** has changed nothing.",
            files=(File(name=f"{task.id}.diff", content=text),) if text else (),
            data={"task": task.id, "files": stat.files, "diff": text},
        )

    return Deferred(look)
