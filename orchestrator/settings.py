"""Settings: every key of the configuration with its type, range, default and meaning."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from orchestrator import config_file
from orchestrator.config_file import ConfigError, Document, Fault, suggestion

__all__ = ["SECRET_MIN", "ConfigError", "Fault", "Settings", "describe", "load"]

SECRET_MIN = 6
"""Shortest secret, in characters: a shorter one could not be told from ordinary text."""

_YEAR = 31_536_000


def _no_boolean(value: Any) -> Any:
    """YAML reads `yes` and `on` as true, which would pass for the number 1."""
    if value is True or value is False:
        raise ValueError("must be a number, not yes or no")
    return value


def _one_line(value: str) -> str:
    if not value.strip() or not value.isprintable() or set(value) & set("<>"):
        raise ValueError("must be one line of text without < and >")
    return value.strip()


def _account(value: str) -> str:
    frontend, colon, name = value.partition(":")
    if not (frontend and colon and name) or not value.isprintable() or " " in value:
        raise ValueError("must name a frontend and an account there, as in terminal:alice")
    return value


def _variable(value: str) -> str:
    if not (value.isascii() and value.isidentifier()):
        raise ValueError("must be the name of an environment variable")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SECRET_MIN:
        raise ValueError(
            f"is shorter than {SECRET_MIN} characters, too short to be kept out of what is shown"
        )
    return value


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def bytes_of(value: Any) -> int:
    """A number of bytes, or a text like `512M` or `4G`; ValueError where it is neither."""
    found = re.fullmatch(r"(\d{1,15}) ?([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    if isinstance(value, bool) or found is None:
        raise ValueError("must be a number of bytes, as 512M or 4G")
    return int(found[1]) * _UNITS[found[2].upper()]


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_Seconds = Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=_YEAR)]
_Pause = Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, le=_YEAR)]
_Days = Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=36_500)]
_Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0)]
_Size = Annotated[int, BeforeValidator(bytes_of)]
_Line = Annotated[str, AfterValidator(_one_line)]
_Role = Literal["viewer", "operator", "admin"]
_Level = Literal["debug", "info", "warning", "error"]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class PersonSettings(_Section):
    """Somebody whom the bot knows from the start."""

    role: Annotated[_Role, BeforeValidator(_lower)] = Field(
        description="What the person may do; each role includes those before it."
    )
    accounts: tuple[Annotated[str, AfterValidator(_account)], ...] = Field(
        (), description="Where the person speaks from, each as `frontend:account`."
    )


class SchedulingSettings(_Section):
    """Whose turn it is."""

    window_hours: Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=8760)] = Field(
        24.0, description="Hours back over which the use of tokens is counted."
    )
    token_budget: _Count | None = Field(
        None, description="Tokens that all projects together may use in the window; none is no limit."
    )
    stuck_after: _Seconds = Field(
        3600.0, description="Seconds without a move after which people are told that a task is stuck."
    )


class RunSettings(_Section):
    """How agents are run."""

    timeout: _Seconds = Field(
        3600.0, description="Seconds after which a run is stopped, for projects made from now on."
    )
    max_retries: Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=100)] = Field(
        3, description="How often a failed task is tried again, for projects made from now on."
    )
    retry_backoff: _Pause = Field(30.0, description="Seconds before the first retry; they double each time.")
    retry_backoff_max: _Pause = Field(900.0, description="Seconds that a retry waits at most.")
    input_timeout: _Seconds = Field(
        86_400.0,
        description="Seconds after which a task with an unanswered question is paused; it can be answered still.",
    )
    remind_after: tuple[_Seconds, ...] = Field(
        (900.0, 3600.0, 14_400.0),
        description="Seconds after which people are reminded of an unanswered question, each once.",
    )
    quiet_after: _Seconds = Field(
        900.0, description="Seconds without a sign of life after which a run is looked into."
    )
    nudge_grace: _Seconds = Field(
        300.0,
        description="Seconds that an agent which was asked whether it still works has to show that it does.",
    )
    stop_grace: _Pause = Field(5.0, description="Seconds between asking an agent to end and ending it.")
    command_timeout: _Seconds = Field(
        600.0, description="Seconds that a project's setup command or one of its test commands may take."
    )
    memory_max: _Size | None = Field(
        None,
        description="Memory that a run may hold, as 4G, for agents that say nothing else; none is no limit.",
    )
    pass_env: tuple[Annotated[str, AfterValidator(_variable)], ...] = Field(
        (),
        description="Variables of the daemon's environment that agents get too, besides PATH, HOME, LANG….",
    )


class LimitSettings(_Section):
    """What follows when an agent's account is at its limit."""

    backoff: _Seconds = Field(
        60.0,
        description="Seconds that a limited account rests where nobody says how long; they double each time.",
    )
    backoff_max: _Seconds = Field(3600.0, description="Seconds that such a rest takes at most.")
    canary_seconds: _Seconds = Field(
        600.0,
        description="Seconds in which the one task that tries an account after its limit must show whether "
        "requests go through; then another tries it.",
    )


