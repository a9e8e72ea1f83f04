"""A chat platform made of two files, which fails as it is told: for tests, benches and trying things out.

People speak by adding lines to `inbound.jsonl` in its folder (an `Inbound` as JSON each); everything that the
platform is sent is a line of `platform.jsonl`. Both outlive the daemon, as a real platform does.
"""

import asyncio
import json
import os
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from bots.features import Feature
from bots.rendering import as_wire, fit
from orchestrator.delivery.posts import inbound_from_json
from orchestrator.jobs import ended
from orchestrator.support import Support, degraded, full, none
from orchestrator.transport import (
    Capabilities,
    Finding,
    Inbound,
    Intake,
    Later,
    Post,
    Refused,
    Target,
    Unknown,
    Watermark,
    Wire,
)

log = structlog.get_logger(__name__)

NAME = "scripted"
SEND_FAULTS = ("refuse", "later", "lose_send", "lose_answer", "late", "delay", "disconnect")
"""What may go wrong with a send; only `lose_answer`, `late` and `delay` do what was asked."""
FAULTS = (*SEND_FAULTS, "find_fails", "duplicate_inbound")
_TAIL = 0.02
"""Seconds between two looks at what people have said."""
_LATE = 0.05
"""Seconds after which a late send has its effect."""

SUPPORT: Mapping[Feature, Support] = {
    Feature.THREADS: full(),
    Feature.TITLES: none("the message that it hangs on shows how the task stands"),
    Feature.FORMS: none(),
    Feature.BUTTONS: full("an event of kind `action`"),
    Feature.EDITS: full(),
    Feature.FILES: full("in the message"),
    Feature.IMAGES: none("a file like any other"),
    Feature.SENDING: full("beside the two files that it is"),
    Feature.QUIET: none("nothing rings"),
    Feature.COMPLETION: none(),
    Feature.AMENDING: full("an event of kind `edit`"),
    Feature.WITHDRAWING: full("an event of kind `withdrawal`"),
    Feature.AWAY: full("the file is read from where it was left"),
    Feature.TYPING: none(),
    Feature.RECEIPTS: none(),
    Feature.MARKS: full("on events that say by what they are known: `message`"),
    Feature.ENCRYPTION: none("two files"),
    Feature.REDELIVERY: full("by the event's id"),
    Feature.REPEATS: degraded("looked for by its key before it is sent again, unless it is `idempotent`"),
}
SPEAKING = "Add a line to `inbound.jsonl` in its folder: an event as JSON, whose `text` is the command."
LIMITS = "as configured"


class ScriptedSettings(BaseModel):
    """A platform of files, with the faults that it is to have."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path
    """Where the platform's two files lie."""
    home: str = "main"
    """The channel for what belongs to no bound project."""
    seed: int = 0
    """From which faults are drawn."""
    faults: dict[str, float] = Field(default_factory=dict)
    """Probability of each fault: refuse, later, lose_send, lose_answer, late, delay, disconnect, …"""
    text_max: int = 4000
    """Characters of one message."""
    rate: float = 1000.0
    """Messages a second."""
    stream_interval: float = 1.0
    """Seconds between two progress messages in one thread."""
    settle_after: float = 0.5
    """Seconds after which a send whose answer was lost has happened or never will."""
    idempotent: bool = False
    """Whether a send repeated under its key has no second effect."""
    keyless: bool = False
    """Whether it keeps no keys, so that a message can be told by what it shows alone."""
    per_channel: bool = False
    """Whether its rate holds for each channel by itself."""


