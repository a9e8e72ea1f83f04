"""Tasks: what one is, and the only ways it may change status."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from orchestrator.errors import Conflict


class TaskStatus(StrEnum):
    """Where a task stands."""

    DEFINED = "DEFINED"
    READY = "READY"
    ASSIGNED = "ASSIGNED"
    IN_PROGRESS = "IN_PROGRESS"
    WAITING_INPUT = "WAITING_INPUT"
    PAUSED = "PAUSED"
    VERIFYING = "VERIFYING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    BLOCKED = "BLOCKED"


class TaskEvent(StrEnum):
    """What can happen to a task."""

    DEPS_MET = "DEPS_MET"
    ASSIGNED = "ASSIGNED"
    AGENT_STARTED = "AGENT_STARTED"
    AGENT_COMPLETED = "AGENT_COMPLETED"
    AGENT_FAILED = "AGENT_FAILED"
    TOKENS_EXHAUSTED = "TOKENS_EXHAUSTED"
    AGENT_QUESTION = "AGENT_QUESTION"
    HUMAN_REPLIED = "HUMAN_REPLIED"
    INPUT_TIMEOUT = "INPUT_TIMEOUT"
    RESUME_TIMER = "RESUME_TIMER"
    VERIFY_PASSED = "VERIFY_PASSED"
    VERIFY_FAILED = "VERIFY_FAILED"
    PR_CREATED = "PR_CREATED"
    PR_MERGED = "PR_MERGED"
    PR_CLOSED = "PR_CLOSED"
    RETRY = "RETRY"
    MAX_RETRIES = "MAX_RETRIES"
    ADMIN_SKIP = "ADMIN_SKIP"
    ADMIN_STOP = "ADMIN_STOP"
    ADMIN_RESTART = "ADMIN_RESTART"
    TIMEOUT = "TIMEOUT"
    EXECUTION_ERROR = "EXECUTION_ERROR"
    RECOVERY = "RECOVERY"


_S, _E = TaskStatus, TaskEvent

STATUS_MEANINGS: Mapping[TaskStatus, str] = {
    _S.DEFINED: "waits for the tasks it depends on",
    _S.READY: "waits for its turn",
    _S.ASSIGNED: "has an agent; its workspace is being made",
    _S.IN_PROGRESS: "an agent works on it",
    _S.WAITING_INPUT: "its agent has asked a person something",
    _S.PAUSED: "rests until a time or an answer (a token limit, an unanswered question)",
    _S.VERIFYING: "the agent is done; its work is being committed and tested",
    _S.AWAITING_APPROVAL: "put up for review; waits for a person",
    _S.COMPLETED: "done: merged, nothing to be merged, or skipped by a person",
    _S.FAILED: "its last run failed; a retry may follow, or a person decides",
    _S.BLOCKED: "will not go on until a person acts",
}

# Every legal move. What is absent is refused, here in Python and by the guarded UPDATE in the store.
TRANSITIONS: Mapping[tuple[TaskStatus, TaskEvent], TaskStatus] = {
    (_S.DEFINED, _E.DEPS_MET): _S.READY,
    (_S.DEFINED, _E.ADMIN_SKIP): _S.COMPLETED,
    (_S.DEFINED, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.READY, _E.ASSIGNED): _S.ASSIGNED,
    (_S.READY, _E.TOKENS_EXHAUSTED): _S.PAUSED,
    (_S.READY, _E.ADMIN_SKIP): _S.COMPLETED,
    (_S.READY, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.ASSIGNED, _E.AGENT_STARTED): _S.IN_PROGRESS,
    (_S.ASSIGNED, _E.EXECUTION_ERROR): _S.FAILED,
    (_S.ASSIGNED, _E.TIMEOUT): _S.FAILED,
    (_S.ASSIGNED, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.ASSIGNED, _E.RECOVERY): _S.READY,
    (_S.IN_PROGRESS, _E.AGENT_COMPLETED): _S.VERIFYING,
    (_S.IN_PROGRESS, _E.AGENT_FAILED): _S.FAILED,
    (_S.IN_PROGRESS, _E.TOKENS_EXHAUSTED): _S.PAUSED,
    (_S.IN_PROGRESS, _E.AGENT_QUESTION): _S.WAITING_INPUT,
    (_S.IN_PROGRESS, _E.TIMEOUT): _S.FAILED,
    (_S.IN_PROGRESS, _E.EXECUTION_ERROR): _S.FAILED,
    (_S.IN_PROGRESS, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.IN_PROGRESS, _E.RECOVERY): _S.READY,
    (_S.WAITING_INPUT, _E.HUMAN_REPLIED): _S.IN_PROGRESS,
    (_S.WAITING_INPUT, _E.INPUT_TIMEOUT): _S.PAUSED,
    (_S.WAITING_INPUT, _E.AGENT_COMPLETED): _S.VERIFYING,
    (_S.WAITING_INPUT, _E.AGENT_FAILED): _S.FAILED,
    (_S.WAITING_INPUT, _E.TOKENS_EXHAUSTED): _S.PAUSED,
    (_S.WAITING_INPUT, _E.EXECUTION_ERROR): _S.FAILED,
    (_S.WAITING_INPUT, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.WAITING_INPUT, _E.RECOVERY): _S.READY,
    (_S.PAUSED, _E.RESUME_TIMER): _S.READY,
    (_S.PAUSED, _E.HUMAN_REPLIED): _S.READY,
    (_S.PAUSED, _E.ADMIN_RESTART): _S.READY,
    (_S.PAUSED, _E.ADMIN_SKIP): _S.COMPLETED,
    (_S.PAUSED, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.VERIFYING, _E.VERIFY_PASSED): _S.COMPLETED,
    (_S.VERIFYING, _E.VERIFY_FAILED): _S.FAILED,
    (_S.VERIFYING, _E.PR_CREATED): _S.AWAITING_APPROVAL,
    (_S.VERIFYING, _E.EXECUTION_ERROR): _S.FAILED,
    (_S.VERIFYING, _E.TIMEOUT): _S.FAILED,
    (_S.VERIFYING, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.VERIFYING, _E.RECOVERY): _S.READY,
    (_S.AWAITING_APPROVAL, _E.PR_MERGED): _S.COMPLETED,
    (_S.AWAITING_APPROVAL, _E.PR_CLOSED): _S.BLOCKED,
    (_S.AWAITING_APPROVAL, _E.ADMIN_RESTART): _S.READY,
    (_S.AWAITING_APPROVAL, _E.ADMIN_SKIP): _S.COMPLETED,
    (_S.AWAITING_APPROVAL, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.FAILED, _E.RETRY): _S.READY,
    (_S.FAILED, _E.MAX_RETRIES): _S.BLOCKED,
    (_S.FAILED, _E.ADMIN_RESTART): _S.READY,
    (_S.FAILED, _E.ADMIN_SKIP): _S.COMPLETED,
    (_S.FAILED, _E.ADMIN_STOP): _S.BLOCKED,
    (_S.BLOCKED, _E.ADMIN_RESTART): _S.READY,
    (_S.BLOCKED, _E.ADMIN_SKIP): _S.COMPLETED,
    (_S.COMPLETED, _E.ADMIN_RESTART): _S.READY,
}

RUNNING = frozenset({_S.ASSIGNED, _S.IN_PROGRESS, _S.WAITING_INPUT, _S.VERIFYING})
"""Statuses in which a run of the task is alive."""

OPEN = frozenset(TaskStatus) - {_S.COMPLETED}
"""Statuses in which somebody still has something to do."""


class Priority(IntEnum):
    """Which of a project's tasks goes first; lower goes before higher."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


