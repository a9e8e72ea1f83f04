"""Reads what people say: live from the gateway, and after a gap from the history of every channel that we see.

One place in time is stored with what was heard: snowflakes grow in all channels alike. What is read twice around it
is known by its id.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import discord
import structlog

from bots.discord.api import FAULTS, Api
from bots.discord.events import author, edit, message, snowflake_at, time_of, withdrawal
from bots.discord.interactions import Interactions
from bots.discord.markdown import one_line
from bots.discord.places import Places
from bots.discord.settings import NAME
from orchestrator.jobs import ended
from orchestrator.transport import Inbound, InboundKind, Intake, Watermark

log = structlog.get_logger(__name__)

_MESSAGES = ("MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK")
_GUILDS: Final = 10.0
"""Seconds within which the servers come after a session has begun."""
_MARGIN: Final = 30.0
"""Seconds before the stored place that are read again: channels are handed out side by side."""
_WRITE_EVERY: Final = 60.0
"""Seconds by which the stored place may lag where nothing was said to us."""
_PUT_AWAY: Final = 3_000.0
"""Seconds of a gap in which a thread may have been put away for want of words."""
_SIDE_BY_SIDE: Final = 8
"""Histories that are read at once: a start has a minute for all."""
_PAGES: Final = 10
_PAGE: Final = 100
_DIRECT_MAX: Final = 50
_REMEMBERED: Final = 10_000
_LAST: Final = 2.0


class Reader:
    """Hands on what one session of the gateway and the histories say."""

    def __init__(self, api: Api, intake: Intake, places: Places, interactions: Interactions) -> None:
        self._api = api
        self._intake = intake
        self._places = places
        self._interactions = interactions
        self._queue: asyncio.Queue[tuple[str, Mapping[str, Any]]] = asyncio.Queue()
        self._awaited: set[str] = set()
        """Servers of a new session that have not come yet."""
        self._complete = asyncio.Event()
        self._away: dict[str, int] = {}
        """From where on servers that Discord cannot show just now are still to be read."""
        self._servers: dict[str, str] = {}
        self._authors: OrderedDict[str, tuple[str, str]] = OrderedDict()
        """Who wrote what we heard, by message: a deletion does not say."""
        self._direct: list[str] = []
        self._taking: set[asyncio.Task[None]] = set()
        self._mark = self._stored = self._floor = 0
        self.caught_up = asyncio.Event()
        """Set when what was said before this session is stored."""

    def tap(self, raw: str) -> None:
        """Take note of an event of the gateway, as JSON."""
        event = json.loads(raw)
        kind, data = event.get("t"), event.get("d")
        if not kind or not isinstance(data, Mapping):
            return
        if kind == "INTERACTION_CREATE":
            self._spawn(self._interactions.take(data))
        elif kind == "READY":
            self._awaited = {str(one["id"]) for one in data.get("guilds", ())}
            self._complete.clear()
            self._queue.put_nowait((kind, data))
            self._arrived("")
        elif kind == "GUILD_CREATE":
            self._servers[str(data.get("id"))] = str(data.get("name", ""))
            self._arrived(str(data.get("id")))
            self._queue.put_nowait((kind, {"id": data.get("id")}))
        elif kind == "GUILD_DELETE":
            self._arrived(str(data.get("id")))
            self._queue.put_nowait((kind, data))
        elif kind in _MESSAGES:
            self._queue.put_nowait((kind, data))

    async def run(self) -> None:
        """Store what is heard until cancelled. Raises what reading on cannot mend."""
        while True:
            kind, data = await self._queue.get()
            if kind == "READY":
                await self._begin()
            elif kind == "GUILD_DELETE":
                await self._thrown_out(data)
            elif kind == "GUILD_CREATE":
                await self._back(str(data.get("id")))
            else:
                await self._hear(kind, data)

    async def close(self) -> None:
        """Let interactions that were acknowledged be stored."""
        if self._taking:
            await asyncio.wait(self._taking, timeout=_LAST)
        await ended(*self._taking)

    def _arrived(self, server: str) -> None:
        self._awaited.discard(server)
        if not self._awaited:
            self._complete.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_logged(work))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    # -- live

    async def _hear(self, kind: str, data: Mapping[str, Any]) -> None:
        events = await self._read(kind, data)
        said = str(data.get("id", ""))
        if kind == "MESSAGE_CREATE" and said.isdecimal():
            self._mark = max(self._mark, int(said))
        lag = time_of(str(self._mark)) - time_of(str(self._stored))
        if events or lag > _WRITE_EVERY:
            await self._store(events)

    async def _read(self, kind: str, data: Mapping[str, Any]) -> list[Inbound]:
        """What an event is to us."""
        if kind in ("MESSAGE_DELETE", "MESSAGE_DELETE_BULK"):
            return await self._deleted(data)
        if not author(data)[0]:
            return []
        channel, guild = str(data.get("channel_id", "")), str(data.get("guild_id") or "")
        where = await self._places.where(channel, guild) if channel.isdecimal() else None
        if where is None:
            return []
        meant = message(data, where)
        if kind == "MESSAGE_UPDATE" and meant is None and str(data.get("id")) not in self._authors:
            return []  # talk of others, before and after
        found = meant if kind == "MESSAGE_CREATE" else edit(data, where)
        if found is None:
            return []
        if where.direct:
            await self._keep_direct(channel)
        if found.kind is not InboundKind.EDIT:
            self._authors[found.event_id] = (found.account, found.name)
            if len(self._authors) > _REMEMBERED:
                self._authors.popitem(last=False)
        return [found]

    async def _deleted(self, data: Mapping[str, Any]) -> list[Inbound]:
        ids = [str(one) for one in data.get("ids", (data.get("id"),))]
        known = [one for one in ids if one in self._authors]
        if not known:
            return []
        where = await self._places.where(str(data.get("channel_id")), str(data.get("guild_id") or ""))
        return [withdrawal(one, *self._authors[one], where) for one in known] if where is not None else []

    async def _store(self, events: list[Inbound]) -> None:
        mark = Watermark(NAME, self._scope, f"{self._mark}/{self._floor}")
        await self._intake.accept(*events, watermark=mark)
        self._stored = self._mark

    @property
    def _scope(self) -> str:
        return f"heard {self._places.me}"

    async def _thrown_out(self, data: Mapping[str, Any]) -> None:
        server = str(data.get("id"))
        if data.get("unavailable"):  # Discord has an outage there
            await self._keep_away({server: self._mark} | self._away)
            return
        await self._keep_away({one: mark for one, mark in self._away.items() if one != server})
        name = one_line(self._servers.get(server, ""), 100)
        words = (
            f"I was removed from the server {name} ({server}). What is to be said there waits: invite me again, or "
            "bind its projects to other channels with `project bind`"
        )
        await self._intake.tell(NAME, words)

    # -- after a gap

    async def _back(self, server: str) -> None:
        """A server is there; where it was missing for a while, what was said in it is in the histories alone."""
        mark = self._away.get(server)
        if mark is not None:
            await self._take(await self._said_since(mark, server))
            await self._keep_away({one: at for one, at in self._away.items() if one != server})

    async def _begin(self) -> None:
        """A session has begun: what was said before it is in the histories alone."""
        try:
            await asyncio.wait_for(self._complete.wait(), _GUILDS)
        except TimeoutError:
            log.warning("discord.servers_missing", servers=sorted(self._awaited))
        missing = sorted(self._awaited)
        kept = await self._intake.watermark(NAME, self._scope)
        self._direct = json.loads(await self._intake.watermark(NAME, f"direct {self._places.me}") or "[]")
        self._away = json.loads(await self._intake.watermark(NAME, f"away {self._places.me}") or "{}")
        if kept is None:
            now = snowflake_at(time.time() - _MARGIN)  # a server that we see only later has a past as well
            self._mark = self._floor = max(now, *(one.last for one in self._places.readable()), 0)
            await self._keep_away(dict.fromkeys(missing, self._mark))
            await self._store([])
        else:
            mark, _, floor = kept.partition("/")
            self._mark, self._floor = max(self._mark, int(mark)), int(floor or 0)
            self._stored = self._mark
            found = await self._said_since(self._mark)
            await self._keep_away(
                {**self._away, **{one: self._mark for one in missing if one not in self._away}}
            )
            await self._take(found)
            for server in [one for one in self._away if one not in missing]:
                await self._back(server)
        self.caught_up.set()

    async def _said_since(self, mark: int, only: str | None = None) -> list[Mapping[str, Any]]:
        """What was said since the id *mark*, oldest first, everywhere or in one server."""
        since = max(self._floor, snowflake_at(time_of(str(mark)) - _MARGIN))
        seen = [*self._places.readable()]
        latest = max(time.time(), *(time_of(str(one.last)) for one in seen), 0.0)
        if latest - time_of(str(mark)) > _PUT_AWAY:
            seen += await self._places.archived()
        places = [one for one in seen if one.last > since and only in (None, one.server)]
        servers = {one.id: one.server for one in places}
        if only is None:
            servers |= dict.fromkeys(self._direct, "")
        found: list[Mapping[str, Any]] = []
        wanted = [*servers.items()]
        for at in range(0, len(wanted), _SIDE_BY_SIDE):
            pages = (self._history(*one, since) for one in wanted[at : at + _SIDE_BY_SIDE])
            found += [said for page in await asyncio.gather(*pages) for said in page]
        return sorted(found, key=lambda one: int(one["id"]))

    async def _take(self, found: list[Mapping[str, Any]]) -> None:
        """Store what was found in the histories."""
        events: list[Inbound] = []
        for one in found:
            events += await self._read("MESSAGE_CREATE", one)
            if one.get("edited_timestamp"):  # perhaps since it was heard
                events += await self._read("MESSAGE_UPDATE", one)
        if found:
            self._mark = max(self._mark, int(found[-1]["id"]))
        await self._store(events)
        log.info("discord.caught_up", messages=len(found), events=len(events))

    async def _history(self, place: str, server: str, since: int) -> list[Mapping[str, Any]]:
        """What was said in a place after the id *since*, oldest first."""
        found: list[Mapping[str, Any]] = []
        for _ in range(_PAGES):
            params = {"after": str(since), "limit": str(_PAGE)}
            try:
                page = await self._api.call(
                    "GET", "/channels/{channel_id}/messages", params=params, channel_id=place
                )
            except FAULTS as fault:
                if isinstance(fault, discord.HTTPException) and fault.status in (403, 404):
                    return found
                raise
            page.sort(key=lambda one: int(one["id"]))
            found += [{**one, "guild_id": server} for one in page]
            if len(page) < _PAGE:
                return found
            since = int(page[-1]["id"])
        words = f"more was said in {self._places.called(place)} while I was away than I read; say it again"
        await self._intake.tell(NAME, words)
        return found

    async def _keep_away(self, away: dict[str, int]) -> None:
        """Remember from where on servers are still to be read: the mark goes on without them."""
        if away != self._away:
            self._away = away
            mark = Watermark(NAME, f"away {self._places.me}", json.dumps(away))
            await self._intake.accept(watermark=mark)

    async def _keep_direct(self, channel: str) -> None:
        """Remember a direct channel: Discord does not list them."""
        if channel in self._direct:
            return
        self._direct = [*self._direct, channel][-_DIRECT_MAX:]
        mark = Watermark(NAME, f"direct {self._places.me}", json.dumps(self._direct))
        await self._intake.accept(watermark=mark)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:  # what a stranger sends must end nothing
        log.exception("discord.interaction_failed")
