"""Commands about what agents may do, and about who decided what."""

import posixpath
from typing import Annotated

from orchestrator.agent import ToolKind
from orchestrator.commands.arguments import Arguments, Option, Positional
from orchestrator.commands.context import PAGE, Answer, Context, Listing
from orchestrator.commands.projects import Named
from orchestrator.commands.registry import Registry
from orchestrator.errors import UserError
from orchestrator.lifecycle import duration, flat
from orchestrator.policy import DEFAULT, Answerer, Effect, Rule, Wish, answerers, decide
from orchestrator.projects import Role
from orchestrator.store import people, policies, projects
from orchestrator.transport import Post
from orchestrator.words import code, plain

here = Registry()
_RULES_MAX = 500
_MARKS = {Effect.ALLOW: "✅", Effect.ASK: "❓", Effect.DENY: "🚫"}


class Which(Arguments):
    """Whose policy."""

    project: Annotated[
        str | None,
        Positional("the project; without it, what holds everywhere", complete="project", implied="project"),
    ] = None


@here.command(
    "policy show",
    role=Role.VIEWER,
    summary="Show what agents may do in a project: the first rule that fits decides.",
    example="policy show api",
)
async def show(ctx: Context, args: Which) -> Answer:
    """The project's rules in their order, then those that hold everywhere."""
    if args.project is not None:
        await projects.get(ctx.tx, args.project)
    own = await policies.rules(ctx.tx, args.project) if args.project else []
    numbered = [(f"rule {number}", rule) for number, rule in enumerate(own, 1)]
    numbered += [(f"default {number}", rule) for number, rule in enumerate(DEFAULT, 1)]
    lines = [f"{_MARKS[rule.effect]} {name}: {code(str(rule))}" for name, rule in numbered]
    items = [{"rule": name, **rule_data(rule)} for name, rule in numbered]
    title = f"Policy of {args.project}" if args.project else "Policy of every project"
    return Listing(title, lines, items, len(lines)).post()


def rule_data(rule: Rule) -> dict[str, str]:
    """A rule for machines."""
    return {
        "effect": rule.effect,
        "tool": rule.tool,
        "path": rule.path,
        "command": rule.command,
        "by": rule.by,
    }


class New(Named):
    """A rule."""

    effect: Annotated[Effect, Positional("what it does")]
    tool: Annotated[str, Option("a kind (read, edit, run, fetch, other) or a glob of tools' names")] = ""
    path: Annotated[str, Option("a glob of paths in the worktree, or of absolute ones outside")] = ""
    command: Annotated[str, Option("a command with `*` for any words")] = ""
    by: Annotated[Answerer, Option("who must answer what is asked")] = Answerer.ANYONE
    first: Annotated[bool, Option("before the other rules, not behind them")] = False


@here.command(
    "policy add",
    role=Role.ADMIN,
    summary="Add a rule to a project's policy.",
    example='policy add api allow tool:run command:"git log *"',
)
async def add(ctx: Context, args: New) -> Answer:
    """A rule names a tool, paths or commands; not paths and commands at once."""
    await projects.get(ctx.tx, args.project)
    rule = Rule(
        effect=args.effect,
        tool=args.tool.strip(),
        path=args.path.strip(),
        command=" ".join(args.command.split()),
        by=args.by,
    )
    _check(rule)
    if len(await policies.rules(ctx.tx, args.project)) >= _RULES_MAX:
        raise UserError(f"project {args.project} has {_RULES_MAX} rules already; `policy remove` one")
    await policies.add(ctx.tx, args.project, rule, first=args.first)
    text = f"📜 {plain(args.project)}: {code(str(rule))}. `policy show {args.project}` shows the order."
    return Post(text=text, data=rule_data(rule))


def _check(rule: Rule) -> None:
    """UserError where a rule could not mean what it says."""
    if not (rule.tool or rule.path or rule.command):
        raise UserError("say what the rule is about: tool:…, path:… or command:…; `tool:*` is everything")
    if rule.path and rule.command:
        raise UserError("a rule is about paths or about commands; make two rules of it")
    if rule.by is not Answerer.ANYONE and rule.effect is not Effect.ASK:
        raise UserError("`by` says who must answer: only a rule that asks has it")
    if rule.path.startswith("../"):
        raise UserError(f"the path {rule.path!r} leaves the worktree; write an absolute one")
    if rule.path and posixpath.normpath(rule.path) != rule.path:
        raise UserError(f"the path {rule.path!r} would fit nothing; write {posixpath.normpath(rule.path)!r}")


