"""The bot's device on the homeserver: logged in once, kept in a file, with its key store beside.

A device whose keys are lost cannot be used again: others hold to the keys that it first showed. Then, and when its
token was revoked, the next login makes a new device.
"""

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from nio import AsyncClient, AsyncClientConfig, WhoamiResponse
from nio.crypto import ENCRYPTION_ENABLED
from nio.store import SqliteStore
from peewee import DatabaseError, OperationalError
from vodozemac import LibolmPickleException, PickleException

from bots.matrix.faults import UNKNOWN_TOKEN, failure
from bots.matrix.settings import MatrixSettings
from orchestrator.transport import Later, Unknown, Unusable

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT = 30.0
"""Seconds that the homeserver gets to answer a request."""
_BUSY = 5.0
"""Seconds until a key store is opened again that could not be opened just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login: whom it is of, on which device, and what its key store is locked with."""

    homeserver: str
    user_id: str
    device_id: str
    access_token: str
    pickle_key: str
    since: float
    """When it was made, in Unix seconds: transaction ids are honoured within one device alone."""


class SessionFile:
    """Where the session is kept, readable by us alone, and its key store beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "session.json"
        self._homes = folder / "homes.json"

    def load(self, settings: MatrixSettings) -> Session | None:
        """The session of this account, or None."""
        try:
            session = Session(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            log.warning("matrix.session_unreadable", path=str(self._path))
            return None
        return (
            session if (session.homeserver, session.user_id) == (settings.homeserver, settings.user) else None
        )

    def save(self, session: Session) -> None:
        """Keep *session*."""
        self._write(self._path, asdict(session))

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        """Write a file, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)

    def forget(self) -> None:
        """Do not use the session again; its file is kept aside."""
        if self._path.exists():
            self._path.replace(self._path.with_suffix(".ended.json"))

    def homes(self) -> dict[str, str]:
        """The rooms that the configured aliases stood for when they were first used, by alias."""
        try:
            return dict(json.loads(self._homes.read_text()))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as fault:
            raise Unusable(
                f"{self._homes} cannot be read ({fault}); see what is in it, or remove it"
            ) from fault

    def keep_home(self, alias: str, room: str) -> dict[str, str]:
        """Keep what an alias stands for; returns what all of them do."""
        homes = self.homes() | {alias: room}
        self._write(self._homes, homes)
        return homes

    def keys(self, session: Session) -> Path:
        """The key store of a session's device."""
        return self._folder / f"{session.device_id}.db"

    def reopened(self, session: Session) -> AsyncClient | None:
        """A client of a session that we have had before; None where its key store is gone or damaged. Later where it
        is busy, or the disk is full: its keys are as good as before then."""
        if not self.keys(session).exists():
            return None
        try:
            return self.client(session)
        except OperationalError as fault:
            raise Later(_BUSY, f"the key store {self.keys(session)} cannot be opened: {fault}") from fault
        except (DatabaseError, PickleException, LibolmPickleException) as fault:
            log.error("matrix.keys_damaged", path=str(self.keys(session)), error=str(fault))
            return None

    def client(self, session: Session) -> AsyncClient:
        """A client of *session* with its keys."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        client = _client(
            self._folder, session.homeserver, session.user_id, f"{session.device_id}.db", session.pickle_key
        )
        client.restore_login(session.user_id, session.device_id, session.access_token)
        self.keys(session).chmod(0o600)
        return client


def _client(folder: Path, homeserver: str, user: str, store_name: str, pickle_key: str) -> AsyncClient:
    """A client that retries nothing by itself: a retry of its own would leave the order of a thread."""
    config = AsyncClientConfig(
        store=SqliteStore,
        store_name=store_name,
        pickle_key=pickle_key,
        encryption_enabled=ENCRYPTION_ENABLED,
        max_limit_exceeded=0,
        max_timeouts=0,
        request_timeout=REQUEST_TIMEOUT,
    )
    return AsyncClient(homeserver, user, store_path=str(folder), config=config)


def bare(homeserver: str, user: str) -> AsyncClient:
    """A client without keys, for what comes before there is a session, and after it."""
    config = AsyncClientConfig(
        store=None,
        encryption_enabled=False,
        max_limit_exceeded=0,
        max_timeouts=0,
        request_timeout=REQUEST_TIMEOUT,
    )
    return AsyncClient(homeserver, user, config=config)


async def open_client(settings: MatrixSettings, kept: SessionFile) -> tuple[AsyncClient, Session]:
    """A client that is logged in and whose token holds. Unusable where only a person can mend it."""
    session = kept.load(settings)
    client = kept.reopened(session) if session is not None else None
    if session is not None and client is None:
        log.warning("matrix.keys_lost", device=session.device_id)
        await _retire(settings, session, kept)
    if session is None or client is None:
        session = await _new_session(settings, kept)
        client = kept.client(session)
        kept.save(session)  # from now on, a session without a key store has lost it
    try:
        await _check(client, session, kept)
    except BaseException:
        await client.close()
        raise
    return client, session


async def _check(client: AsyncClient, session: Session, kept: SessionFile) -> None:
    """See whether the session's token holds."""
    answer = await client.whoami()
    if isinstance(answer, WhoamiResponse):
        if answer.user_id != session.user_id:
            raise Unusable(f"the access token is {answer.user_id}'s, not {session.user_id}'s")
        return
    if answer.status_code == UNKNOWN_TOKEN:
        kept.forget()
        raise Unusable(revoked(session.user_id))
    raise failure(answer)


