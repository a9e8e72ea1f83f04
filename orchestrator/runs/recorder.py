"""What a run's journal says, put into the store: posts, questions, usage and moves, with the offset read.

All that one reading says is stored with the new offset in one transaction, so that each event counts once.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from orchestrator.agent import (
    Accepted,
    Attached,
    Event,
    Outcome,
    PermissionRequest,
    Question,
    RateLimit,
    Result,
    Session,
    Started,
    Text,
    ToolCall,
    Usage,
    Withdrawn,
)
from orchestrator.lifecycle import Lifecycle, duration
from orchestrator.limits import Limits, hour, words_of
from orchestrator.runs.asking import Asking, interrupted
from orchestrator.runs.attachments import as_file
from orchestrator.runs.life import Care, is_sign
from orchestrator.runs.meter import Meter
from orchestrator.settings import RunSettings
from orchestrator.store import accounts, messages, runs, tasks
from orchestrator.store.database import Tx
from orchestrator.store.messages import MessageState, Words
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run
from orchestrator.store.spending import Use
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Lane, Place, Post
from orchestrator.words import plain, said

log = structlog.get_logger(__name__)

Batch = Sequence[tuple[int, Event]]
"""Events, each with the journal's offset behind it."""


_TOKENS_MAX = 10**12
"""Tokens that one event counts at most."""
_LAST_WORDS = 2000
"""Characters of an agent's last words that are kept while it works: another agent may have to go on from there."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Neighbouring text events of one kind, said as one."""

    offset: int
    text: str
    verbatim: bool


def retry_delay(settings: RunSettings, failures: int) -> float:
    """Seconds until a task is tried again after so many failures."""
    return min(settings.retry_backoff_max, settings.retry_backoff * 2.0 ** max(0, failures))


class Recorder:
    """Stores what the runs' journals say."""

    def __init__(self, lifecycle: Lifecycle, settings: RunSettings, limits: Limits, file_max: int) -> None:
        self._lifecycle = lifecycle
        self._settings = settings
        self._limits = limits
        self._file_max = file_max
        self._meter = Meter(lifecycle)
        self._asking = Asking(lifecycle)

    async def record(self, tx: Tx, run: Run, batch: Batch) -> bool:
        """Store *batch*, which ends at its last offset; False where the run has ended meanwhile."""
        signs = any(is_sign(event) for _, event in batch)
        seen = {"seen_at": self._lifecycle.clock(), "care": Care.NONE} if signs else {}
        words = _spoken(batch)[-_LAST_WORDS:]
        if not await runs.read_on(tx, run.id, batch[-1][0], words, _LAST_WORDS, **seen):
            return False
        task = await tasks.get(tx, run.task_id)
        ending = any(isinstance(event, Result) for _, event in batch)
        rests = False
        for item in _chunked(batch):
            if isinstance(item, _Chunk):
                post = Post(text=item.text, verbatim=item.verbatim)
                key = key_of(run.id, item.offset)
                await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.PROGRESS)
            elif not rests or isinstance(item[1], Usage):  # what is over its budget has ended with that
                if _answered(item[1]):
                    await accounts.went_through(tx, run.id, self._lifecycle.clock())
                task = await self._event(tx, run, task, *item, ending=ending)
                rests = rests or (isinstance(item[1], Usage) and task.status is TaskStatus.PAUSED)
        return True

    async def _event(self, tx: Tx, run: Run, task: Task, offset: int, event: Event, *, ending: bool) -> Task:
        match event:
            case Started():
                await self._read(tx, *await messages.told(tx, run.id))
                if task.status is TaskStatus.ASSIGNED:
                    reason = task.reason or f"{run.agent_id} works on it"
                    return await self._lifecycle.advance(tx, task, TaskEvent.AGENT_STARTED, reason=reason)
            case Question() | PermissionRequest() | Withdrawn():
                return await self._asked(tx, run, task, event)
            case Accepted():
                await self._accepted(tx, task, event)
            case Usage():
                return await self._meter.count(tx, run, task, self._use(run, task, event), ending=ending)
            case Session():
                await runs.update(tx, run.id, session_id=event.session_id)
            case Attached():
                await self._attached(tx, run, task, offset, event)
            case RateLimit():
                account = await self._account(tx, run)
                await self._limits.warned(tx, account, event.used, event.message, event.resets_at)
                post = Post(text=said(event.message, "⏳"))
                thread = self._lifecycle.thread(task)
                await thread.say(tx, post, key=key_of(run.id, offset), urgency=Lane.NOTICE)
            case Result():
                return await self._result(tx, run, task, event)
            case _:
                pass
        return task

    def _use(self, run: Run, task: Task, event: Usage) -> Use:
        tokens, cost = _counted(event)
        return Use(
            at=self._lifecycle.clock(),
            project_id=run.project_id,
            agent_id=run.agent_id,
            person_id=task.requested_by,
            task_id=task.id,
            model=event.model[:100],
            tokens=tokens,
            cost=cost,
            call_id=event.call_id[:200],
        )

    async def _attached(self, tx: Tx, run: Run, task: Task, offset: int, event: Attached) -> None:
        """A file of the agent's, in the thread."""
        try:
            file = await asyncio.to_thread(as_file, event, self._file_max)
        except OSError as fault:
            log.warning("attached.gone", run=run.id, error=str(fault))
            return
        post = Post(text=f"📎 {plain(event.name)}", files=(file,))
        key = key_of(run.id, offset)
        await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.NOTICE)

    async def _asked(
        self, tx: Tx, run: Run, task: Task, event: Question | PermissionRequest | Withdrawn
    ) -> Task:
        if isinstance(event, Withdrawn):
            return await self._asking.take_back(tx, run, task, event.request_id)
        return await self._asking.ask(tx, run, task, event)

    async def _accepted(self, tx: Tx, task: Task, event: Accepted) -> None:
        state = MessageState.DELIVERED if event.ok else MessageState.KEPT
        words = await messages.settle(tx, event.message_id, state)
        if words is not None and event.ok:
            await self._read(tx, words)
        kept = words and await messages.find(tx, words.id)
        if kept and kept.state is MessageState.KEPT:
            note = f"📌 The agent cannot take it now ({plain(event.note)}); its next run will be told."
            await self._lifecycle.thread(task).say(
                tx, Post(text=note), key=key_of("kept", event.message_id), urgency=Lane.NOTICE
            )

    async def _read(self, tx: Tx, *told: Words) -> None:
        """Show on people's words that an agent has them."""
        for words in told:
            if words.remote:
                place = Place(transport=words.transport, channel=words.channel)
                key = key_of("read", words.id)
                await self._lifecycle.speaker.react(tx, place, words.root, words.remote, "👀", key=key)

    async def _result(self, tx: Tx, run: Run, task: Task, event: Result) -> Task:
        """The agent has ended: on to verification, or end the run by what became of it."""
        answered = await messages.close(tx, run.id)
        if event.outcome is Outcome.DONE:
            await runs.update(tx, run.id, outcome=Outcome.DONE, result=event.text[:100_000])
            return await self._lifecycle.advance(tx, task, TaskEvent.AGENT_COMPLETED)
        if event.outcome is Outcome.LIMITED:
            await runs.end(tx, run.id, self._lifecycle.clock(), event.outcome)
            return await self._limited(tx, run, task, event)
        await runs.end(tx, run.id, self._lifecycle.clock(), event.outcome, event.text)
        if task.status is TaskStatus.WAITING_INPUT:
            why = "its agent ended while it waited for people"
            return await interrupted(self._lifecycle, tx, task, run.id, why)
        if answered:
            reason = "its agent ended before it heard the answer; starting again"
            return await self._lifecycle.advance(tx, task, TaskEvent.RECOVERY, reason=reason)
        again = await runs.outcome_before(tx, run) == Outcome.STOPPED
        if event.outcome is Outcome.STOPPED and not again:
            reason = "its agent was stopped from outside; starting again"
            return await self._lifecycle.advance(tx, task, TaskEvent.RECOVERY, reason=reason)
        return await self._lifecycle.fail(
            tx,
            task,
            TaskEvent.AGENT_FAILED,
            event.text or "the agent failed without a word",
            retry_after=retry_delay(self._settings, task.failures),
        )

    async def _limited(self, tx: Tx, run: Run, task: Task, event: Result) -> Task:
        """The account is at its limit: the task rests, and its agent's words stay for whoever goes on."""
        account = await self._limits.hit(
            tx, await self._account(tx, run), run.id, event.resets_at, event.text
        )
        now = self._lifecycle.clock()
        words, until = words_of(account, now), account.resets_at or now
        task = await self._lifecycle.advance(
            tx, task, TaskEvent.TOKENS_EXHAUSTED, reason=words, not_before=until
        )
        lead = f"⏸ Account {plain(account.id)} is at its limit until {hour(until, now)}, in {duration(until - now)}."
        post = Post(text=f"{lead}\n\n{said(event.text)}".strip())
        key = key_of(run.id, "limited")
        await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.FINAL)
        return task

    async def _account(self, tx: Tx, run: Run) -> str:
        """The account that a run works with."""
        return (await accounts.of_agents(tx, [run.agent_id])).get(run.agent_id, run.agent_id)