class OneRule(Named):
    """A rule by its number."""

    number: Annotated[int, Positional("the rule's number in `policy show`")]


@here.command(
    "policy remove",
    role=Role.ADMIN,
    summary="Remove a rule from a project's policy.",
    example="policy remove api 2",
)
async def remove(ctx: Context, args: OneRule) -> Answer:
    """Those behind it move up."""
    await projects.get(ctx.tx, args.project)
    gone = await policies.remove(ctx.tx, args.project, args.number)
    text = f"📜 {plain(args.project)} has no longer: {code(str(gone))}. The rules behind it have moved up."
    return Post(text=text, data=rule_data(gone))


class Attempt(Named):
    """What an agent might want to do."""

    tool: Annotated[str, Option("a kind (read, edit, run, fetch, other) or a tool's name")] = ""
    path: Annotated[tuple[str, ...], Option("the files")] = ()
    command: Annotated[str, Option("the command")] = ""


@here.command(
    "policy try",
    role=Role.VIEWER,
    summary="Say what would happen, and by which rule.",
    example='policy try api tool:run command:"git log && rm -rf /"',
)
async def attempt(ctx: Context, args: Attempt) -> Answer:
    """Nothing is run; links are not followed."""
    await projects.get(ctx.tx, args.project)
    if not (args.tool or args.path or args.command):
        raise UserError("say what is tried: tool:…, path:… or command:…")
    kinds: dict[str, ToolKind] = {kind.value: kind for kind in ToolKind}
    usual = ToolKind.RUN if args.command else ToolKind.EDIT
    kind = kinds.get(args.tool, ToolKind.OTHER) if args.tool else usual
    paths = tuple(_placed(path) for path in args.path)
    wish = Wish(tool=args.tool, kind=kind, paths=paths, command=args.command)
    ruling = decide(await policies.rules(ctx.tx, args.project), wish)
    asked = f"; {answerers(ruling.by, 'whoever')} may answer" if ruling.effect is Effect.ASK else ""
    data = {"effect": ruling.effect, "rule": ruling.rule, "by": ruling.by}
    text = f"{_MARKS[ruling.effect]} **{ruling.effect}**, by {code(ruling.rule)}{asked}."
    return Post(text=text, data=data)


def _placed(path: str) -> str:
    """A path that is tried, as the policy reads it."""
    norm = posixpath.normpath(path)
    return f"/{norm}" if norm.startswith(("..", "~")) else norm


class Audit(Arguments):
    """Which lines of the audit trail are shown."""

    who: Annotated[str | None, Option("only what this person did; `policy` for the policies")] = None
    task: Annotated[str | None, Option("only what is about this task", complete="task")] = None
    limit: Annotated[int | None, Option("lines to show, in place of a page")] = None
    page: Annotated[int, Option("which page")] = 1


@here.command(
    "audit", role=Role.ADMIN, summary="Show who did and decided what.", example="audit task:swift-falcon"
)
async def audit(ctx: Context, args: Audit) -> Answer:
    """The lines of the audit trail, latest first."""
    page = max(1, args.page)
    size = PAGE if args.limit is None else max(1, min(args.limit, 200))
    offset = (page - 1) * PAGE if args.limit is None else 0
    rows = await people.trail(ctx.tx, size, offset, who=args.who, task_id=args.task)
    total = await people.trail_length(ctx.tx, who=args.who, task_id=args.task)
    lines = [
        f"{duration(ctx.now - r['at'])} ago: {plain(r['who'])}: {code(flat(r['what']))} {r['verdict']}"
        + (f" in {r['task_id']}" if r["task_id"] else "")
        + (f" ({plain(flat(r['detail']))})" if r["detail"] else "")
        for r in rows
    ]
    columns = ("at", "who", "what", "verdict", "detail", "project_id", "task_id")
    items = [{name: r[name] for name in columns} for r in rows]
    if args.limit is not None:
        return Listing("Audit", lines, items, len(items)).post()
    more = here.to_line("audit", Audit(who=args.who, task=args.task))
    return Listing("Audit", lines, items, total, page, more).post()
