"""Accounts' limits: what closes an account, what opens it again, and how people are told, once per state.

An account that is limited is shut until its reset. Then it is tried: one task, the canary, goes before all others.
When a request of its run goes through, the account is ok; when the canary is limited too, it is shut for longer. A
canary that ends without having shown anything, or that shows nothing for too long, makes room for the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.lifecycle import Lifecycle
from orchestrator.scheduler import AccountLoad, Gate
from orchestrator.settings import LimitSettings
from orchestrator.store import accounts, tasks
from orchestrator.store.accounts import Account, AccountState
from orchestrator.store.database import Tx
from orchestrator.tasks import Task

_RESET_MAX = 40 * 86400.0
"""Seconds after which a limit's reset is not believed to be one."""
_BELIEVED = 3
"""Strikes from which on a told reset that is nearer than our backoff is not believed."""
_CANARY_STARTS = 30.0
"""Seconds that a canary gets to be started before another may go in its place."""
_STEPS = ((60, "1 min"), (300, "5 min"), (600, "10 min"), (1800, "30 min"), (3600, "1 h"))


@dataclass(frozen=True, slots=True)
class Limits:
    """Closes accounts and opens them again."""

    lifecycle: Lifecycle
    settings: LimitSettings

    async def hit(self, tx: Tx, account_id: str, run_id: str, told: float | None, words: str) -> Account:
        """The account is at its limit, until the time that the agent *told* (Unix seconds) if that can be one.

        While another run tries the account, a run that met the limit before says nothing new of it.
        """
        now, was = self.lifecycle.clock(), await accounts.get(tx, account_id)
        if was.state is AccountState.TRYING and was.canary_run not in ("", run_id):
            return was
        told = told if told is not None and now < told < now + _RESET_MAX else None
        if was.state is AccountState.LIMITED and was.resets_at is not None and was.resets_at > now:
            until = max(was.resets_at, told or 0.0)  # another run has met the same limit, or a longer one
            strikes = was.strikes
        else:
            backoff = now + self._backoff(was.strikes)
            until = told if told and was.strikes < _BELIEVED else max(told or 0.0, backoff)
            strikes = was.strikes + 1
        fields = {
            "state": AccountState.LIMITED,
            "reason": words.strip()[:500],
            "resets_at": until,
            "strikes": strikes,
            "updated_at": now,
        }
        await accounts.put(tx, account_id, **fields, canary="", canary_run="")
        return await accounts.get(tx, account_id)

    def _backoff(self, strikes: int) -> float:
        return min(self.settings.backoff_max, self.settings.backoff * 2.0 ** min(strikes, 60))

    async def warned(
        self, tx: Tx, account_id: str, used: float | None, words: str, resets_at: float | None
    ) -> None:
        """An agent has said how much of its window is used up."""
        if used is None:
            return
        now, account = self.lifecycle.clock(), await accounts.get(tx, account_id)
        fields: dict[str, object] = {"used": min(1.0, max(0.0, used)), "window_words": words.strip()[:200]}
        if account.state is AccountState.OK:
            timely = resets_at is not None and now < resets_at < now + _RESET_MAX
            fields |= {"resets_at": resets_at if timely else None}
        await accounts.put(tx, account_id, **fields)

    async def clear(self, tx: Tx, account_id: str) -> bool:
        """Have a closed account tried now; False where it is ok."""
        account = await accounts.get(tx, account_id)
        if account.state is AccountState.OK:
            return False
        now = self.lifecycle.clock()
        fields = {"state": AccountState.LIMITED, "resets_at": now, "updated_at": now}
        await accounts.put(tx, account_id, **fields, canary="", canary_run="")
        return True

    async def tried(self, tx: Tx) -> set[str]:
        """The accounts that a canary is trying, for no longer than one may take."""
        return await accounts.tried(tx, self.lifecycle.clock() - self.settings.canary_seconds)

    async def advance(self, tx: Tx, resting: Mapping[str, list[Task]]) -> None:
        """Try the accounts whose limit is over, and send another canary where one has shown nothing.

        *resting* has the tasks that rest for each account, those limited first in front.
        """
        now, tried = self.lifecycle.clock(), await self.tried(tx)
        for account in await accounts.closed(tx):
            over = account.state is AccountState.LIMITED and (account.resets_at or 0.0) <= now
            idle = account.state is AccountState.TRYING and account.id not in tried
            if over or (idle and await self._spent(tx, account, now)):
                canary = next((task.id for task in resting.get(account.id, ())), "")
                await accounts.put(
                    tx,
                    account.id,
                    state=AccountState.TRYING,
                    updated_at=now,
                    canary=canary,
                    canary_run="",
                )

    async def _spent(self, tx: Tx, account: Account, now: float) -> bool:
        """Whether the canary has run without showing anything, or does not come to run."""
        return bool(account.canary_run) or now >= account.updated_at + _CANARY_STARTS

    async def loads(self, tx: Tx) -> tuple[AccountLoad, ...]:
        """The accounts whose gate is not open, for the scheduler."""
        tried, now = await self.tried(tx), self.lifecycle.clock()
        return tuple(
            AccountLoad(
                id=account.id,
                gate=Gate.SHUT if account.state is AccountState.LIMITED or account.id in tried else Gate.AJAR,
                words=words_of(account, now),
                canary=account.canary,
                opens_at=account.resets_at if account.state is AccountState.LIMITED else None,
            )
            for account in await accounts.closed(tx)
        )

    async def count_down(self, tx: Tx, task: Task, account: Account) -> None:
        """Make a resting task say how its account stands, where the words have changed."""
        words = words_of(account, self.lifecycle.clock())
        if words == task.reason:
            return
        resets = account.resets_at if account.resets_at is not None else task.not_before
        await tasks.update(tx, task.id, reason=words, not_before=resets)
        await self.lifecycle.show(tx, await tasks.get(tx, task.id))


def words_of(account: Account, now: float) -> str:
    """Why nothing of a closed account starts, for people; the words change seldom, and more often near the end."""
    if account.state is AccountState.TRYING:
        who = f" with {account.canary}" if account.canary else ""
        return f"account {account.id} is tried{who} first, now that its limit should be over"
    until = account.resets_at or now
    return f"account {account.id} is at its limit until {hour(until, now)}, {_remaining(until - now)}"


def hour(at: float, now: float) -> str:
    """A time as people read it, in UTC, with the day where it is not today's."""
    then, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return then.strftime("%H:%M UTC" if then.date() == today.date() else "%d %b %H:%M UTC")


def _remaining(seconds: float) -> str:
    """A length of time in words that change each day, then each hour, then at 30, 10, 5 and 1 minutes."""
    for least, words in _STEPS:
        if seconds <= least:
            return f"in less than {words}"
    if seconds <= 48 * 3600:
        return f"in {-(-seconds // 3600):g} h"
    return f"in {-(-seconds // 86400):g} d"
