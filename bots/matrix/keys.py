"""The device's keys: given out, asked for, claimed after each answer; and whose devices are believed."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from nio import (
    AsyncClient,
    ErrorResponse,
    KeysClaimResponse,
    KeysQueryResponse,
    KeysUploadError,
    UnknownBadEvent,
)
from nio.exceptions import EncryptionError

from orchestrator.transport import Finding, Unusable

log = structlog.get_logger(__name__)


def _tried(what: str, sender: str, act: Callable[..., Any], *given: Any) -> Any:
    """What *act* makes of a stranger's JSON; None where that makes it raise, for it would come again and again."""
    try:
        return act(*given)
    except Exception as fault:  # noqa: BLE001
        log.warning(what, sender=sender, error=f"{type(fault).__name__}: {fault}")
        return None


def _harden_events(olm: Any) -> None:
    """Let nothing that is sealed raise out of the library, or be more than a message.

    No server has judged whether whoever has sealed it may change the room, or take a message back.
    """
    handle, decrypt = olm.handle_to_device_event, olm.decrypt_megolm_event

    def handled(event: Any) -> Any:
        return _tried("matrix.to_device_malformed", str(getattr(event, "sender", "")), handle, event)

    def decrypted(event: Any, room_id: str | None = None) -> Any:
        try:
            found = decrypt(event, room_id)
        except EncryptionError:
            raise
        except Exception as fault:  # noqa: BLE001 - as above
            log.warning("matrix.malformed", sender=event.sender, error=f"{type(fault).__name__}: {fault}")
            return UnknownBadEvent({})
        unfit = "state_key" in found.source or found.source.get("type") == "m.room.redaction"
        return UnknownBadEvent({}) if unfit else found

    olm.handle_to_device_event, olm.decrypt_megolm_event = handled, decrypted


def _in_order(kind: Any, part: str, user: str, devices: Any) -> dict[str, Any]:
    """Those of a user's devices for whose sake the library does not take the whole answer for an error."""
    return {
        device: keys
        for device, keys in (devices.items() if isinstance(devices, dict) else ())
        if isinstance(kind.from_dict({part: {user: {device: keys}}}), kind)
    }


def _harden_keys(client: AsyncClient) -> None:
    """Pass over a device whose keys are odd, so that it keeps nobody else from giving and getting keys."""
    olm, parse = client.olm, client.parse_body
    query, claim, verify = olm._handle_key_query, olm._handle_key_claiming, olm.verify_json

    async def parsed(reply: Any) -> Any:
        body = await parse(reply)
        for part, kind in (("device_keys", KeysQueryResponse), ("one_time_keys", KeysClaimResponse)):
            if isinstance(body, dict) and part in body and not isinstance(kind.from_dict(body), kind):
                users = body[part].items() if isinstance(body[part], dict) else ()
                body[part] = {user: _in_order(kind, part, user, devices) for user, devices in users}
        return body

    def queried(response: Any) -> None:
        for user, devices in response.device_keys.items():
            one = KeysQueryResponse({user: devices}, {})
            _tried("matrix.keys_malformed", user, query, one)
            response.changed.update(one.changed)

    def claimed(response: Any) -> None:
        for user, devices in response.one_time_keys.items():
            for device, key in devices.items():
                _tried("matrix.keys_malformed", user, claim, KeysClaimResponse({user: {device: key}}, {}))

    def verified(json: Any, user_key: str, user_id: str, device_id: str) -> bool:
        return bool(_tried("matrix.keys_malformed", user_id, verify, json, user_key, user_id, device_id))

    client.parse_body = parsed
    olm._handle_key_query, olm._handle_key_claiming, olm.verify_json = queried, claimed, verified


_STRANGE = "it comes from a device that the homeserver does not show me as yours; say it again"


def _is_senders(client: AsyncClient, event: Mapping[str, Any]) -> bool:
    """Whether an event was encrypted by a device that its sender is known to have."""
    sender, key = str(event.get("sender")), event.get("sender_key")
    return client.device_store.device_from_sender_key(sender, key) is not None


