"""Discord's settings, what its refusals mean, and what its log is not to show."""

import logging
from typing import Any

import aiohttp
import discord
import pytest
from pydantic import ValidationError

from bots.discord.api import failure
from bots.discord.sending import nonce
from bots.discord.session import Hushed
from bots.discord.settings import DiscordSettings
from orchestrator.transport import Later, Refused, Unknown


def test_an_id_may_be_a_number_and_the_rest_has_defaults() -> None:
    settings = DiscordSettings.model_validate({"token": "secret-token", "home": 123456789012345678})
    assert (settings.home, settings.guild, settings.sigil) == ("123456789012345678", None, "!aq")
    assert "secret-token" not in repr(settings)


@pytest.mark.parametrize(
    "more",
    [
        {"home": "#agents"},
        {"home": True},
        {"guild": "Team"},
        {"sigil": "a b"},
        {"token": "Bot secret-token"},
        {"api": "discord.com"},
        {"gateway": "https://gateway.discord.gg"},
        {"other": 1},
    ],
)
def test_what_is_wrong_is_refused_without_repeating_it(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        DiscordSettings.model_validate({"token": "secret-token", "home": "123456789", **more})
    assert "secret-token" not in str(refused.value)


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status
        self.reason = ""
        self.headers = {"Retry-After": "7"}


def refusal(status: int, number: int = 0) -> Exception:
    answer: Any = Answer(status)
    return discord.HTTPException(answer, {"code": number, "message": "words"})


@pytest.mark.parametrize(
    ("fault", "kind", "everywhere"),
    [
        (discord.RateLimited(40.0), Later, False),
        (refusal(429), Later, True),
        (refusal(500), Unknown, None),
        (refusal(401), Later, True),
        (refusal(403, 50013), Later, False),
        (refusal(403, 50001), Later, False),
        (refusal(404, 10003), Later, False),
        (refusal(404, 10008), Refused, None),
        (refusal(400, 50035), Refused, None),
        (refusal(400, 30046), Later, False),
        (refusal(403, 160007), Later, False),
        (refusal(400, 40004), Later, False),
        (refusal(400, 130000), Later, False),
        (refusal(413, 40005), Refused, None),
        (aiohttp.ServerDisconnectedError(), Unknown, None),
        (TimeoutError(), Unknown, None),
        (RuntimeError("Session is closed"), Unknown, None),
    ],
)
def test_every_fault_is_one_of_three_failures(fault: Exception, kind: type, everywhere: bool | None) -> None:
    found = failure(fault)
    assert type(found) is kind
    if isinstance(found, Later):
        assert found.everywhere == everywhere
        assert found.seconds > 0


def test_a_nonce_follows_from_its_key_and_fits() -> None:
    assert nonce("abcdefghijklmnopqrstuv") == "abcdefghijklmnopqrstuv"
    for key in ("x" * 26, "ключ", ""):
        assert nonce(key) == nonce(key)
        assert 0 < len(nonce(key)) <= 25
    assert nonce("x" * 26) != nonce("x" * 27)


def test_the_librarys_log_has_no_tokens_of_interactions() -> None:
    address = "https://discord.com/api/v10/webhooks/1/a-secret/messages/@original"
    record = logging.LogRecord(
        "discord.http", 30, "", 1, "%s %s responded with %s", ("PATCH", address, 429), None
    )
    assert Hushed().filter(record)
    assert "a-secret" not in record.getMessage()
    assert "/messages/@original" in record.getMessage()
