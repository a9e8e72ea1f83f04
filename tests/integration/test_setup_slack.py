"""`agent-queue setup slack`, against a Slack on loopback."""

import json

from bots.slack.manifest import SCOPES, manifest
from bots.slack.settings import SlackSettings
from bots.slack.setup import walk
from tests.integration.answering import Scripted
from tests.servers.slack import SlackServer


async def test_each_token_is_tried_and_what_is_missing_is_named() -> None:
    async with SlackServer() as server:
        poor = server.app(bot_token="xoxb-poor", app_token="xapp-poor", scopes={*SCOPES} - {"files:write"})
        app = server.app(bot_token="xoxb-good", app_token="xapp-good", scopes={*SCOPES})
        ann = server.person("ann")
        room = server.channel("agents", members=[ann])

        def invited() -> str:
            server.invite(app, room)
            return ""

        person = Scripted(
            ("Bot User", "xapp-mixed-up"),
            ("Bot User", "xoxb-wrong"),
            ("Bot User", poor.bot_token),
            ("Installed again", ""),
            ("Bot User", app.bot_token),
            ("App-Level", "xapp-wrong"),
            ("App-Level", app.app_token),
            ("home channel", "#nowhere"),
            ("home channel", "#agents"),
            ("/invite @agent-queue", invited),
            ("member id", "ann"),
            ("member id", ann.id),
        )
        found = await walk(person, server.api)
    assert person.spent
    assert person.saw(json.dumps(manifest()))
    assert person.saw("bad", "begins with xoxb-")
    assert person.saw("bad", "does not know the bot token")
    assert person.saw("bad", "files:write", "attach diffs")
    assert person.saw("bad", "not in #agents")
    assert person.saw("good", "is in #agents")
    assert found.account == f"slack:{ann.id}"
    assert not any(secret in json.dumps(dict(found.section)) for secret in found.secrets.values())
    filled = {k: found.secrets.get(v.strip("${}"), v) for k, v in found.section.items()}
    assert SlackSettings.model_validate(filled).home == room
