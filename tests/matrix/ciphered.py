"""A person whose client encrypts: what Person does, with nio's keys where a room asks for it."""

from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from nio import AsyncClient, AsyncClientConfig, MegolmEvent, RoomSendResponse, SyncResponse
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment
from nio.exceptions import EncryptionError

from agent_queue.synapse import Account
from tests.matrix.person import Json, MatrixError, Person
from tests.matrix.timeline import Event, File


class CipheredPerson(Person):
    """A person whose keys are kept in *folder*; the same folder and account later are the same device."""

    def __init__(self, url: str, account: Account, folder: Path) -> None:
        super().__init__(url, account)
        self._folder = folder
        self._nio: AsyncClient | None = None

    @property
    def nio(self) -> AsyncClient:
        """What holds the keys."""
        if self._nio is None:
            raise RuntimeError(f"{self.user_id} is offline: enter the person first")
        return self._nio

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._folder.mkdir(parents=True, exist_ok=True)
        config = AsyncClientConfig(
            encryption_enabled=True, store_sync_tokens=False, max_limit_exceeded=0, max_timeouts=1
        )
        account = self.account
        self._nio = AsyncClient(
            self.url, account.user_id, account.device_id, store_path=str(self._folder), config=config
        )
        self._nio.restore_login(account.user_id, account.device_id, account.access_token)
        try:
            await self.sync()  # others can write to us from now on
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Go offline."""
        client, self._nio = self._nio, None
        if client is not None:
            await client.close()
            if client.store is not None:
                client.store.database.close()
        await super().close()

    async def send(self, room: str, kind: str, content: Json, tx: str | None = None) -> str:
        """Send an event, encrypted where the room is; reactions never are."""
        await self.sync()  # who is there now must be able to read it
        known = self.nio.rooms.get(room)
        if known is None or not known.encrypted:
            return await super().send(room, kind, content, tx)
        answer = await self.nio.room_send(
            room, kind, content, tx_id=tx or uuid4().hex, ignore_unverified_devices=True
        )
        if not isinstance(answer, RoomSendResponse):
            raise MatrixError(
                answer.transport_response.status if answer.transport_response is not None else 0,
                {
                    "errcode": answer.status_code,
                    "error": answer.message,
                    "retry_after_ms": answer.retry_after_ms,
                },
            )
        event: str = answer.event_id
        return event

    async def fetch(self, file: File) -> bytes:
        """The bytes of a message's file, decrypted."""
        data = await super().fetch(file)
        if file.keys is None:
            return data
        plain: bytes = decrypt_attachment(
            data, file.keys["key"]["k"], file.keys["hashes"]["sha256"], file.keys["iv"]
        )
        return plain

    async def _place_file(self, room: str, name: str, data: bytes, mimetype: str) -> Json:
        await self.sync()
        known = self.nio.rooms.get(room)
        if known is None or not known.encrypted:
            return await super()._place_file(room, name, data, mimetype)
        cipher, keys = encrypt_attachment(data)
        return {"file": {**keys, "url": await self.upload(cipher)}}

    async def _synced(self, answer: Json) -> None:
        """Take the keys that came, read what can be read now, and let nio say what it has to."""
        await self.nio.receive_response(SyncResponse.from_dict(answer))
        for room, events in self._events.items():
            events[:] = [self._decrypted(room, event) for event in events]
        if self.nio.should_upload_keys:
            await self.nio.keys_upload()
        if self.nio.should_query_keys:
            await self.nio.keys_query()
        if self.nio.should_claim_keys:
            await self.nio.keys_claim(self.nio.get_users_for_key_claiming())
        await self.nio.send_to_device_messages()

    def _decrypted(self, room: str, event: Event) -> Event:
        """The event in clear; as it is, if it was never encrypted or we lack the key."""
        if event["type"] != "m.room.encrypted" or "ciphertext" not in event["content"]:
            return event
        sealed: Any = MegolmEvent.from_dict(event | {"room_id": room})
        try:
            clear = self.nio.decrypt_event(sealed).source
        except EncryptionError:
            return event
        return {**event, "type": clear["type"], "content": clear["content"], "decrypted": True}
