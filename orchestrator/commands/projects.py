"""Commands about projects, their channels, repositories and agents."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from orchestrator.commands.arguments import Arguments, FreeText, Option, Positional
from orchestrator.commands.context import Answer, Context, Deferred, Listing
from orchestrator.commands.registry import Registry
from orchestrator.errors import Conflict, UserError
from orchestrator.lifecycle import counted, flat, heading, mark, review_actions
from orchestrator.projects import Approval, MergeStrategy, Project, Repo, RepoKind, RepoState, Role, Sandbox
from orchestrator.runs import sandbox
from orchestrator.store import outbox, projects, runs, tasks
from orchestrator.store.database import Tx
from orchestrator.store.outbox import key_of
from orchestrator.tasks import TaskStatus
from orchestrator.transport import Card, Place, Post
from orchestrator.words import plain
from orchestrator.workspaces.git import check_source

here = Registry()
_RESTATED = 50
"""Open tasks whose threads are opened anew where a channel is gone."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def check_name(what: str, name: str) -> str:
    """Return *name* if it may name a project, repository or agent, else raise UserError."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")):
        raise UserError(
            f"{name!r} cannot name a {what}: use up to 40 of a-z, 0-9, '-', '_' and '.', "
            "beginning with a letter or digit"
        )
    return name


class Named(Arguments):
    """A project by its name."""

    project: Annotated[str, Positional("the project", complete="project", implied="project")]


class Settable(Arguments):
    """What can be set on a project."""

    repo: Annotated[str | None, Option("its repository", complete="repo")] = None
    weight: Annotated[float | None, Option("its share of the agents, relative to other projects")] = None
    max_agents: Annotated[int | None, Option("tasks that may run at once")] = None
    budget: Annotated[int | None, Option("tokens in the rolling window; 0 is no limit")] = None
    approval: Annotated[Approval | None, Option("whether a person approves before merging")] = None
    merge: Annotated[MergeStrategy | None, Option("how a branch is merged")] = None
    test: Annotated[tuple[str, ...] | None, Option("commands that must pass before merging")] = None
    setup: Annotated[str | None, Option("a command that prepares each workspace")] = None
    copy_files: Annotated[tuple[str, ...] | None, Option("untracked files that workspaces get")] = None
    sandbox: Annotated[Sandbox | None, Option("what keeps agents from the rest of the host")] = None
    timeout: Annotated[int | None, Option("seconds that a run may take")] = None
    retries: Annotated[int | None, Option("how often a failed task is tried again")] = None
    failover: Annotated[bool | None, Option("let another agent go on where one is at its limit")] = None


class New(Settable):
    """A new project."""

    project: Annotated[str, Positional("its name")]


class Edit(Settable, Named):
    """Changes of a project."""


async def _fields(tx: Tx, args: Settable) -> dict[str, Any]:
    """The columns that *args* set, checked."""
    names: Mapping[str, str] = {
        "repo": "repo_id",
        "weight": "credit_weight",
        "max_agents": "max_concurrent_agents",
        "budget": "token_budget",
        "approval": "approval",
        "merge": "merge_strategy",
        "test": "test_commands",
        "setup": "setup_command",
        "copy_files": "copy_files",
        "sandbox": "sandbox",
        "timeout": "run_timeout",
        "retries": "max_retries",
        "failover": "failover",
    }
    given = {c: getattr(args, a) for a, c in names.items() if getattr(args, a) is not None}
    lowest = {
        "credit_weight": 0.001,
        "max_concurrent_agents": 0,
        "token_budget": 0,
        "run_timeout": 1,
        "max_retries": 0,
    }
    for column, least in lowest.items():
        if column in given and given[column] < least:
            name = next(a for a, c in names.items() if c == column).replace("_", "-")
            raise UserError(f"{name} must be at least {least}, not {given[column]}")
    if given.get("token_budget") == 0:
        given["token_budget"] = None
    if "repo_id" in given:
        await projects.get_repo(tx, given["repo_id"])
    return given


async def _tried(ctx: Context, args: Settable, change: Callable[[Tx], Awaitable[Post]]) -> Answer:
    """Make a change; where that asks for a sandbox, one is tried first, which nobody's transaction waits for."""
    if args.sandbox is not Sandbox.BUBBLEWRAP:
        return await change(ctx.tx)

    async def answer() -> Post:
        await sandbox.check(network=ctx.services.settings.host.sandbox_network)
        async with ctx.services.database.transaction() as tx:
            return await change(tx)

    return Deferred(answer)


