"""A Matrix homeserver of one's own: Synapse as a process on loopback, for the demo and for tests.

Synapse lives in an environment of its own (`make synapse`), so that neither its pins nor its licence touch ours.
The server talks to nobody but its clients. It ends with the process that started it, even when that is killed.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal as signals
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import yaml

from orchestrator.errors import UserError

Json = dict[str, Any]

VARIABLE = "AGENT_QUEUE_SYNAPSE"
"""Names the Python that can import synapse."""
SERVER_NAME = "localhost"

_FOLDER = ".synapse"
_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.02
_CALL_SECONDS = 30.0
_PORTS = range(20_000, 32_000)  # below those that the kernel gives to outgoing connections

_NO_LIMIT = {"per_second": 10_000, "burst_count": 10_000}
_RELAXED = {
    "rc_message": _NO_LIMIT,
    "rc_registration": _NO_LIMIT,
    "rc_joins": {"local": _NO_LIMIT, "remote": _NO_LIMIT},
    "rc_joins_per_room": _NO_LIMIT,
    "rc_login": {"address": _NO_LIMIT, "account": _NO_LIMIT, "failed_attempts": _NO_LIMIT},
    "rc_invites": {"per_room": _NO_LIMIT, "per_user": _NO_LIMIT, "per_issuer": _NO_LIMIT},
    "rc_room_creation": _NO_LIMIT,
    "rc_media_create": _NO_LIMIT,
}

# Runs the homeserver, and ends it when the pipe on its standard input is closed: whoever holds the other end is gone.
_PROGRAM = """
import os, runpy, signal, sys, threading

