"""The gateway: from a stored event of any frontend to a person, a command, and its answer, in one commit."""

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import replace

import structlog

from bots.receiving import Received, Receiver, complaining
from orchestrator.commands.answering import say
from orchestrator.commands.completion import complete
from orchestrator.commands.context import Answer, Context, Deferred, Services
from orchestrator.commands.forms import filled, form_of
from orchestrator.commands.general import pairing_code
from orchestrator.commands.parser import Invocation, parse
from orchestrator.commands.registry import Command
from orchestrator.delivery.posts import inbound_from_json, inbound_to_json
from orchestrator.delivery.relay import backoff
from orchestrator.errors import Conflict, Forbidden, UserError
from orchestrator.jobs import ended
from orchestrator.projects import Person, Role
from orchestrator.store import inbox, messages, outbox, people, projects, tasks
from orchestrator.store.database import Row, Signal, Tx
from orchestrator.store.outbox import key_of
from orchestrator.tasks import TaskStatus
from orchestrator.transport import Action, Form, Inbound, InboundKind, Lane, Post, Tone, Verdict, Watermark

log = structlog.get_logger(__name__)

_DECISIONS = frozenset({"approve", "reject"})
_PAGE = 100
"""Events that are looked at together."""
_WORDS_LOOKED_UP = 50


