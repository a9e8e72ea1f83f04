"""The app's session with Slack: its client, which retries nothing by itself, and who it is there."""

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.faults import CLIENT, ENDED, WAY_OUT, code, failure
from bots.slack.manifest import SCOPES
from bots.slack.settings import SlackSettings
from orchestrator.transport import Finding, Unknown, Unusable

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT: Final = 30.0
"""Seconds that Slack gets to answer a request."""
LIBRARY = logging.getLogger("slack_bolt.agent_queue")
LIBRARY.setLevel(logging.WARNING)  # below that, the library writes requests and payloads into the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who we are in which workspace, and what we may do."""

    team: str
    team_name: str
    user: str
    bot: str
    name: str
    scopes: frozenset[str] | None
    """None where Slack did not say."""

    @property
    def missing(self) -> list[str]:
        """Scopes that are asked for in the manifest and not granted."""
        return [] if self.scopes is None else [one for one in SCOPES if one not in self.scopes]

    def may(self, scope: str) -> bool:
        """Whether *scope* is granted, as far as is known."""
        return self.scopes is None or scope in self.scopes

    def findings(self) -> list[Finding]:
        """Who we are, and what is missing."""
        found = [Finding(good=True, text=f"signed in as {self.name} in the workspace {self.team_name}")]
        if self.missing:
            found.append(Finding(good=False, text=missing_words(self.missing)))
        return found


def missing_words(missing: list[str]) -> str:
    """Scopes that are missing, in words, and the way out."""
    named = "; ".join(f"{one} ({SCOPES.get(one, 'to do that')})" for one in missing)
    kind = "scope" if len(missing) == 1 else "scopes"
    return (
        f"the app lacks the {kind} {named}. Add what is missing under OAuth & Permissions at "
        "https://api.slack.com/apps, or paste config/slack-manifest.yaml there anew, and install the app again"
    )


async def ask(request: Awaitable[Any]) -> Any:
    """The answer to a request; Refused, Later or Unknown where there is none."""
    try:
        return await request
    except CLIENT as fault:
        raise failure(fault) from fault
    except (AttributeError, TypeError, ValueError) as fault:  # an answer that is not Slack's, from a proxy
        raise Unknown(f"{type(fault).__name__}: {fault}") from fault


class Session:
    """An open client. Connections are kept, and closed with it."""

    def __init__(self, settings: SlackSettings) -> None:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT))
        self.web = AsyncWebClient(
            token=settings.bot_token.get_secret_value(),
            base_url=settings.api,
            session=self.http,
            timeout=int(REQUEST_TIMEOUT),
            retry_handlers=[],  # the library's own repeat a post whose answer was lost
            logger=LIBRARY,
        )

    async def sign_in(self) -> Identity:
        """See who we are. Unusable where the token is of no use."""
        try:
            answer = await self.web.auth_test()
        except SlackApiError as fault:
            if code(fault) in ENDED:
                raise Unusable(ended_words(code(fault))) from fault
            raise failure(fault) from fault
        except CLIENT as fault:
            raise failure(fault) from fault
        given = answer.headers.get("x-oauth-scopes")
        scopes = None if given is None else frozenset(one.strip() for one in given.split(",") if one.strip())
        return Identity(
            team=str(answer.get("team_id") or ""),
            team_name=str(answer.get("team") or answer.get("team_id")),
            user=str(answer.get("user_id") or ""),
            bot=str(answer.get("bot_id") or ""),
            name=str(answer.get("user") or "agent-queue"),
            scopes=scopes,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()


def ended_words(error: str) -> str:
    """Why Slack does not let us in, and the way out."""
    return f"{ENDED.get(error, error)} ({error}): {WAY_OUT}"