class HostSettings(_Section):
    """What the host must have left for one more run to start; 0 asks for nothing."""

    memory_min: _Size = Field(
        512 << 20, description="Memory that must be available.", json_schema_extra={"default": "512M"}
    )
    load_max: Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, le=10_000)] = Field(
        16.0, description="Load per core, over a minute, above which no run starts beside others."
    )
    sandbox_writable: tuple[Path, ...] = Field(
        (),
        description="Files and folders that are writable in a sandbox besides the worktree and the project's own home "
        "folder, where they are there.",
    )
    sandbox_readable: tuple[Path, ...] = Field(
        tuple(
            map(Path, ("~/.gitconfig", "~/.local/bin", "~/.local/lib", "~/.pyenv", "~/.nvm", "~/.cargo/bin"))
        ),
        description="What can be read in a sandbox of the home folder, where it is there.",
    )
    sandbox_network: bool = Field(True, description="Whether what is in a sandbox reaches the network.")
    disk_min: _Size = Field(
        1 << 30, description="Disk space that must be free in data_dir.", json_schema_extra={"default": "1G"}
    )


class GitSettings(_Section):
    """How work is committed."""

    author_name: _Line = Field("agent-queue", description="Author of what an agent left uncommitted.")
    author_email: _Line = Field("agent-queue@localhost", description="The author's address.")


class DeliverySettings(_Section):
    """How messages leave."""

    flush_seconds: _Pause = Field(1.0, description="Seconds that waiting messages get to leave at shutdown.")
    file_max_mb: Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=1000)] = Field(
        20.0,
        description="Megabytes (of 1,000,000 bytes) that a file from a person or from an agent has at most.",
    )
    keep_days: _Days = Field(
        30.0, description="Days that delivered messages and the logs of ended runs are kept."
    )

    @property
    def file_max(self) -> int:
        """Bytes that a file has at most."""
        return int(self.file_max_mb * 1_000_000)


class PairingSettings(_Section):
    """How strangers become known."""

    valid_minutes: Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=10_080)] = Field(
        15.0, description="Minutes that a pairing code can be used."
    )


def _beside_data(validated: dict[str, Any]) -> Path:
    return Path(validated.get("data_dir", ".")) / "agent-queue.db"


