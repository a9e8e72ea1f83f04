"""emulate's Slack with our frontend in it: a workspace, a channel, Ann, and the app that she has invited.

The frontend hears over HTTP here, where nobody calls: emulate has neither sockets nor slash commands nor buttons.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.frontend import SlackFrontend
from bots.slack.manifest import SCOPES
from bots.slack.settings import SlackSettings
from orchestrator.transport import Post, Target
from tests.contract.frontends import Listener
from tests.judges.emulate import Front, Installed, serving

Json = dict[str, Any]

BOT: Final = "UQUEUE"
_TOKEN, _HERS, _POOR = "xoxb-queue", "xoxp-ann", "xoxb-poor"
_APP: Final = {"app_id": "A0QUEUE", "bot_id": "BQUEUE"}
_PATIENCE = 20.0


def seed() -> Json:
    """The workspace to begin with; *poor* is a token of an app that was given too little."""
    scopes = list(SCOPES)
    poor = [one for one in scopes if one not in ("chat:write", "channels:manage")]
    app = {
        "client_id": "1",
        "client_secret": "s",
        "name": "agent-queue",
        "redirect_uris": [],
        "scopes": scopes,
    }
    tokens = [
        {"token": _TOKEN, "user": BOT, "scopes": scopes, **_APP},
        {"token": _POOR, "user": BOT, "scopes": poor, **_APP},
        {"token": _HERS, "user": "ann"},
    ]
    slack = {
        "team": {"name": "Team", "domain": "team"},
        "strict_scopes": True,
        "users": [{"name": "ann", "real_name": "Ann Example"}],
        "oauth_apps": [{**app, **_APP, "bot_user_id": BOT}],
        "tokens": tokens,
    }
    return {"slack": slack}


class House:
    """The workspace behind *api*. What Ann sees is read with her own token."""

    def __init__(self, api: str, front: Front) -> None:
        self.api = api
        self.front = front
        self.listener = Listener()
        self.ann = AsyncWebClient(_HERS, base_url=api)
        self.channel = self.account = ""
        self.frontend = self.restarted("C0NOWHERE")

    @property
    def here(self) -> Target:
        """The project's channel."""
        return Target(channel=self.channel)

    async def begin(self) -> None:
        """Ann makes the channel and invites the app, which then starts."""
        self.account = str((await self.ann.auth_test())["user_id"])
        self.channel = await self.room("agents")
        self.frontend = self.restarted(self.channel)
        await self.start()

    async def room(self, name: str, *, private: bool = False, invite: bool = True) -> str:
        """A channel of Ann's, and the app in it."""
        kind: Json = (
            {"is_private": "true"} if private else {}
        )  # slack_sdk writes True as 1, which emulate takes for no
        made = str((await self.ann.conversations_create(name=name, **kind))["channel"]["id"])
        if invite:
            await self.ann.conversations_invite(channel=made, users=[BOT])
        return made

    def restarted(self, home: str = "", *, poor: bool = False) -> SlackFrontend:
        """Another life of the frontend."""
        section = {
            "bot_token": _POOR if poor else _TOKEN,
            "home": home or self.channel,
            "signing_secret": "s",
            "listen": "127.0.0.1:0",
            "api": self.api,
        }
        return SlackFrontend(SlackSettings.model_validate(section))

    async def start(self) -> None:
        """Begin the frontend's life."""
        await asyncio.wait_for(self.frontend.start(self.listener), _PATIENCE)

    async def restart(self, *, poor: bool = False) -> None:
        """End it and begin another."""
        await self.frontend.close()
        self.frontend = self.restarted(poor=poor)
        await self.start()

    async def say(self, post: Post, key: str = "key", root: str | None = None) -> list[str]:
        """Send all messages of a post, as the relay does; returns their ids."""
        to = Target(channel=self.channel, root=root)
        wires = self.frontend.render(post)
        return [await self.frontend.post(to, wire, f"{key}-{part}") for part, wire in enumerate(wires)]

    async def shown(self, root: str | None = None, channel: str = "") -> list[Json]:
        """What the app has said in the channel or under *root*, as Ann reads it, oldest first."""
        place = channel or self.channel
        if root:
            answer = await self.ann.conversations_replies(channel=place, ts=root)
        else:
            answer = await self.ann.conversations_history(channel=place)
        found: Sequence[Json] = answer["messages"]
        ours = [one for one in found if one.get("user") == BOT and one["ts"] != root]
        return sorted(ours, key=lambda one: str(one["ts"]))


@contextlib.asynccontextmanager
async def on_emulate(programs: Installed, folder: Path) -> AsyncIterator[House]:
    """The house, with the frontend started."""
    with serving(programs, seed(), folder / "emulate.log") as url:
        front = Front(url)
        async with front.listening() as api:
            house = House(api, front)
            try:
                await house.begin()
                yield house
            finally:
                await house.frontend.close()


def words(value: Any) -> Iterator[str]:
    """All words in blocks, in order."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            if name == "text" and isinstance(one, str):
                yield one
            else:
                yield from words(one)
    elif isinstance(value, list):
        for one in value:
            yield from words(one)
