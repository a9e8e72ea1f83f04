"""`agent-queue setup slack`: the app, its two tokens and the home channel, each tried out."""

import json
import re
from typing import Any

from pydantic import SecretStr
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bots.asking import Found, Person
from bots.slack.faults import CLIENT, code
from bots.slack.manifest import manifest
from bots.slack.session import Session, ended_words
from bots.slack.settings import SlackSettings
from orchestrator.transport import Later, Refused, Unknown, Unusable

BOT, APP = "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"
_PAGES = 20
_MEMBER = re.compile(r"[UW][A-Z0-9]{2,30}")


async def walk(person: Person, api: str = "https://slack.com/api/") -> Found:
    """Ask for both tokens and the home channel; nothing is posted."""
    person.say(
        "1. At https://api.slack.com/apps choose Create New App, From a manifest, and your workspace. Paste this as "
        f"JSON:\n\n{json.dumps(manifest())}\n\n"
        "2. Choose Install to Workspace. The Bot User OAuth Token is then under OAuth & Permissions.\n"
        "3. Under Basic Information, App-Level Tokens: make one with the scope connections:write."
    )
    bot = await _bot_token(person, api)
    app = await _app_token(person, api, bot)
    session = Session(_settings(api, bot, app))
    try:
        home, name = await _home(person, session.web)
    finally:
        await session.close()
    me = person.ask("Your own member id, as your profile's menu copies it (empty: pair later)", check=_member)
    return Found(
        section={"bot_token": f"${{{BOT}}}", "app_token": f"${{{APP}}}", "home": home},
        secrets={BOT: bot, APP: app},
        account=f"slack:{me}" if me else "",
        next=f"in #{name}, `/aq status`",
    )


def _settings(api: str, bot: str, app: str = "xapp-none", home: str = "C00") -> SlackSettings:
    return SlackSettings(bot_token=SecretStr(bot), app_token=SecretStr(app), home=home, api=api)


def _begins(prefix: str, name: str) -> Any:
    def check(words: str) -> str:
        if not words.startswith(prefix):
            raise ValueError(f"must be the {name}, which begins with {prefix}")
        return words

    return check


def _member(words: str) -> str:
    if words and not _MEMBER.fullmatch(words):
        raise ValueError("must be a member id, as in U024BE7LH")
    return words


async def _bot_token(person: Person, api: str) -> str:
    """The bot's token, when it signs in and is granted what the manifest asks for, or the person goes on without."""
    while True:
        token = person.secret(
            "The Bot User OAuth Token, xoxb-…", check=_begins("xoxb-", "Bot User OAuth Token")
        )
        session = Session(_settings(api, token))
        try:
            identity = await session.sign_in()
        except (Unusable, Refused) as fault:
            person.found(False, str(fault))
            continue
        except (Later, Unknown) as fault:
            person.found(False, f"Slack cannot be reached, so the token was not tried: {_plainly(fault)}")
            continue
        finally:
            await session.close()
        for finding in identity.findings():
            person.found(finding.good, finding.text)
        if not identity.missing or not person.again("Installed again, with another token?"):
            return token


async def _app_token(person: Person, api: str, bot: str) -> str:
    """The app's token, when a socket can be had with it."""
    while True:
        token = person.secret("The App-Level Token, xapp-…", check=_begins("xapp-", "App-Level Token"))
        session = Session(_settings(api, bot, token))
        try:
            await session.web.apps_connections_open(app_token=token)
        except SlackApiError as fault:
            person.found(False, _refused(fault))
        except CLIENT as fault:
            person.found(False, f"Slack cannot be reached, so the token was not tried: {_plainly(fault)}")
        else:
            person.found(True, "a socket can be opened")
            return token
        finally:
            await session.close()


def _plainly(fault: Exception) -> str:
    """What went wrong on the way, without the name of its class."""
    words = str(fault) or type(fault).__name__
    return re.sub(r"^\w+Error: ", "", words)


def _refused(fault: SlackApiError) -> str:
    error = code(fault)
    if error in ("missing_scope", "not_allowed_token_type"):
        return "that token lacks the scope connections:write; make an App-Level Token with it"
    if error == "socket_mode_not_enabled":  # the app was not made of the manifest
        return "Socket Mode is off: switch it on under Socket Mode"
    return ended_words(error) if error == "invalid_auth" else f"Slack says {error}"


async def _home(person: Person, web: AsyncWebClient) -> tuple[str, str]:
    """The home channel's id and name, once the bot is in it, or the person goes on without."""
    while True:
        said = person.ask("The home channel, by name (#agents) or id (C…)").removeprefix("#")
        try:
            found = await _channel(web, said)
        except CLIENT as fault:
            person.found(False, str(fault))
            continue
        if found is None:
            person.found(False, f"there is no public channel {said!r}, nor a private one that the bot is in")
            continue
        while not found["is_member"]:
            person.found(False, f"the bot is not in #{found['name']}")
            if not person.again(f"Say `/invite @agent-queue` in #{found['name']}. Done?"):
                return found["id"], found["name"]
            found = await _channel(web, found["id"]) or found
        person.found(True, f"the bot is in #{found['name']}")
        return found["id"], found["name"]


async def _channel(web: AsyncWebClient, said: str) -> dict[str, Any] | None:
    """The channel with this name or id, as far as the bot can see."""
    cursor = ""
    for _ in range(_PAGES):
        answer = await web.conversations_list(
            types="public_channel,private_channel", exclude_archived=True, limit=1000, cursor=cursor
        )
        for one in answer["channels"]:
            if said in (one["id"], one["name"]):
                return {
                    "id": str(one["id"]),
                    "name": str(one["name"]),
                    "is_member": bool(one.get("is_member")),
                }
        cursor = (answer.get("response_metadata") or {}).get("next_cursor", "")
        if not cursor:
            return None
    return None
