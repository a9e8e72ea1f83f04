"""Catching up: what was said in our channels while nobody listened, read from their histories.

Clicks and slash commands of that time are lost by Slack, and the person sees an error. In a channel of which nothing is
kept, listening begins now: nothing old is run.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import structlog

from bots.slack.events import author, edited, is_direct, message
from bots.slack.marks import Marks, now
from bots.slack.reading import later, mapping, mentioned, moment, stamp, string
from bots.slack.session import Session, ask
from bots.slack.settings import NAME
from bots.slack.workspace import Workspace
from orchestrator.delivery.relay import backoff
from orchestrator.transport import Inbound, Intake, Later, Refused, Unknown

log = structlog.get_logger(__name__)

_PAGE: Final = 200
_PARENT_PAGES: Final = 2
"""Pages of a channel in whose messages new replies are looked for, however old they are."""
_PAGES_MAX: Final = 10
"""Pages of a gap that are read; what lies further back is told to be missed."""
_TRIES: Final = 8
_LOOKS: Final = 3
_NAMED: Final = 10
_PATIENCE_MAX: Final = 60.0
_HOLD: Final = 1.5
"""Seconds that what is said now waits for what was said before; Slack wants to hear of it within three."""

Message = Mapping[str, Any]


class CatchUp:
    """Reads what was missed, channel by channel."""

    def __init__(self, session: Session, intake: Intake, workspace: Workspace, marks: Marks) -> None:
        self._web = session.web
        self._intake = intake
        self._workspace = workspace
        self._marks = marks
        self._behind: dict[str, asyncio.Event] = {}
        """Channels that are not caught up yet."""
        self._due: Counter[str] = Counter()
        """How often each of them is to be read: after one gap there may be another before that is done."""
        self._looking = 0
        """How many are finding out where we are."""
        self._missed: list[str] = []
        self._hold_until = 0.0
        self._running = asyncio.Lock()

    def begin(self, but: Collection[str] = ()) -> list[str]:
        """Say which channels are to be caught up; what is heard in them waits a little from now on."""
        channels = [one for one in self._workspace.channels if one not in but]
        if not but:
            self._hold_until = time.monotonic() + _HOLD
        for channel in channels:
            self._behind.setdefault(channel, asyncio.Event())
        self._due.update(channels)
        return channels

    async def after_gap(self) -> None:
        """Catch up, also where we have come to meanwhile; until that is known, no place is kept."""
        self._looking += 1
        try:
            known = self.begin()
            for attempt in range(1, _LOOKS + 1):
                try:
                    await self._workspace.look_around()
                    break
                except (Refused, Later, Unknown) as failed:
                    log.info("slack.not_looked_around", error=str(failed))
                    wanted = failed.seconds if isinstance(failed, Later) else 0.0
                    await asyncio.sleep(max(backoff(attempt), min(wanted, _PATIENCE_MAX)))
            known += self.begin(known)
        finally:
            self._looking -= 1
        await self.run(known)

    async def caught_up(self, channel: str) -> bool:
        """Whether *channel* is caught up, now or in a moment."""
        behind = self._behind.get(channel)
        if behind is None:
            return not self._looking
        try:
            await asyncio.wait_for(behind.wait(), max(0.0, self._hold_until - time.monotonic()))
        except TimeoutError:
            return False
        return channel not in self._behind

    async def run(self, channels: list[str]) -> None:
        """Catch up with *channels*; what cannot be read is told."""
        async with self._running:
            await self._run(channels)

    async def _run(self, channels: list[str]) -> None:
        start = await self._marks.begin()
        failed: dict[str, list[str]] = {}
        self._missed.clear()
        for channel in channels:
            try:
                await self._insist(channel, start)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the other channels are read
                failed.setdefault(str(fault), []).append(channel)
                log.warning("slack.not_caught_up", channel=channel, error=str(fault))
            finally:
                self._read(channel)
        for why, unread in failed.items():
            names = ", ".join(map(self._workspace.called, unread[:_NAMED]))
            more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
            words = f"what was said in {names}{more} while I was away could not be read ({why}); say it again"
            await self._intake.tell(NAME, words)
        for channel in self._missed:
            name = self._workspace.called(channel)
            await self._intake.tell(
                NAME, f"more was said in {name} while I was away than I could read; say it again"
            )

    def _read(self, channel: str) -> None:
        """*channel* was read: it is caught up, unless there was another gap since."""
        self._due[channel] -= 1
        if self._due[channel] <= 0:
            del self._due[channel]
            self._behind.pop(channel, asyncio.Event()).set()

    async def _insist(self, channel: str, start: str) -> None:
        """Catch up with one channel, however often Slack does not answer, within bounds."""
        for attempt in range(1, _TRIES + 1):
            try:
                await self._channel(channel, start)
                return
            except Exception as fault:
                gone = isinstance(fault, Refused) or (isinstance(fault, Later) and not fault.everywhere)
                if gone or attempt == _TRIES:
                    raise
                log.info("slack.catching_up_again", channel=channel, error=f"{type(fault).__name__}: {fault}")
                await asyncio.sleep(backoff(attempt))

    async def _channel(self, channel: str, start: str) -> None:
        since = await self._marks.of(channel)
        if since is None and not is_direct(channel):
            await self._marks.store(channel, now())
            return
        since = since or start
        told = await self._told(channel, since)
        if not told:
            return
        told.sort(key=lambda one: moment(stamp(one.get("ts"))))
        texts = [string(one.get("text")) for one in told]
        people = {author(one, self._workspace.identity.user) for one in told}
        await self._workspace.learn_names(people.union(*map(mentioned, texts)) - {""})
        events = [one for one in (self._inbound(channel, said, since) for said in told) if one]
        newest = max((stamp(one.get("ts")) for one in told), key=moment)
        await self._marks.store(channel, newest, *events)
        if events:
            log.info("slack.caught_up", channel=channel, events=len(events))

    def _inbound(self, channel: str, said: Message, since: str) -> Inbound | None:
        reader = self._workspace.reader()
        if later(stamp(said.get("ts")), since):
            return message(channel, said, reader)
        return edited(channel, said, reader)

    async def _told(self, channel: str, since: str) -> list[Message]:
        """What was said after *since*, or changed, in the channel and in threads whose roots are not too far back."""
        found: list[Message] = []
        cursor = ""
        for page in range(1, _PAGES_MAX + 1):
            answer = await self._asked(self._web.conversations_history, cursor, channel=channel)
            said = [mapping(one) for one in answer.get("messages") or ()]
            for one in said:
                found += [one] if _is_new(one, since) else []
                if later(stamp(one.get("latest_reply")), since):
                    found += await self._replies(channel, stamp(one.get("ts")), since)
            cursor = string(mapping(answer.get("response_metadata")).get("next_cursor"))
            reached = not said or not later(stamp(said[-1].get("ts")), since)
            if not cursor or (reached and page >= _PARENT_PAGES):
                return found
        self._missed.append(channel)
        return found

    async def _replies(self, channel: str, root: str, since: str) -> list[Message]:
        found: list[Message] = []
        cursor = ""
        for _ in range(_PAGES_MAX):
            answer = await self._asked(
                self._web.conversations_replies, cursor, channel=channel, ts=root, oldest=since
            )
            said = (mapping(one) for one in answer.get("messages") or ())
            found += [one for one in said if stamp(one.get("ts")) != root and _is_new(one, since)]
            cursor = string(mapping(answer.get("response_metadata")).get("next_cursor"))
            if not cursor:
                return found
        self._missed.append(channel)
        return found

    async def _asked(self, method: Callable[..., Awaitable[Any]], cursor: str, **more: Any) -> Any:
        """A page of something, which waits where Slack asks for patience."""
        more |= {"cursor": cursor} if cursor else {}
        while True:
            try:
                return await ask(method(limit=_PAGE, **more))
            except Later as wait:
                if str(wait) != "ratelimited":
                    raise
                await asyncio.sleep(min(wait.seconds, _PATIENCE_MAX))


def _is_new(one: Message, since: str) -> bool:
    """Whether a message was written, or edited, after *since*."""
    changed = stamp(mapping(one.get("edited")).get("ts"))
    return later(stamp(one.get("ts")), since) or later(changed, since)