def _chunked(batch: Batch) -> Iterator[_Chunk | tuple[int, Event]]:
    """Merge neighbouring texts of one kind; a tool call is a line of text as well."""
    chunk: _Chunk | None = None
    for offset, event in batch:
        text = _as_text(event)
        if text is not None and chunk is not None and chunk.verbatim == text.verbatim:
            chunk = _Chunk(offset, chunk.text + text.text, chunk.verbatim)
            continue
        if chunk is not None:
            yield chunk
        chunk = _Chunk(offset, text.text, text.verbatim) if text is not None else None
        if text is None:
            yield offset, event
    if chunk is not None:
        yield chunk


def _as_text(event: Event) -> Text | None:
    if isinstance(event, Text) and event.more:
        return event
    if isinstance(event, Text):
        return Text(event.text.rstrip("\n") + ("\n" if event.verbatim else "\n\n"), event.verbatim)
    if isinstance(event, ToolCall):
        return Text(f"🔧 {plain(': '.join(filter(None, (event.tool, event.summary))))}\n\n")
    return None


def _answered(event: Event) -> bool:
    """Whether *event* shows that a request of the agent's went through."""
    match event:
        case Usage():
            return event.tokens > 0
        case Result():
            return event.outcome in (Outcome.DONE, Outcome.FAILED)
        case _:
            return isinstance(event, Question | PermissionRequest)


def _spoken(batch: Batch) -> str:
    """What the agent itself has said in *batch*."""
    texts = (_as_text(event) for _, event in batch if isinstance(event, Text))
    return "".join(text.text for text in texts if text is not None)


def _counted(event: Usage) -> tuple[int, float]:
    """The tokens and the money of *event* as the store can count them, whatever an agent says."""
    return min(event.tokens, _TOKENS_MAX), event.cost if math.isfinite(event.cost) else 0.0
