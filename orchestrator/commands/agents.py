"""Commands about the agents that do the work."""

import shlex
from dataclasses import replace
from typing import Annotated, Any

from orchestrator.commands.arguments import Arguments, FreeText, Option, Positional
from orchestrator.commands.context import Answer, Context, Listing
from orchestrator.commands.projects import check_name
from orchestrator.commands.registry import Registry
from orchestrator.errors import UserError
from orchestrator.lifecycle import counted
from orchestrator.projects import Agent, Role
from orchestrator.runs.profiles import profile_of
from orchestrator.store import projects, runs, tasks
from orchestrator.transport import Post
from orchestrator.words import plain

here = Registry()
ANY = "any"
"""What stands for every agent where one could be named."""


class Settable(Arguments):
    """What can be set on an agent."""

    slots: Annotated[int | None, Option("tasks that it does at once")] = None
    model: Annotated[str | None, Option("the model, for agents that have a choice")] = None
    account: Annotated[str | None, Option("agents with the same account share one limit")] = None
    class_: Annotated[str | None, Option("agents of one class can stand in for one another")] = None
    profile: Annotated[str | None, Option("settings of that name in the configuration")] = None


class NewAgent(Settable):
    """A new agent."""

    agent: Annotated[str, Positional("its name")]
    type_: Annotated[str, Positional("its type, as docs/adapters/ lists them")]
    permission_mode: Annotated[str | None, Option("what it may do unasked, for agents that ask")] = None
    interactive: Annotated[bool | None, Option("a `command` that reads answers and words while it runs")] = (
        None
    )
    argv: Annotated[str, FreeText("the command line of an agent that is any program, without a shell")] = ""


@here.command(
    "agent add",
    role=Role.ADMIN,
    summary="Add an agent.",
    example="agent add fixer command slots:2 -- ./fix.sh --model small",
)
async def add_agent(ctx: Context, args: NewAgent) -> Answer:
    """Check the type and its settings before anything is stored."""
    name = check_name("agent", args.agent)
    if name == ANY:
        raise UserError(f"an agent cannot be called {ANY!r}, which stands for every agent")
    options = {"model": args.model, "permission_mode": args.permission_mode, "interactive": args.interactive}
    config: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    if args.argv:
        config["argv"] = split_command(args.argv)
    new = Agent(id=name, type=args.type_, config=config, created_at=ctx.now, **_fields(args))
    _check(ctx, new)
    await projects.add_agent(ctx.tx, new)
    return Post(text=f"🤖 Agent **{name}** ({args.type_}) is ready for {counted(new.slots, 'task')} at once.")


def _fields(args: Settable) -> dict[str, Any]:
    """The columns that *args* set, checked; the model is in `config`."""
    if args.slots is not None and not 1 <= args.slots <= 100:
        raise UserError(f"slots must be between 1 and 100, not {args.slots}")
    for what, name in (("account", args.account), ("class", args.class_)):
        if name is not None:
            check_name(what, name)
    given = {"slots": args.slots, "account": args.account, "kind": args.class_, "profile": args.profile}
    return {column: value for column, value in given.items() if value is not None}


def _check(ctx: Context, agent: Agent) -> None:
    """UserError where an agent could not be started as it is set."""
    profile = profile_of(ctx.services.settings.profiles, agent)
    ctx.services.check_agent(agent.type, {**profile, **agent.config})


class EditAgent(Settable):
    """Changes of an agent."""

    agent: Annotated[str, Positional("the agent", complete="agent")]


@here.command(
    "agent edit",
    role=Role.ADMIN,
    summary="Change an agent; what it works on goes on as it was begun.",
    example="agent edit coder slots:2 account:team",
)
async def edit_agent(ctx: Context, args: EditAgent) -> Answer:
    """Change what is named, and nothing else; checked as a new agent is."""
    agent = await projects.get_agent(ctx.tx, args.agent)
    given = _fields(args)
    if args.model is not None:
        given["config"] = {**agent.config, "model": args.model}
    if not given:
        raise UserError(f"name what to change, for example `agent edit {agent.id} slots:2`")
    _check(ctx, replace(agent, **given))
    await projects.edit_agent(ctx.tx, agent.id, **given)
    said = sorted(one.name for one in Settable.declared if getattr(args, one.attribute) is not None)
    return Post(text=f"✏️ Agent **{agent.id}**: {', '.join(said)} changed.")


def split_command(line: str) -> list[str]:
    """The words of a command line, as a POSIX shell would split them; nothing is expanded."""

    try:
        words = shlex.split(line)
    except ValueError as fault:
        raise UserError(f"the command line {line!r} cannot be split into words: {fault}") from None
    if not words:
        raise UserError("the command line is empty")
    return words


@here.command("agent list", role=Role.VIEWER, summary="List the agents.", example="agent list")
async def list_agents(ctx: Context, args: Arguments) -> Answer:
    """Every agent, and what it is doing."""
    found = await projects.agents(ctx.tx)
    live = await runs.live(ctx.tx)
    lines, items = [], []
    for agent in found:
        doing = [r.task_id for r in live if r.agent_id == agent.id]
        state = f"works on {', '.join(doing)}" if doing else "free"
        shared = [f"account {agent.account}"] if agent.account != agent.type else []
        shared += [f"class {agent.kind}"] if agent.kind != agent.type else []
        what = ", ".join([agent.type, *map(plain, shared)])
        lines.append(f"**{agent.id}** {what}, {len(doing)}/{agent.slots} — {state}")
        item = {"id": agent.id, "type": agent.type, "slots": agent.slots, "tasks": doing}
        items.append({**item, "account": agent.account, "class": agent.kind})
    return Listing("Agents", lines, items, len(found)).post()


class OneAgent(Arguments):
    """An agent by its name."""

    agent: Annotated[str, Positional("the agent", complete="agent")]


@here.command("agent remove", role=Role.ADMIN, summary="Remove an agent.", example="agent remove coder")
async def remove_agent(ctx: Context, args: OneAgent) -> Answer:
    """Remove an agent that is free."""
    await projects.remove_agent(ctx.tx, args.agent)
    left = await projects.agents(ctx.tx)
    if not left and await tasks.any_ready(ctx.tx, ctx.now):
        return Post(text=f"🤖 Agent **{args.agent}** is removed. No agent is left: ready tasks wait for one.")
    return Post(text=f"🤖 Agent **{args.agent}** is removed.")
