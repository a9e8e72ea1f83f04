"""What the configuration says of Matrix."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

NAME = "matrix"
_USER = re.compile(r"@[^\s:]+:[^\s/]+")
_ROOM = re.compile(r"[!#]\S+")


def homeserver_address(value: str) -> str:
    """*value* as a homeserver's address; ValueError where it is none."""
    if not re.fullmatch(r"https?://[^\s/@]+(/[^\s?#]*)?", value):
        raise ValueError("must be the address of a homeserver, as in https://matrix.example.org")
    return value.rstrip("/")


def user_id(value: str) -> str:
    """*value* as a whole user id; ValueError where it is none."""
    if not _USER.fullmatch(value):
        raise ValueError("must be a whole user id, as in @agent-queue:example.org")
    return value


def room_name(value: str) -> str:
    """*value* as a room's id or alias; ValueError where it is none."""
    if not _ROOM.fullmatch(value):
        raise ValueError(
            "must be a room's id or alias, as in '#agents:example.org' (in quotes: # begins a comment)"
        )
    return value


def _device(value: str) -> str:
    words = value.split()
    if len(words) != 3 or not _USER.fullmatch(words[0]):
        raise ValueError("must be a user, a device and its key, as in '@ann:example.org JLAFKJWSCS fpJ3…'")
    return " ".join(words)


def _sigil(value: str) -> str:
    if not re.fullmatch(r"\S{1,20}", value):
        raise ValueError("must be one word")
    return value


class MatrixSettings(BaseModel):
    """The account on a homeserver, and whom it believes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    homeserver: Annotated[str, AfterValidator(homeserver_address)] = Field(
        description="Address of the homeserver."
    )
    user: Annotated[str, AfterValidator(user_id)] = Field(description="The bot's own account.")
    home: Annotated[str, AfterValidator(room_name)] = Field(
        description="The room, by id or alias, for what belongs to no bound project."
    )
    password: SecretStr | None = Field(
        None, description="To log in with once; the device and its token are kept in `data_dir`."
    )
    access_token: SecretStr | None = Field(
        None, description="The token of a device that was made for the bot, instead of a password."
    )
    device_name: str = Field("agent-queue", description="What the bot's device is called among its sessions.")
    sigil: Annotated[str, AfterValidator(_sigil)] = Field(
        "!aq", description="The word before a command in a room with others."
    )
    invites: Literal["people", "anyone", "nobody"] = Field(
        "people",
        description="Whose invitations are accepted: those of people who are known, anyone's or nobody's.",
    )
    trust: Literal["first-use", "listed"] = Field(
        "first-use",
        description="Which devices are believed and get keys in encrypted rooms: each as it was first seen, or "
        "those in `devices` alone.",
    )
    devices: tuple[Annotated[str, AfterValidator(_device)], ...] = Field(
        (), description="Devices that are believed, each as `@user:server DEVICE key` (Ed25519, in base64)."
    )
    seed_reactions: bool = Field(
        True,
        description="Put the reactions that serve as buttons under a message, while the server has no limit.",
    )

    @model_validator(mode="after")
    def _some_credential(self) -> "MatrixSettings":
        if self.password is None and self.access_token is None:
            raise ValueError("needs a password or an access_token to log in with")
        return self
