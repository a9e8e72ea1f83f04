"""The relay of one frontend: sends what the outbox holds, in order per lane, each message once.

A message is cut, stored and claimed before it is sent. One that may or may not have arrived is settled by
repeating it where the platform honours keys, else by reading the lane back; it is never guessed.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from orchestrator.delivery.budget import Budget
from orchestrator.delivery.grouping import as_one, next_group, scarce, superseded
from orchestrator.delivery.posts import post_to_json
from orchestrator.jobs import ended
from orchestrator.store import outbox, people
from orchestrator.store.database import Database, Signal, Tx
from orchestrator.store.outbox import Entry, Message, Op, Sending, key_of, root_key
from orchestrator.transport import Frontend, Lane, Later, Post, Refused, Target, Unknown

log = structlog.get_logger(__name__)

SEND_TIMEOUT = 60.0
"""Seconds after which a send without an answer counts as unknown, and a reading back as failed."""
_HEAD, _WHOLE = 500, 100_000
"""Entries of a lane that are looked at together; all there are where each message counts: a result may stand last."""
_REST = 60.0
"""Seconds without progress after which a lane's next comes quickly again."""
_BACKOFF_MAX = 10.0


def backoff(attempts: int) -> float:
    """Seconds to wait after so many attempts: doubling from a quarter of a second, ten at the most."""
    return min(_BACKOFF_MAX, 0.25 * 2.0 ** min(attempts, 12))


