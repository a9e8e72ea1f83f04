"""Commands about what is used, and the caps on it."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Annotated, Literal

from orchestrator import charts
from orchestrator.commands.arguments import Arguments, Nothing, Option, Positional
from orchestrator.commands.context import Answer, Context, Deferred, Listing
from orchestrator.commands.registry import Registry
from orchestrator.errors import UserError
from orchestrator.lifecycle import counted
from orchestrator.projects import Role
from orchestrator.runs.meter import fits, rests_over_budget
from orchestrator.spending import Amount, Budget, Scope, Spent, Unit, day_of, parse_amount
from orchestrator.store import projects, spending, tasks
from orchestrator.store.database import Tx
from orchestrator.tasks import TaskEvent, TaskStatus
from orchestrator.transport import File, Post
from orchestrator.words import plain

here = Registry()
_LINES = 40
_RESTING = 200
"""Tasks that are looked at when a cap on each of them changes."""
_PARTS = 6
"""Parts of a bar that are shown by themselves."""

By = Literal["day", "project", "agent", "person", "task", "model"]


class Which(Arguments):
    """Which use is shown."""

    project: Annotated[
        str | None, Positional("only this project's", complete="project", implied="project")
    ] = None
    by: Annotated[tuple[By, ...], Option("what it is summed by")] = ("project", "agent")
    days: Annotated[int, Option("how many days back, today included")] = 7


@here.command(
    "usage",
    role=Role.VIEWER,
    summary="Show what was used, in tokens and money, with a chart.",
    example="usage by:person,day days:30",
)
async def usage(ctx: Context, args: Which) -> Answer:
    """A table, and a picture of the days."""
    if not 1 <= args.days <= 366:
        raise UserError(f"days must be between 1 and 366, not {args.days}")
    if args.project is not None:
        await projects.get(ctx.tx, args.project)
    since = day_of(ctx.now) - args.days + 1
    of = args.project or ""
    keys = tuple(dict.fromkeys(args.by))
    rows = await spending.table(ctx.tx, keys, since=since, project_id=of)
    part = "agent" if args.project else "project"
    daily = await spending.table(ctx.tx, ("day", part), since=since, project_id=of, limit=10_000)
    whole = await spending.spent(ctx.tx, since=since, project_id=of)
    title = f"Use of {of or 'all projects'}, {counted(args.days, 'day')}"
    items = [
        dict(zip(keys, (_key(k, v) for k, v in zip(keys, row, strict=True)), strict=True)) | _data(used)
        for row, used in rows
    ]
    data = {"days": args.days, "project": args.project, "total": _data(whole), "items": items}
    text = f"{title}: {_shown(whole)}\n\n{_table(keys, rows)}"
    post = Post(text=text, verbatim=True, data=data)
    if not daily:
        return replace(post, text=f"{title}: nothing")
    if not charts.available():
        return replace(post, text=f"{text}\n\n({charts.MISSING.replace('`', '')})")

    async def drawn() -> Post:
        picture = await asyncio.to_thread(_chart, title, since, args.days, daily)
        content = base64.b64encode(picture).decode()
        return replace(post, files=(File(name="usage.png", content=content, encoded=True),))

    return Deferred(drawn)


def _key(key: str, value: str) -> str:
    return date.fromordinal(int(value)).isoformat() if key == "day" else value or "-"


def _data(used: Spent) -> dict[str, float]:
    return {"tokens": used.tokens, "usd": round(used.cost, 6), "calls": used.calls}


def _shown(used: Spent) -> str:
    parts = [str(Amount(Unit.TOKENS, used.tokens)), f"{counted(used.calls, 'call')}"]
    return ", ".join([str(Amount(Unit.MONEY, used.cost)), *parts] if used.cost else parts)


def _table(keys: Sequence[str], rows: Sequence[tuple[tuple[str, ...], Spent]]) -> str:
    head = [*keys, "tokens", "money", "calls"]
    lines = [
        [
            *(_key(k, v) for k, v in zip(keys, row, strict=True)),
            f"{u.tokens:,}",
            f"${u.cost:,.2f}",
            str(u.calls),
        ]
        for row, u in rows[:_LINES]
    ]
    widths = [max(len(line[at]) for line in (head, *lines)) for at in range(len(head))]

    def aligned(line: Sequence[str]) -> str:
        names, numbers = line[: len(keys)], line[len(keys) :]
        words = [name.ljust(width) for name, width in zip(names, widths, strict=False)]
        words += [number.rjust(width) for number, width in zip(numbers, widths[len(keys) :], strict=True)]
        return "  ".join(words)

    more = [f"… and {len(rows) - _LINES} more"] if len(rows) > _LINES else []
    return "\n".join([aligned(head), *map(aligned, lines), *more])


def _chart(title: str, since: int, days: int, rows: Sequence[tuple[tuple[str, ...], Spent]]) -> bytes:
    """Bars of the days, in money where there is any, else in tokens."""
    unit = Unit.MONEY if any(used.cost for _, used in rows) else Unit.TOKENS
    sums: dict[str, float] = {}
    for (_, part), used in rows:
        sums[part] = sums.get(part, 0.0) + used.of(unit)
    shown = sorted(sums, key=lambda part: -sums[part])[:_PARTS]
    parts = {name or "-": [0.0] * days for name in shown} | (
        {"others": [0.0] * days} if len(sums) > _PARTS else {}
    )
    for (day, part), used in rows:
        parts[(part or "-") if part in shown else "others"][int(day) - since] += used.of(unit)
    names = [date.fromordinal(since + at).strftime("%m-%d") for at in range(days)]
    return charts.stacked(title, "US dollars" if unit is Unit.MONEY else "tokens", names, parts)


@here.command(
    "budget show",
    role=Role.VIEWER,
    summary="Show the caps, and what is used of them.",
    example="budget",
    aliases=("budget",),
)
async def show(ctx: Context, args: Nothing) -> Answer:
    """Every cap in a line."""
    lines, items = [], []
    for one in await spending.budgets(ctx.tx):
        used = await _used(ctx.tx, one, ctx.now)
        share = f", {used:.0%} used" if used is not None else ""
        lines.append(f"{plain(str(one))}{share}")
        items.append(
            {
                "scope": one.scope,
                "of": one.of,
                "unit": one.amount.unit,
                "amount": one.amount.value,
                "used": used,
            }
        )
    none = "(none; `budget set $20` caps what all projects use in a day)"
    return Listing("Budgets", lines, items, len(items), none=none).post()


async def _used(tx: Tx, one: Budget, now: float) -> float | None:
    """The share that is used up; None where the cap is on each of many."""
    match one.scope:
        case Scope.ALL:
            found = await spending.spent(tx, since=day_of(now))
        case Scope.PROJECT:
            found = await spending.spent(tx, since=day_of(now), project_id=one.of)
        case Scope.TASK:
            found = await spending.spent(tx, task_id=one.of)
        case _:
            return None
    return found.of(one.amount.unit) / one.amount.value


class Target(Arguments):
    """What a cap is on."""

    project: Annotated[str | None, Option("the project, for each day", complete="project")] = None
    task: Annotated[str | None, Option("the task, as long as it lives", complete="task")] = None
    each_task: Annotated[bool, Option("each task of the project by itself")] = False

    def scope(self) -> tuple[Scope, str]:
        """The scope, and the project or task."""
        if self.task:
            return Scope.TASK, self.task
        if self.each_task and not self.project:
            raise UserError("name the project whose tasks are meant: `project:…`")
        if self.each_task:
            return Scope.EACH_TASK, self.project or ""
        return (Scope.PROJECT, self.project) if self.project else (Scope.ALL, "")


async def _exists(tx: Tx, scope: Scope, of: str) -> None:
    if scope is Scope.TASK:
        await tasks.get(tx, of)
    elif of:
        await projects.get(tx, of)


class Setting(Target):
    """A cap."""

    amount: Annotated[str, Positional("tokens as `500k` or `2M`, money as `$20`")]


@here.command(
    "budget set",
    role=Role.ADMIN,
    summary="Cap what may be used: in a day, or by a task.",
    example="budget set $5 project:api each-task:yes",
)
async def set_(ctx: Context, args: Setting) -> Answer:
    """People are told at 80 and 95 percent; at 100 nothing more is begun."""
    scope, of = args.scope()
    await _exists(ctx.tx, scope, of)
    new = Budget(scope=scope, of=of, amount=parse_amount(args.amount))
    await spending.put(ctx.tx, new)
    return Post(
        text=f"💰 {plain(str(new))}, from now on.", data={"scope": scope, "of": of, "amount": args.amount}
    )


class Removal(Target):
    """A cap to take away."""

    unit: Annotated[Unit | None, Option("only the one in this unit")] = None


@here.command(
    "budget remove", role=Role.ADMIN, summary="Take a cap away.", example="budget remove project:api"
)
async def remove(ctx: Context, args: Removal) -> Answer:
    """What waits for it can start."""
    scope, of = args.scope()
    await spending.remove(ctx.tx, scope, of, args.unit)
    more = await _go_on(ctx, scope, of)
    return Post(text=f"💰 The cap on {plain(of or 'all projects')} is gone.{more}")


class More(Target):
    """A higher cap."""

    by: Annotated[str, Positional("how much more: tokens as `500k`, money as `$5`")]


@here.command(
    "budget raise",
    role=Role.ADMIN,
    summary="Raise a cap; a task that rests because of its own goes on.",
    example="budget raise $5 task:swift-falcon",
)
async def raise_(ctx: Context, args: More) -> Answer:
    """What is there and something more."""
    scope, of = args.scope()
    await _exists(ctx.tx, scope, of)
    more = parse_amount(args.by)
    before = await _cap(ctx.tx, scope, of, more.unit)
    if before is None:
        raise UserError(
            f"there is no cap in {more.unit} on {of or 'all projects'}; `budget` shows those there are"
        )
    new = Budget(scope=scope, of=of, amount=Amount(more.unit, before.amount.value + more.value))
    await spending.put(ctx.tx, new)
    return Post(text=f"💰 {plain(str(new))}, from now on.{await _go_on(ctx, scope, of)}")


async def _go_on(ctx: Context, scope: Scope, of: str) -> str:
    """Let those tasks go on that rest because of a cap and fit into it now; says which."""
    if scope is Scope.TASK:
        found = [await tasks.get(ctx.tx, of)]
    elif scope is Scope.EACH_TASK:
        found, _ = await tasks.page(ctx.tx, project_id=of, statuses=(TaskStatus.PAUSED,), limit=_RESTING)
    else:
        return ""  # of a day: what waits for it is ready, and starts by itself
    names = []
    for task in found:
        if await rests_over_budget(ctx.tx, task) and await fits(ctx.tx, task):
            reason = f"its budget was raised by {ctx.person.id}"
            await ctx.lifecycle.advance(ctx.tx, task, TaskEvent.HUMAN_REPLIED, reason=reason)
            names.append(f"**{task.id}**")
    return f" {', '.join(names)} {'goes' if len(names) == 1 else 'go'} on." if names else ""


async def _cap(tx: Tx, scope: Scope, of: str, unit: Unit) -> Budget | None:
    """The cap that holds there: for a task, what its project says of each, until it has one of its own."""
    if scope is Scope.TASK:
        project = (await tasks.get(tx, of)).project_id
        found = [one for one in await spending.caps_of(tx, project, of) if not one.daily]
    else:
        found = [one for one in await spending.budgets(tx) if (one.scope, one.of) == (scope, of)]
    return next((one for one in found if one.amount.unit is unit), None)
