"""Who is mentioned in a message, and whom Discord notifies of it."""

import re
from typing import Any

from tests.servers.discord.model import Json

_USER, _ROLE = re.compile(r"<@!?(\d+)>"), re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(everyone|here)\b")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def pings(content: str, allowed: Json | None, replied: str | None, *, everyone: bool) -> frozenset[str]:
    """Whom a message notifies: "everyone", roles, users.

    Documented under allowed mentions: without the field everything is parsed; a kind that is in `parse` is parsed,
    one that is listed is confined to the list, and one that is neither is suppressed. The author of the message that
    is replied to is notified unless `replied_user` is false; where allowed_mentions is sent without it, it is false.
    *everyone*: whether the author may mention everyone. What stands in code is not parsed.
    """
    text = _CODE.sub("", content)
    users, roles = set(_USER.findall(text)), set(_ROLE.findall(text))
    all_of_them = {"everyone"} if everyone and _EVERYONE.search(text) else set()
    if allowed is None:
        return frozenset(users | roles | all_of_them | ({replied} if replied else set()))
    parse = allowed.get("parse") or []
    users = users if "users" in parse else users & _ids(allowed.get("users"))
    roles = roles if "roles" in parse else roles & _ids(allowed.get("roles"))
    all_of_them = all_of_them if "everyone" in parse else set()
    reply = {replied} if replied and allowed.get("replied_user") else set()
    return frozenset(users | roles | all_of_them | reply)


def _ids(listed: Any) -> set[str]:
    return {str(one) for one in listed or []}