@here.command(
    "project add",
    role=Role.ADMIN,
    summary="Make a project.",
    example='project add api repo:api test:"make check" approval:required',
)
async def add(ctx: Context, args: New) -> Answer:
    """Make a project; its repository is named, or is the one of the same name."""
    return await _tried(ctx, args, partial(_add, ctx, args))


async def _add(ctx: Context, args: New, tx: Tx) -> Post:
    name = check_name("project", args.project)
    given = await _fields(tx, args)
    if "repo_id" not in given and name in await projects.known(tx, "repo", [name]):
        given["repo_id"] = name
    runs_ = ctx.services.settings.runs
    defaults = {"run_timeout": runs_.timeout, "max_retries": runs_.max_retries, "created_at": ctx.now}
    new = Project(id=name, **(defaults | given))
    await projects.add(tx, new)
    hint = (
        "" if new.repo_id else f"\nIt needs a repository: `repo add` one, then `project edit {name} repo:…`."
    )
    return Post(text=f"📁 Project **{name}** is made.{hint}", data=_data(new))


@here.command("project list", role=Role.VIEWER, summary="List the projects.", example="project list")
async def list_(ctx: Context, args: Arguments) -> Answer:
    """Every project in a line."""
    found = await projects.all_projects(ctx.tx)
    running, _ = await runs.load(ctx.tx)
    lines = [
        f"**{p.id}** {'⏸ ' if p.paused else ''}repo {p.repo_id or 'none'}, "
        f"{running.get(p.id, 0)}/{p.max_concurrent_agents} running, weight {p.credit_weight:g}"
        for p in found
    ]
    return Listing("Projects", lines, [_data(p) for p in found], len(found)).post()


@here.command("project show", role=Role.VIEWER, summary="Show a project.", example="project show api")
async def show(ctx: Context, args: Named) -> Answer:
    """A project's settings, open work and channels."""
    p = await projects.get(ctx.tx, args.project)
    counts = await tasks.open_counts(ctx.tx, p.id)
    window = ctx.services.settings.scheduling.window_hours
    used = (await projects.used(ctx.tx, ctx.now - window * 3600)).get(p.id, (0, 0))
    bound = await projects.channels(ctx.tx, p.id)
    fields = [
        ("repository", p.repo_id or "none"),
        ("open", ", ".join(f"{mark(s)} {s} {n}" for s, n in sorted(counts.items())) or "nothing"),
        ("agents at once", str(p.max_concurrent_agents)),
        ("weight", f"{p.credit_weight:g}"),
        (f"last {window:g} h", f"{used[0]:,} tokens, {used[1]} finished"),
        ("budget", f"{p.token_budget:,} tokens" if p.token_budget else "no limit"),
        ("approval", str(p.approval)),
        ("merge", str(p.merge_strategy)),
        ("failover", "yes" if p.failover else "no"),
        ("sandbox", str(p.sandbox)),
        ("tests", ", ".join(p.test_commands) or "none"),
        ("setup", p.setup_command or "none"),
        ("channels", ", ".join(f"{t}:{c}" for t, c in bound.items()) or "home"),
    ]
    title = f"Project {p.id}" + (" (paused)" if p.paused else "")
    return Post(card=Card(title=title, fields=tuple(fields)), data=_data(p))


@here.command(
    "project edit", role=Role.ADMIN, summary="Change a project.", example="project edit api max-agents:4"
)
async def edit(ctx: Context, args: Edit) -> Answer:
    """Change what is named, and nothing else."""
    return await _tried(ctx, args, partial(_edit, args))


