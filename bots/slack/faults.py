"""What Slack's refusals, and the network's, mean to the relay."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from orchestrator.transport import Later, Refused, Unknown

NETWORK = (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError, OSError)
"""What a request raises whose answer did not come: it may or may not have had its effect."""
UNSENT = (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError)
"""What it raises where there was no connection to send it over."""
ENDED: Final[Mapping[str, str]] = {
    "invalid_auth": "Slack does not know the bot token",
    "not_authed": "Slack wants a bot token",
    "token_revoked": "the bot token was revoked",
    "token_expired": "the bot token has expired",
    "account_inactive": "the app was removed from the workspace, or its bot user was switched off",
    "org_login_required": "the workspace is being moved; its apps cannot speak",
}
"""Errors after which nothing works until a person has changed something."""
GONE: Final[Mapping[str, str]] = {
    "not_in_channel": "I am not in it",
    "channel_not_found": "it does not exist any more, or I am not in it",
    "is_archived": "it is archived",
    "restricted_action": "its settings do not let me post there",
    "restricted_action_read_only_channel": "it is read-only",
    "restricted_action_thread_only_channel": "it takes only replies",
    "messages_tab_disabled": "the app's Messages tab is switched off",
    "external_channel_migrating": "it is being moved",
    "ekm_access_denied": "an administrator has suspended posting",
    "access_denied": "an administrator does not let me",
    "no_permission": "I lack the permission",
    "team_access_not_granted": "I was not given that workspace",
    "team_added_to_org": "the workspace is being moved",
    "message_limit_exceeded": "the workspace has reached its limit of messages",
    "accesslimited": "Slack is not to be reached from this network",
}
"""Errors by which a channel takes nothing for now."""
_UNSURE: Final = frozenset(
    {"fatal_error", "internal_error", "service_unavailable", "request_timeout", "update_failed"}
)
"""Slack's words for these: it may have done some of it."""
RETRY: Final = 5.0
AWAY: Final = 15.0
"""Seconds until a channel is tried again that takes nothing."""
AMISS: Final = 60.0
"""Seconds until something is tried again that a person has to mend."""
WAY_OUT: Final = (
    "look at the app at https://api.slack.com/apps, install it to the workspace again, configure the token that it "
    "shows under OAuth & Permissions, and start again"
)


def code(fault: SlackApiError) -> str:
    """Slack's word for the error, or nothing."""
    return str(_answer(fault).get("error") or "")


def status(fault: SlackApiError) -> int:
    """The HTTP status of the answer."""
    response = fault.response
    found = getattr(response, "status_code", None) or getattr(response, "status", 0)
    return int(found or 0)


def retry_after(fault: SlackApiError) -> float | None:
    """Seconds that Slack wants us to wait, where it refuses us for our pace."""
    if code(fault) not in ("ratelimited", "rate_limited") and status(fault) != 429:
        return None
    headers = getattr(fault.response, "headers", None) or {}
    try:
        return max(0.1, float(headers.get("Retry-After", RETRY)))
    except ValueError:
        return RETRY


def needed(fault: SlackApiError) -> str:
    """The scope that was missing."""
    return str(_answer(fault).get("needed") or "a scope")


def failure(fault: Exception) -> Exception:
    """The failure that an exception of a request is: Slack took nothing, never will, or nobody knows."""
    if isinstance(fault, UNSENT):
        return Later(RETRY / 2, f"{type(fault).__name__}: {fault}")
    if not isinstance(fault, SlackApiError):
        return Unknown(f"{type(fault).__name__}: {fault}")
    if (wait := retry_after(fault)) is not None:
        return Later(wait, "ratelimited", everywhere=False)
    error = code(fault)
    if not error or status(fault) >= 500 or error in _UNSURE:
        return Unknown(error or f"HTTP {status(fault)}")
    if error in ENDED:
        return Later(RETRY, error)
    if error in GONE:
        return Later(AWAY, error, everywhere=False)
    if error == "missing_scope":
        return Later(AMISS, f"missing_scope: {needed(fault)}", everywhere=False)
    messages = _answer(fault).get("response_metadata")
    more = messages.get("messages") if isinstance(messages, Mapping) else None
    return Refused(f"{error}: {'; '.join(map(str, more))[:300]}" if more else error)


def _answer(fault: SlackApiError) -> Mapping[str, Any]:
    response = fault.response
    data = response if isinstance(response, Mapping) else getattr(response, "data", None)
    return data if isinstance(data, Mapping) else {}


CLIENT = (SlackClientError, *NETWORK)
"""All that a request may raise."""
