"""Settings: what a configuration may say, and that every fault is told at once, each on its line."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from orchestrator.errors import UserError
from orchestrator.settings import ConfigError, Settings, describe, load

EXAMPLE = Path(__file__).parents[2] / "config" / "example.yaml"


class Room(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = 1
    tags: tuple[str, ...] = ()


class Terminal(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    home: str = "main"
    room: Room = Room()
    rooms: dict[str, Room] = Field(default_factory=dict)


class Slack(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr


FRONTENDS: Mapping[str, type[BaseModel]] = {"terminal": Terminal, "slack": Slack}

Write = Callable[..., Settings]


@pytest.fixture
def loaded(tmp_path: Path) -> Write:
    """Write a configuration and load it."""

    def write(text: str | bytes, **env: str) -> Settings:
        path = tmp_path / "config.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(path, env=env, frontends=FRONTENDS)

    return write


@pytest.fixture
def faults(loaded: Write, tmp_path: Path) -> Callable[..., list[str]]:
    """Write a configuration and return the faults, without the folder's name."""

    def write(text: str | bytes, **env: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, **env)
        lines = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
        assert len(lines) == len(caught.value.faults)
        return lines

    return write


Faults = Callable[..., list[str]]


def test_the_example_loads_and_says_the_defaults(tmp_path: Path) -> None:
    empty = tmp_path / "config.yaml"
    empty.touch()
    example_settings = load(EXAMPLE, env={}, frontends=FRONTENDS)
    assert example_settings == load(empty, env={}, frontends=FRONTENDS)


def test_an_empty_file_gives_the_defaults(loaded: Write) -> None:
    settings = loaded("# nothing\n")
    assert settings.cycle_seconds == 5.0
    assert settings.data_dir == Path("~/.agent-queue").expanduser()
    assert settings.database == settings.data_dir / "agent-queue.db"
    assert settings.frontends == {"terminal": Terminal()}
    assert settings.scheduling.token_budget is None
    assert settings.people == {}


def test_a_section_without_keys_is_a_section_of_defaults(loaded: Write) -> None:
    settings = loaded("runs:\npeople:\nfrontends:\n  terminal:\n")
    assert settings.runs.max_retries == 3
    assert settings.frontends == {"terminal": Terminal()}


def test_settings_cannot_be_changed(loaded: Write) -> None:
    settings = loaded("")
    with pytest.raises(ValueError, match="frozen"):
        settings.cycle_seconds = 1.0  # type: ignore[misc]


def test_paths_are_of_the_files_folder(loaded: Write, tmp_path: Path) -> None:
    settings = loaded("data_dir: data\n")
    assert settings.data_dir == tmp_path / "data"
    assert settings.database == tmp_path / "data" / "agent-queue.db"
    assert loaded("database: ~/x.db\n").database == Path("~/x.db").expanduser()
    assert loaded("data_dir: /var/aq\n").data_dir == Path("/var/aq")


def test_loading_creates_nothing(loaded: Write, tmp_path: Path) -> None:
    loaded("data_dir: data\n")
    with pytest.raises(ConfigError):
        load(tmp_path / "other" / "config.yaml", env={}, frontends=FRONTENDS)
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_variables_come_from_the_environment_before_dotenv(loaded: Write, tmp_path: Path) -> None:
    dotenv = "# ours\n\nexport SECOND=' two '\nFIRST=file\nTHIRD = a=b # c\n"
    (tmp_path / ".env").write_text(dotenv)
    text = 'secrets: {a: "${FIRST}-long", b: "12345${SECOND}", c: "${THIRD}"}'
    secrets = loaded(text, FIRST="process").secrets
    assert {name: secret.get_secret_value() for name, secret in secrets.items()} == {
        "a": "process-long",
        "b": "12345 two ",
        "c": "a=b # c",
    }


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("$${A}", "${A}"),
        ("$A $", "$A $"),
        ("${A}${A}", "${B}${B}"),
        ("${NO:-x y}", "x y"),
        ("${EMPTY:-x}", "x"),
        ("x${EMPTY}y", "xy"),
        ("${NO:-}z", "z"),
        ("$$$${A}", "$${A}"),
        ("$$${A}", "$${B}"),
    ],
)
def test_what_a_dollar_means(loaded: Write, text: str, meant: str) -> None:
    settings = loaded(f'git: {{author_name: "{text}"}}', A="${B}", EMPTY="")
    assert settings.git.author_name == meant.strip()


