"""Files that people send: read from their platform, and kept on disk until the agent has them."""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.delivery.relay import backoff
from orchestrator.store.outbox import key_of
from orchestrator.transport import Frontend, Inbound, Later, Refused, Sent, Unknown
from orchestrator.words import plain

_TRIES = 5
_NAME_MAX = 80
_UNSAFE = re.compile(r"[^\w.()+@=,~ -]")


@dataclass(frozen=True, slots=True)
class Received:
    """What came of the files of one event."""

    files: tuple[Sent, ...] = ()
    """Those that are kept; `source` is the name that each is kept under."""
    complaints: tuple[str, ...] = ()
    """Why the others are not, as Markdown."""


class Receiver:
    """Keeps what people send below *folder*, each file of at most *limit* bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    async def receive(self, frontend: Frontend, event: Inbound) -> Received:
        """Read the files of *event*. Handled again after a crash, it gives the same names."""
        kept, complaints = list[Sent](), list[str]()
        for number, sent in enumerate(event.files):
            name = f"{key_of(event.place.transport, event.event_id, number)[:6]}-{safe_name(sent.name)}"
            try:
                await self._keep(frontend, sent, name)
                kept.append(replace(sent, source=name))
            except (Refused, Later, Unknown, OSError) as fault:
                complaints.append(f"📎 {plain(sent.name)} was not taken: {plain(str(fault))}")
        return Received(tuple(kept), tuple(complaints))

    async def _keep(self, frontend: Frontend, sent: Sent, name: str) -> None:
        path = self._folder / name
        if path.exists():
            return
        if sent.size is not None and sent.size > self._limit:
            raise Refused(too_large(self._limit))
        content = await self._fetched(frontend, sent.source)
        await asyncio.to_thread(_write, path, content)

    async def _fetched(self, frontend: Frontend, source: str) -> bytes:
        """The content, asked for again where the platform is away for a moment."""
        for attempt in range(1, _TRIES):
            try:
                return await frontend.fetch(source, self._limit)
            except Later as later:
                await asyncio.sleep(min(later.seconds, backoff(attempt)))
            except Unknown:
                await asyncio.sleep(backoff(attempt))
        return await frontend.fetch(source, self._limit)


def too_large(limit: int) -> str:
    """Why a file of more than *limit* bytes is not taken."""
    return f"it is larger than {limit / 1_000_000:g} MB (`delivery.file_max_mb`)"


def safe_name(name: str) -> str:
    """*name* as a file's name in one folder, whatever somebody called it."""
    base = _UNSAFE.sub("_", os.path.basename(name.replace("\\", "/"))).strip(" .")
    stem, dot, suffix = base.rpartition(".")
    if dot and len(base) > _NAME_MAX:
        return f"{stem[: _NAME_MAX - len(suffix) - 1]}.{suffix}"[:_NAME_MAX]
    return base[:_NAME_MAX] or "file"


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, for its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def complaining(text: str, complaints: Sequence[str]) -> str:
    """An answer's *text* with what was not taken."""
    return "\n".join([*([text] if text else []), *complaints])
