"""Commands about the daemon itself and about people: help, status, pause, restart, pair."""

import asyncio
import secrets
from typing import Annotated, Literal

from orchestrator.commands.arguments import Arguments, FreeText, Nothing, Option, Positional
from orchestrator.commands.context import Answer, Context, Listing
from orchestrator.commands.parser import ParseError
from orchestrator.commands.registry import Registry, help_command, help_overview
from orchestrator.commands.scanner import shown
from orchestrator.errors import Conflict, UserError
from orchestrator.host import findings as findings_of_host
from orchestrator.lifecycle import counted, duration, flat, mark
from orchestrator.limits import words_of
from orchestrator.projects import RepoState, Role
from orchestrator.runs.profiles import profile_of
from orchestrator.store import accounts, flags, outbox, people, projects, runs, tasks
from orchestrator.transport import Card, Finding, Post, Tone
from orchestrator.words import plain

here = Registry()


class Help(Arguments):
    """What help is wanted about."""

    command: Annotated[str | None, FreeText("the command to explain")] = None


@here.command("help", role=Role.VIEWER, summary="Show the commands, or explain one.", example="help task add")
async def help_(ctx: Context, args: Help) -> Answer:
    """List what the person may use, or explain one command."""
    registry = ctx.services.registry
    if not args.command:
        return Post(text=help_overview(registry, ctx.person.role))
    words = args.command.lower().split()
    found = registry.match(words)
    if found is not None and found[1] == len(words):
        ctx.require(found[0].role, f"`{found[0].path}`")
    if found is not None and found[0].role <= ctx.person.role:
        return Post(text=help_command(found[0]))
    group = [c for c in registry if c.path.split()[0] == words[0] and c.role <= ctx.person.role]
    if not group:
        raise ParseError(f"there is no command {shown(args.command)}; `help` lists them")
    return Post(text="\n\n".join(help_command(c) for c in group))


@here.command("status", role=Role.VIEWER, summary="Show what is going on.", example="status")
async def status(ctx: Context, args: Nothing) -> Answer:
    """The daemon at a glance: work, agents, frontends, what is unsent."""
    tx = ctx.tx
    counts = await tasks.open_counts(tx)
    live = await runs.live(tx)
    _, busy = await runs.load(tx)
    agents = await projects.agents(tx)
    unsent = {row["transport"]: (row["unsent"], row["held"]) for row in await outbox.waiting(tx)}
    paused = bool(await flags.get(tx, flags.PAUSED))
    fields = [
        ("scheduling", "paused" if paused else "running"),
        ("up", duration(ctx.now - ctx.services.started_at)),
        ("open", ", ".join(f"{mark(s)} {s} {n}" for s, n in sorted(counts.items())) or "nothing"),
        ("agents", ", ".join(f"{a.id} {busy.get(a.id, 0)}/{a.slots}" for a in agents) or "none"),
    ]
    if limited := await accounts.closed(tx):
        fields.append(("limits", "; ".join(words_of(account, ctx.now) for account in limited)))
    held = ctx.services.host.held(len(live))
    if held is not None:
        fields.append(("host", f"⚠️ {held.words}"))
    for name, connection in ctx.services.frontends().items():
        state = connection.state
        waiting, held = unsent.get(name, (0, 0))
        extra = f", {waiting} unsent" if waiting else ""
        extra += f", {held} held until it can be read back" if held else ""
        amiss = [one.text for one in connection.frontend.findings() if not one.good]
        amiss += [f"{channel} takes nothing: {why}" for channel, why in connection.put_off.items()]
        extra += f"; ⚠️ {flat('; '.join(amiss))}" if amiss else ""
        fields.append((name, state + extra))
    working = [
        f"- **{r.task_id}** by {plain(r.agent_id)} for {duration(ctx.now - r.created_at)}" for r in live
    ]
    data = {
        "paused": paused,
        "open": {str(s): n for s, n in counts.items()},
        "agents": {a.id: {"busy": busy.get(a.id, 0), "slots": a.slots} for a in agents},
        "frontends": {name: one.state for name, one in ctx.services.frontends().items()},
        "running": [r.task_id for r in live],
        "limits": {one.id: one.resets_at for one in limited},
    }
    tone = Tone.WARN if paused else Tone.INFO
    card = Card(title=f"agent-queue {ctx.services.version}", tone=tone, fields=tuple(fields))
    return Post(card=card, text="\n".join(working), data=data)


