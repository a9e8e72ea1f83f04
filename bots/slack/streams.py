"""Progress as streams: one reply of a thread that grows while its agent works, where Slack has such.

A stream is given blocks, in which words are data; in its markdown, what agents print could call people. A piece is one
block, and has an id of its own: the message's time, and behind `#` the number of blocks before it. Where Slack refuses
a piece, nothing has happened, and it is an ordinary post; where no answer came, it is looked for in the thread. Into a
stream of which anything is in doubt nothing more goes, nor into one above something newer.
That Slack's history shows the blocks as they were given is not documented; where it joins them, streams are given up.
No stream is kept over a restart: after a crash, Slack ends what was open five minutes after it began, and the next
progress begins another.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.events import is_direct
from bots.slack.limits import Pace
from bots.slack.reading import mapping, stamp, string
from bots.slack.rendering import size
from bots.slack.session import Session, ask
from orchestrator.jobs import ended
from orchestrator.transport import Inbound, InboundKind, Later, Refused, Target, Unknown, Wire

log = structlog.get_logger(__name__)

Json = Mapping[str, Any]
_AGE: Final = 240.0
"""Seconds that a stream is written to: Slack ends it after about 300."""
_IDLE: Final = 30.0
_BYTES: Final = 9_000
"""Of a stream's blocks as JSON. Others have measured ends at 12,000 characters, and with more than text at 10,600."""
_BLOCKS: Final = 40
"""Slack takes 50."""
_STARTS, _APPENDS, _STOPS = 15, 80, 18
"""Calls a minute: Slack takes 20, 100 and 20, over the whole workspace."""
_PATIENCE: Final = 60.0
"""Seconds without streams after Slack found them too many, or did not answer; longer each time that it does not."""
_PATIENCE_MAX: Final = 3_600.0
_STOP_PATIENCE: Final = 2.0
"""Seconds that a message waits until the stream above it is stopped; nothing more is written to it anyway."""
_HEARD_MAX: Final = 2_000
_OFF_MAX: Final = 1_000
_OVER: Final = frozenset(
    {"message_not_in_streaming_state", "message_not_found", "msg_too_long", "msg_blocks_too_long"}
)
"""Errors that say of one stream that it is over or full, and nothing of others."""
_THREAD: Final = frozenset({"messaging_processing_failed", "thread_not_found", "invalid_thread_ts"})
_CHANNEL: Final = frozenset({"channel_type_not_supported", "user_not_found", "cannot_reply_to_message"})
"""Errors by which there are no streams in one thread, or in one channel; by others there are none at all."""
_EVERYWHERE: Final = ("", "")


@dataclass(eq=False, slots=True)
class _Stream:
    """A reply that grows."""

    to: Target
    began: float
    ts: str = ""
    """Its message; nothing until Slack has said so."""
    blocks: int = 0
    size: int = 0
    idle: asyncio.TimerHandle | None = None

    def takes(self, block: Json, now: float) -> bool:
        """Whether *block* may be appended."""
        fits = self.blocks < _BLOCKS and self.size + size(block) <= _BYTES
        return bool(self.ts) and fits and now - self.began < _AGE