async def _edit(args: Edit, tx: Tx) -> Post:
    given = await _fields(tx, args)
    if not given:
        raise UserError("name what to change, for example `project edit api max-agents:4`")
    project = await projects.get(tx, args.project)
    if given.get("repo_id", project.repo_id) != project.repo_id:
        await tasks.leave_repository(tx, args.project)
    changed = await projects.edit(tx, args.project, **given)
    said = sorted(one.name for one in Settable.declared if getattr(args, one.attribute) is not None)
    return Post(text=f"✏️ Project **{args.project}**: {', '.join(said)} changed.", data=_data(changed))


@here.command(
    "project pause",
    role=Role.OPERATOR,
    summary="Start no more tasks of a project.",
    example="project pause api",
)
async def pause(ctx: Context, args: Named) -> Answer:
    """Stop assigning a project's tasks."""
    await projects.edit(ctx.tx, args.project, paused=True)
    return Post(text=f"⏸ Project **{args.project}** is paused; what runs goes on.")


@here.command(
    "project resume",
    role=Role.OPERATOR,
    summary="Start a project's tasks again.",
    example="project resume api",
)
async def resume(ctx: Context, args: Named) -> Answer:
    """Assign a project's tasks again."""
    await projects.edit(ctx.tx, args.project, paused=False)
    return Post(text=f"▶️ Project **{args.project}** goes on.")


class Bind(Named):
    """A channel for a project."""

    channel: Annotated[str | None, Option("the channel; without it, the one this is said in")] = None
    on: Annotated[str | None, Option("the platform; without it, the one this is said on")] = None
    new: Annotated[bool, Option("make a channel for it, called like the project or like `channel`")] = False


@here.command(
    "project bind",
    role=Role.ADMIN,
    summary="Give a project its channel on a platform.",
    example="project bind api channel:api",
)
async def bind(ctx: Context, args: Bind) -> Answer:
    """Its tasks' threads open there from now on."""
    await projects.get(ctx.tx, args.project)
    here, connected = ctx.event.place, ctx.services.frontends()
    transport = (args.on or here.transport).lower()
    if transport not in connected:
        raise UserError(f"there is no frontend {transport!r}; there are {', '.join(connected)}")
    frontend = connected[transport].frontend
    if args.new:
        return Deferred(lambda: _bind_new(ctx, transport, args))
    if transport != here.transport and not args.channel:
        raise UserError(f"name the channel on {transport}: `channel:…`, or let one be made with `new:yes`")
    channel = frontend.channel(args.channel or here.channel)
    given_up = await _move(ctx, ctx.tx, args.project, Place(transport=transport, channel=channel))
    return _bound(args.project, channel, transport, given_up)


async def _move(ctx: Context, tx: Tx, project: str, to: Place) -> int:
    """Bind the project. Where its channel of before takes nothing any more, give up what waits for that, and say in
    the new one how its open tasks stand; returns how much was given up."""
    before = (await projects.channels(tx, project)).get(to.transport)
    await projects.bind(tx, project, to.transport, to.channel)
    connection = ctx.services.frontends()[to.transport]
    if before in (None, to.channel) or before not in connection.put_off:
        return 0
    given_up = await outbox.give_up(tx, to.transport, before, f"{project} is bound to {to.channel} now")
    left = [
        one for one in TaskStatus if one not in (TaskStatus.COMPLETED, TaskStatus.DEFINED, TaskStatus.READY)
    ]
    found, _ = await tasks.page(tx, project_id=project, statuses=left, offset=0, limit=_RESTATED)
    for task in found:
        await ctx.lifecycle.open_thread(tx, task)
        if task.status is TaskStatus.AWAITING_APPROVAL:
            note = Post(text=f"{heading(task)} awaits approval.", actions=review_actions(task))
            key = key_of("moved", task.id, to.transport, to.channel, ctx.now)
            await ctx.lifecycle.speaker.reply(tx, to, None, note, key=key)
    return given_up


def _bound(project: str, channel: str, transport: str, given_up: int) -> Post:
    words = f"🔗 Project **{project}** speaks in {plain(channel)} on {transport} from now on."
    if given_up:
        words += (
            f" {counted(given_up, 'message')} for its channel of before, which takes none, "
            f"{'is' if given_up == 1 else 'are'} given up; its open tasks have new threads."
        )
    return Post(text=words, data={"project": project, "transport": transport, "channel": channel})


