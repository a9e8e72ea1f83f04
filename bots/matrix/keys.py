"""The device's keys: given out, asked for, claimed after each answer; and whose devices are believed."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from nio import AsyncClient, ErrorResponse, KeysUploadError, UnknownBadEvent
from nio.exceptions import EncryptionError

from bots.matrix.faults import NETWORK
from orchestrator.transport import Finding, Unusable

log = structlog.get_logger(__name__)


def guard(client: AsyncClient) -> None:
    """Let nothing that is sealed raise out of the library, or be more than a message; let no error sign us out.

    What raises there comes again with each answer of the homeserver, so that anybody could silence us with it. And
    no server has judged whether whoever has sealed it may change the room, or take a message back. The library also
    drops its token at an error that says so, and takes any error of a key's sharing for one (nio 0.26).
    """
    receive = client.receive_response

    async def received(response: Any) -> None:
        if not isinstance(response, ErrorResponse):
            await receive(response)

    client.receive_response = received
    if client.olm is None:
        return
    handle, decrypt = client.olm.handle_to_device_event, client.olm.decrypt_megolm_event

    def handled(event: Any) -> Any:
        try:
            return handle(event)
        except Exception as fault:  # noqa: BLE001 - whatever a stranger's JSON makes the library raise
            log.warning(
                "matrix.to_device_malformed", sender=event.sender, error=f"{type(fault).__name__}: {fault}"
            )
            return None

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

    client.olm.handle_to_device_event = handled
    client.olm.decrypt_megolm_event = decrypted


class Keys:
    """Keeps the keys of one client in order, by a policy of trust."""

    def __init__(self, trust: str, devices: Sequence[str]) -> None:
        self._listed = trust == "listed"
        self._devices = {tuple(words.split()) for words in devices}
        self._refused = 0

    async def keep(self, client: AsyncClient) -> None:
        """Do what the last answer asks for; what fails is done after the next one."""
        if client.olm is None:
            return
        if client.should_upload_keys:
            await self._upload(client)
        errands: list[Any] = [client.send_to_device_messages()]
        if client.should_query_keys:
            errands.append(client.keys_query())
        if client.should_claim_keys:
            errands.append(client.keys_claim(client.get_users_for_key_claiming()))
        for answer in await asyncio.gather(*errands, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, NETWORK):
                raise answer
            if isinstance(answer, BaseException | ErrorResponse):
                log.warning("matrix.keys_failed", error=str(answer))
        self._judge(client)

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
        """Believe the devices that are listed, and no other, where that is the policy."""
        if not self._listed or client.olm is None:
            return
        for user in client.device_store.users:
            for device in client.device_store.active_user_devices(user):
                if (device.user_id, device.id, device.ed25519) in self._devices:
                    client.verify_device(device)
                elif not client.olm.is_device_blacklisted(device):
                    client.blacklist_device(device)

    def distrust(self, client: AsyncClient, event: Mapping[str, Any], *, encrypted: bool) -> str:
        """Why the device that an event comes from is not believed, or nothing."""
        if not self._listed or not encrypted or event.get("verified"):
            return ""
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