_WISHES: Mapping[TaskEvent, str] = {
    _E.PR_MERGED: "approve",
    _E.PR_CLOSED: "reject",
    _E.ADMIN_RESTART: "restart",
    _E.ADMIN_SKIP: "skip",
    _E.ADMIN_STOP: "stop",
}
"""What a person says to cause an event: the second word of the command."""


class IllegalTransition(Conflict):
    """The event does not apply to the task's present status."""

    def __init__(self, task_id: str, status: TaskStatus, event: TaskEvent) -> None:
        allowed = [f"`task {wish} {task_id}`" for e, wish in _WISHES.items() if (status, e) in TRANSITIONS]
        wish = _WISHES.get(event, str(event))
        super().__init__(f"cannot {wish} task {task_id}: it is {status}; say {' or '.join(allowed)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is wanted, and where it stands. Times are Unix seconds."""

    id: str
    project_id: str
    title: str
    body: str = ""
    status: TaskStatus = TaskStatus.DEFINED
    priority: Priority = Priority.NORMAL
    created_at: float = 0.0
    updated_at: float = 0.0
    requested_by: str = ""
    attempts: int = 0
    """Runs begun so far; the next run's epoch is one more."""
    failures: int = 0
    """Failed runs that count against `max_retries`."""
    max_retries: int = 3
    not_before: float | None = None
    """Not started before this time: a cooldown after a failure, or a limit's reset."""
    reason: str = ""
    """Why the task is in its present status, in words for a person."""
    feedback: str = ""
    """What the next run is told besides the task: test output, a reviewer's reason, notes."""
    tests_returned: bool = False
    """Failing tests have gone back to the agent once already."""
    branch: str = ""
    base_commit: str = ""
    approved_by: str = ""
    """Set when a person approved; the merge is then due."""
    alerted_at: float | None = None
    """When people were last told that the task is stuck."""
    agent_id: str = ""
    """Its own agent: the one that it is for, or whose conversation it has. Empty is any."""
    pinned: bool = False
    """A person has said which agent it is for: no other may have it."""

    @property
    def text(self) -> str:
        """The whole of what was asked: title, and body where there is one."""
        return f"{self.title}\n\n{self.body}" if self.body else self.title

    def after(self, event: TaskEvent) -> TaskStatus:
        """Return the status that *event* leads to, or raise IllegalTransition."""
        try:
            return TRANSITIONS[self.status, event]
        except KeyError:
            raise IllegalTransition(self.id, self.status, event) from None
