"""Files that people send: named by an event, fetched from our homeserver with our token, and decrypted.

Pure but for `fetch`: no content, however it is made, raises.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from nio import AsyncClient
from nio.crypto import decrypt_attachment
from nio.exceptions import EncryptionError

from bots.downloads import download
from orchestrator.transport import Refused, Sent

_KINDS: Final = ("m.file", "m.image", "m.audio", "m.video")
_ADDRESS: Final = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,255})/([A-Za-z0-9_-]{1,255})")
_NAME_MAX: Final = 200


def is_file(content: Mapping[str, Any]) -> bool:
    """Whether a message is a file."""
    return content.get("msgtype") in _KINDS


def caption(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The words of a file's message: its body, where that is another text than the file's name."""
    if content.get("filename") not in (None, content.get("body")):
        return content
    return {name: value for name, value in content.items() if name not in ("body", "formatted_body")}


def sent(content: Mapping[str, Any]) -> tuple[Sent, ...]:
    """The file of a message: by its address and, where it is encrypted, by its key."""
    sealed, info = _mapping(content.get("file")), _mapping(content.get("info"))
    name = _text(content.get("filename")) or _text(content.get("body"))
    size = info.get("size")
    source = {"url": _text(content.get("url"))}
    if sealed:
        source = {
            "url": _text(sealed.get("url")),
            "key": _text(_mapping(sealed.get("key")).get("k")),
            "hash": _text(_mapping(sealed.get("hashes")).get("sha256")),
            "iv": _text(sealed.get("iv")),
        }
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return (Sent(name=name[:_NAME_MAX] or "file", source=json.dumps(source), size=size if known else None),)


async def fetch(client: AsyncClient, source: str, limit: int) -> bytes:
    """The content of a file. Refused where it is gone, was changed, or has more than *limit* bytes."""
    asked = json.loads(source)
    found = _ADDRESS.fullmatch(asked["url"])
    if found is None:
        raise Refused("its message names no file of a homeserver")
    content = await download(
        f"{client.homeserver.rstrip('/')}/_matrix/client/v1/media/download/{found[1]}/{found[2]}",
        limit,
        headers={"Authorization": f"Bearer {client.access_token}"},
    )
    if "key" not in asked:
        return content
    return await asyncio.to_thread(_opened, content, asked["key"], asked["hash"], asked["iv"])


def _opened(content: bytes, key: str, checksum: str, iv: str) -> bytes:
    try:
        return bytes(decrypt_attachment(content, key, checksum, iv))
    except (EncryptionError, ValueError) as fault:
        raise Refused(f"it cannot be decrypted: {fault}") from fault


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """A string that can be stored; nothing where it is none."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
