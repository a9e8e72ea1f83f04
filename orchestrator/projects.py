"""Projects, repositories, agents and people: the vocabulary around a task."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class Role(IntEnum):
    """What a person may do; each role includes those below it."""

    NONE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


class Approval(StrEnum):
    """Whether a person must approve finished work before it is merged."""

    REQUIRED = "required"
    AUTO = "auto"


class MergeStrategy(StrEnum):
    """How a finished branch joins the base branch."""

    MERGE = "merge"
    REBASE = "rebase"


class Sandbox(StrEnum):
    """What keeps a project's agents from the rest of the host."""

    NONE = "none"
    BUBBLEWRAP = "bubblewrap"


class RepoKind(StrEnum):
    """Where a repository comes from."""

    CLONE = "clone"
    LINK = "link"
    INIT = "init"


class RepoState(StrEnum):
    """Whether a repository can be worked in."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A git repository that tasks work in. `path` is the shared object store on this host."""

    id: str
    kind: RepoKind
    source: str
    path: str
    base_branch: str = ""
    state: RepoState = RepoState.PENDING
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A body of work with its own channel, repository, share of the agents and rules."""

    id: str
    repo_id: str | None = None
    created_at: float = 0.0
    paused: bool = False
    credit_weight: float = 1.0
    max_concurrent_agents: int = 2
    token_budget: int | None = None
    """Tokens that may be used in the rolling window; None is no limit."""
    approval: Approval = Approval.REQUIRED
    merge_strategy: MergeStrategy = MergeStrategy.MERGE
    test_commands: tuple[str, ...] = ()
    """Command lines, split into words without a shell, that must all exit 0."""
    setup_command: str = ""
    copy_files: tuple[str, ...] = (".env", ".env.*")
    """Patterns of untracked files that each workspace gets from a linked repository's checkout."""
    run_timeout: float = 3600.0
    """Seconds after which a run is stopped."""
    max_retries: int = 3
    failover: bool = False
    """A task whose agent's account is limited goes to another agent of the same class."""
    sandbox: Sandbox = Sandbox.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A worker of some type (an adapter's name) that can do so many tasks at once."""

    id: str
    type: str
    slots: int = 1
    profile: str = ""
    """The name of settings in the configuration, below its own."""
    config: dict[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    account: str = ""
    """Agents with the same account share one limit. In the store it is the type where nothing else was said."""
    kind: str = ""
    """Its class: agents of one class can stand in for one another. In the store as `account`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody whom the bot knows, over all platforms."""

    id: str
    role: Role
