"""Requests to Discord, and what its refusals and the network's mean to the relay.

The requests go through the library's own client, which paces itself by the limits that Discord tells with each answer.
It repeats a request after a 429 or a 5xx, and a broken connection: with a nonce on every post, and as all else may be
done twice, that is harmless.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import discord
from discord.http import Route

from orchestrator.transport import File, Later, Refused, Unknown

PATIENCE: Final = 30.0
"""Seconds that the library waits for a limit by itself: the least that it takes."""
UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, UNKNOWN_INTERACTION = 10003, 10008, 10015, 10062
ACKNOWLEDGED: Final = 40060
NO_ACCESS, NO_PERMISSION = 50001, 50013
BAD_TOKEN: Final = 50027
INVALID: Final = 50035
ARCHIVED: Final = 50083
HAS_THREAD: Final = 160004
THREAD_LOST: Final = -1
"""No number of Discord's: a thread was deleted, and its message cannot have another."""
NO_HISTORY: Final = 160002
TOO_MANY_THREADS: Final = frozenset({160006, 160007})
_LOCKED: Final = 160005
_OLD_EDITS, _SLOW_MODE, _NO_SENDS, _SWITCHED_OFF, _OVERLOADED = 30046, 20016, 40004, 40006, 130000
_NOT_NOW: Final = frozenset({_OLD_EDITS, _SLOW_MODE, _NO_SENDS, _SWITCHED_OFF, _OVERLOADED})
PLACELESS: Final = frozenset({UNKNOWN_CHANNEL, NO_ACCESS, NO_PERMISSION, _LOCKED}) | TOO_MANY_THREADS
"""What a place answers that takes nothing until a person has changed something."""
AWAY: Final = 30.0
"""Seconds until such a place is tried again."""
_RETRY: Final = 5.0

FAULTS = (
    discord.DiscordException,
    aiohttp.ClientError,
    TimeoutError,
    asyncio.TimeoutError,
    OSError,
    RuntimeError,
)
"""What a request raises; RuntimeError where the library has been closed meanwhile."""


class Api:
    """Discord's API for the bot of *client*."""

    def __init__(self, client: discord.Client) -> None:
        self._client = client

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        files: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, str] | None = None,
        **ids: str,
    ) -> Any:
        """The answer to a request; raises one of `FAULTS`. *ids* fill the names in *path*."""
        more: dict[str, Any] = {}
        if files:
            more["form"] = list(_form(body, files))
        elif body is not None:
            more["json"] = body
        if params:
            more["params"] = dict(params)
        try:
            return await self._client.http.request(Route(method, path, **ids), **more)
        except asyncio.CancelledError:
            # who is given up while it waits for the global limit leaves it shut: nothing would go any more, ever
            self._client.http._global_over.set()
            raise


def _form(body: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    named = [{"id": at, "filename": file["name"]} for at, file in enumerate(files)]
    yield {"name": "payload_json", "value": json.dumps({**body, "attachments": named})}
    for at, file in enumerate(files):
        yield {
            "name": f"files[{at}]",
            "value": File(**file).raw,
            "filename": file["name"],
            "content_type": "application/octet-stream",
        }


def code(fault: BaseException) -> int:
    """Discord's own number of an error; 0 where it has none."""
    return fault.code if isinstance(fault, discord.HTTPException) else 0


def revoked(fault: BaseException) -> bool:
    """Whether the token is not valid any more."""
    return isinstance(fault, discord.HTTPException) and fault.status == 401


def failure(fault: Exception) -> Exception:
    """The failure that a fault is: it took nothing, never will, or nobody knows."""
    if isinstance(fault, discord.RateLimited):
        return Later(fault.retry_after, "too many requests", everywhere=False)
    if not isinstance(fault, discord.HTTPException):
        return Unknown(f"{type(fault).__name__}: {fault}")
    words = f"{fault.status} {fault.code}: {' '.join(fault.text.split())[:300]}"
    if fault.status == 429:
        return Later(_wait(fault), words)
    if fault.status == 401:
        return Later(_RETRY, words)
    if fault.status >= 500 or fault.status == 408:
        return Unknown(words)
    if fault.code in PLACELESS or _from_the_edge(fault):
        return Later(AWAY, words, everywhere=False)
    if fault.code in _NOT_NOW:
        return Later(_RETRY, words, everywhere=False)
    return Refused(words)


def _from_the_edge(fault: discord.HTTPException) -> bool:
    """Whether somebody on the way to Discord has answered, who knows nothing of the message."""
    if fault.code or fault.status not in (403, 404):
        return False
    return not str(fault.response.headers.get("Content-Type", "")).startswith("application/json")


def _wait(fault: discord.HTTPException) -> float:
    try:
        return max(_RETRY, float(fault.response.headers.get("Retry-After", _RETRY)))
    except ValueError:
        return _RETRY