def watch():
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=watch, daemon=True).start()
runpy.run_module("synapse.app.homeserver", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Account:
    """Somebody's account on a homeserver, logged in on one device."""

    user_id: str
    access_token: str = field(repr=False)
    device_id: str
    password: str = field(repr=False)


def python() -> Path | None:
    """The Python that runs Synapse: what AGENT_QUEUE_SYNAPSE names, else what `make synapse` made, else none."""
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise UserError(f"{VARIABLE} names {named}, which is no program; name a Python that has synapse")
        return Path(named)
    for root in (Path(__file__).parents[1], Path.cwd()):
        if (root / _FOLDER / ".ready").exists():
            return root / _FOLDER / "bin" / "python"
    return None


def free_port() -> int:
    """A port on loopback that nobody has, and that no outgoing connection is given meanwhile."""
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if not _taken(port):
            return port
    raise UserError(f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")


class Homeserver:
    """Synapse in *folder*: what it knows stays there over restarts, and so does its port.

    *relaxed* lifts all limits of rate and hashes passwords quickly; otherwise Synapse's own defaults hold.
    """

    def __init__(self, folder: Path, *, relaxed: bool, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.relaxed = relaxed
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._kept()
        self.port = port or kept.port or free_port()
        self._secrets = kept._replace(port=self.port)
        _write(self.folder / "secrets.json", json.dumps(self._secrets._asdict()))

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it writes about itself."""
        return self.folder / "homeserver.log"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    async def start(self) -> None:
        """Start it and wait until it answers."""
        try:
            end = self._launch()
            while True:
                if await asyncio.to_thread(self._answers, end):
                    return
                await asyncio.sleep(_POLL_SECONDS)
        except BaseException:
            self.halt()
            raise

    async def stop(self, signal: int = signals.SIGTERM) -> None:
        """End it by *signal* and wait until it is gone; one that does not go is killed."""
        await asyncio.to_thread(self.halt, signal)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run it, and end it on every way out."""
        try:
            await self.start()
            yield self
        finally:
            self.halt()  # not in a thread: this is done even when we are being cancelled

    def boot(self) -> None:
        """Start it and wait until it answers; blocks, needs no event loop."""
        try:
            end = self._launch()
            while not self._answers(end):
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.halt()
            raise

    def halt(self, signal: int = signals.SIGTERM) -> None:
        """End it by *signal* and wait until it is gone; blocks, needs no event loop."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal)  # nothing happens to one that has ended
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()

    async def register(self, name: str, password: str, admin: bool = False) -> Account:
        """Make an account, and log it in on a device of its own."""
        path = "/_synapse/admin/v1/register"
        nonce = (await self._call("GET", path))["nonce"]
        parts = [nonce, name, password, "admin" if admin else "notadmin"]
        proof = hmac.new(self._secrets.registration.encode(), "\0".join(parts).encode(), hashlib.sha1)
        asked = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": admin,
            "mac": proof.hexdigest(),
        }
        made = await self._call("POST", path, asked)
        return Account(made["user_id"], made["access_token"], made["device_id"], password)

    async def lift_limits(self, user_id: str, admin: Account) -> None:
        """Let *user_id* say as much as it likes, on the word of *admin*."""
        path = f"/_synapse/admin/v1/users/{quote(user_id)}/override_ratelimit"
        await self._call("POST", path, {"messages_per_second": 0, "burst_count": 0}, admin.access_token)

    def log_end(self, lines: int = 15) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _kept(self) -> "_Secrets":
        """What an earlier start has chosen, or new ones."""
        try:
            return _Secrets(**json.loads((self.folder / "secrets.json").read_text()))
        except FileNotFoundError:
            key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
            words = (secrets.token_urlsafe(32) for _ in range(3))
            return _Secrets(0, f"ed25519 a_{secrets.token_hex(2)} {key}", *words)

    def _write_config(self) -> None:
        """Write all that Synapse reads."""
        _write(self.folder / "signing.key", self._secrets.signing_key + "\n")
        _write(self.folder / "log.yaml", yaml.safe_dump(_LOGGING))
        _write(self.folder / "homeserver.yaml", yaml.safe_dump(self._config(), sort_keys=False))

    def _config(self) -> Json:
        """Synapse's configuration: loopback, SQLite, and nobody else to talk to."""
        listener = {
            "port": self.port,
            "type": "http",
            "tls": False,
            "bind_addresses": ["127.0.0.1"],
            "resources": [{"names": ["client"], "compress": False}],
        }
        config = {
            "server_name": SERVER_NAME,
            "public_baseurl": self.url + "/",
            "listeners": [listener],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}},
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "registration_shared_secret": self._secrets.registration,
            "macaroon_secret_key": self._secrets.macaroon,
            "form_secret": self._secrets.form,
            "enable_registration": False,
            "report_stats": False,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "suppress_key_server_warning": True,
            "bcrypt_rounds": 4,  # nobody guesses at a server on loopback; at 12 each account takes a quarter second
        }
        return config | _RELAXED if self.relaxed else config

    def _launch(self) -> float:
        """Start the process, where none runs; returns by when it must answer."""
        end = time.monotonic() + _START_SECONDS
        if self.pid is not None:
            return end
        program = python()
        if program is None:
            raise UserError(f"Synapse is not installed: make synapse, or set {VARIABLE}")
        if _taken(self.port):
            raise UserError(
                f"port {self.port} of 127.0.0.1 is taken; end what listens there, or name another"
            )
        self._write_config()
        number = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as sink:
            self._process = subprocess.Popen(
                [str(program), "-c", _PROGRAM, "-c", str(self.folder / "homeserver.yaml")],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                cwd=self.folder,
                umask=0o077,
                start_new_session=True,
            )
        return end

    def _answers(self, end: float) -> bool:
        """Whether it answers by now; raises where it never will."""
        if self.pid is None:
            raise UserError(f"Synapse ended at once; {self.log} ends with:\n{self.log_end()}")
        try:
            if _ask(self.port, "GET", "/_matrix/client/versions")[0] == http.HTTPStatus.OK:
                return True
        except OSError:
            pass
        if time.monotonic() > end:
            waited = f"Synapse did not answer in {_START_SECONDS:g} s"
            raise UserError(f"{waited}; {self.log} ends with:\n{self.log_end()}")
        return False

    async def _call(self, method: str, path: str, body: Json | None = None, token: str | None = None) -> Json:
        status, answer = await asyncio.to_thread(_ask, self.port, method, path, body, token)
        if status != http.HTTPStatus.OK:
            raise UserError(f"Synapse refused {method} {path}: {status} {answer.decode(errors='replace')}")
        found: Json = json.loads(answer)
        return found


class _Secrets(NamedTuple):
    """What is chosen once for a folder."""

    port: int
    signing_key: str
    registration: str
    macaroon: str
    form: str


_LOGGING = {
    "version": 1,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stream": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "WARNING", "handlers": ["stream"]},
    "disable_existing_loggers": False,
}


def _write(path: Path, text: str) -> None:
    """Write a file that only we can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _ask(
    port: int, method: str, path: str, body: Json | None = None, token: str | None = None
) -> tuple[int, bytes]:
    """One request to a server on loopback: its status and what it answered."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_CALL_SECONDS)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"no answer on port {port}: {error!r}") from error
    finally:
        connection.close()
