"""Sends to Discord: every post under a nonce that follows from its key, everything else as often as one likes."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import structlog

from bots.discord.api import (
    ARCHIVED,
    AWAY,
    BAD_TOKEN,
    FAULTS,
    HAS_THREAD,
    INVALID,
    NO_ACCESS,
    NO_HISTORY,
    NO_PERMISSION,
    PLACELESS,
    THREAD_LOST,
    UNKNOWN_CHANNEL,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    Api,
    code,
    failure,
    revoked,
)
from bots.discord.events import time_of
from bots.discord.markdown import one_line
from bots.discord.rendering import SUPPRESS_EMBEDS
from bots.discord.titles import Titles
from orchestrator.jobs import ended
from orchestrator.transport import Later, Refused, Target, Unknown, Wire

log = structlog.get_logger(__name__)

NAME_MAX: Final = 100
_NONCE_MAX: Final = 25
_KEEP_OPEN: Final = 1_440
"""Minutes without a word until Discord puts a thread away by itself."""
_PAGES: Final = 50
_SKEW: Final = 3_600.0
"""Seconds by which our clock may be ahead of Discord's, where a message is looked for whose answer was lost."""
_REMEMBERED: Final = 2_000
_TYPING_EVERY: Final = 8.0
_LAST: Final = 2.0
"""Seconds that requests under way get to end when we close."""
_LOADING: Final = 1 << 7
_EPHEMERAL: Final = 1 << 6
_REFUSALS: Final = 600.0
"""Seconds over which Discord counts what it refuses; 10,000 in them shut us out."""
_FEW: Final = 500
_CHANGED = re.compile(r"\W", re.ASCII)
_EXPIRED = frozenset({UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION, UNKNOWN_MESSAGE, BAD_TOKEN, ARCHIVED})
_NOBODY: Final[Mapping[str, Any]] = {"parse": [], "replied_user": False}
"""Whom our messages call: nobody."""


