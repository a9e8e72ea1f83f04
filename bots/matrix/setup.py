"""`agent-queue setup matrix`: a homeserver, the bot's account and the home room, each tried out."""

import json
from collections.abc import Mapping
from typing import Any

from nio import AsyncClient, JoinedRoomsResponse, JoinResponse, RoomResolveAliasResponse

from bots.asking import Found, Person
from bots.matrix.faults import NETWORK
from bots.matrix.session import bare, by_password
from bots.matrix.settings import MatrixSettings, homeserver_address, room_name, user_id
from orchestrator.transport import Later, Unknown, Unusable

PASSWORD = "MATRIX_PASSWORD"  # noqa: S105 - the variable's name


async def walk(person: Person) -> Found:
    """Ask for the account and the home room; the password is tried by a login that is ended again."""
    person.say(
        "agent-queue speaks on Matrix as an account of its own, the bot. Make one first, as for a person: "
        "docs/matrix.md says how. Then make a room with your own client, and invite the bot there."
    )
    user = person.ask("The bot's whole user id, as in @agent-queue:example.org", check=user_id)
    homeserver = await _homeserver(person, user)
    while True:
        password = person.secret(f"The password of {user}")
        home = person.ask("The home room, by alias (#agents:example.org) or id (!…)", check=room_name)
        section = {"homeserver": homeserver, "user": user, "home": home}
        settings = MatrixSettings.model_validate({**section, "password": password})
        if await _tried(person, settings) or not person.again("Try again with other answers?"):
            break
    me = person.ask("Your own user id, so that the bot knows you (empty: pair later)", check=_optional_user)
    return Found(
        section={**section, "password": f"${{{PASSWORD}}}"},
        secrets={PASSWORD: password},
        account=f"matrix:{me}" if me else "",
        next=f"in {home}, `!aq status`",
    )


def _optional_user(words: str) -> str:
    return user_id(words) if words else ""


async def _homeserver(person: Person, user: str) -> str:
    """The homeserver's address: as the user's server tells it, or as the person does; one that answers."""
    told = await _well_known(user.partition(":")[2])
    while True:
        address = person.ask("The homeserver's address", default=told, check=homeserver_address)
        versions = await _get(address, "/_matrix/client/versions")
        if versions is not None and "versions" in versions:
            person.found(True, f"{address} is a homeserver")
            return address
        person.found(False, f"{address} does not answer as a homeserver does; check the address and the port")


async def _well_known(server: str) -> str:
    found = await _get(f"https://{server}", "/.well-known/matrix/client") or {}
    base = found.get("m.homeserver", {})
    told = base.get("base_url") if isinstance(base, Mapping) else None
    return str(told).rstrip("/") if told else f"https://{server}"


async def _get(address: str, path: str) -> dict[str, Any] | None:
    client = bare(address, "")
    try:
        reply = await client.send("GET", path)
        answer = json.loads(await reply.read())
    except (ValueError, *NETWORK):
        return None
    finally:
        await client.close()
    return answer if isinstance(answer, dict) else None


async def _tried(person: Person, settings: MatrixSettings) -> bool:
    """Whether the account can log in and is in the home room; what is not so is said."""
    client = bare(settings.homeserver, settings.user)
    try:
        _, client.access_token = await by_password(client, settings)
        person.found(True, f"{settings.user} can log in")
        return await _in_home(person, client, settings.home)
    except (Unusable, Later, Unknown, *NETWORK) as fault:
        person.found(False, str(fault) or type(fault).__name__)
        return False
    finally:
        if client.access_token:
            await client.logout()
        await client.close()


async def _in_home(person: Person, client: AsyncClient, home: str) -> bool:
    room = home
    if home.startswith("#"):
        resolved = await client.room_resolve_alias(home)
        if not isinstance(resolved, RoomResolveAliasResponse):
            person.found(False, f"there is no room {home}: {resolved.message}")
            return False
        room = str(resolved.room_id)
    joined = await client.joined_rooms()
    if isinstance(joined, JoinedRoomsResponse) and room in joined.rooms:
        person.found(True, f"the bot is in {home}")
        return True
    while not isinstance(answer := await client.join(room), JoinResponse):
        person.found(False, f"the bot cannot join {home}: {answer.message}")
        if not person.again(f"Invite {client.user} there with your own client. Done?"):
            return False
    person.found(True, f"the bot has joined {home}")
    return True