class Relay:
    """Delivers the outbox of *frontend* while it is connected."""

    def __init__(
        self,
        database: Database,
        frontend: Frontend,
        *,
        clock: Callable[[], float],
        redact: Callable[[str], str] = str,
    ) -> None:
        self._db = database
        self._frontend = frontend
        self._clock = clock
        self._redact = redact
        self._born = clock()
        self._budgets: dict[str, Budget] = {}
        """One, or where the platform counts so, one for each channel."""
        self._awake = asyncio.Event()
        self._connected = asyncio.Event()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._hurry: dict[str, asyncio.Event] = {}
        """Per lane, set when it holds more than progress."""
        self._paced: dict[str, float] = {}
        """Per lane, when progress may be sent again."""
        self.put_off: dict[str, str] = {}
        """Channels that take nothing for now, with the reason."""
        self._told: dict[str, int] = {}
        """Per lane that was at work of late, how many messages of progress it has had."""
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
                    self._tend(row["lane"], row["channel"], row["urgency"])
                waiting = {row["channel"] for row in rows}
                self.put_off = {one: why for one, why in self.put_off.items() if one in waiting}
                if rows:
                    self._idle.clear()
                elif not self._lanes and not self._awake.is_set():
                    self._idle.set()
                await self._awake.wait()
        finally:
            await ended(*self._lanes.values())

    async def flush(self, seconds: float) -> bool:
        """Wait until everything is delivered, at most *seconds*; False where something is left."""
        self._idle.clear()
        self._awake.set()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _tend(self, lane: str, channel: str, urgency: int) -> None:
        """See that somebody delivers *lane*, and hurries if it holds more than progress."""
        hurry = self._hurry.setdefault(lane, asyncio.Event())
        if urgency < Lane.PROGRESS:
            hurry.set()
            for budget in self._budgets.values():
                budget.hasten(lane, urgency)
        if lane not in self._lanes:
            task = asyncio.create_task(self._drain(lane, channel), name=f"relay {self._frontend.name} {lane}")
            self._lanes[lane] = task
            task.add_done_callback(lambda _: self._drained(lane))

    def _drained(self, lane: str) -> None:
        self._lanes.pop(lane, None)
        self._hurry.pop(lane, None)
        now = asyncio.get_running_loop().time()
        self._paced = {one: until for one, until in self._paced.items() if until > now - _REST}
        self._told = {one: told for one, told in self._told.items() if one in self._paced}
        self._awake.set()

    async def _drain(self, lane: str, channel: str) -> None:
        """Deliver a lane until it is empty."""
        attempt = 0
        while True:
            try:
                if not await self._step(lane, channel):
                    return
                attempt = 0
            except Exception:  # one send's trouble must stop neither its lane nor the others
                log.exception("relay.failed", frontend=self._frontend.name, lane=lane)
                attempt += 1
                await asyncio.sleep(backoff(attempt))

    async def _step(self, lane: str, channel: str) -> bool:
        """Deliver or settle one message of a lane; False when there is none."""
        hurry = self._hurry[lane]
        hurry.clear()
        async with self._db.read() as tx:
            urgency = await outbox.urgency(tx, self._frontend.name, lane)
            message = await outbox.open_message(tx, self._frontend.name, lane)
        if urgency is None:
            return False
        if message is None:
            await self._pace(lane, urgency)
        elif message.state is not Sending.READY:
            await self._settle(message)
            return True
        elif message.not_before is not None:
            await asyncio.sleep(max(0.0, message.not_before - self._clock()))
        await self._connected.wait()
        if message is not None and self._in_doubt(message):
            await self._settle(message)
            return True
        if hurry.is_set() and urgency == Lane.PROGRESS:
            return True  # something urgent has come meanwhile
        await self._budget(channel).acquire(urgency, lane)
        claimed = await self._claim(lane, message)
        if claimed is not None:
            await self._send(*claimed)
        return True

    def _budget(self, channel: str) -> Budget:
        """What a channel's messages are counted with, by what the platform has shown of its pace."""
        caps = self._frontend.capabilities()
        of = channel if caps.per_channel else ""
        budget = self._budgets.get(of) or self._budgets.setdefault(of, Budget(caps))
        budget.tune(caps)
        return budget

    def _in_doubt(self, message: Message) -> bool:
        """Whether a message was to be repeated, and that would have a second effect by now."""
        return message.unsure_since is not None and not self._frontend.repeatable(message.unsure_since)

    async def _pace(self, lane: str, urgency: int) -> None:
        """Let progress gather between two messages, unless something urgent waits behind it."""
        wait = self._paced.get(lane, 0.0) - asyncio.get_running_loop().time()
        if wait > 0 and urgency == Lane.PROGRESS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry[lane].wait(), wait)

    def _pause(self, lane: str) -> float:
        """Seconds until a lane's next progress: the longer it has gone on by itself, the more of it goes together."""
        caps = self._frontend.capabilities()
        told = self._told[lane] = self._told.get(lane, 0) + 1
        return max(caps.stream_interval, min(caps.stream_interval * 1.15**told, caps.stream_interval_max))

    async def _claim(self, lane: str, message: Message | None) -> tuple[Message, Target, str | None] | None:
        """Cut the head of the lane if nothing is cut, and claim the first message for sending; one commit.

        Returns it with where it goes, and the platform's id of the message that it changes.
        """
        async with self._db.transaction() as tx:
            if message is None:
                caps = self._frontend.capabilities()
                limit = _WHOLE if scarce(caps) else _HEAD
                entries = await outbox.head(tx, self._frontend.name, lane, limit)
                if dropped := superseded(entries):
                    await outbox.cut(tx, entries[:dropped], [])
                    entries = entries[dropped:]
                group = next_group(entries, caps)
                post = as_one(group)
                await outbox.cut(tx, group, self._render(group[0], post))
                message = await outbox.open_message(tx, self._frontend.name, lane)
            if message is None:
                return None
            if not await outbox.claim(tx, message.id, self._clock()):
                return None
            to, subject = await self._where(tx, message)
        if message.urgency == Lane.PROGRESS:
            self._paced[lane] = asyncio.get_running_loop().time() + self._pause(lane)
        return message, to, subject

    def _render(self, first: Entry, post: Post) -> list[dict[str, Any]]:
        """The messages that a post becomes on this platform."""
        if first.op is Op.REACT:
            return [{"emoji": post.text}] if self._frontend.capabilities().reactions else []
        if not self._frontend.capabilities().forms and any(one.needs_form for one in post.actions):
            post = replace(post, actions=tuple(one for one in post.actions if not one.needs_form))
        try:
            return [dict(wire) for wire in self._frontend.render(post)]
        except Exception:  # a rendering fault must not hold the lane for ever
            log.exception("relay.unrenderable", frontend=self._frontend.name, key=first.key)
            post = Post(text="(a message that cannot be shown)")
            return [dict(wire) for wire in self._frontend.render(post)]

    async def _send(self, message: Message, to: Target, subject: str | None) -> None:
        if message.op in (Op.EDIT, Op.DELETE) and subject is None:
            await self._put(message, Sending.REFUSED, error="the message that it changes was never sent")
            return
        try:
            remote = await asyncio.wait_for(self._perform(message, to, subject or ""), SEND_TIMEOUT)
        except Refused as refusal:
            await self._refused(message, self._redact(str(refusal)))
        except Later as later:
            if later.everywhere:
                self._budget(message.channel).cool(later.seconds)
            else:
                self.put_off[message.channel] = self._redact(str(later))
            await self._put(message, Sending.READY, not_before=self._clock() + later.seconds)
        except (Unknown, TimeoutError) as unknown:
            log.info("relay.unknown", frontend=self._frontend.name, key=message.key, why=str(unknown))
            await self._put(message, Sending.SENDING, sent_at=self._clock(), error=str(unknown))
        else:
            await self._sent(message, remote)

    async def _where(self, tx: Tx, message: Message) -> tuple[Target, str | None]:
        """Where the message goes, and the platform's id of the message that it changes."""
        thread_id, root, subject = message.thread_id, None, None
        if thread_id is not None and message.op is not Op.OPEN:
            root = await outbox.thread_root(tx, thread_id)
        elif thread_id is None:
            root = message.root
        if thread_id is not None and message.subject == root_key(thread_id):
            subject = root
        elif message.op in (Op.EDIT, Op.DELETE):
            subject = await outbox.remote_id(tx, self._frontend.name, message.subject)
        elif message.op is Op.REACT:
            subject = message.subject
        return Target(channel=message.channel, root=root), subject

    async def _perform(self, message: Message, to: Target, subject: str) -> str | None:
        """Do on the platform what the message says; returns the new message's id where there is one."""
        match message.op:
            case Op.OPEN:
                title = message.subject
                return await self._frontend.open_thread(to.channel, message.payload, message.key, title)
            case Op.POST:
                return await self._frontend.post(to, message.payload, message.key)
            case Op.EDIT:
                await self._frontend.edit(to, subject, message.payload, message.key)
            case Op.DELETE:
                await self._frontend.delete(to, subject)
            case Op.REACT:
                await self._frontend.react(to, subject, str(message.payload["emoji"]), message.key)
        return None

    async def _settle(self, message: Message) -> None:
        """Find out what became of a message that may or may not have arrived."""
        await self._connected.wait()  # before that, a frontend does not know what may be repeated
        since = message.unsure_since or message.sent_at or 0.0
        if self._frontend.repeatable(since):
            pause = backoff(message.attempts) - 0.25
            await self._put(
                message, Sending.READY, not_before=self._clock() + pause, unsure_since=since or None
            )
            return
        last = max(message.sent_at or 0.0, self._born)  # before we were, it may have been on its way
        settle_after = self._frontend.capabilities().settle_after
        await asyncio.sleep(max(0.0, last + settle_after - self._clock()))
        if message.op in (
            Op.EDIT,
            Op.DELETE,
            Op.REACT,
        ):  # to be repeated, now that a late one cannot undo a later one
            await self._put(message, Sending.READY, unsure_since=None)
            return
        try:
            found = await asyncio.wait_for(self._find(message), SEND_TIMEOUT)
        except (Unknown, Later, Refused, TimeoutError) as unknown:
            await self._put(message, Sending.HELD, error=str(unknown), attempts=message.attempts + 1)
            wanted = unknown.seconds if isinstance(unknown, Later) else 0.0
            await asyncio.sleep(max(backoff(message.attempts), wanted))
            return
        if found is None:
            await self._put(message, Sending.READY, not_before=None, unsure_since=None)
        else:
            await self._sent(message, found)

    async def _find(self, message: Message) -> str | None:
        """Look for a message on the platform; of several the first is kept."""
        async with self._db.read() as tx:
            to, _ = await self._where(tx, message)
        since = min(at for at in (message.unsure_since, message.sent_at, self._clock()) if at is not None)
        told = await self._frontend.find(to, message.key, message.payload, since)
        async with self._db.read() as tx:
            others = await outbox.others(tx, message, told)
        found = [one for one in told if one not in others]
        for extra in found[1:]:
            with contextlib.suppress(
                Refused, Later, Unknown
            ):  # then two stand there; the first is the one we know
                await self._frontend.delete(to, extra)
        return found[0] if found else None

    async def _sent(self, message: Message, remote: str | None) -> None:
        self.put_off.pop(message.channel, None)
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
        self.put_off.pop(message.channel, None)
        async with self._db.transaction() as tx:
            await outbox.settle(tx, message.id, Sending.REFUSED, error=reason)
            where = f"{self._frontend.name}:{message.channel}"
            await people.record(tx, self._clock(), "relay", f"{message.op} in {where}", "refused", reason)
            if message.lane != self._frontend.home:
                await self._tell_home(tx, message, reason)

    async def _tell_home(self, tx: Tx, message: Message, reason: str) -> None:
        """Say in the home channel what was refused; the same of one lane once an hour."""
        home, now = self._frontend.home, self._clock()
        text = f"A message in {message.channel} was refused by {self._frontend.name}: {reason}"
        entry = Entry(
            transport=self._frontend.name,
            lane=home,
            key=key_of("refused", message.lane, reason, int(now // 3600)),
            channel=home,
            urgency=int(Lane.NOTICE),
            post=post_to_json(Post(text=text), lambda t: t),
            at=now,
        )
        await outbox.enqueue(tx, entry)