@here.command("doctor", role=Role.VIEWER, summary="Examine the daemon and its connections.", example="doctor")
async def doctor(ctx: Context, args: Nothing) -> Answer:
    """What stands well and what does not, with the way out."""
    findings = [
        (name, finding)
        for name, one in ctx.services.frontends().items()
        for finding in (
            Finding(good=one.state == "connected", text=one.state),
            *one.frontend.findings(),
            *(
                Finding(good=False, text=f"{channel} takes nothing: {why}")
                for channel, why in one.put_off.items()
            ),
        )
    ]
    for name, one in ctx.services.frontends().items():
        bound = await projects.bound_channels(ctx.tx, name) if one.state == "connected" else {}
        for channel, project in bound.items():
            try:
                one.frontend.channel(channel)
            except UserError as fault:
                findings.append(
                    (name, Finding(good=False, text=f"project {project} is bound to it: {fault}"))
                )
    host = await asyncio.to_thread(lambda: list(findings_of_host(ctx.services.settings)))
    findings += [("host", one) for one in host]
    for agent in await projects.agents(ctx.tx):
        try:
            profile = profile_of(ctx.services.settings.profiles, agent)
            ctx.services.check_agent(agent.type, {**profile, **agent.config})
            findings.append((agent.id, Finding(good=True, text=f"{agent.type} can be started")))
        except UserError as fault:
            findings.append((agent.id, Finding(good=False, text=str(fault))))
    findings += [
        (
            f"account {account.id}",
            Finding(good=False, text=f"{words_of(account, ctx.now)}; `limits` says more"),
        )
        for account in await accounts.closed(ctx.tx)
    ]
    findings += [
        (repo.id, Finding(good=False, text=repo.error or f"the repository is {repo.state}"))
        for repo in await projects.repos(ctx.tx)
        if repo.state is not RepoState.READY
    ]
    lines = [f"{'✅' if one.good else '⚠️'} **{plain(name)}**: {plain(one.text)}" for name, one in findings]
    items = [{"of": name, "good": one.good, "text": one.text} for name, one in findings]
    return Listing("Findings", lines, items, len(items)).post()


@here.command("version", role=Role.VIEWER, summary="Show the version.", example="version")
async def version(ctx: Context, args: Nothing) -> Answer:
    """The version of the daemon."""
    return Post(text=f"agent-queue {ctx.services.version}", data={"version": ctx.services.version})


@here.command(
    "pause", role=Role.OPERATOR, summary="Start no more tasks; running ones go on.", example="pause"
)
async def pause(ctx: Context, args: Nothing) -> Answer:
    """Stop assigning."""
    await flags.put(ctx.tx, flags.PAUSED, True)
    running = len(await runs.live(ctx.tx))
    going = f"{counted(running, 'running task')} {'goes' if running == 1 else 'go'} on; " if running else ""
    return Post(text=f"⏸ Scheduling is paused. {going}`resume` starts tasks again.")


@here.command("resume", role=Role.OPERATOR, summary="Start tasks again after a pause.", example="resume")
async def resume(ctx: Context, args: Nothing) -> Answer:
    """Assign again."""
    await flags.clear(ctx.tx, flags.PAUSED)
    return Post(text="▶️ Scheduling goes on.")


@here.command(
    "restart",
    role=Role.ADMIN,
    summary="Restart the daemon; agents go on working.",
    example="restart confirm:yes",
    confirm=True,
)
async def restart(ctx: Context, args: Nothing) -> Answer:
    """End cleanly and start again under the same process id; whoever asked is told when it is back."""
    if await flags.get(ctx.tx, flags.RESTARTED_BY):
        raise Conflict("a restart is under way already")
    asked = {
        "transport": ctx.event.place.transport,
        "channel": ctx.event.place.channel,
        "root": ctx.event.root,
        "event": ctx.event.event_id,
        "at": ctx.now,
    }
    await flags.put(ctx.tx, flags.RESTARTED_BY, asked)
    ctx.tx.afterwards.append(
        ctx.services.request_restart
    )  # earlier, this event would be handled again after it
    return Post(text="🔄 Restarting; agents go on working. I will say here when I am back.")


