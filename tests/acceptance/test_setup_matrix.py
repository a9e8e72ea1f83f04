"""`agent-queue setup matrix`, typed at a terminal, against a real homeserver."""

import stat
from pathlib import Path

from agent_queue.configuration import load_settings
from agent_queue.synapse import Homeserver
from bots.matrix.settings import MatrixSettings
from tests.acceptance.typist import at_keyboard
from tests.matrix.person import Person, arrive


async def test_a_person_is_walked_to_a_configuration_that_works(
    relaxed_homeserver: Homeserver, tmp_path: Path
) -> None:
    bot, ann = [await arrive(relaxed_homeserver, name) for name in ("bot", "ann")]
    async with (
        Person(relaxed_homeserver.url, ann) as person,
        at_keyboard(["setup", "matrix"], tmp_path) as typist,
    ):
        room = await person.create_room(encrypted=False)
        await typist.answer("whole user id", "bot")
        await typist.expect("must be a whole user id")
        await typist.answer("whole user id", bot.user_id)
        await typist.answer("homeserver's address", "http://127.0.0.1:1")
        await typist.expect("does not answer as a homeserver does")
        await typist.answer("homeserver's address", relaxed_homeserver.url)
        await typist.answer("password of", "wrong")
        await typist.answer("home room", room)
        await typist.expect("Check user and password")
        await typist.answer("other answers?", "")
        await typist.answer("password of", bot.password)
        await typist.answer("home room", room)
        await typist.expect("can log in")
        await typist.expect("the bot cannot join")
        await person.invite(room, bot.user_id)
        await typist.answer("Done?", "")
        await typist.expect("the bot has joined")
        await typist.answer("Your own user id", ann.user_id)
        await typist.expect("!aq status")
        assert await typist.ended() == 0
        assert bot.password not in typist.shown
    folder = tmp_path / ".agent-queue"
    settings = load_settings(folder / "config.yaml")
    section = settings.frontends["matrix"]
    assert isinstance(section, MatrixSettings)
    assert (section.user, section.home) == (bot.user_id, room)
    assert section.password is not None
    assert section.password.get_secret_value() == bot.password
    assert bot.password not in (folder / "config.yaml").read_text()
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    [admin] = settings.people.values()
    assert f"matrix:{ann.user_id}" in admin.accounts


async def test_nothing_is_written_where_the_person_gives_up(tmp_path: Path) -> None:
    async with at_keyboard(["setup", "matrix"], tmp_path) as typist:
        await typist.expect("whole user id")
        await typist.interrupt("Nothing was written")
        assert await typist.ended() == 1
    assert not (tmp_path / ".agent-queue").exists()
