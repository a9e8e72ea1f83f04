"""The configuration of Slack, and the manifest that the app is made from."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bots.slack.frontend import SlackFrontend
from bots.slack.limits import Limits
from bots.slack.manifest import EVENTS, SCOPES, SHORTCUT, manifest, page
from bots.slack.settings import SlackSettings
from orchestrator.transport import Target, Unknown

ROOT = Path(__file__).parents[2]
SOCKET = {"bot_token": "xoxb-secret", "app_token": "xapp-secret", "home": "C024BE91L"}
HTTP = {
    "bot_token": "xoxb-secret",
    "signing_secret": "secret",
    "listen": "127.0.0.1:3000",
    "home": "C024BE91L",
}


def test_the_manifest_in_config_is_up_to_date() -> None:
    assert (ROOT / "config" / "slack-manifest.yaml").read_text() == page(), "run `make docs`"


def test_the_manifest_asks_for_what_is_used() -> None:
    made = yaml.safe_load(page())
    assert made == manifest()
    assert made["oauth_config"]["scopes"]["bot"] == list(SCOPES)
    assert made["settings"]["event_subscriptions"]["bot_events"] == list(EVENTS)
    [slash] = made["features"]["slash_commands"]
    assert slash["command"] == "/aq"
    assert "task add <project> <text…>" in slash["usage_hint"]
    assert made["features"]["shortcuts"][0]["callback_id"] == SHORTCUT
    assert made["settings"]["socket_mode_enabled"]
    http = manifest("/queue", url="https://x.org/slack/events")
    assert not http["settings"]["socket_mode_enabled"]
    assert http["settings"]["interactivity"]["request_url"] == "https://x.org/slack/events"
    assert http["features"]["slash_commands"][0]["command"] == "/queue"


def test_the_page_names_every_key() -> None:
    text = (ROOT / "docs" / "slack.md").read_text()
    assert all(f"| `{name}` |" in text for name in SlackSettings.model_fields)
    assert all(f"`{scope}`" in text for scope in SCOPES)


@pytest.mark.parametrize("section", [SOCKET, HTTP])
def test_either_way_in_is_enough(section: dict[str, Any]) -> None:
    made = SlackSettings.model_validate(section)
    assert "secret" not in repr(made).replace("signing_secret", "")
    assert made.sigil == "/aq"


@pytest.mark.parametrize(
    "more",
    [
        {"app_token": None},
        {"signing_secret": "x"},
        {"signing_secret": "x", "listen": "127.0.0.1:3000"},
        {"app_token": None, "signing_secret": "x"},
        {"app_token": None, "signing_secret": " ", "listen": "127.0.0.1:3000"},
        {"bot_token": "xapp-secret"},
        {"app_token": "xoxb-secret"},
        {"home": "#agents"},
        {"command": "aq"},
        {"listen": "3000"},
        {"api": "slack.com"},
        {"other": 1},
    ],
)
def test_what_cannot_be_is_refused_without_its_secrets(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        SlackSettings.model_validate({**SOCKET, **more})
    assert "xoxb-secret" not in str(refused.value)
    assert "xapp-secret" not in str(refused.value)


async def test_what_is_not_started_sends_nothing_and_closes() -> None:
    frontend = SlackFrontend(SlackSettings.model_validate(SOCKET))
    await frontend.close()
    assert frontend.findings() == ()
    with pytest.raises(Unknown):
        await frontend.delete(Target(channel="C1"), "1.0")


def test_the_pace_is_learnt_from_refusals_and_forgotten_later() -> None:
    now = [0.0]
    limits = Limits(lambda: now[0])
    assert limits.capabilities().rate == 1.0
    limits.post_refused()
    assert limits.capabilities().rate == pytest.approx(0.8)
    now[0] = 1801.0
    assert limits.capabilities().rate == 1.0


def test_edits_have_a_pace_of_their_own() -> None:
    now = [0.0]
    limits = Limits(lambda: now[0])
    assert [limits.edit_wait() for _ in range(10)] == [0.0] * 10
    assert 0 < limits.edit_wait() <= 60 / 45
    now[0] = 60.0
    assert limits.edit_wait() == 0.0
    limits.edit_refused(30.0)
    assert limits.edit_wait() == 30.0
    now[0] = 95.0
    assert limits.edit_wait() == 0.0