class Streams:
    """The streams of one app, and who was heard where: in a channel a stream needs somebody whom it is for."""

    def __init__(
        self, *, enabled: bool, clock: Callable[[], float] = time.monotonic, idle: float = _IDLE
    ) -> None:
        self._enabled, self._clock, self._idle = enabled, clock, idle
        self._web: AsyncWebClient | None = None
        self._team = ""
        self._open: dict[tuple[str, str], _Stream] = {}
        self._heard: dict[tuple[str, str], str] = {}
        self._off: dict[tuple[str, str], None] = {}
        """Where Slack has refused streams since the daemon's start."""
        self._not_before = float("-inf")
        self._patience = _PATIENCE
        self._starts, self._appends, self._stops = Pace(_STARTS), Pace(_APPENDS), Pace(_STOPS)
        self._stopping: set[asyncio.Task[None]] = set()

    def connect(self, session: Session, team: str) -> None:
        """Speak through *session* from now on."""
        self._web, self._team = session.web, team

    async def close(self) -> None:
        """Stop what is open, as far as Slack answers soon."""
        for stream in list(self._open.values()):
            self._forget(stream)
        if self._stopping:
            await asyncio.wait(self._stopping, timeout=_STOP_PATIENCE)
        await ended(*self._stopping)
        self._web = None

    def heard(self, event: Inbound) -> None:
        """Somebody did something: progress there is for them, and comes below what they said."""
        channel, root = event.place.channel, event.root or ""
        for place in ((channel, root), (channel, "")):
            self._heard.pop(place, None)
            self._heard[place] = event.account
        while len(self._heard) > _HEARD_MAX:
            self._heard.pop(next(iter(self._heard)))
        spoken = event.kind in (InboundKind.MESSAGE, InboundKind.UNREADABLE)
        if spoken and (stream := self._open.get((channel, root))):
            self._forget(stream)

    # -- saying

    async def say(self, to: Target, wire: Wire) -> str:
        """Show a piece of progress in its thread's stream; returns its id, or nothing where Slack has not taken it.

        Raises `Unknown` where Slack may have taken it.
        """
        block = _piece(wire)
        if block is None or size(block) > _BYTES or not self._may(to):
            return ""
        stream = self._open.get(_place(to))
        if stream and stream.takes(block, self._clock()) and (made := await self._append(stream, block)):
            return made
        await self.end(to)
        return await self._start(to, block) if self._may(to) else ""

    async def end(self, to: Target) -> None:
        """Something else is to be said in a thread: write no more to its stream, and stop it."""
        stream = self._open.get(_place(to))
        if stream is not None and (task := self._forget(stream)):
            await asyncio.wait([task], timeout=_STOP_PATIENCE)

    def _may(self, to: Target) -> bool:
        places = (_EVERYWHERE, (to.channel, ""), _place(to))
        refused = any(place in self._off for place in places) or self._clock() < self._not_before
        return self._enabled and self._web is not None and bool(to.root) and not refused

    async def _start(self, to: Target, block: Json) -> str:
        recipient = self._recipient(to)
        if self._web is None or recipient is None or not self._starts.take():
            return ""
        stream = _Stream(to, self._clock())
        self._open[_place(to)] = stream
        request = self._web.chat_startStream(
            channel=to.channel, thread_ts=to.root or "", chunks=_chunks(block), **recipient
        )
        made = await self._asked(stream, block, request)
        if made and self._open.get(_place(to)) is not stream:  # something else was said there meanwhile
            self._stop(stream)
        return made

    async def _append(self, stream: _Stream, block: Json) -> str:
        if self._web is None or not self._appends.take():
            return ""
        before = stream.blocks
        request = self._web.chat_appendStream(channel=stream.to.channel, ts=stream.ts, chunks=_chunks(block))
        made = await self._asked(stream, block, request)
        return made and f"{made}#{before}"

    def _recipient(self, to: Target) -> dict[str, str] | None:
        """Whom a stream is for; nobody where that need not be said, None where it would have to be."""
        if is_direct(to.channel):
            return {}
        user = self._heard.get(_place(to)) or self._heard.get((to.channel, ""))
        return {"recipient_user_id": user, "recipient_team_id": self._team} if user else None

    async def _asked(self, stream: _Stream, block: Json, request: Any) -> str:
        """The stream's message, once it has *block*; nothing where Slack did not take it, and then it is over."""
        try:
            answer = await ask(request)
            if not (made := stamp(answer.get("ts"))):
                raise Unknown("the answer names no message")
        except (Refused, Later) as refusal:
            self._refused(stream.to, refusal)
            self._forget(stream)
            return ""
        except BaseException:
            # Nobody knows what was done, or nobody waits for it any more: it is found by reading the thread.
            self._rest(self._patience)
            self._patience = min(_PATIENCE_MAX, 2 * self._patience)
            self._forget(stream)
            raise
        stream.ts, self._patience = made, _PATIENCE
        stream.blocks += 1
        stream.size += size(block)
        if stream.idle is not None:
            stream.idle.cancel()
        stream.idle = asyncio.get_running_loop().call_later(self._idle, self._forget, stream)
        return made

    # -- what goes wrong

    def _refused(self, to: Target, refusal: Refused | Later) -> None:
        """Learn where there are no streams. What a post runs into as well is no matter of ours."""
        error = str(refusal).partition(":")[0]
        if isinstance(refusal, Later) and error == "ratelimited":
            self._rest(max(_PATIENCE, refusal.seconds))
        elif error == "missing_scope":
            self._switch_off(_EVERYWHERE, error)
        elif isinstance(refusal, Later):
            if not refusal.everywhere:
                self._switch_off((to.channel, ""), error)
        elif error in _THREAD:
            self._switch_off(_place(to), error)
        elif error not in _OVER:
            self._switch_off((to.channel, "") if error in _CHANNEL else _EVERYWHERE, error)

    def _switch_off(self, place: tuple[str, str], error: str) -> None:
        log.info("slack.no_streams", channel=place[0], thread=place[1], error=error)
        self._off[place] = None
        while len(self._off) > _OFF_MAX:
            self._off.pop(next(one for one in self._off if one != _EVERYWHERE))

    def _rest(self, seconds: float) -> None:
        self._not_before = max(self._not_before, self._clock() + seconds)

    # -- stopping

    def _forget(self, stream: _Stream) -> asyncio.Task[None] | None:
        """Write no more to a stream, and let Slack know that it is complete, where it has one."""
        if stream.idle is not None:
            stream.idle.cancel()
        if self._open.get(_place(stream.to)) is not stream:
            return None
        del self._open[_place(stream.to)]
        return self._stop(stream) if stream.ts else None

    def abandoned(self, to: Target, message: Json) -> None:
        """Stop a stream of ours that was met in a thread and is not open, such as one of a life before."""
        ts, current = stamp(message.get("ts")), self._open.get(_place(to))
        if message.get("streaming_state") == "in_progress" and (current is None or current.ts != ts):
            self._stop(_Stream(to, self._clock(), ts))

    def _stop(self, stream: _Stream) -> asyncio.Task[None]:
        task = asyncio.create_task(self._stopped(stream), name=f"slack stream {stream.ts}")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        return task

    async def _stopped(self, stream: _Stream) -> None:
        while not self._stops.take():  # noqa: ASYNC110 - it is time that has to pass
            await asyncio.sleep(1.0)
        if self._web is not None:
            with suppress(Refused, Later, Unknown):  # then it is over already, or Slack ends it in its time
                answer = await ask(self._web.chat_stopStream(channel=stream.to.channel, ts=stream.ts))
                shown = mapping(answer.get("message")).get("blocks")
                if shown and len(shown) < stream.blocks:  # joined: a piece in doubt could not be found again
                    self._switch_off(_EVERYWHERE, "blocks are not kept as they were given")


