"""Commands about the limits of agents' accounts."""

from collections.abc import Iterable
from typing import Annotated, Any

from orchestrator.commands.arguments import Arguments, Nothing, Positional
from orchestrator.commands.context import Answer, Context, Listing
from orchestrator.commands.registry import Registry
from orchestrator.errors import Conflict, NotFound
from orchestrator.lifecycle import counted, duration
from orchestrator.limits import hour, words_of
from orchestrator.projects import Agent, Role
from orchestrator.store import accounts, projects, tasks
from orchestrator.store.accounts import Account, AccountState
from orchestrator.transport import Post
from orchestrator.words import plain

here = Registry()


@here.command(
    "limits",
    role=Role.VIEWER,
    summary="Show the agents' accounts: their limits, and what these hold.",
    example="limits",
)
async def limits(ctx: Context, args: Nothing) -> Answer:
    """Every account that an agent works with."""
    agents = await projects.agents(ctx.tx)
    stored = {account.id: account for account in await accounts.known(ctx.tx)}
    lines, items = [], []
    for name in sorted({agent.account for agent in agents}):
        account = stored.get(name, Account(id=name))
        mine = [agent for agent in agents if agent.account == name]
        held = await tasks.held(ctx.tx, [agent.id for agent in mine]) if account.state != "ok" else []
        lines.append(_line(account, mine, held, ctx.now))
        items.append(_item(account, mine, held))
    return Listing("Accounts", lines, items, len(items), none="(no agent, and so no account)").post()


def _line(account: Account, agents: Iterable[Agent], held: list[str], now: float) -> str:
    names = ", ".join(agent.id for agent in agents)
    parts = [f"**{plain(account.id)}** ({plain(names)}) — {plain(_state(account, now))}"]
    if account.used is not None and (account.resets_at is None or account.resets_at > now):
        told = f" ({plain(account.window_words)})" if account.window_words else ""
        parts.append(f"{account.used:.0%} used{told}")
    if account.reason:
        parts.append(f"its agent said: {plain(account.reason)}")
    if held:
        shown = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
        parts.append(f"holds {counted(len(held), 'task')}: {plain(shown)}")
    return "; ".join(parts)


def _state(account: Account, now: float) -> str:
    if account.state is AccountState.OK:
        ahead = account.resets_at is not None and account.resets_at > now
        return f"ok; its window ends at {hour(account.resets_at or now, now)}" if ahead else "ok"
    if account.state is AccountState.LIMITED and account.resets_at is not None:
        return f"at its limit until {hour(account.resets_at, now)}, in {duration(account.resets_at - now)}"
    return words_of(account, now).removeprefix(f"account {account.id} ")


def _item(account: Account, agents: Iterable[Agent], held: list[str]) -> dict[str, Any]:
    return {
        "account": account.id,
        "state": account.state,
        "agents": [agent.id for agent in agents],
        "resets_at": account.resets_at,
        "used": account.used,
        "reason": account.reason,
        "strikes": account.strikes,
        "canary": account.canary,
        "held": held,
    }


class OneAccount(Arguments):
    """An account by its name."""

    account: Annotated[str, Positional("the account, as `limits` lists them")]


@here.command(
    "limit clear",
    role=Role.ADMIN,
    summary="Try an account now, whatever its limit.",
    example="limit clear claude",
    aliases=("limits clear",),
)
async def clear(ctx: Context, args: OneAccount) -> Answer:
    """One task goes first, as after every limit."""
    known = {agent.account for agent in await projects.agents(ctx.tx)}
    if args.account not in known:
        raise NotFound(f"no agent has an account {args.account!r}; `limits` lists those there are")
    if not await ctx.services.limits.clear(ctx.tx, args.account):
        raise Conflict(f"account {args.account} is not at a limit")
    return Post(text=f"▶️ Account **{plain(args.account)}** is tried now; one task goes first.")
