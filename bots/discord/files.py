"""Files that people send: named by a message, and fetched through it, since an address of Discord's expires.

Pure but for `fetch`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bots.discord.api import FAULTS, UNKNOWN_MESSAGE, Api, code, failure
from bots.downloads import download, within
from orchestrator.transport import Refused, Sent, Unknown

_CDN: Final = ("https://cdn.discordapp.com", "https://media.discordapp.net")
_NAME_MAX: Final = 200


def sent(message: Mapping[str, Any]) -> tuple[Sent, ...]:
    """What was sent with *message*: by the ids of its place, of itself and of each file."""
    place, said = str(message.get("channel_id", "")), str(message.get("id", ""))
    if not (place.isdecimal() and said.isdecimal()):
        return ()
    return tuple(
        Sent(name=_name(one), source=f"{place}/{said}/{one['id']}", size=_size(one))
        for one in _attachments(message)
    )


async def fetch(api: Api, home: str, source: str, limit: int) -> bytes:
    """The content of a file. Refused where it is gone, lies elsewhere, or has more than *limit* bytes.

    *home* is the address of the API: where that is another one, its files may be too.
    """
    channel, said, wanted = source.split("/")
    try:
        message = await api.call(
            "GET", "/channels/{channel_id}/messages/{message_id}", channel_id=channel, message_id=said
        )
    except FAULTS as fault:
        raise (Refused("it is gone") if code(fault) == UNKNOWN_MESSAGE else failure(fault)) from fault
    if not isinstance(message, Mapping):
        raise Unknown("the answer is no message")
    found = next((one for one in _attachments(message) if str(one["id"]) == wanted), None)
    if found is None:
        raise Refused("it is gone")
    url = str(found.get("url"))
    if not any(within(url, one) for one in (*_CDN, home)):
        raise Refused("it does not lie on Discord")
    return await download(url, limit)


def _attachments(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    given = message.get("attachments")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, Mapping) and str(one.get("id", "")).isdecimal():
            yield one


def _name(attachment: Mapping[str, Any]) -> str:
    name = attachment.get("filename")
    return name.encode("utf-8", "replace").decode()[:_NAME_MAX] if isinstance(name, str) and name else "file"


def _size(attachment: Mapping[str, Any]) -> int | None:
    size = attachment.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