async def _bind_new(ctx: Context, transport: str, args: Bind) -> Post:
    """Have a channel made, and bind it. Handled a second time after a crash, this finds the first one's channel."""
    frontend = ctx.services.frontends()[transport].frontend
    account = ctx.event.account if transport == ctx.event.place.transport else ""
    topic = f"agent-queue: project {args.project}"
    channel = await frontend.make_channel(args.channel or args.project, topic, account)
    async with ctx.services.database.transaction() as tx:
        given_up = await _move(ctx, tx, args.project, Place(transport=transport, channel=channel))
    return _bound(args.project, channel, transport, given_up)


@here.command(
    "project delete",
    role=Role.ADMIN,
    summary="Delete a project with all its tasks; repositories stay.",
    example="project delete api confirm:yes",
    confirm=True,
)
async def delete(ctx: Context, args: Named) -> Answer:
    """Remove a project in which nothing runs."""
    merging = [task.id for task in await tasks.approved(ctx.tx) if task.project_id == args.project]
    if merging:
        raise Conflict(f"{', '.join(merging)} is approved and being merged; try again in a moment")
    left = await projects.open_work(ctx.tx, args.project)
    outside = await tasks.dependents_outside(ctx.tx, args.project)
    await projects.delete(ctx.tx, args.project)
    await tasks.recount(ctx.tx, outside)
    more = f", with {counted(left, 'unfinished task')}" if left else ""
    return Post(text=f"🗑 Project **{args.project}** is deleted{more}.")


class NewRepo(Arguments):
    """A new repository."""

    repo: Annotated[str, Positional("its name")]
    kind: Annotated[Literal["clone", "link", "init"], Positional("clone, link or init")]
    source: Annotated[str, FreeText("where it is: a URL or path to clone, a checkout to link")] = ""


@here.command(
    "repo add",
    role=Role.ADMIN,
    summary="Add a repository: clone one, link a checkout of yours, or make an empty one.",
    example="repo add api clone https://example.org/api.git",
)
async def add_repo(ctx: Context, args: NewRepo) -> Answer:
    """Check what was named; the work itself is done in the background."""
    name, kind = check_name("repository", args.repo), RepoKind(args.kind)
    if kind is RepoKind.INIT and args.source:
        raise UserError(
            f"`init` makes a repository of its own and takes no {args.source!r}; use `clone` or `link`"
        )
    source = "" if kind is RepoKind.INIT else check_source(args.source, kind)
    path = Path(ctx.services.settings.data_dir) / "repos" / f"{name}.git"
    new = Repo(id=name, kind=kind, source=source, path=str(path), state=RepoState.PENDING)
    await projects.add_repo(ctx.tx, new)
    return Post(text=f"📦 Repository **{name}** is being prepared ({plain(f'{kind} {source}')}).")


@here.command("repo list", role=Role.VIEWER, summary="List the repositories.", example="repo list")
async def list_repos(ctx: Context, args: Arguments) -> Answer:
    """Every repository in a line."""
    found = await projects.repos(ctx.tx)
    lines = [
        f"**{r.id}** {plain(f'{r.kind} {r.source}')} — {r.state}"
        + (f": {plain(flat(r.error))}; `repo add {r.id}` again tries anew" if r.error else "")
        for r in found
    ]
    items = [
        {"id": r.id, "kind": r.kind, "source": r.source, "state": r.state, "error": r.error} for r in found
    ]
    return Listing("Repositories", lines, items, len(found)).post()


def _data(p: Project) -> dict[str, Any]:
    return {
        "id": p.id,
        "repo": p.repo_id,
        "paused": p.paused,
        "weight": p.credit_weight,
        "max_agents": p.max_concurrent_agents,
        "budget": p.token_budget,
        "approval": p.approval,
        "merge": p.merge_strategy,
        "failover": p.failover,
        "tests": list(p.test_commands),
    }