def revoked(user: str) -> str:
    """What is said of a token that the homeserver does not take any more."""
    return (
        f"the homeserver has ended the session of {user} (its access token was revoked). "
        "Restart to log in again with the password, or configure a new access_token"
    )


async def _new_session(settings: MatrixSettings, kept: SessionFile) -> Session:
    """Log in with the token or the password; a new device, and a new key store."""
    client = bare(settings.homeserver, settings.user)
    try:
        if settings.access_token is not None:
            device, token = await _by_token(client, settings), settings.access_token.get_secret_value()
        else:
            device, token = await by_password(client, settings)
    finally:
        await client.close()
    session = Session(
        homeserver=settings.homeserver,
        user_id=settings.user,
        device_id=device,
        access_token=token,
        pickle_key=secrets.token_urlsafe(32),
        since=time.time(),
    )
    if settings.access_token is not None and kept.keys(session).exists():
        kept.keys(session).unlink()  # locked with a key that is not known any more
    log.info("matrix.logged_in", user=settings.user, device=device)
    return session


async def by_password(client: AsyncClient, settings: MatrixSettings) -> tuple[str, str]:
    """Log in with the password; returns the new device and its token."""
    if settings.password is None:
        raise Unusable("there is neither a session nor a password nor a token to log in with")
    request = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": settings.user},
        "password": settings.password.get_secret_value(),
        "initial_device_display_name": settings.device_name,
    }
    reply = await client.send("POST", "/_matrix/client/v3/login", json.dumps(request))
    answer = await client.parse_body(reply)
    if reply.status == 200:
        return str(answer["device_id"]), str(answer["access_token"])
    words = f"{answer.get('errcode', reply.status)}: {answer.get('error', 'no reason given')}"
    if reply.status == 429:
        raise Later(float(answer.get("retry_after_ms", 5000)) / 1000, words)
    if reply.status in (400, 401, 403) and "errcode" in answer:
        raise Unusable(f"the homeserver does not let {settings.user} in: {words}. Check user and password")
    raise Unknown(words)


async def _by_token(client: AsyncClient, settings: MatrixSettings) -> str:
    client.access_token = settings.access_token.get_secret_value() if settings.access_token else ""
    answer = await client.whoami()
    if isinstance(answer, WhoamiResponse):
        if answer.device_id is None or answer.user_id != settings.user:
            raise Unusable(
                f"the access_token is {answer.user_id}'s, device {answer.device_id}; {settings.user} is configured"
            )
        return str(answer.device_id)
    if answer.status_code == UNKNOWN_TOKEN:
        raise Unusable(
            f"the homeserver does not know the configured access_token of {settings.user}; make a new one"
        )
    raise failure(answer)


async def _retire(settings: MatrixSettings, session: Session, kept: SessionFile) -> None:
    """End the login of a device that is of no use without its keys, so that it does not linger among the sessions."""
    if settings.password is None:
        raise Unusable(
            f"the key store of device {session.device_id} is gone, and without it others cannot read what is encrypted "
            f"by it. Make a new device: configure another access_token, or a password"
        )
    client = bare(session.homeserver, session.user_id)
    try:
        client.access_token = session.access_token
        await client.logout()
    finally:
        await client.close()
    kept.forget()
