"""What the configuration says of Discord."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

NAME = "discord"
API = "https://discord.com/api/v10"
GATEWAY = "wss://gateway.discord.gg/"


def _digits(value: Any) -> Any:
    """An id as text: YAML reads one without quotes as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _id(value: str) -> str:
    if not re.fullmatch(r"[0-9]{5,20}", value):
        raise ValueError(
            "must be an id of digits, as `Copy ID` gives it (in Discord's settings: Advanced, Developer Mode)"
        )
    return value


def _address(*schemes: str) -> Any:
    def check(value: str) -> str:
        if not re.fullmatch(rf"(?:{'|'.join(schemes)})://[^\s/@]+(?:/[^\s?#]*)?", value):
            raise ValueError(f"must be an address that begins with {schemes[0]}://")
        return value.rstrip("/")

    return AfterValidator(check)


def _sigil(value: str) -> str:
    if not re.fullmatch(r"\S{1,20}", value):
        raise ValueError("must be one word")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"\S+", value.get_secret_value()):
        raise ValueError("must be the bot's token, without `Bot ` before it")
    return value


_Id = Annotated[str, BeforeValidator(_digits), AfterValidator(_id)]


class DiscordSettings(BaseModel):
    """The bot, and the channel that it calls home."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        description="The bot's token, from the developer portal."
    )
    home: _Id = Field(description="The id of the text channel for what belongs to no bound project.")
    guild: _Id | None = Field(
        None,
        description="The id of the server that gets the slash commands, at once; without it, every server that the "
        "bot is in.",
    )
    sigil: Annotated[str, AfterValidator(_sigil)] = Field(
        "!aq", description="The word before a command that is typed as a message."
    )
    api: Annotated[str, _address("https", "http")] = Field(
        API, description="Address of Discord's API: another one for a proxy, or for tests."
    )
    gateway: Annotated[str, _address("wss", "ws")] = Field(
        GATEWAY, description="Address of Discord's gateway: another one for a proxy, or for tests."
    )