class ScriptedFrontend:
    """The platform and its frontend in one."""

    name = NAME

    def __init__(self, settings: ScriptedSettings) -> None:
        self.home = settings.home
        self.plan: deque[str] = deque()
        """Faults for the next calls, one each, "" for none; used up before any is drawn."""
        self._settings = settings
        self._random = random.Random(settings.seed)  # noqa: S311 - faults, not secrets
        self._inbound = settings.folder / "inbound.jsonl"
        self._log = settings.folder / "platform.jsonl"
        self._sent: dict[str, list[dict[str, Any]]] = {}
        """What the platform holds, by key."""
        self._count = 0
        self._lost = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[None]] = set()

    def capabilities(self) -> Capabilities:
        """As configured."""
        return Capabilities(
            text_max=self._settings.text_max,
            actions_max=5,
            reactions=True,
            settle_after=self._settings.settle_after,
            rate=self._settings.rate,
            burst=max(10, int(self._settings.rate)),
            per_channel=self._settings.per_channel,
            stream_interval=self._settings.stream_interval,
        )

    def findings(self) -> Sequence[Finding]:
        """Nothing can be amiss with two files."""
        return ()

    def channel(self, words: str) -> str:
        """Any name is a channel."""
        return words

    async def make_channel(self, name: str, topic: str, account: str) -> str:
        """A channel is there as soon as something is said in it."""
        return self.channel(name)

    def repeatable(self, sent_at: float) -> bool:
        """As configured."""
        return self._settings.idempotent

    def render(self, post: Post) -> Sequence[Wire]:
        """The neutral message nearly as it is."""
        return [as_wire(part) for part in fit(post, self.capabilities())]

    async def start(self, intake: Intake) -> None:
        """Read what the platform holds, and begin to listen where we stopped."""
        await self.close()
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        self._recall()
        offset = int(await intake.watermark(self.name, "inbound") or 0)
        self._lost.clear()
        self._listener = asyncio.create_task(self._listen(intake, offset))

    async def closed(self) -> None:
        """Return after a disconnect."""
        await self._lost.wait()

    async def close(self) -> None:
        """Listen no more; what is late still arrives."""
        await ended(self._listener)
        await asyncio.gather(*self._late)

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Store one message."""
        return await self._send("post", to.channel, to.root, key, wire=wire)

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Store a message that a thread hangs on."""
        return await self._send("open", channel, None, key, wire=wire, title=title)

    async def edit(self, to: Target, message: str, wire: Wire, key: str) -> None:
        """Store the new content of *message*."""
        await self._send("edit", to.channel, to.root, key, wire=wire, message=message)

    async def delete(self, to: Target, message: str) -> None:
        """Store that *message* is gone."""
        await self._send("delete", to.channel, to.root, f"delete {message}", message=message)

    async def react(self, to: Target, message: str, emoji: str, key: str) -> None:
        """Store a reaction."""
        await self._send("react", to.channel, to.root, key, message=message, emoji=emoji)

    async def fetch(self, source: str, limit: int) -> bytes:
        """A file beside the two that are the platform."""
        path = self._settings.folder / source
        if not path.is_file() or path.stat().st_size > limit:
            raise Refused(f"there is no file {source} of at most {limit} bytes")
        return path.read_bytes()

    async def find(self, to: Target, key: str, wire: Wire, since: float) -> Sequence[str]:
        """The messages that were sent there under *key*."""
        planned = bool(self.plan) and self.plan[0] == "find_fails"
        if planned:
            self.plan.popleft()
        if planned or self._lost.is_set() or self._drawn("find_fails"):
            raise Unknown("the history cannot be read just now")
        held = self._alike(wire) if self._settings.keyless else self._sent.get(key, ())
        return [one["id"] for one in held if (one["channel"], one["root"]) == (to.channel, to.root)]

    def _alike(self, wire: Wire) -> list[dict[str, Any]]:
        """The messages that show what *wire* does, oldest first."""
        held = [one for records in self._sent.values() for one in records if one["op"] in ("post", "open")]
        return sorted((one for one in held if one["wire"] == wire), key=lambda one: int(one["id"][1:]))

    async def _send(self, op: str, channel: str, root: str | None, key: str, **more: Any) -> str:
        """Do what the platform is asked, with the fault that is due."""
        if self._lost.is_set():
            raise Unknown("not connected")
        record = {"op": op, "channel": channel, "root": root, "key": key, **more}
        match self._fault():
            case "refuse" if not self._repeats(key):
                raise Refused("the platform will not take this")
            case "later":
                raise Later(0.02, "slow down")
            case "lose_send":
                raise Unknown("the connection broke before the message was sent")
            case "lose_answer":
                self._store(record)
                raise Unknown("the connection broke before the answer came")
            case "late":
                job = asyncio.create_task(self._store_late(record))
                self._late.add(job)
                job.add_done_callback(self._late.discard)
                raise Unknown("no answer yet")
            case "disconnect":
                self._lost.set()
                raise Unknown("the platform hung up")
            case "delay":
                await asyncio.sleep(_LATE)
        return self._store(record)

    def _fault(self) -> str:
        if self.plan:
            return self.plan.popleft()
        return next((fault for fault in SEND_FAULTS if self._drawn(fault)), "")

    def _drawn(self, fault: str) -> bool:
        return self._random.random() < self._settings.faults.get(fault, 0.0)

    async def _store_late(self, record: dict[str, Any]) -> None:
        await asyncio.sleep(_LATE)
        self._store(record)

    def _store(self, record: dict[str, Any]) -> str:
        """Put a record on the platform; returns its id."""
        if self._repeats(record["key"]):
            return str(self._sent[record["key"]][0]["id"])
        self._count += 1
        record = {"id": f"m{self._count}", **record, "at": time.time()}
        line = json.dumps(record) + "\n"
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        self._hold(record)
        return str(record["id"])

    def _repeats(self, key: str) -> bool:
        """Whether a send is a repetition, which the platform honours."""
        return self._settings.idempotent and bool(self._sent.get(key))

    def _hold(self, record: dict[str, Any]) -> None:
        """Know *record* by its key, and what it deletes no more."""
        self._sent.setdefault(record["key"], []).append(record)
        if record["op"] == "delete":
            for held in self._sent.values():
                held[:] = [one for one in held if one["id"] != record["message"]]

    def _recall(self) -> None:
        """Know again what the platform held before we were started."""
        records = read_records(self._log)
        self._count = len(records)
        self._sent = {}
        for record in records:
            self._hold(record)

    async def _listen(self, intake: Intake, offset: int) -> None:
        """Hand on what people say until they cannot be heard."""
        try:
            await self._follow(intake, offset)
        except Exception:
            log.exception("scripted.deaf")
            self._lost.set()

    async def _follow(self, intake: Intake, offset: int) -> None:
        """Hand on what people say, each with the offset behind it as its watermark."""
        while not self._lost.is_set():
            heard: list[Inbound] = []
            for line in _lines_from(self._inbound, offset):
                offset += len(line)
                try:
                    event = inbound_from_json(json.loads(line))
                except ValueError as fault:
                    log.warning("scripted.unreadable", line=line[:200], error=str(fault)[:200])
                    continue
                heard += [event] * (2 if self._drawn("duplicate_inbound") else 1)
            if heard:  # together, so that what edits or takes back another of them still finds it undone
                await intake.accept(*heard, watermark=Watermark(self.name, "inbound", str(offset)))
            await asyncio.sleep(_TAIL)


def create(settings: ScriptedSettings) -> ScriptedFrontend:
    """The platform that *settings* describe."""
    return ScriptedFrontend(settings)


def read_records(path: Path) -> list[dict[str, Any]]:
    """Everything that the platform was sent, in order."""
    return [json.loads(line) for line in _lines_from(path, 0)]


def shown(records: Sequence[dict[str, Any]], *, root: str | None = None) -> list[dict[str, Any]]:
    """What a person sees now in the main channels, or in the thread under *root*: edited, without what is gone."""
    seen: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["op"] in ("post", "open"):
            seen[record["id"]] = dict(record)
        elif record["op"] == "edit" and record["message"] in seen:
            before = seen[record["message"]]
            before["wire"] = {k: v for k, v in before["wire"].items() if k == "files"} | record["wire"]
        elif record["op"] == "delete":
            seen.pop(record["message"], None)
    return [record for record in seen.values() if record["root"] == root]


def _lines_from(path: Path, offset: int) -> list[bytes]:
    """The whole lines of *path* behind *offset*."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return [line for line in file.readlines() if line.endswith(b"\n")]
    except FileNotFoundError:
        return []
