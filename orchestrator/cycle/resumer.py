"""Brings accounts back when their limit is over, and the tasks that rest for them; meanwhile these count down."""

from orchestrator.lifecycle import Lifecycle
from orchestrator.limits import Limits
from orchestrator.scheduler import AccountLoad, Gate
from orchestrator.store import accounts, projects, tasks
from orchestrator.store.database import Database, Tx
from orchestrator.tasks import Task, TaskEvent


class Resumer:
    """Resumes what a limit has paused."""

    def __init__(self, database: Database, lifecycle: Lifecycle, limits: Limits) -> None:
        self._db = database
        self._lifecycle = lifecycle
        self._limits = limits

    async def run_once(self) -> int:
        """Try the accounts that are due, and make the tasks ready that can go on; returns how many."""
        async with self._db.read() as tx:
            if not await accounts.closed(tx) and not await tasks.resting(tx, limit=1):
                return 0
        async with self._db.transaction() as tx:
            resting = await tasks.resting(tx)
            owner = await accounts.of_agents(tx, {task.agent_id for task in resting})
            by_account: dict[str, list[Task]] = {}
            for task in resting:
                by_account.setdefault(owner.get(task.agent_id, ""), []).append(task)
            await self._limits.advance(tx, by_account)
            return await self._go_on(tx, by_account)

    async def _go_on(self, tx: Tx, resting: dict[str, list[Task]]) -> int:
        """Resume what may go on, and let the rest say how long it rests."""
        loads = {load.id: load for load in await self._limits.loads(tx)}
        resumed = 0
        for account, waiting in resting.items():
            for task in waiting:
                reason = await self._reason(tx, task, loads.get(account), loads)
                if reason:
                    event = TaskEvent.RESUME_TIMER
                    await self._lifecycle.advance(tx, task, event, reason=reason, not_before=None)
                    resumed += 1
                else:
                    await self._limits.count_down(tx, task, await accounts.get(tx, account))
        return resumed

    async def _reason(
        self, tx: Tx, task: Task, own: AccountLoad | None, loads: dict[str, AccountLoad]
    ) -> str:
        """Why the task goes on; nothing where it does not."""
        if own is None:
            return "its rest is over"
        if own.gate is Gate.AJAR and own.canary == task.id:
            return f"its rest is over; it tries account {own.id} for all"
        project = await projects.get(tx, task.project_id)
        if not project.failover or task.pinned:
            return ""
        for agent in await projects.stand_ins(tx, task.agent_id):
            if agent.account not in loads or loads[agent.account].gate is not Gate.SHUT:
                return f"account {own.id} is at its limit; another agent of class {agent.kind} can go on"
        return ""
