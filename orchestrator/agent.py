"""The agent seam: what an adapter must do, and the events it tells.

Imports the standard library only, because the supervisor process imports it at each start of a run.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol


class SendMode(StrEnum):
    """How words from a person reach a working agent."""

    QUEUE = "queue"
    STEER = "steer"
    INTERRUPT = "interrupt"


class Outcome(StrEnum):
    """How an agent's run ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LIMITED = "limited"
    """The account has no tokens left for now."""


class ToolKind(StrEnum):
    """What a tool does, whatever an agent calls it: the policy of a project speaks of these."""

    READ = "read"
    EDIT = "edit"
    RUN = "run"
    FETCH = "fetch"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Text:
    """Words of the agent. *verbatim* is program output, to be shown unformatted.

    *more*: the next Text goes on with the same paragraph; so words can be told while they are written.
    """

    kind: ClassVar[str] = "text"
    text: str
    verbatim: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class Thinking:
    """The agent's reasoning, where it tells it. Without text, a sign of life of an agent that tells nothing else."""

    kind: ClassVar[str] = "thinking"
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The agent uses a tool; *summary* is one line for people."""

    kind: ClassVar[str] = "tool_call"
    call_id: str
    tool: str
    summary: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool has answered."""

    kind: ClassVar[str] = "tool_result"
    call_id: str
    ok: bool
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """The agent asks a person and waits. No choices means free words."""

    kind: ClassVar[str] = "question"
    request_id: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PermissionRequest:
    """The agent asks to be allowed *action*; *detail* is exactly what would be done: the command, the diff.

    The last four are what a policy decides by; *paths* are absolute.
    """

    kind: ClassVar[str] = "permission"
    request_id: str
    action: str
    detail: str
    choices: tuple[str, ...] = ("allow", "deny")
    tool: str = ""
    tool_kind: ToolKind = ToolKind.OTHER
    paths: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The agent takes back what it asked, and works on: nobody need answer."""

    kind: ClassVar[str] = "withdrawn"
    request_id: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens (and money, in US dollars) used since the last Usage event.

    With a *call_id*, what one call of a model has used: told again under the same id, it is counted once.
    """

    kind: ClassVar[str] = "usage"
    tokens: int
    cost: float = 0.0
    call_id: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The account is, or comes near, its limit. *resets_at* is Unix seconds, where the agent tells it.

    *used* is the share of the limit that is used up, 1.0 where requests are refused.
    """

    kind: ClassVar[str] = "rate_limit"
    message: str
    resets_at: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """The agent's own id of this conversation, by which it can be resumed."""

    kind: ClassVar[str] = "session"
    session_id: str


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that the agent hands to people: its name, and where the supervisor keeps a copy of it."""

    kind: ClassVar[str] = "attached"
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Result:
    """The last event of an agent: how the run ended, and its final words."""

    kind: ClassVar[str] = "result"
    outcome: Outcome
    text: str = ""
    resets_at: float | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """Written by the supervisor just before the adapter is started. *at* is Unix seconds."""

    kind: ClassVar[str] = "started"
    epoch: int
    at: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """Written by the supervisor when the adapter took, or could not take, a message or an answer."""

    kind: ClassVar[str] = "accepted"
    message_id: str
    ok: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """Written by the supervisor when it is asked whether the agent still works.

    *cpu* is the processor time, in seconds, that the run's processes have used in the *seconds* since the agent's
    last event, or since the last time that this was asked.
    """

    kind: ClassVar[str] = "probed"
    alive: bool
    cpu: float
    seconds: float
    in_tool: bool = False
    """Whether a tool that the agent has called has not answered yet."""


Event = (
    Text
    | Thinking
    | ToolCall
    | ToolResult
    | Question
    | PermissionRequest
    | Withdrawn
    | Usage
    | RateLimit
    | Session
    | Attached
    | Result
    | Started
    | Accepted
    | Probed
)

_KINDS: dict[str, type[Any]] = {cls.kind: cls for cls in Event.__args__}


def event_to_json(event: Event) -> dict[str, Any]:
    """Return *event* as a JSON object with its kind."""
    return {"kind": event.kind, **asdict(event)}


def event_from_json(data: dict[str, Any]) -> Event:
    """Return the event that *data* describes; KeyError or TypeError where it describes none."""
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "kind"
    }
    if data["kind"] == Result.kind:
        fields["outcome"] = Outcome(fields["outcome"])
    if "tool_kind" in fields:
        fields["tool_kind"] = ToolKind(fields["tool_kind"])
    event: Event = _KINDS[data["kind"]](**fields)
    return event


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """All that an adapter is given for one run."""

    run_id: str
    task_id: str
    epoch: int
    workdir: str
    prompt: str
    config: dict[str, Any] = field(default_factory=dict)
    """The agent's own settings, as its profile and `agent add` say."""
    env: dict[str, str] = field(default_factory=dict)
    """The whole environment of the agent: built, never inherited."""
    session_id: str | None = None
    """A conversation to go on with."""
    wrapper: tuple[str, ...] = ()
    """Words to put before whatever is started for the agent: its sandbox; none where it has none."""


MANNERS = (
    "People follow your work in a chat. To hand them a file of your folder, such as a picture or a report, write a "
    "line that reads `::attach <path>` and nothing else."
)
"""What an agent that understands words is told of us, once in a conversation."""

OnEvent = Callable[[Event], Awaitable[None]]


class CannotSend(Exception):
    """The agent cannot take words while it works; the text says why."""


class AgentAdapter(Protocol):
    """Drives one agent for one run. Used by the supervisor only, on one event loop."""

    async def start(self, context: RunContext) -> None:
        """Start the agent. Raises where it cannot be started at all."""

    async def wait(self, on_message: OnEvent) -> Result:
        """Tell every event through *on_message* until the agent ends, and return how."""

    async def stop(self) -> None:
        """End the agent and all that it started. Harmless when it has ended."""

    async def is_alive(self) -> bool:
        """Whether the agent still works."""

    async def send(self, text: str, mode: SendMode) -> None:
        """Give a working agent *text*, or raise CannotSend."""

    async def answer(self, request_id: str, choice: str) -> None:
        """Answer a Question or PermissionRequest, or raise CannotSend where it is no longer open."""