def is_piece(message: str) -> bool:
    """Whether an id is that of something appended: no message of its own."""
    return "#" in message


def pieces(message: Json, wire: Wire) -> list[str]:
    """The ids that *wire* may have in a message of ours without a key: each place where it says the same."""
    ts, block = stamp(message.get("ts")), _piece(wire)
    if not ts or block is None:
        return []
    sought = "".join(_words(block))
    shown = ("".join(_words(one)) for one in message.get("blocks") or ())
    return [f"{ts}#{at}" if at else ts for at, said in enumerate(shown) if said == sought]


def _piece(wire: Wire) -> Json | None:
    """The block of a wire of progress; None where there is not exactly one."""
    blocks = list(wire.get("blocks") or [])
    return mapping(blocks[0]) if wire.get("quiet") and len(blocks) == 1 else None


def _words(value: Any) -> Iterator[str]:
    """All words of a block, in order, whatever Slack has added to it."""
    element = mapping(value)
    if element.get("type") in ("text", "link", "emoji"):
        yield string(element.get("text") or element.get("url") or element.get("name"))
    for one in element.get("elements") or ():
        yield from _words(one)


def _chunks(block: Json) -> list[dict[str, Any]]:
    return [{"type": "blocks", "blocks": [block]}]


def _place(to: Target) -> tuple[str, str]:
    return to.channel, to.root or ""