class Settings(_Section):
    """The whole configuration. Relative paths are of the configuration file's folder."""

    data_dir: Path = Field(Path("~/.agent-queue"), description="Folder of all that the daemon keeps.")
    database: Path = Field(
        default_factory=_beside_data,
        description="The SQLite database.",
        json_schema_extra={"default": "<data_dir>/agent-queue.db"},
    )
    log_level: Annotated[_Level, BeforeValidator(_lower)] = Field(
        "info", description="The least that is logged."
    )
    cycle_seconds: Annotated[float, BeforeValidator(_no_boolean), Field(ge=0.1, le=3600)] = Field(
        5.0, description="Seconds between two cycles when nothing calls for one earlier."
    )
    people: dict[Annotated[str, AfterValidator(_one_line)], PersonSettings] = Field(
        default_factory=dict, description="Who may do what. Nobody else has any right until paired."
    )
    scheduling: SchedulingSettings = Field(default_factory=SchedulingSettings)
    runs: RunSettings = Field(default_factory=RunSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    host: HostSettings = Field(default_factory=HostSettings)
    git: GitSettings = Field(default_factory=GitSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    pairing: PairingSettings = Field(default_factory=PairingSettings)
    secrets: dict[str, Annotated[SecretStr, AfterValidator(_long_enough)]] = Field(
        default_factory=dict,
        description=f"Texts of {SECRET_MIN} characters or more, blotted out of all that is shown or logged.",
    )
    profiles: dict[Annotated[str, AfterValidator(_one_line)], dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of agents by a name, for `agent add … profile:<name>`; docs/adapters/ tells the keys.",
    )
    frontends: dict[str, BaseModel] = Field(
        default_factory=dict,
        description="The chat platforms to connect to, each with its own keys.",
        json_schema_extra={"default": "terminal"},
    )

    @property
    def database_files(self) -> tuple[Path, ...]:
        """The database, and what SQLite keeps beside it."""
        return tuple(Path(f"{self.database}{end}") for end in ("", "-wal", "-shm"))

    @property
    def attachments(self) -> Path:
        """Where what people send is kept until agents have it."""
        return self.data_dir / "attachments"

    @field_validator("data_dir", "database")
    @classmethod
    def _absolute(cls, value: Path, info: ValidationInfo) -> Path:
        if not str(value).isprintable():
            raise ValueError("must be a path that can be shown")
        try:
            return Path(info.context or Path.cwd(), value.expanduser())
        except RuntimeError:
            raise ValueError("begins with ~, but that home folder is unknown; write the whole path") from None


def load(path: Path, *, env: Mapping[str, str], frontends: Mapping[str, type[BaseModel]]) -> Settings:
    """Read the settings in *path* and in the `.env` beside it; nothing is created.

    *env* is the process environment, which goes before `.env`. *frontends* maps the name of each known
    frontend to the model of its own section. Raises ConfigError with every fault of every section.
    """
    document = config_file.read(path, env)
    data = {key: value for key, value in document.data.items() if value is not None}
    sections = _sections(document, data.get("frontends"), frontends)
    settings = document.validated(Settings, {**data, "frontends": sections})
    _check_accounts(document, data.get("people"))
    document.check()
    if settings is None:
        raise AssertionError("settings are missing although no fault was found")
    return settings


def _sections(document: Document, given: Any, known: Mapping[str, type[BaseModel]]) -> dict[str, BaseModel]:
    """The frontends' sections; the terminal's alone where none is given."""
    if given is None:
        given = {"terminal": {}} if "terminal" in known else {}
    if not isinstance(given, dict):
        document.fault(("frontends",), "must be a mapping (`name:` lines)")
        return {}
    sections = {}
    for name, section in given.items():
        at = ("frontends", name)
        if name not in known:
            document.fault(at, f"unknown frontend; {suggestion(name, known)}")
        elif made := document.validated(known[name], {} if section is None else section, at):
            sections[name] = made
    return sections


def _check_accounts(document: Document, people: Any) -> None:
    """Keep a fault for every account that two people have. Looks at data that may be wrong in other ways."""
    owners: dict[str, str] = {}
    for person, entry in people.items() if isinstance(people, dict) else ():
        accounts = entry.get("accounts") if isinstance(entry, dict) else None
        for place, account in enumerate(accounts if isinstance(accounts, list) else ()):
            owner = owners.setdefault(str(account), person)
            if owner != person:
                document.fault(
                    ("people", person, "accounts", place), f"{account} is {owner}'s account already"
                )


def describe(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """Every key of *model* with its type, default and meaning, for the documentation."""
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        key = prefix + name
        kind = field.annotation
        if get_origin(kind) is dict:
            key, kind = f"{key}.<name>", get_args(kind)[1]
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.model_fields:
            rows += describe(kind, f"{key}.")
        else:
            rows.append((key, _kind_shown(kind), _default_shown(field), field.description or ""))
    return rows


_KINDS: Mapping[Any, str] = {
    bool: "yes or no",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret text",
    BaseModel: "mapping",
    NoneType: "none",
}


def _kind_shown(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind_shown(args[0])
    if origin is Literal:
        return ", ".join(map(str, args[:-1])) + f" or {args[-1]}"
    if origin in (Union, UnionType):
        return " or ".join(_kind_shown(arg) for arg in args)
    if origin in (tuple, list):
        return f"list of {_kind_shown(args[0])}"
    return _KINDS.get(kind) or str(getattr(kind, "__name__", kind))


def _default_shown(field: FieldInfo) -> str:
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["default"])
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple | list | dict):
        return ", ".join(map(str, value)) or "empty"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "none" if value is None else str(value)