class Keys:
    """Keeps the keys of one client in order, by a policy of trust."""

    def __init__(self, trust: str, devices: Sequence[str]) -> None:
        self._listed = trust == "listed"
        self._devices = {tuple(words.split()) for words in devices}
        self._refused = 0

    def guard(self, client: AsyncClient) -> None:
        """Let nobody silence the client by what it is sent, nor get a key before their device is judged.

        The library also drops its token at an error that says so, and takes any error of a key's sharing for one
        (nio 0.26).
        """
        receive = client.receive_response

        async def received(response: Any) -> None:
            if not isinstance(response, ErrorResponse):
                await receive(response)
            if self._listed and isinstance(response, KeysQueryResponse):
                self._judge(client)

        client.receive_response = received
        if client.olm is not None:
            _harden_events(client.olm)
            _harden_keys(client)
            self._judge(client)

    async def keep(self, client: AsyncClient) -> None:
        """Do what the last answer asks for; what fails is done after the next one."""
        if client.olm is None:
            return
        errands: list[Any] = [client.send_to_device_messages()]
        if client.should_upload_keys:
            errands.append(self._upload(client))
        if client.should_query_keys:
            errands.append(client.keys_query())
        if client.should_claim_keys:
            errands.append(client.keys_claim(client.get_users_for_key_claiming()))
        for answer in await asyncio.gather(*errands, return_exceptions=True):
            if isinstance(answer, Unusable):
                raise answer
            if isinstance(answer, BaseException | ErrorResponse):
                log.warning("matrix.keys_failed", error=f"{type(answer).__name__}: {answer}")

    async def _upload(self, client: AsyncClient) -> None:
        """Give our keys out. A device that has shown other keys before is of no use any more."""
        answer = await client.keys_upload()
        if not isinstance(answer, KeysUploadError):
            self._refused = 0
            return
        log.warning("matrix.keys_not_uploaded", error=answer.message)
        self._refused += answer.status_code not in ("M_LIMIT_EXCEEDED", None)
        if self._refused > 2:
            raise Unusable(
                f"the homeserver refuses the keys of device {client.device_id} ({answer.message}): its key store was "
                "lost. Configure the token of another device, or a password"
            )

    def _judge(self, client: AsyncClient) -> None:
        """Believe the devices that are listed, and no other, where that is the policy; else give all of them keys."""
        for user in list(client.device_store.users):
            for device in client.device_store.active_user_devices(user):
                if self._listed and (device.user_id, device.id, device.ed25519) in self._devices:
                    client.verify_device(device)
                elif client.olm.is_device_blacklisted(device) != self._listed:
                    (client.blacklist_device if self._listed else client.unblacklist_device)(device)

    def distrust(self, client: AsyncClient, event: Mapping[str, Any], *, encrypted: bool) -> str:
        """Why the device that an event comes from is not believed, or nothing."""
        if not encrypted or event.get("verified"):
            return ""
        if not self._listed:
            return "" if not event.get("decrypted") or _is_senders(client, event) else _STRANGE
        if event.get("type") == "m.reaction":
            return "reactions are not encrypted, so anybody could have sent it; type the command instead"
        return (
            "your device is not among those that I was told to believe; an operator can add it to `devices`"
        )

    def findings(self, client: AsyncClient) -> list[Finding]:
        """How encryption stands."""
        if client.olm is None:
            return [
                Finding(good=False, text="encryption is not installed: pip install 'agent-queue[matrix]'")
            ]
        whom = (
            "believes each device as it was first seen"
            if not self._listed
            else (f"believes the {len(self._devices)} listed devices alone")
        )
        own = client.olm.account.identity_keys["ed25519"]
        uploaded = client.olm.account.shared
        words = f"encryption: device {client.device_id}, key {own}, {whom}"
        return [Finding(good=uploaded, text=words if uploaded else f"{words}; its keys are not uploaded yet")]
