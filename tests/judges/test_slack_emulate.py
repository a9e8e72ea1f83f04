"""emulate, a third party's Slack, judges what our Slack frontend sends: what Ann reads with her own eyes and token.

What it does not judge (0.12.2), so that nobody takes its silence for a verdict; all of it is in `tests/servers/slack`,
which is ours:
- tokens: it takes any; limits of rate: it has none
- sizes and shapes of blocks: 50 blocks, 3,000 characters of a section, 4,000 bytes of an edit, kinds that there are not
- `thread_ts` of no message, `latest_reply` of a thread's root, a thread's pages: replies come all at once
- Socket Mode, events, slash commands, buttons, views, a thread's status, streaming
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError

from orchestrator.errors import UserError
from orchestrator.transport import Action, Card, File, Later, Post, Refused, Target, Tone
from tests.judges import emulate
from tests.judges.slack_house import BOT, House, on_emulate, words

pytestmark = pytest.mark.judge

CARD = Post(
    text="What it does.",
    card=Card(title="Add a greeting", tone=Tone.WARN, fields=(("project", "greeter"), ("status", "READY"))),
    actions=(Action(label="Approve", line="task approve t", style=Tone.GOOD, id="yes"),),
)


@pytest.fixture
def programs() -> emulate.Installed:
    found = emulate.installed()
    if found is None:
        pytest.skip("the npm package emulate is not installed: make judges")
    return found


@pytest.fixture
async def house(programs: emulate.Installed, tmp_path: Path) -> AsyncIterator[House]:
    async with on_emulate(programs, tmp_path) as house:
        yield house


# -- signing in, channels


async def test_it_signs_in_as_the_app_of_its_token(house: House) -> None:
    found = house.frontend.findings()
    assert "signed in as agent-queue in the workspace Team" in [one.text for one in found]
    assert all(one.good for one in found)
    assert house.listener.complaints == []


async def test_channels_that_it_is_in_are_found_by_name(house: House) -> None:
    await house.room("elsewhere", invite=False)
    secret = await house.room("secret", private=True)
    await house.restart()
    assert house.frontend.channel("#agents") == house.frontend.channel(house.channel) == house.channel
    assert house.frontend.channel("secret") == secret
    with pytest.raises(UserError, match="no channel that I am in"):
        house.frontend.channel("#elsewhere")


async def test_a_channel_is_made_once_with_its_topic_and_its_person(house: House) -> None:
    made = await house.frontend.make_channel("Greeter API", "what it is", house.account)
    shown = (await house.ann.conversations_info(channel=made))["channel"]
    assert (shown["name"], shown["topic"]["value"], shown["is_member"]) == ("greeter-api", "what it is", True)
    assert await house.frontend.make_channel("Greeter API", "what it is", house.account) == made
    await house.restart()
    assert await house.frontend.make_channel("Greeter API", "what it is", house.account) == made
    long = await house.frontend.make_channel("long", "t" * 400, house.account)
    shown = (await house.ann.conversations_info(channel=long))["channel"]
    assert shown["topic"]["value"] == "t" * 250


async def test_a_channel_that_we_made_and_did_not_live_to_hear_of_is_taken(house: House) -> None:
    made = await house.frontend.make_channel("greeter", "", house.account)
    other = house.restarted()
    await other.start(house.listener)
    try:
        await house.frontend.make_channel("later", "", "")
        assert await other.make_channel("later", "", house.account)
        assert await other.make_channel("greeter", "", house.account) == made
    finally:
        await other.close()


async def test_a_channel_of_somebody_elses_is_not_taken(house: House) -> None:
    await house.room("theirs")
    with pytest.raises(UserError, match="not of my making"):
        await house.frontend.make_channel("theirs", "", house.account)
    with pytest.raises(UserError, match="user_not_found"):
        await house.frontend.make_channel("mine", "", "U0NOBODY")


# -- messages


async def test_a_card_arrives_as_it_was_rendered(house: House) -> None:
    [wire] = house.frontend.render(CARD)
    [made] = await house.say(CARD)
    [shown] = await house.shown()
    assert (shown["ts"], shown["text"], shown["blocks"]) == (made, wire["text"], wire["blocks"])
    title, *said = (one.strip() for one in words(shown["blocks"]))
    assert "Add a greeting" in title
    assert said == ["project:", "greeter", "status:", "READY", "What it does.", "Approve"]


async def test_a_thread_hangs_on_its_card(house: House) -> None:
    [wire] = house.frontend.render(CARD)
    root = await house.frontend.open_thread(house.channel, wire, "task", "the title")
    for number in range(3):
        await house.say(Post(text=f"step {number}"), key=f"step {number}", root=root)
    [card] = await house.shown()
    assert (card["ts"], card["reply_count"]) == (root, 3)
    assert [one["text"] for one in await house.shown(root)] == ["step 0", "step 1", "step 2"]


async def test_progress_is_shown_where_there_is_no_sign_for_it(house: House) -> None:
    [root] = await house.say(Post(text="root"))
    await house.say(Post(text="working", quiet=True), key="progress", root=root)
    assert [one["text"] for one in await house.shown(root)] == ["working"]


async def test_an_edit_replaces_words_and_buttons(house: House) -> None:
    [made] = await house.say(CARD)
    [wire] = house.frontend.render(Post(card=Card(title="Approved by ann", tone=Tone.GOOD)))
    await house.frontend.edit(house.here, made, wire, "edit")
    [shown] = await house.shown()
    assert (shown["text"], shown["blocks"]) == (wire["text"], wire["blocks"])
    assert "Approve" not in list(words(shown["blocks"]))
    assert shown["edited"]["user"] == BOT
    assert list(await house.frontend.find(house.here, "key-0", wire, 0.0)) == [made], "its key stays on it"


async def test_a_deletion_removes_and_may_be_repeated(house: House) -> None:
    [made] = await house.say(Post(text="hello"))
    for _ in range(2):
        await house.frontend.delete(house.here, made)
    assert await house.shown() == []


async def test_a_message_is_found_by_its_key_however_far_back(house: House) -> None:
    [first] = await house.say(Post(text="hello"))
    [root] = await house.say(Post(text="root"), key="root")
    [reply] = await house.say(Post(text="hello"), root=root, key="reply")
    for number in range(230):
        await house.ann.chat_postMessage(channel=house.channel, text=f"talk {number}")
    [again] = await house.say(Post(text="hello"))
    [wire] = house.frontend.render(Post(text="hello"))
    within = Target(channel=house.channel, root=root)
    assert list(await house.frontend.find(house.here, "key-0", wire, 0.0)) == [first, again]
    assert list(await house.frontend.find(within, "reply-0", wire, 0.0)) == [reply]
    assert list(await house.frontend.find(within, "key-0", wire, 0.0)) == []
    assert list(await house.frontend.find(within, "root-0", wire, 0.0)) == [], "the root is not in its thread"
    pages = [form for method, form in house.front.asked if method == "conversations.history"]
    assert any(form.get("cursor") for form in pages)


async def test_output_of_any_length_arrives_whole(house: House) -> None:
    for lines in (1, 1_000, 20_000):
        text = "".join(f"line {number}\n" for number in range(lines))
        made = await house.say(Post(text=text, verbatim=True), key=str(lines))
        shown = [one for one in await house.shown() if one["ts"] in made or one.get("files")]
        files = [one for message in shown for one in message.get("files", ())]
        if files:
            assert await read(files[-1]) == text.encode()
        else:
            said = "".join(word for one in shown for word in words(one["blocks"]))
            assert [number for number in range(lines) if f"line {number}" not in said] == []


async def test_hostile_words_arrive_and_call_nobody(house: House) -> None:
    text = f'<!channel> <@{BOT}> <#{house.channel}> @everyone & ``` \u202e {{"blocks": []}} <https://x|y>'
    for verbatim in (True, False):
        await house.say(Post(text=text, verbatim=verbatim, card=Card(title=text)), key=str(verbatim))
    for shown in await house.shown():
        assert "<!" not in shown["text"]
        assert "<@" not in shown["text"]
        kinds = {one["type"] for one in elements(shown["blocks"])}
        assert not kinds & {"user", "usergroup", "broadcast", "channel"}
        assert not shown.get("link_names")


def elements(value: Any) -> list[dict[str, Any]]:
    """All parts of blocks that have a type."""
    if isinstance(value, dict):
        own = [value] if "type" in value else []
        return own + [one for part in value.values() for one in elements(part)]
    return [one for part in value for one in elements(part)] if isinstance(value, list) else []


# -- files


async def read(file: dict[str, Any]) -> bytes:
    """A file as Ann downloads it."""
    headers = {"Authorization": "Bearer xoxp-ann"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(file["url_private"], headers=headers) as answer,
    ):
        assert answer.status == 200
        return await answer.read()


async def test_files_come_into_the_thread_with_their_names_and_bytes(house: House) -> None:
    [root] = await house.say(Post(text="root"))
    files = (
        File(name="a.diff", content="+grüß\n"),
        File(name="b.bin", content="AAH/", encoded=True),
        File(name="empty.txt", content=""),
    )
    await house.say(Post(text="see", files=files), key="files", root=root)
    said, *shared = await house.shown(root)
    assert said["text"] == "see"
    found = [one for message in shared for one in message["files"]]
    assert [one["title"] for one in found] == ["a.diff", "b.bin", "empty.txt"]
    assert [await read(one) for one in found] == ["+grüß\n".encode(), b"\x00\x01\xff", b"\n"]
    assert [one["ts"] for one in await house.shown()] == [root]


async def test_a_file_is_found_by_us_and_by_who_comes_after_and_deleted(house: House) -> None:
    post = Post(text="see", files=(File(name="a.diff", content="+x\n"),))
    [_, wire] = house.frontend.render(post)
    [_, made] = await house.say(post)
    assert list(await house.frontend.find(house.here, "key-1", wire, 0.0)) == [made]
    await house.restart()
    assert list(await house.frontend.find(house.here, "key-1", wire, 0.0)) == [made]
    for _ in range(2):
        await house.frontend.delete(house.here, made)
    assert list(await house.frontend.find(house.here, "key-1", wire, 0.0)) == []
    assert not (await house.ann.files_list())["files"]


# -- what is missing, and what goes wrong


async def test_a_channel_that_takes_nothing_waits_and_is_told_once(house: House) -> None:
    closed = await house.room("closed")
    hidden = await house.room("hidden", private=True, invite=False)
    await house.restart()
    await house.ann.conversations_archive(channel=closed)
    [wire] = house.frontend.render(Post(text="x"))
    for channel, why in (
        (closed, "is_archived"),
        (hidden, "not_in_channel"),
        ("C0NOWHERE", "channel_not_found"),
    ):
        for key in ("one", "two"):
            with pytest.raises(Later, match=why) as later:
                await house.frontend.post(Target(channel=channel), wire, key)
            assert not later.value.everywhere, "others go on"
        assert [why in one for one in house.listener.complaints].count(True) == 1
    assert "#closed" in house.listener.complaints[0]
    await house.say(Post(text="others go on"))


async def test_a_missing_scope_is_named(house: House) -> None:
    await house.restart(poor=True)
    with pytest.raises(Later, match="chat:write") as later:
        await house.say(Post(text="x"))
    assert not later.value.everywhere
    assert any("chat:write (to speak)" in one for one in house.listener.complaints)
    with pytest.raises(UserError, match="channels:manage"):
        await house.frontend.make_channel("mine", "", house.account)


async def test_what_is_gone_or_not_ours_cannot_be_edited(house: House) -> None:
    hers = str((await house.ann.chat_postMessage(channel=house.channel, text="mine"))["ts"])
    [wire] = house.frontend.render(Post(text="x"))
    with pytest.raises(Refused, match="message_not_found"):
        await house.frontend.edit(house.here, "1.000001", wire, "edit")
    with pytest.raises(Refused, match="cant_update_message"):
        await house.frontend.edit(house.here, hers, wire, "edit")
    with pytest.raises(Refused, match="cant_delete_message"):
        await house.frontend.delete(house.here, hers)


# -- the judge


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        pytest.param(
            {"text": "", "blocks": []}, "no_text", marks=pytest.mark.filterwarnings("ignore:The top-level")
        ),
        ({"text": "x", "blocks": {"type": "section"}}, "invalid_blocks"),
        ({"text": "x", "blocks": ["section"]}, "invalid_blocks"),
        ({"text": "x", "blocks": "[{"}, "invalid_blocks"),
    ],
)
async def test_the_judge_refuses_a_wrong_wire(house: House, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        await house.frontend.post(house.here, wrong, "key")
    assert await house.shown() == []


async def test_the_judge_refuses_a_file_that_was_not_uploaded_and_a_topic_that_is_too_long(
    house: House,
) -> None:
    with pytest.raises(SlackApiError, match="file_not_found"):
        await house.ann.files_completeUploadExternal(files=[{"id": "F0NONE"}], channel_id=house.channel)
    with pytest.raises(SlackApiError, match="too_long"):
        await house.ann.conversations_setTopic(channel=house.channel, topic="t" * 251)


async def test_the_judge_ends_with_its_test_also_where_that_fails(
    programs: emulate.Installed, tmp_path: Path
) -> None:
    found: list[str] = []

    def failing() -> None:
        with emulate.serving(programs, {}, tmp_path / "emulate.log") as url:
            found.append(url)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(found[0])
