"""The relay of one frontend: sends what the outbox holds, in order per lane, each message once.

A message is cut, stored and claimed before it is sent. One that may or may not have arrived is settled by
repeating it where the platform honours keys, else by reading the lane back; it is never guessed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from orchestrator.delivery.budget import Budget
from orchestrator.delivery.posts import post_from_json, post_to_json
from orchestrator.store import outbox, people
from orchestrator.store.database import Database, Signal, Tx
from orchestrator.store.outbox import Entry, Message, Op, Sending, key_of
from orchestrator.transport import Frontend, Lane, Later, Post, Refused, Target, Unknown

log = structlog.get_logger(__name__)

SEND_TIMEOUT = 60.0
"""Seconds after which a send without an answer counts as unknown."""
_BACKOFF_MAX = 60.0


def backoff(attempts: int) -> float:
    """Seconds to wait after so many attempts: doubling from a quarter of a second, a minute at the most."""
    return min(_BACKOFF_MAX, 0.25 * 2.0 ** min(attempts, 12))


class Relay:
    """Delivers the outbox of *frontend* while it is connected."""

    def __init__(self, database: Database, frontend: Frontend, *, clock: Callable[[], float]) -> None:
        self._db = database
        self._frontend = frontend
        self._clock = clock
        self._caps = frontend.capabilities()
        self._budget = Budget(self._caps.rate, self._caps.burst)
        self._awake = asyncio.Event()
        self._connected = asyncio.Event()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._urgent: dict[str, asyncio.Event] = {}
        self._paced: dict[str, float] = {}
        self._idle = asyncio.Event()
        database.on(Signal.OUTBOX, self._awake.set)

    def connected(self, yes: bool) -> None:
        """Say whether the frontend can be sent to."""
        if yes:
            self._connected.set()
        else:
            self._connected.clear()

    async def run(self) -> None:
        """Deliver until cancelled. What was being sent then is settled at the next start."""
        try:
            while True:
                self._awake.clear()
                async with self._db.read() as tx:
                    rows = await outbox.lanes(tx, self._frontend.name)
                for row in rows:
                    self._tend(row["lane"], row["urgency"])
                if rows:
                    self._idle.clear()
                elif not self._lanes:
                    self._idle.set()
                await self._awake.wait()
        finally:
            tasks = list(self._lanes.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def flush(self, seconds: float) -> bool:
        """Wait until everything is delivered, at most *seconds*; False where something is left."""
        self._idle.clear()
        self._awake.set()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _tend(self, lane: str, urgency: int) -> None:
        """See that somebody delivers *lane*, and hurries if it holds more than progress."""
        hurry = self._urgent.setdefault(lane, asyncio.Event())
        if urgency < Lane.PROGRESS:
            hurry.set()
        if lane not in self._lanes:
            task = asyncio.create_task(self._drain(lane), name=f"relay {self._frontend.name} {lane}")
            self._lanes[lane] = task
            task.add_done_callback(lambda _: self._drained(lane))

    def _drained(self, lane: str) -> None:
        self._lanes.pop(lane, None)
        self._urgent.pop(lane, None)
        if self._paced.get(lane, 0.0) < asyncio.get_running_loop().time():
            self._paced.pop(lane, None)
        self._awake.set()

    async def _drain(self, lane: str) -> None:
        """Deliver a lane until it is empty."""
        attempt = 0
        while True:
            try:
                if not await self._step(lane):
                    return
                attempt = 0
            except Exception:  # one send's trouble must stop neither its lane nor the others
                log.exception("relay.failed", frontend=self._frontend.name, lane=lane)
                attempt += 1
                await asyncio.sleep(backoff(attempt))

    async def _step(self, lane: str) -> bool:
        """Deliver or settle one message of a lane; False when there is none."""
        async with self._db.read() as tx:
            message = await outbox.open_message(tx, self._frontend.name, lane)
            entries = [] if message else await outbox.head(tx, self._frontend.name, lane)
        if message is None and not entries:
            return False
        if message is None:
            await self._pace(lane, entries[0])
        elif message.state is not Sending.READY:
            await self._settle(message)
            return True
        elif message.not_before is not None:
            await asyncio.sleep(max(0.0, message.not_before - self._clock()))
        await self._connected.wait()
        await self._budget.acquire(message.urgency if message else entries[0].urgency)
        message = await self._claim(lane, message)
        if message is not None:
            await self._send(message)
        return True

    async def _pace(self, lane: str, first: Entry) -> None:
        """Let progress gather between two messages, unless something urgent waits behind it."""
        if first.urgency != Lane.PROGRESS:
            return
        hurry = self._urgent.setdefault(lane, asyncio.Event())
        wait = self._paced.get(lane, 0.0) - asyncio.get_running_loop().time()
        if wait > 0 and not hurry.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), wait)
        hurry.clear()
        self._paced[lane] = asyncio.get_running_loop().time() + self._caps.stream_interval

    async def _claim(self, lane: str, message: Message | None) -> Message | None:
        """Cut the head of the lane if nothing is cut, and claim the first message for sending; one commit."""
        async with self._db.transaction() as tx:
            if message is None:
                entries = await outbox.head(tx, self._frontend.name, lane)
                group = merge_group(entries)
                await outbox.cut(tx, group, [] if superseded(entries) else self._render(group))
                message = await outbox.open_message(tx, self._frontend.name, lane)
            if message is not None:
                await outbox.claim(tx, message.id, self._clock())
        return message

    def _render(self, group: Sequence[Entry]) -> list[dict[str, Any]]:
        """The messages that a group of entries becomes on this platform."""
        first = group[0]
        if first.op is Op.DELETE:
            return [{}]
        post = post_from_json(first.post)
        if len(group) > 1:
            post = replace(post, text="".join(entry.post["text"] for entry in group))
        try:
            wires = [dict(wire) for wire in self._frontend.render(post)]
        except Exception:  # a rendering fault must not hold the lane for ever
            log.exception("relay.unrenderable", frontend=self._frontend.name, key=first.key)
            wires = [
                dict(wire) for wire in self._frontend.render(Post(text="(a message that cannot be shown)"))
            ]
        return wires[:1] if first.op is Op.EDIT else wires

    async def _send(self, message: Message) -> None:
        try:
            remote = await asyncio.wait_for(self._perform(message), SEND_TIMEOUT)
        except Refused as refusal:
            await self._refused(message, str(refusal))
        except Later as later:
            self._budget.cool(later.seconds)
            await self._put(message, Sending.READY, not_before=self._clock() + later.seconds)
        except (Unknown, TimeoutError) as unknown:
            log.info("relay.unknown", frontend=self._frontend.name, key=message.key, why=str(unknown))
        else:
            await self._sent(message, remote)

    async def _perform(self, message: Message) -> str | None:
        """Do on the platform what the message says; returns the new message's id where there is one."""
        async with self._db.read() as tx:
            root = await outbox.thread_root(tx, message.thread_id) if message.thread_id else None
            subject = None
            if message.op in (Op.EDIT, Op.DELETE):
                subject = await outbox.remote_ids(tx, self._frontend.name, message.subject) or root
        to = Target(channel=message.channel, root=root)
        if message.op is Op.OPEN:
            return await self._frontend.open_thread(
                message.channel, message.payload, message.key, message.subject
            )
        if message.op is Op.POST:
            return await self._frontend.post(to, message.payload, message.key)
        if subject is None:
            raise Refused("the message that it changes was never sent")
        if message.op is Op.EDIT:
            await self._frontend.edit(to, subject, message.payload, message.key)
        else:
            await self._frontend.delete(to, subject)
        return subject

    async def _settle(self, message: Message) -> None:
        """Find out what became of a message that may or may not have arrived."""
        repeatable = self._caps.idempotent or message.op in (Op.EDIT, Op.DELETE)
        if repeatable:
            await self._put(
                message, Sending.READY, not_before=self._clock() + backoff(message.attempts) - 0.25
            )
            return
        await asyncio.sleep(max(0.0, (message.sent_at or 0.0) + self._caps.settle_after - self._clock()))
        await self._connected.wait()
        async with self._db.read() as tx:
            root = await outbox.thread_root(tx, message.thread_id) if message.thread_id else None
        to = Target(channel=message.channel, root=None if message.op is Op.OPEN else root)
        try:
            found = await self._frontend.find(to, message.key)
        except Unknown as unknown:
            await self._put(message, Sending.HELD, error=str(unknown), attempts=message.attempts + 1)
            await asyncio.sleep(backoff(message.attempts))
            return
        if not found:
            await self._put(message, Sending.READY, not_before=None)
            return
        for extra in found[1:]:
            await self._frontend.delete(to, extra)
        await self._sent(message, found[0])

    async def _sent(self, message: Message, remote: str | None) -> None:
        async with self._db.transaction() as tx:
            await outbox.settle(tx, message.id, Sending.SENT, remote_id=remote, error="")
            if message.op is Op.OPEN and message.thread_id is not None and remote is not None:
                await outbox.set_root(tx, message.thread_id, remote)

    async def _put(self, message: Message, state: Sending, **fields: Any) -> None:
        async with self._db.transaction() as tx:
            await outbox.settle(tx, message.id, state, **fields)

    async def _refused(self, message: Message, reason: str) -> None:
        """Go on without the message, and tell the operator: here, in the log, and in the audit trail."""
        log.warning("relay.refused", frontend=self._frontend.name, key=message.key, reason=reason)
        async with self._db.transaction() as tx:
            await outbox.settle(tx, message.id, Sending.REFUSED, error=reason)
            where = f"{self._frontend.name}:{message.channel}"
            await people.record(tx, self._clock(), "relay", f"{message.op} in {where}", "refused", reason)
            if message.lane != self._frontend.home:
                text = f"A message in {message.channel} was refused by {self._frontend.name}: {reason}"
                await self._tell_home(tx, message, text)

    async def _tell_home(self, tx: Tx, message: Message, text: str) -> None:
        home = self._frontend.home
        entry = Entry(
            transport=self._frontend.name,
            lane=home,
            key=key_of("refused", message.key),
            channel=home,
            urgency=int(Lane.NOTICE),
            post=post_to_json(Post(text=text), lambda t: t),
            at=self._clock(),
        )
        await outbox.enqueue(tx, entry)


def superseded(entries: Sequence[Entry]) -> bool:
    """Whether the first entry is an edit that a later one replaces."""
    first = entries[0]
    return first.op is Op.EDIT and any(e.op is Op.EDIT and e.subject == first.subject for e in entries[1:])


def merge_group(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries at the head that become one message: a stretch of progress is merged."""
    first = entries[0]
    if first.op is Op.POST and first.urgency == Lane.PROGRESS:
        end = 1
        while end < len(entries) and _continues(first, entries[end]):
            end += 1
        return entries[:end]
    return entries[:1]


def _continues(first: Entry, entry: Entry) -> bool:
    return (
        entry.op is Op.POST
        and entry.urgency == Lane.PROGRESS
        and entry.post["verbatim"] == first.post["verbatim"]
    )
