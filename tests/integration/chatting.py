"""People who speak with an orchestrator over a seam of their own: the harness of what is tested through the gateway."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bots.gateway import Gateway
from bots.terminal.frontend import TerminalFrontend
from bots.terminal.settings import TerminalSettings
from orchestrator.agent import Started
from orchestrator.errors import UserError
from orchestrator.orchestrator import Orchestrator
from orchestrator.projects import RepoState
from orchestrator.settings import PersonSettings, Settings
from orchestrator.store import projects, runs, schema
from orchestrator.store.outbox import key_of
from orchestrator.transport import Frontend, Inbound, InboundKind, Place, Sent
from tests.conftest import Clock


def check_agent(agent_type: str, config: dict[str, Any]) -> None:
    if agent_type != "command":
        raise UserError(f"there is no agent type {agent_type!r}; there is `command`")


class Chat:
    """People who speak with an orchestrator; answers are read from its outbox."""

    def __init__(self, folder: Path, clock: Clock, supervisor: Sequence[str] = ("false",)) -> None:
        accounts = {"ann": "admin", "olga": "operator", "vic": "viewer"}
        settings = Settings(
            data_dir=folder,
            database=folder / "store.db",
            people={
                name: PersonSettings(role=role, accounts=(f"chat:{name}",)) for name, role in accounts.items()
            },
        )
        self.restarts: list[bool] = []
        self.state = "connected"
        self.put_off: dict[str, str] = {}
        self.orchestrator = Orchestrator(
            settings,
            homes={"chat": "main"},
            supervisor=supervisor,
            check_agent=check_agent,
            version="1.2.3",
            request_restart=lambda: self.restarts.append(True),
            frontends=lambda: {"chat": self},
            clock=clock,
        )
        self.db = self.orchestrator.database
        self.gateway = Gateway(self.orchestrator.services)
        self._ids = itertools.count(1)
        self.frontend: Frontend = TerminalFrontend(TerminalSettings(), self.db, folder)

    async def say(
        self,
        text: str,
        who: str = "ann",
        *,
        root: str | None = None,
        action: str = "",
        event_id: str = "",
        addressed: bool = True,
        channel: str = "main",
        kind: InboundKind | None = None,
        subject: str = "",
        files: tuple[Sent, ...] = (),
    ) -> dict[str, Any]:
        """Say something and return the answer as the outbox has it; {} where there is none."""
        event = Inbound(
            event_id=event_id or f"e{next(self._ids)}",
            place=Place(transport="chat", channel=channel),
            account=who,
            name=who,
            text=text,
            root=root,
            addressed=addressed,
            kind=kind or (InboundKind.ACTION if action else InboundKind.MESSAGE),
            action=action,
            subject=subject,
            files=files,
        )
        await self.gateway.accept(event)
        await self.gateway.idle()
        key = key_of("reply", "chat", event.event_id)
        said = await self.rows(sa.select(schema.outbox.c.post).where(schema.outbox.c.key == key))
        return said[0]["post"] if said else {}

    async def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        async with self.db.read() as tx:
            return [dict(row) for row in await tx.all(statement)]

    async def dump(self) -> dict[str, Any]:
        """Everything but what was heard, said and noted for the audit."""
        heard = {"inbox", "outbox", "wire", "audit", "watermark", "action"}
        tables = [t for t in schema.metadata.sorted_tables if t.name not in heard]
        return {table.name: await self.rows(sa.select(table)) for table in tables}

    async def with_project(self) -> None:
        """A project whose repository is usable, and an agent."""
        await self.say("repo add r init")
        await self.say("project add api repo:r")
        await self.say("agent add worker command -- true")
        async with self.db.transaction() as tx:
            await projects.edit_repo(tx, "r", state=RepoState.READY, base_branch="main")

    async def with_running_task(self) -> str:
        """A task that an agent works on, in a thread whose root is `root-1`."""
        await self.with_project()
        added = await self.say("task add api do it")
        task_id: str = added["data"]["id"]
        for name, step in self.orchestrator._steps:
            if name in ("promote", "schedule"):
                await step()
        async with self.db.transaction() as tx:
            [run] = await runs.live(tx, task_id)
            await tx.execute(schema.thread.update().values(root="root-1"))
        async with self.db.transaction() as tx:
            await self.recorder.record(tx, run, [(10, Started(epoch=1, at=0.0))])
        return task_id

    @property
    def recorder(self) -> Any:
        return self.orchestrator.runs._tools.recorder

    async def status(self, task_id: str) -> str:
        found = await self.rows(sa.select(schema.task.c.status).where(schema.task.c.id == task_id))
        return str(found[0]["status"])
