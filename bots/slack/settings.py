"""What the configuration says of Slack."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

NAME = "slack"


def _bot_token(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("xoxb-"):
        raise ValueError("must be the app's Bot User OAuth Token, which begins with xoxb-")
    return value


def _app_token(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("xapp-"):
        raise ValueError("must be an App-Level Token, which begins with xapp-")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():  # with none, anybody could sign
        raise ValueError("must be the app's Signing Secret, from Basic Information")
    return value


def _channel(value: str) -> str:
    if not re.fullmatch(r"[CG][A-Z0-9]{2,30}", value):
        raise ValueError("must be a channel's id, as in C024BE91L (at the foot of the channel's details)")
    return value


def _command(value: str) -> str:
    if not re.fullmatch(r"/[a-z0-9_-]{1,31}", value):
        raise ValueError("must be a slash command in lower case, as in /aq")
    return value


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("must be an address and a port, as in 127.0.0.1:3000")
    return value


def _api(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s?#]*)?", value):
        raise ValueError("must be the base address of a Slack API, as in https://slack.com/api/")
    return value.rstrip("/") + "/"


class SlackSettings(BaseModel):
    """One app in one workspace, and how its events reach us: over a socket, or by requests to us."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bot_token: Annotated[SecretStr, AfterValidator(_bot_token)] = Field(
        description="The Bot User OAuth Token, `xoxb-…`, from OAuth & Permissions."
    )
    home: Annotated[str, AfterValidator(_channel)] = Field(
        description="The channel, by id, for what belongs to no bound project."
    )
    app_token: Annotated[SecretStr, AfterValidator(_app_token)] | None = Field(
        None, description="For Socket Mode: an App-Level Token, `xapp-…`, with the scope connections:write."
    )
    signing_secret: Annotated[SecretStr, AfterValidator(_signing_secret)] | None = Field(
        None, description="For HTTP instead: the Signing Secret from Basic Information."
    )
    listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        None, description="For HTTP: the address and port where Slack's requests arrive, at /slack/events."
    )
    command: Annotated[str, AfterValidator(_command)] = Field("/aq", description="The slash command.")
    streaming: bool = Field(
        True, description="Show an agent's progress as one reply that grows, where Slack has such."
    )
    api: Annotated[str, AfterValidator(_api)] = Field(
        "https://slack.com/api/", description="Base address of Slack's Web API."
    )

    @property
    def thread_sigil(self) -> str:
        """What a command begins with in a thread, where there are no slash commands."""
        return "!aq"

    @property
    def sigil(self) -> str:
        """What a command begins with in a channel."""
        return self.command

    @model_validator(mode="after")
    def _one_way(self) -> "SlackSettings":
        http = self.signing_secret is not None or self.listen is not None
        if (self.app_token is None) != http:
            raise ValueError("needs either app_token (Socket Mode) or signing_secret and listen (HTTP)")
        if http and (self.signing_secret is None or self.listen is None):
            raise ValueError("over HTTP, needs both signing_secret and listen")
        return self
