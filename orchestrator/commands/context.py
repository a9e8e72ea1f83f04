"""What a command's handler is given, and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.commands.registry import Registry
from orchestrator.errors import Forbidden
from orchestrator.host import Host
from orchestrator.lifecycle import Lifecycle
from orchestrator.limits import Limits
from orchestrator.projects import Person, Role
from orchestrator.settings import Settings
from orchestrator.store.database import Database, Tx
from orchestrator.transport import Frontend, Inbound, Post


class Connected(Protocol):
    """A frontend and how it stands."""

    frontend: Frontend
    state: str
    """In words."""

    @property
    def put_off(self) -> Mapping[str, str]:
        """Channels that take nothing for now, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers work with besides the store's transaction."""

    database: Database
    lifecycle: Lifecycle
    limits: Limits
    settings: Settings
    registry: Registry
    version: str
    check_agent: Callable[[str, dict[str, Any]], None]
    """Refuse an agent type that is unknown, not installed or wrongly configured, with a UserError."""
    request_restart: Callable[[], None]
    frontends: Callable[[], Mapping[str, Connected]]
    """The configured frontends, by name."""
    started_at: float
    host: Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One command, said by somebody somewhere. Everything that it changes is in `tx`."""

    tx: Tx
    services: Services
    person: Person
    event: Inbound
    line: str = ""
    project_id: str | None = None
    """The project of the channel that it was said in."""
    task_id: str | None = None
    """The task of the thread that it was said in."""
    files: tuple[str, ...] = ()
    """What was sent with it, by the names under which it is kept for agents."""

    @property
    def now(self) -> float:
        """The present, in Unix seconds."""
        return self.services.lifecycle.clock()

    @property
    def lifecycle(self) -> Lifecycle:
        """What moves tasks."""
        return self.services.lifecycle

    def require(self, role: Role, what: str) -> None:
        """Raise Forbidden where the person does not hold *role*."""
        if self.person.role < role:
            raise Forbidden(
                f"{self.person.id} may not {what}: it needs the role {role.name.lower()}, "
                f"yours is {self.person.role.name.lower()}; an admin can change that "
                f"(`person edit {self.person.id} role:…`)"
            )


@dataclass(frozen=True, slots=True)
class Deferred:
    """An answer that takes time outside the store (git, files). The handler has changed nothing."""

    answer: Callable[[], Awaitable[Post]]


Answer = Post | Deferred
PAGE = 20
"""Lines of a long list that are shown at once."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list as an answer: lines for people, items for machines, and where to go on."""

    title: str
    lines: list[str]
    items: list[dict[str, Any]]
    total: int
    page: int = 1
    more: str = ""
    """The command that shows the next page, without its `page:`. Without it the list is shown whole."""
    data: dict[str, Any] = field(default_factory=dict)
    none: str = "(none)"
    """What stands for no lines."""

    def post(self) -> Post:
        """The answer."""
        shown = "\n".join(f"- {line}".replace("\n", "\n  ") for line in self.lines)
        pages = max(1, -(-self.total // PAGE)) if self.more else 1
        head = f"**{self.title}** ({self.total})" + (f", page {self.page} of {pages}" if pages > 1 else "")
        tail = f"\n\n`{self.more} page:{self.page + 1}` shows more." if self.page < pages else ""
        none = f"(no such page; `{self.more}` shows the first)" if self.page > pages else self.none
        text = f"{head}\n\n{shown or none}{tail}"
        data = {"items": self.items, "total": self.total, "page": self.page, "pages": pages, **self.data}
        return Post(text=text, data=data)