class Sender:
    """Sends as the bot *me* of the application *app*. *amiss* is told of a place that takes nothing."""

    def __init__(
        self, api: Api, *, app: str, me: str, titles: Titles, amiss: Callable[[str, int], Awaitable[None]]
    ) -> None:
        self._api = api
        self._app = app
        self._me = me
        self._titles = titles
        self._amiss = amiss
        self.reacts = True
        """Whether we may, as far as has been seen."""
        self._errands: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Future[None]] = set()
        self._typed: dict[str, float] = {}
        self._lost: set[str] = set()
        """Threads that are not there any more: what is to be said in them is said in their channel."""
        self._awaiting: dict[str, None] = {}
        """Tokens of interactions that this life has deferred and not answered."""
        self._answered: OrderedDict[str, str] = OrderedDict()
        """The key under which an interaction was answered, by its token; none where it will not be any more."""
        self._refusals: deque[float] = deque(maxlen=10_000)
        """When places took nothing."""

    def deferred(self, token: str) -> None:
        """An interaction was acknowledged; its answer is to come."""
        self._awaiting[token] = None
        if len(self._awaiting) > _REMEMBERED:
            self._awaiting.pop(next(iter(self._awaiting)))

    async def close(self) -> None:
        """Let requests under way end for a while, and drop what runs beside the sends."""
        await ended(*self._errands)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_LAST)

    # -- messages

    async def post(self, to: Target, wire: Wire, key: str) -> str:
        """Send a message, or the answer to an interaction; returns its id."""
        reply_to = str(wire.get("reply_to") or "")
        interaction, _, token = reply_to.partition(":")
        if token and wire.get("first"):
            made = await self._answer(interaction, token, wire, key)
            if made is not None:
                return made
        body = {**_body(wire), "nonce": nonce(key), "enforce_nonce": True, "flags": wire.get("flags", 0)}
        if reply_to and not token:
            body["message_reference"] = {"message_id": reply_to, "fail_if_not_exists": False}
        made = await self._posted(to, body, wire)
        if to.root:
            self._titles.spoken(to.root, answer=bool(reply_to))
        if int(wire.get("flags", 0)) & ~SUPPRESS_EMBEDS:
            self._show_typing(self._in(to))
        return made

    async def _posted(self, to: Target, body: dict[str, Any], wire: Wire) -> str:
        """Send a message to where it can go: a thread that is missing is made, or done without."""
        for _ in range(4):
            here = self._in(to)
            if to.root and here == to.channel and "message_reference" not in body:
                body = {**body, "message_reference": {"message_id": to.root, "fail_if_not_exists": False}}
            try:
                made = await self._try(
                    "POST",
                    "/channels/{channel_id}/messages",
                    body,
                    files=wire.get("files", ()),
                    channel_id=here,
                )
                return str(made["id"])
            except FAULTS as fault:
                if code(fault) == UNKNOWN_CHANNEL and here != to.channel:
                    await self._thread_is_missing(to)
                elif code(fault) == ARCHIVED:
                    await self._open_again(here)
                elif "message_reference" in body and (
                    code(fault) == NO_HISTORY
                    or (code(fault) == INVALID and "message_reference" in str(fault))
                ):
                    body = {name: value for name, value in body.items() if name != "message_reference"}
                else:
                    raise await self._failed(fault, here) from fault
        raise Unknown(f"the thread {to.root} comes and goes")

    async def _answer(self, interaction: str, token: str, wire: Wire, key: str) -> str | None:
        """Put the answer to an interaction in place of what says that we are thinking; None where that is past."""
        before = self._answered.get(token)
        if before not in (None, key):
            return None
        ours = token in self._awaiting
        try:
            if before is None and not ours:  # deferred in an earlier life, or perhaps answered in this one
                shown = await self._webhook("GET", token)
                if not _is_loading(shown):
                    return str(shown["id"]) if shows(shown, wire) else None
            self._awaiting.pop(token, None)  # from here on, it does not lapse
            shown_so = {"flags": int(wire.get("flags", 0)) & SUPPRESS_EMBEDS}
            made = await self._webhook("PATCH", token, {**_body(wire), **shown_so}, wire)
        except FAULTS as fault:
            if code(fault) in _EXPIRED or getattr(fault, "status", 0) == 404:
                log.info("discord.interaction_past", interaction=interaction)
                return None
            if ours:
                self.deferred(token)
            raise await self._failed(fault, "") from fault
        self._settled(token, key)
        return str(made["id"])

    def _settled(self, token: str, key: str) -> None:
        """An interaction needs no answer any more."""
        self._awaiting.pop(token, None)
        self._answered[token] = key
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)

    async def lapse(self, token: str, words: str) -> None:
        """Where an interaction has no answer, show no longer that we are thinking; tell only the one who waits."""
        if token not in self._awaiting:
            return
        self._settled(token, "")  # first, so that an answer that comes now is not removed
        await self._webhook("DELETE", token)
        body = {**_body({"content": words}), "flags": _EPHEMERAL}
        path = "/webhooks/{webhook_id}/{webhook_token}"
        await self._try("POST", path, body, webhook_id=self._app, webhook_token=token)

    async def refuse(self, token: str, words: str) -> None:
        """Answer an interaction that will not be stored."""
        self._settled(token, "")
        try:
            await self._webhook("PATCH", token, _body({"content": words}))
        except FAULTS as fault:
            log.info("discord.refusal_unsent", error=type(fault).__name__, code=code(fault))

    async def _webhook(self, method: str, token: str, body: Any = None, wire: Wire | None = None) -> Any:
        return await self._try(
            method,
            "/webhooks/{webhook_id}/{webhook_token}/messages/@original",
            body,
            files=(wire or {}).get("files", ()),
            webhook_id=self._app,
            webhook_token=token,
        )

    async def open_thread(self, channel: str, wire: Wire, key: str, title: str) -> str:
        """Post a message and open its thread; both may be repeated."""
        root = await self.post(Target(channel=channel), wire, key)
        if root not in self._lost:
            try:
                await self._make_thread(channel, root, title)
            except FAULTS as fault:
                raise await self._failed(fault, channel) from fault
        return root

    async def _make_thread(self, channel: str, root: str, title: str) -> bool:
        """Open a message's thread; False where it has had one."""
        name = one_line(title, NAME_MAX) or "task"
        body = {"name": name, "auto_archive_duration": _KEEP_OPEN}
        path = "/channels/{channel_id}/messages/{message_id}/threads"
        try:
            await self._try("POST", path, body, channel_id=channel, message_id=root)
        except FAULTS as fault:
            if code(fault) == HAS_THREAD:
                return False
            raise
        self._titles.named(root, name)
        return True

    async def _thread_is_missing(self, to: Target) -> None:
        """Open the thread that a crash has kept from being opened; one that was deleted does not come again."""
        root = str(to.root)
        try:
            shown = await self._try(
                "GET", "/channels/{channel_id}/messages/{message_id}", channel_id=to.channel, message_id=root
            )
            if await self._make_thread(to.channel, root, _title_of(shown)):
                return
        except FAULTS as fault:
            if code(fault) != UNKNOWN_MESSAGE:
                raise await self._failed(fault, to.channel) from fault
        self._lost.add(root)
        await self._amiss(root, THREAD_LOST)

    async def edit(self, to: Target, message: str, wire: Wire) -> None:
        """Replace what a message says; its files stay."""
        body = {"embeds": [], "components": [], **_body(wire)}
        body["flags"] = int(wire.get("flags", 0)) & SUPPRESS_EMBEDS
        await self._change("PATCH", to, message, body)
        if heading := wire.get("heading"):
            self._titles.want(message, str(heading["title"]), open_=bool(heading["open"]))

    async def delete(self, to: Target, message: str) -> None:
        """Remove a message; harmless where it is gone."""
        await self._change("DELETE", to, message)

    async def react(self, message: str, emoji: str) -> None:
        """React to a message, by its channel's id and its own; harmless where it is gone or put away."""
        channel, _, said = message.partition("/")
        path = "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me"
        try:
            await self._try("PUT", path, channel_id=channel, message_id=said, emoji=emoji)
        except FAULTS as fault:
            if code(fault) in (UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, ARCHIVED):
                return
            if code(fault) in (NO_ACCESS, NO_PERMISSION):
                self.reacts = False
                raise Refused("I may not react here: give the bot's role Add Reactions") from fault
            raise await self._failed(fault, channel) from fault

    async def _change(self, method: str, to: Target, message: str, body: Any = None) -> None:
        here = to.channel if message == to.root else self._in(to)
        places = dict.fromkeys((here, to.channel))
        path = "/channels/{channel_id}/messages/{message_id}"
        for place in places:
            try:
                await self._unarchived(method, path, body, channel_id=place, message_id=message)
                return
            except FAULTS as fault:
                gone = code(fault) == UNKNOWN_MESSAGE or (code(fault) == UNKNOWN_CHANNEL and place == to.root)
                if not gone:
                    raise await self._failed(fault, place) from fault
                if place == list(places)[-1] and method != "DELETE":
                    raise failure(fault) from fault

    async def _unarchived(
        self, method: str, path: str, body: Any, *, channel_id: str, message_id: str
    ) -> None:
        """Make a request in a thread that may be put away."""
        try:
            await self._try(method, path, body, channel_id=channel_id, message_id=message_id)
        except FAULTS as fault:
            if code(fault) != ARCHIVED:
                raise
            await self._open_again(channel_id)
            await self._try(method, path, body, channel_id=channel_id, message_id=message_id)
            self._titles.spoken(channel_id, answer=False)

    async def _open_again(self, thread: str) -> None:
        await self._try("PATCH", "/channels/{channel_id}", {"archived": False}, channel_id=thread)

    async def find(self, to: Target, wire: Wire, since: float) -> list[str]:
        """Our messages in a place that show what *wire* does and are not older than *since*, oldest first."""
        oldest = since - _SKEW
        before: dict[str, str] = {}
        found: list[str] = []
        here = self._in(to)
        for _ in range(_PAGES):
            try:
                page = await self._try(
                    "GET",
                    "/channels/{channel_id}/messages",
                    params={"limit": "100", **before},
                    channel_id=here,
                )
            except FAULTS as fault:
                if code(fault) == UNKNOWN_CHANNEL and here == to.root:
                    return []  # without a thread nothing is in it
                raise Unknown(str(failure(fault))) from fault
            ours = (one for one in page if str(one.get("author", {}).get("id")) == self._me)
            found += [str(one["id"]) for one in ours if shows(one, wire) and time_of(one["id"]) >= oldest]
            if len(page) < 100 or time_of(page[-1]["id"]) < oldest:
                break
            before = {"before": str(page[-1]["id"])}
        return sorted(found, key=int)

    def _in(self, to: Target) -> str:
        return to.root if to.root and to.root not in self._lost else to.channel

    async def _failed(self, fault: Exception, place: str) -> Exception:
        """The failure that *fault* is to the relay, having told what is amiss with the place."""
        found = failure(fault)
        if code(fault) in PLACELESS:
            if place:
                await self._amiss(place, code(fault))
            return Later(self._patience(), str(found), everywhere=False)
        if revoked(fault):
            await self._amiss("", 401)
        return found

    def _patience(self) -> float:
        """Seconds until a place that takes nothing is tried again: the longer, the more there are of them."""
        now = time.monotonic()
        self._refusals.append(now)
        while self._refusals[0] < now - _REFUSALS:
            self._refusals.popleft()
        return AWAY * max(1.0, len(self._refusals) / _FEW)

    async def _try(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        ended = asyncio.get_running_loop().create_future()
        self._under_way.add(ended)
        try:
            return await self._api.call(method, path, body, **more)
        finally:
            self._under_way.discard(ended)
            ended.set_result(None)

    # -- decoration: lost in a crash, never in anybody's way

    def errand(self, work: Coroutine[Any, Any, Any]) -> None:
        """Make a request beside the sends, whatever becomes of it."""
        task = asyncio.create_task(_quietly(work))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    def _show_typing(self, channel: str) -> None:
        now = time.monotonic()
        if now - self._typed.get(channel, -_TYPING_EVERY) >= _TYPING_EVERY:
            self._typed = {one: at for one, at in self._typed.items() if now - at < _TYPING_EVERY}
            self._typed[channel] = now
            self.errand(self._api.call("POST", "/channels/{channel_id}/typing", channel_id=channel))


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except FAULTS as fault:
        log.debug("discord.errand_failed", error=type(fault).__name__, code=code(fault))
    except Exception:  # the store's trouble
        log.exception("discord.errand_failed")


def nonce(key: str) -> str:
    """The nonce of a key: itself where Discord takes it."""
    if 0 < len(key) <= _NONCE_MAX and key.isascii():
        return key
    return hashlib.sha256(key.encode()).hexdigest()[:_NONCE_MAX]


def shows(message: Mapping[str, Any], wire: Wire) -> bool:
    """Whether a message reads as *wire* does, and answers the same."""
    reply_to = str(wire.get("reply_to") or "")
    reference = str((message.get("message_reference") or {}).get("message_id") or "")
    if reply_to and ":" not in reply_to and reference and reference != reply_to:
        return False
    names = [_bare(file["name"]) for file in wire.get("files", ())]
    return (
        str(message.get("content", "")).strip() == str(wire.get("content", "")).strip()
        and [_essence(one) for one in message.get("embeds") or ()]
        == [_essence(one) for one in wire.get("embeds") or ()]
        and [_bare(one.get("filename")) for one in message.get("attachments") or ()] == names
    )


def _essence(embed: Mapping[str, Any]) -> tuple[Any, ...]:
    fields = [(str(one["name"]).strip(), str(one["value"]).strip()) for one in embed.get("fields") or ()]
    return str(embed.get("title") or "").strip(), str(embed.get("description") or "").strip(), fields


def _bare(name: Any) -> str:
    """A file's name without what Discord may have changed in it."""
    return _CHANGED.sub("", str(name))


def _body(wire: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: wire[name] for name in ("embeds", "components") if wire.get(name)}
    return {"content": wire.get("content", ""), "allowed_mentions": dict(_NOBODY), **parts}


def _is_loading(message: Mapping[str, Any]) -> bool:
    said = message.get("content") or message.get("embeds") or message.get("attachments")
    return bool(int(message.get("flags") or 0) & _LOADING) or not said


def _title_of(message: Mapping[str, Any]) -> str:
    embeds = message.get("embeds") or [{}]
    said = str(message.get("content") or embeds[0].get("title") or embeds[0].get("description") or "")
    return said.strip().split("\n")[0].replace("*", "").replace("\\", "")