class Gateway:
    """Takes events in (`Intake`), and handles each once, in order per thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._db = services.database
        self._speaker = services.lifecycle.speaker
        settings = services.settings
        self._receiver = Receiver(settings.attachments, settings.delivery.file_max)
        self._awake = asyncio.Event()
        self._lanes: dict[str, asyncio.Queue[Row]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._db.on(Signal.INBOX, self._awake.set)

    # -- Intake

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        """Store *events* and the watermark with them; False where all were known."""
        stored = False
        async with self._db.transaction() as tx:
            for event in events:
                stored |= await self._store(tx, event)
            if watermark is not None:
                await inbox.set_watermark(tx, *watermark)
        return stored

    async def _store(self, tx: Tx, event: Inbound) -> bool:
        """Store one event; one that changes another which is not handled yet is handled by that."""
        transport = event.place.transport
        if await inbox.find(tx, transport, event.event_id) is not None:
            return False
        lane = f"{transport}:{event.place.channel}:{event.root or ''}"
        state = inbox.DONE if await self._changed(tx, event) else inbox.NEW
        data = inbound_to_json(event)
        return await inbox.accept(tx, transport, event.event_id, lane, data, self._now(), state)

    async def _changed(self, tx: Tx, event: Inbound) -> bool:
        """Whether *event* edits or withdraws one that still waits, which is done with that."""
        if event.kind not in (InboundKind.EDIT, InboundKind.WITHDRAWAL):
            return False
        row = await inbox.find(tx, event.place.transport, event.subject)
        if row is None or row["state"] != inbox.NEW:
            return False
        original = inbound_from_json(row["event"])
        if not _may_change(event, original):
            return True
        if event.kind is InboundKind.WITHDRAWAL:
            return await inbox.done(tx, row["id"])
        changed = replace(original, text=event.text, addressed=event.addressed)
        return await inbox.change(tx, row["id"], inbound_to_json(changed))

    async def watermark(self, transport: str, scope: str) -> str | None:
        """The stored watermark."""
        async with self._db.read() as tx:
            return await inbox.get_watermark(tx, transport, scope)

    async def knows(self, transport: str, account: str) -> bool:
        """Whether a person has this account."""
        async with self._db.read() as tx:
            return await people.of_account(tx, transport, account) is not None

    async def tell(self, transport: str, words: str) -> None:
        """Tell the operators on every frontend what is amiss with one; the same words once a day."""
        post = Post(text=f"🔌 {transport}: {words}")
        key = key_of("told", transport, words, int(self._now() // 86400))
        async with self._db.transaction() as tx:
            await self._speaker.notify(tx, post, None, key=key)

    async def form(self, action: str) -> Form | None:
        """What is to be asked before a button's line is run; None where it is run, or refused, as it is."""
        async with self._db.read() as tx:
            row = await outbox.find_action(tx, action)
        if row is None or row["settled_by"] or not row["form"]:
            return None
        return form_of(self._services.registry, row["line"], row["form"])

    async def look(self, event: Inbound) -> Post:
        """The answer to a command that only looks; what needs more than the role viewer is refused."""
        try:
            async with self._db.read() as tx:
                person = await people.of_account(tx, event.place.transport, event.account)
                if person is None:
                    raise Forbidden(f"I do not know you ({event.place.transport}:{event.account})")
                viewer = replace(person, role=Role.VIEWER)
                answer = await self._command(tx, event, viewer, event.text, await self._implied(tx, event))
            return await answer.answer() if isinstance(answer, Deferred) else answer
        except UserError as refusal:
            return Post(text=f"🚫 {refusal}", verdict=Verdict.REFUSED)

    async def complete(self, event: Inbound) -> Sequence[str]:
        """Completions of the last word of the unfinished line in *event*."""
        async with self._db.read() as tx:
            person = await people.of_account(tx, event.place.transport, event.account)
            implied = await self._implied(tx, event)
            role = person.role if person else Role.NONE
            found = complete(self._services.registry, event.text, role=role, implied=implied)
            words = list(found.words)
            if found.kind == "task":
                words += await tasks.by_prefix(tx, found.prefix)
            elif found.kind is not None:
                words += await projects.ids(tx, found.kind, found.prefix)
        return [event.text[: found.start] + word for word in words]

    # -- handling

    async def run(self) -> None:
        """Handle events until cancelled; what is unhandled then is handled at the next start."""
        seen = 0
        try:
            while True:
                self._awake.clear()
                async with self._db.read() as tx:
                    rows = await inbox.pending(tx, seen, _PAGE)
                for row in rows:
                    seen = max(seen, row["id"])
                    self._hand_on(row)
                if len(rows) < _PAGE:
                    await self._awake.wait()
        finally:
            await ended(*self._workers.values())

    async def idle(self) -> None:
        """Wait until everything that is stored has been handled."""
        while True:
            async with self._db.read() as tx:
                left = await inbox.pending(tx, 0, limit=1)
            if not left and not self._workers:
                return
            await asyncio.wait([*self._workers.values(), asyncio.create_task(asyncio.sleep(0.01))])

    def _hand_on(self, row: Row) -> None:
        lane = row["lane"]
        self._lanes.setdefault(lane, asyncio.Queue()).put_nowait(row)
        if lane not in self._workers:
            self._workers[lane] = asyncio.create_task(self._work(lane), name=f"gateway {lane}")

    async def _work(self, lane: str) -> None:
        """Handle what is queued in one lane."""
        queue = self._lanes[lane]
        try:
            while not queue.empty():
                row = queue.get_nowait()
                await self._insist(row)
        finally:
            self._workers.pop(lane, None)
            if queue.empty():
                self._lanes.pop(lane, None)

    async def _insist(self, row: Row) -> None:
        """Handle one event however often it takes: a store that is busy or full is no reason to lose it."""
        for attempt in itertools.count(1):
            try:
                await self._handle(row)
                return
            except Conflict:
                return  # it was handled, and the mark says so
            except Exception:
                log.exception("gateway.failed", inbox=row["id"], attempt=attempt)
            await asyncio.sleep(backoff(attempt))

    async def _handle(self, row: Row) -> None:
        """Handle one event: its effects, its answer and its mark are one commit."""
        event = inbound_from_json(row["event"])
        try:
            received = await self._received(event)
            async with self._db.transaction() as tx:
                current = await inbox.waiting(tx, row["id"])
                if current is None:
                    return  # withdrawn meanwhile
                event = await self._located(tx, replace(inbound_from_json(current), files=received.files))
                answer = await self._answer(tx, event)
                if isinstance(answer, Post) and received.complaints:
                    answer = _with_complaints(answer, received.complaints)
                if not isinstance(answer, Deferred):
                    await self._finish(tx, row, event, answer)
                    return
            post = await answer.answer()
        except UserError as refusal:
            post = Post(text=f"🚫 {refusal}", verdict=Verdict.REFUSED)
        except Exception:
            fault = secrets.token_hex(4)
            log.exception("command.failed", fault=fault, line=event.text[:200])
            text = f"💥 That failed inside agent-queue. The log has it under {fault}; nothing was changed."
            post = Post(text=text, verdict=Verdict.FAILED, data={"fault": fault})
        async with self._db.transaction() as tx:
            if post.verdict is Verdict.REFUSED:
                await self._audit(tx, event, Verdict.REFUSED, post.text)
            await self._finish(tx, row, event, post)

    async def _finish(self, tx: Tx, row: Row, event: Inbound, post: Post | None) -> None:
        if not await inbox.done(tx, row["id"]):
            raise Conflict(f"event {event.event_id} was handled by another")
        if post is not None and post.reaction and self._reacts(event):
            key = key_of("reply", event.place.transport, event.event_id)
            await self._speaker.react(tx, event.place, event.root, event.message, post.reaction, key=key)
        elif post is not None:
            full = replace(post, reply_to=_answered(event), verdict=post.verdict or Verdict.OK)
            key = key_of("reply", event.place.transport, event.event_id)
            urgency = Lane.NOTICE if "pairing_code" in post.data else Lane.URGENT  # a stranger delays nobody
            await self._speaker.reply(tx, event.place, event.root, full, key=key, urgency=urgency)

    def _reacts(self, event: Inbound) -> bool:
        """Whether a reaction can stand on what was said."""
        one = self._services.frontends().get(event.place.transport)
        return bool(event.message) and one is not None and one.frontend.capabilities().reactions

    async def _received(self, event: Inbound) -> Received:
        """The files of an event, where they are for us and from somebody who may speak to agents."""
        if not event.files or (one := self._services.frontends().get(event.place.transport)) is None:
            return Received()
        async with self._db.read() as tx:
            event = await self._located(tx, event)
            person = await people.of_account(tx, event.place.transport, event.account)
            meant = event.addressed or "task" in await self._implied(tx, event)
        if person is None or person.role < Role.OPERATOR or not meant:
            return Received()
        return await self._receiver.receive(one.frontend, event)

    async def _located(self, tx: Tx, event: Inbound) -> Inbound:
        """An event in the thread of the message that it is about; a reaction as the button that it stands for."""
        if event.kind in (InboundKind.EDIT, InboundKind.WITHDRAWAL):
            row = await inbox.find(tx, event.place.transport, event.subject)
            return replace(event, root=inbound_from_json(row["event"]).root) if row else event
        if not event.subject or event.root:
            return event
        shown = await outbox.shown(tx, event.place.transport, event.subject)
        if shown is None:
            return event
        payload, root = shown
        if event.kind is InboundKind.MESSAGE:
            return replace(event, root=root)
        action = payload.get("reactions", {}).get(event.text)
        return replace(event, kind=InboundKind.ACTION, action=action, root=root) if action else event

    async def _answer(self, tx: Tx, event: Inbound) -> Answer | None:
        if event.kind is InboundKind.REACTION:
            return None  # to something else, or no button of it
        person = await people.of_account(tx, event.place.transport, event.account)
        if person is None:
            return await self._stranger(tx, event) if event.addressed else None
        if event.kind is InboundKind.UNREADABLE:
            return await self._unreadable(tx, event)
        if event.kind in (InboundKind.EDIT, InboundKind.WITHDRAWAL):
            return await self._change(tx, event, person)
        implied = await self._implied(tx, event)
        if event.kind is InboundKind.ACTION:
            return await self._press(tx, event, person, implied)
        line = event.text.strip()
        task_id = implied.get("task")
        if task_id is not None:
            task = await tasks.get(tx, task_id)
            if not self._is_command(line, task.status):
                return await say(self._context(tx, event, person, line, implied), task, line)
        if not event.addressed and task_id is None:
            return None
        return await self._command(tx, event, person, line, implied)

    async def _unreadable(self, tx: Tx, event: Inbound) -> Post | None:
        """Say plainly that something could not be read, where it was probably meant for us."""
        if not event.addressed and "task" not in await self._implied(tx, event):
            return None
        return Post(text=f"🔒 I cannot read that: {event.text}", verdict=Verdict.REFUSED)

    async def _change(self, tx: Tx, event: Inbound, person: Person) -> Post | None:
        """Somebody has edited or withdrawn what was handled already: words that wait for an agent follow that."""
        row = await inbox.find(tx, event.place.transport, event.subject)
        original = inbound_from_json(row["event"]) if row else None
        if original is None or original.kind is not InboundKind.MESSAGE:
            return None
        if not _may_change(event, original):
            return None
        withdrawn = event.kind is InboundKind.WITHDRAWAL
        words = await messages.find(tx, key_of(event.subject, "words"))
        if words is None:
            return _too_late(event, original)
        text = event.text.strip().removeprefix("!").strip()
        if not withdrawn and words.text == text:
            return None
        if person.role < Role.OPERATOR:
            raise Forbidden(f"{person.id} may not change what an agent is told: it needs the role operator")
        if not withdrawn and not text:
            return Post(text="✏️ That says nothing; remove the message to take it back.")
        if not await messages.change(tx, words.id, None if withdrawn else text):
            return Post(text="👀 The agent has been told already; say what is different.")
        await self._audit(tx, event, Verdict.OK, "words withdrawn" if withdrawn else "words edited", person)
        return Post(
            text="🗑 Withdrawn; no agent has read it." if withdrawn else "✏️ Changed; no agent had read it."
        )

    def _is_command(self, line: str, status: TaskStatus) -> bool:
        """Whether words in a task's thread are a command: by sigil, or by a command's unambiguous words.

        A command of two words (`task approve`) is one wherever it stands; a single word (`why`) only alone,
        so that "restart the server when you are done" reaches the agent. Where a decision is awaited, its words
        are a command with all that follows: `reject the test is missing`.
        """
        words = line.lower().split()
        if not words:
            return False
        if words[0] in ("/aq", "!aq", "aq"):
            return True
        if status is TaskStatus.AWAITING_APPROVAL and words[0] in _DECISIONS:
            return True
        found = self._services.registry.match(words)
        return found is not None and (found[1] > 1 or len(words) == 1)

    async def _implied(self, tx: Tx, event: Inbound) -> dict[str, str]:
        """The task and project that the thread and channel stand for."""
        implied: dict[str, str] = {}
        place = event.place
        task_id = None
        if event.root:
            task_id = await outbox.task_of(tx, place.transport, place.channel, event.root)
        if task_id is None and (about := event.root or event.subject):
            task_id = await outbox.task_of_message(tx, place.transport, about)
        if task_id is not None:
            implied["task"] = task_id
            implied["project"] = (await tasks.get(tx, task_id)).project_id
        else:
            project_id = await projects.of_channel(tx, place.transport, place.channel)
            if project_id is not None:
                implied["project"] = project_id
        return implied

    def _context(self, tx: Tx, event: Inbound, person: Person, line: str, implied: dict[str, str]) -> Context:
        return Context(
            tx=tx,
            services=self._services,
            person=person,
            event=event,
            line=line,
            project_id=implied.get("project"),
            task_id=implied.get("task"),
            files=tuple(file.source for file in event.files),
        )

    async def _command(
        self, tx: Tx, event: Inbound, person: Person, line: str, implied: dict[str, str]
    ) -> Answer:
        known = await self._known(tx, line) if implied else set()
        invocation = parse(
            self._services.registry, line, implied=implied, known=lambda kind, word: (kind, word) in known
        )
        command = invocation.command
        ctx = self._context(tx, event, person, line, implied)
        ctx.require(command.role, f"`{command.path}`")
        if command.confirm and not invocation.confirmed:
            await self._named(tx, invocation)
            return self._confirmation(command, invocation)
        answer: Answer = await command.handler(ctx, invocation.arguments)
        if isinstance(answer, Post):
            answer = replace(answer, reaction="")  # a command is answered in words
        if command.role > Role.VIEWER and not command.audits:
            await self._audit(tx, replace(event, text=line), Verdict.OK, "", person)
        return answer

    async def _known(self, tx: Tx, line: str) -> set[tuple[str, str]]:
        """Which words of the first line are tasks or projects."""
        words = line.split("\n", 1)[0].split()[:_WORDS_LOOKED_UP]
        found = {("task", word) for word in await tasks.known(tx, words)}
        return found | {("project", word) for word in await projects.known(tx, "project", words)}

    async def _press(self, tx: Tx, event: Inbound, person: Person, implied: dict[str, str]) -> Answer:
        """Run a button's stored command line; the first that changes something settles its card."""
        row = await outbox.find_action(tx, event.action)
        if row is None:
            raise Conflict("this button is no longer known; type the command instead")
        if row["settled_by"]:
            raise Conflict(f"this was settled by {row['settled_by']} already")
        if person.role < row["role"]:
            needed = Role(row["role"]).name.lower()
            raise Forbidden(f"{person.id} may not press {row['label']!r}: it needs the role {needed}")
        line = row["line"]
        if event.fields and row["form"]:
            line = filled(self._services.registry, line, row["form"], event.fields)
        answer = await self._command(tx, event, person, line, implied)
        if row["role"] > Role.VIEWER and not (isinstance(answer, Post) and answer.verdict):
            await outbox.settle_card(tx, row["card"], person.id)
            await self._speaker.settle(tx, row["card"], row["task_id"], f"{row['label']}: {person.id}")
        return answer

    async def _stranger(self, tx: Tx, event: Inbound) -> Post | None:
        """Somebody without any right is told how an admin can let them in, at most once a minute."""
        valid = self._services.settings.pairing.valid_minutes * 60
        code, new, due = await people.pairing_code(
            tx, event.place.transport, event.account, event.name, pairing_code(), self._now(), valid
        )
        if new:
            await self._audit(tx, event, Verdict.REFUSED, f"unknown; pairing code {code} given")
        if not due:
            return None
        text = (
            f"🚫 I do not know you ({event.place.transport}:{event.account}), so I can do nothing for you. "
            f"An admin can let you in with `pair {code} {_name(event)}`, within "
            f"{self._services.settings.pairing.valid_minutes:g} minutes."
        )
        return Post(text=text, verdict=Verdict.REFUSED, data={"pairing_code": code})

    async def _audit(
        self, tx: Tx, event: Inbound, verdict: Verdict, detail: str, person: Person | None = None
    ) -> None:
        if person is None:
            person = await people.of_account(tx, event.place.transport, event.account)
        who = person.id if person else f"{event.place.transport}:{event.account}"
        what = event.text or f"button {event.action}"
        redact, implied = self._speaker.redact, await self._implied(tx, event)
        about = {"project_id": implied.get("project", ""), "task_id": implied.get("task", "")}
        await people.record(tx, self._now(), who, redact(what), verdict, redact(detail), **about)

    async def _named(self, tx: Tx, invocation: Invocation) -> None:
        """Refuse to ask about what does not exist."""
        named = invocation.arguments
        if hasattr(named, "task"):
            await tasks.get(tx, named.task)
        elif hasattr(named, "project"):
            await projects.get(tx, named.project)

    def _confirmation(self, command: Command, invocation: Invocation) -> Post:
        """Ask before something that cannot be taken back."""
        line = self._services.registry.to_line(command.path, invocation.arguments, confirmed=True)
        return Post(
            text=f"❓ `{command.path}`: {command.summary} Sure? Say `{line}`.",
            actions=(Action(label=f"Yes, {command.path}", line=line, role=command.role, style=Tone.BAD),),
            verdict=Verdict.REFUSED,
            data={"confirm": line},
        )

    def _now(self) -> float:
        return self._services.lifecycle.clock()