class Pair(Arguments):
    """Who is let in."""

    code: Annotated[str, Positional("the code that the person was shown")]
    person: Annotated[str, Positional("the person's name, new or known")]
    role: Annotated[Literal["viewer", "operator", "admin"], Option("what a new person may do")] = "viewer"


@here.command("pair", role=Role.ADMIN, summary="Let a person in.", example="pair K7M2QX alice role:operator")
async def pair(ctx: Context, args: Pair) -> Answer:
    """Confirm a pairing code."""
    row = await people.pair(ctx.tx, args.code, args.person, Role[args.role.upper()], ctx.now)
    known = await people.of_account(ctx.tx, row["transport"], row["account"])
    role = f", with the role {known.role.name.lower()}" if known else ""
    return Post(text=f"🤝 {plain(row['name'])} on {row['transport']} is {plain(args.person)} now{role}.")


@here.command("person list", role=Role.ADMIN, summary="Show who may do what.", example="person list")
async def list_people(ctx: Context, args: Nothing) -> Answer:
    """Everybody, with role and accounts."""
    lines, items = [], []
    for row in await people.everybody(ctx.tx):
        role = Role(row["role"]).name.lower()
        lines.append(
            f"**{plain(row['id'])}** {role}, by {row['source']} — {plain(row['accounts'] or 'no account')}"
        )
        items.append(
            {"id": row["id"], "role": role, "source": row["source"], "accounts": row["accounts"] or ""}
        )
    return Listing("People", lines, items, len(items)).post()


class PersonRole(Arguments):
    """A person and what they may do."""

    person: Annotated[str, Positional("the person's name")]
    role: Annotated[Literal["viewer", "operator", "admin"], Option("what the person may do from now on")]


@here.command(
    "person edit",
    role=Role.ADMIN,
    summary="Change what a paired person may do.",
    example="person edit alice role:operator",
)
async def edit_person(ctx: Context, args: PersonRole) -> Answer:
    """People of the configuration are changed there."""
    await people.set_role(ctx.tx, args.person, Role[args.role.upper()])
    return Post(text=f"🤝 {plain(args.person)} has the role {args.role} now.")


class Link(Arguments):
    """One more account of somebody."""

    person: Annotated[str, Positional("the person's name")]
    account: Annotated[
        str, Positional("`platform:account`, or the code that they were shown there", max_length=200)
    ]


@here.command(
    "person link",
    role=Role.ADMIN,
    summary="Give a person one more account, so that they are the same on every platform.",
    example="person link alice slack:U024BE7LH",
)
async def link_person(ctx: Context, args: Link) -> Answer:
    """The account may be named, or be proven by its pairing code."""
    transport, colon, name = args.account.partition(":")
    if not colon:
        row = await people.link_by_code(ctx.tx, args.account, args.person, ctx.now)
        transport, name = row["transport"], row["account"]
    elif transport not in ctx.services.frontends():
        known = ", ".join(ctx.services.frontends())
        raise UserError(f"there is no frontend {transport!r}; there are {known}")
    else:
        await people.link(ctx.tx, transport, name, args.person)
    return Post(text=f"🔗 {plain(name)} on {transport} is {plain(args.person)}.")


class Unlink(Arguments):
    """An account that is nobody's any more."""

    account: Annotated[str, Positional("`platform:account`", max_length=200)]


@here.command(
    "person unlink",
    role=Role.ADMIN,
    summary="Take an account from whoever has it.",
    example="person unlink slack:U024BE7LH",
)
async def unlink_person(ctx: Context, args: Unlink) -> Answer:
    """Accounts of the configuration are changed there."""
    transport, _, name = args.account.partition(":")
    person = await people.unlink(ctx.tx, transport, name)
    return Post(text=f"✂️ {plain(args.account)} is not {plain(person)} any more.")


class OnePerson(Arguments):
    """A person."""

    person: Annotated[str, Positional("the person's name")]


@here.command(
    "person remove",
    role=Role.ADMIN,
    summary="Take every right from a paired person.",
    example="person remove alice",
)
async def remove_person(ctx: Context, args: OnePerson) -> Answer:
    """A new pairing code lets them in again."""
    await people.remove(ctx.tx, args.person)
    return Post(text=f"🚪 {plain(args.person)} is not known any more.")


_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def pairing_code() -> str:
    """A fresh one-time code, easy to read out."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(6))
