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
)
from orchestrator.lifecycle import Lifecycle, duration
from orchestrator.runs.attachments import as_file
from orchestrator.settings import RunSettings
from orchestrator.store import messages, projects, runs, tasks
from orchestrator.store.database import Tx
from orchestrator.store.messages import MessageState, OpenQuestion, Words
from orchestrator.store.outbox import key_of
from orchestrator.store.runs import Run
from orchestrator.tasks import Task, TaskEvent, TaskStatus
from orchestrator.transport import Action, Card, Lane, Place, Post, Tone
from orchestrator.words import fence, plain, said

log = structlog.get_logger(__name__)

Batch = Sequence[tuple[int, Event]]
"""Events, each with the journal's offset behind it."""


_TOKENS_MAX = 10**12
"""Tokens that one event counts at most."""
_RESET_MAX = 40 * 86400.0
"""Seconds after which a limit's reset is not believed to be one."""


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

    def __init__(self, lifecycle: Lifecycle, settings: RunSettings, file_max: int) -> None:
        self._lifecycle = lifecycle
        self._settings = settings
        self._file_max = file_max

    async def record(self, tx: Tx, run: Run, batch: Batch) -> bool:
        """Store *batch*, which ends at its last offset; False where the run has ended meanwhile."""
        if not await runs.update(tx, run.id, journal_offset=batch[-1][0]):
            return False
        task = await tasks.get(tx, run.task_id)
        for item in _chunked(batch):
            if isinstance(item, _Chunk):
                post = Post(text=item.text, verbatim=item.verbatim)
                key = key_of(run.id, item.offset)
                await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.PROGRESS)
            else:
                task = await self._event(tx, run, task, *item)
        return True

    async def _event(self, tx: Tx, run: Run, task: Task, offset: int, event: Event) -> Task:
        match event:
            case Started():
                await self._read(tx, *await messages.told(tx, run.id))
                if task.status is TaskStatus.ASSIGNED:
                    reason = task.reason or f"{run.agent_id} works on it"
                    return await self._lifecycle.advance(tx, task, TaskEvent.AGENT_STARTED, reason=reason)
            case Question() | PermissionRequest():
                return await self._question(tx, run, task, event)
            case Accepted():
                await self._accepted(tx, task, event)
            case Usage():
                tokens, cost = _counted(event)
                await runs.add_usage(tx, run.id, tokens, cost)
                now = self._lifecycle.clock()
                await projects.add_usage(tx, run.project_id, now, tokens=tokens, cost=cost)
            case Session():
                await runs.update(tx, run.id, session_id=event.session_id)
            case Attached():
                await self._attached(tx, run, task, offset, event)
            case RateLimit():
                post = Post(text=said(event.message, "⏳"))
                thread = self._lifecycle.thread(task)
                await thread.say(tx, post, key=key_of(run.id, offset), urgency=Lane.NOTICE)
            case Result():
                return await self._result(tx, run, task, event)
            case _:
                pass
        return task

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

    async def _question(self, tx: Tx, run: Run, task: Task, event: Question | PermissionRequest) -> Task:
        """Store what the agent asks, and ask it in the thread, above everything that is only progress."""
        permission = isinstance(event, PermissionRequest)
        if isinstance(event, PermissionRequest):
            text = f"{event.action}\n\n{event.detail}".strip()
            shown = plain(event.action) + (f"\n{fence(event.detail)}" if event.detail else "")
        else:
            text, shown = event.text, "\n".join(map(plain, event.text.split("\n")))
        asked = OpenQuestion(
            id=key_of(run.id, event.request_id)[:10],
            task_id=task.id,
            run_id=run.id,
            request_id=event.request_id,
            text=text,
            choices=event.choices,
            asked_at=self._lifecycle.clock(),
        )
        if not await messages.ask(tx, asked):
            return task
        post = Post(
            card=Card(title="May it?" if permission else "The agent asks", tone=Tone.WARN),
            text=shown if event.choices else f"{shown}\n\n_Answer here in words._",
            actions=tuple(
                Action(label=choice, line=f'task answer {task.id} question:{asked.id} "{_quoted(choice)}"')
                for choice in event.choices
            ),
        )
        await self._lifecycle.thread(task).say(tx, post, key=key_of("ask", asked.id), urgency=Lane.URGENT)
        if task.status is TaskStatus.IN_PROGRESS:
            reason = "asks: " + text.strip().partition("\n")[0][:120]
            return await self._lifecycle.advance(tx, task, TaskEvent.AGENT_QUESTION, reason=reason)
        return task

    async def _accepted(self, tx: Tx, task: Task, event: Accepted) -> None:
        state = MessageState.DELIVERED if event.ok else MessageState.KEPT
        words = await messages.settle(tx, event.message_id, state)
        if words is not None and event.ok:
            await self._read(tx, words)
        if words is not None and not event.ok:
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
        await messages.close(tx, run.id)
        if event.outcome is Outcome.DONE:
            await runs.update(tx, run.id, outcome=Outcome.DONE, result=event.text[:100_000])
            return await self._lifecycle.advance(tx, task, TaskEvent.AGENT_COMPLETED)
        await runs.end(tx, run.id, self._lifecycle.clock(), event.outcome, event.text)
        if event.outcome is Outcome.LIMITED:
            return await self._limited(tx, run, task, event)
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
        now = self._lifecycle.clock()
        until = event.resets_at if event.resets_at and now < event.resets_at < now + _RESET_MAX else None
        until = until or now + retry_delay(self._settings, task.attempts)
        words = f"the account of {run.agent_id} is at its limit; goes on in {duration(until - now)}"
        task = await self._lifecycle.advance(
            tx, task, TaskEvent.TOKENS_EXHAUSTED, reason=words, not_before=until
        )
        post = Post(text=f"⏸ {plain(words[0].upper() + words[1:])}.\n\n{said(event.text)}".strip())
        key = key_of(run.id, "limited")
        await self._lifecycle.thread(task).say(tx, post, key=key, urgency=Lane.FINAL)
        return task


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
        return Text(f"🔧 {plain(f'{event.tool}: {event.summary}')}\n\n")
    return None


def _counted(event: Usage) -> tuple[int, float]:
    """The tokens and the money of *event* as the store can count them, whatever an agent says."""
    return min(event.tokens, _TOKENS_MAX), event.cost if math.isfinite(event.cost) else 0.0


def _quoted(choice: str) -> str:
    return choice.replace("\\", "\\\\").replace('"', '\\"')