def _with_complaints(answer: Post, complaints: Sequence[str]) -> Post:
    """An answer that says in words what was not taken, too."""
    return replace(answer, text=complaining(answer.text, complaints), reaction="")


def _answered(event: Inbound) -> str:
    """The message that an answer to *event* hangs on: a reaction or an edit is none."""
    return event.event_id if event.kind is InboundKind.MESSAGE or not event.subject else event.subject


def _may_change(event: Inbound, original: Inbound) -> bool:
    """Whether *event* may edit or withdraw *original*: in its channel, and an edit is its author's alone."""
    own = event.account == original.account or event.kind is InboundKind.WITHDRAWAL
    if own and event.place == original.place:
        return True
    log.warning("gateway.forged_change", kind=event.kind, account=event.account, of=original.account)
    return False


def _too_late(event: Inbound, original: Inbound) -> Post | None:
    """What is said of a command that was edited or removed after it ran."""
    if not original.addressed or event.text == original.text:
        return None
    if event.kind is InboundKind.WITHDRAWAL:
        return Post(text="🗑 What was run is not undone when it is removed; say what is to be undone.")
    return Post(text="✏️ What was run is not run again when it is edited; say it anew.")


def _name(event: Inbound) -> str:
    kept = "".join(c for c in event.name.lower() if c.isascii() and (c.isalnum() or c in "-_."))
    return kept or "their-name"
