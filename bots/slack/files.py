"""Files that people send: named by a message, and fetched with our token, which Slack alone is shown."""

from collections.abc import Mapping
from typing import Any, Final

from bots.downloads import download, within
from bots.receiving import too_large
from bots.slack.reading import mapping, string
from bots.slack.session import Session, ask
from orchestrator.transport import Refused, Sent

_SLACK: Final = "https://slack.com"
_MOST: Final = 50
"""Files of one message that are looked at."""


def sent(message: Mapping[str, Any]) -> tuple[Sent, ...]:
    """What was sent with *message*, by its id: an address may be missing, or be another one by then."""
    files = message.get("files")
    found = [mapping(one) for one in files[:_MOST]] if isinstance(files, list) else []
    return tuple(
        Sent(name=string(one.get("name"), 200) or "file", source=source, size=_size(one))
        for one in found
        if (source := string(one.get("id"), 64))
    )


async def fetch(session: Session, source: str, limit: int) -> bytes:
    """The content of a file. Refused where it is gone, lies elsewhere, or has more than *limit* bytes."""
    answer = await ask(session.web.files_info(file=source))
    file = mapping(answer.get("file"))
    url = string(file.get("url_private_download")) or string(file.get("url_private"))
    if not any(within(url, home) for home in (_SLACK, session.web.base_url)):
        raise Refused("it does not lie on Slack")
    if (_size(file) or 0) > limit:
        raise Refused(too_large(limit))
    token = {"Authorization": f"Bearer {session.web.token}"}
    return await download(url, limit, headers=token, page=file.get("mimetype") == "text/html")


def _size(file: Mapping[str, Any]) -> int | None:
    size = file.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