def test_a_variable_can_hold_a_number(loaded: Write) -> None:
    assert loaded("runs:\n  timeout: ${SECONDS}\n", SECONDS="90").runs.timeout == 90.0


def test_a_frontends_section_is_its_own_model(loaded: Write) -> None:
    settings = loaded("frontends:\n  slack:\n    token: ${TOKEN}\n", TOKEN="xoxb")
    slack = settings.frontends["slack"]
    assert isinstance(slack, Slack)
    assert slack.token.get_secret_value() == "xoxb"
    assert list(settings.frontends) == ["slack"]


def test_every_fault_of_every_section_comes_at_once(faults: Faults, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OK=1\nnonsense\n")
    text = """\
cycle_secs: 5
log_level: loud
data_dir: ${NOPE}
runs:
  timeout: 0
  max_retrys: 3
  max_retries: many
  timeout: 5
people:
  alice: {role: king, accounts: ["terminal:alice", oops]}
  bob: {accounts: ["terminal:alice"]}
secrets: {short: abc, number: 12345678}
frontends:
  terminal:
    hom: x
    room: {prt: 5}
    rooms: {den: {port: x}}
  slack: {}
  discrod: {}
git: [1]
"""
    assert faults(text) == [
        "config.yaml:1: cycle_secs: unknown key; did you mean cycle_seconds?",
        "config.yaml:2: log_level: must be 'debug', 'info', 'warning' or 'error'",
        "config.yaml:3: data_dir: ${NOPE} is not set; set it in the environment or .env, or write "
        "${NOPE:-default}",
        "config.yaml:5: runs.timeout: must be greater than 0",
        "config.yaml:6: runs.max_retrys: unknown key; did you mean max_retries?",
        "config.yaml:7: runs.max_retries: must be a valid integer, unable to parse string as an integer",
        "config.yaml:8: runs.timeout: is there twice; first in line 5",
        "config.yaml:10: people.alice.role: must be 'viewer', 'operator' or 'admin'",
        "config.yaml:10: people.alice.accounts.1: must name a frontend and an account there, as in "
        "terminal:alice",
        "config.yaml:11: people.bob.role: is missing",
        "config.yaml:11: people.bob.accounts.0: terminal:alice is alice's account already",
        "config.yaml:12: secrets.short: is shorter than 6 characters, too short to be kept out of what is "
        "shown",
        "config.yaml:12: secrets.number: must be text; quote it if it is",
        "config.yaml:15: frontends.terminal.hom: unknown key; did you mean home?",
        "config.yaml:16: frontends.terminal.room.prt: unknown key; did you mean port?",
        "config.yaml:17: frontends.terminal.rooms.den.port: must be a valid integer, unable to parse string "
        "as an integer",
        "config.yaml:18: frontends.slack.token: is missing",
        "config.yaml:19: frontends.discrod: unknown frontend; known are terminal, slack",
        "config.yaml:20: git: must be a mapping (`key: value` lines)",
        ".env:2: must read NAME=value",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1\nb: 2", "2: bad YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"),
        ("runs:\n\ttimeout: 1", "2: bad YAML: while scanning for the next token, found character '\\t'"),
        ("- 1", "1: the file must hold `key: value` lines"),
        ("hello", "1: the file must hold `key: value` lines"),
        ("a: 1\n---\nb: 2", "2: bad YAML: expected a single document"),
        ("x: &a [1]\ny: *a", "1: bad YAML: anchors"),
        ("x: !!python/object/apply:os.system [ls]", "1: bad YAML: anchors"),
        ("[" * 5000, "1: bad YAML: more than 30 levels"),
        (b"a: 1\nb: \xff", "2: is not UTF-8 text"),
        ("a: 1\nb: \x07", "2: bad YAML: the character U+0007 may not stand here"),
        ('a: "\\UFFFFFFFF"', "1: bad YAML: an escape names no character"),
        ("? [a]\n: 1", "1: a key must be a single word"),
        ("runs: {timeout: 0b_}", "1: runs.timeout: is not a number"),
        ("runs: {timeout: .inf}", "1: runs.timeout: must be a finite number"),
        ("cycle_seconds: yes", "1: cycle_seconds: must be a number, not yes or no"),
        ("cycle_seconds: 1e300", "1: cycle_seconds: must be less than or equal to 3600"),
        ("data_dir: ~no-such-user-here/x", "1: data_dir: begins with ~, but that home folder is unknown"),
        ('data_dir: "a\\0b"', "1: data_dir: must be a path that can be shown"),
        ("data_dir: ${", "1: data_dir: `${` must read ${NAME} or ${NAME:-default}; write $$ for a dollar"),
        ("runs: {pass_env: [A=B]}", "1: runs.pass_env.0: must be the name of an environment variable"),
        ('git: {author_name: "a\\nb"}', "1: git.author_name: must be one line of text"),
        ("frontends: [terminal]", "1: frontends: must be a mapping"),
        ("people: alice", "1: people: must be a mapping"),
        ('"a\\nb": 1', "1: a b: unknown key; known are data_dir"),
    ],
)
def test_bad_input_is_told_in_one_line(faults: Faults, text: str | bytes, fault: str) -> None:
    (only,) = faults(text)
    assert only.startswith(f"config.yaml:{fault}")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "no.yaml"
    for path, words in (
        (missing, "does not exist; write it, or name another file"),
        (tmp_path, "is not a file"),
        (Path(os.devnull), "is not a file"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(f'{path}: {words}')}$"):
            load(path, env={}, frontends=FRONTENDS)


def test_a_fifo_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is not a file"):
        load(tmp_path / "pipe", env={}, frontends=FRONTENDS)


def test_a_billion_laughs_do_not_hang(faults: Faults) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    (only,) = faults("\n".join(lines))
    assert only.startswith("config.yaml:1: bad YAML: anchors")


def test_a_fault_never_shows_a_value(faults: Faults) -> None:
    text = 'secrets: {a: ["${T}"]}\ngit: {author_name: "<${T}>"}\nruns: {timeout: "${T}", pass_env: ["${T}"]}'
    assert "hunter" not in "\n".join(faults(text, T="hunter2-hunter2"))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@example(b'"\\uD800": "\\uD800"')
@example(b"runs: {timeout: 0b, max_retries: 0x_, retry_backoff: 1:99:1.5}")
@example(b"secrets: {a: 2024-99-99, b: =, <<: x}")
@example(b"%YAML 9.9\n---\na: 1")
def test_any_bytes_load_or_are_refused_by_config_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(raw)
    told: tuple[bytes, ...] = ()
    try:
        load(path, env={}, frontends=FRONTENDS)
    except ConfigError as error:
        told = tuple(str(error).encode().splitlines()) or (b"",)
    assert all(line.startswith(str(path).encode()) for line in told)


def test_describe_tells_every_key_with_type_default_and_meaning() -> None:
    rows = {key: (kind, default, meaning) for key, kind, default, meaning in describe(Settings)}
    assert rows["data_dir"][:2] == ("path", "~/.agent-queue")
    assert rows["database"][:2] == ("path", "<data_dir>/agent-queue.db")
    assert rows["runs.timeout"][:2] == ("number", "3600")
    assert rows["runs.pass_env"][:2] == ("list of text", "empty")
    assert rows["scheduling.token_budget"][:2] == ("whole number or none", "none")
    assert rows["people.<name>.role"][:2] == ("viewer, operator or admin", "required")
    assert rows["secrets.<name>"][0] == "secret text"
    assert rows["frontends.<name>"][:2] == ("mapping", "terminal")
    assert all(meaning for _, _, meaning in rows.values())
    assert describe(Room, "room.")[0] == ("room.port", "whole number", "1", "")
