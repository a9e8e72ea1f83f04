"""The stand-in of Discord, driven by the real discord.py: what later tests rest on has to be true here."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import discord
import pytest

from tests.servers.discord import (
    ClientRefused,
    DiscordServer,
    Interaction,
)
from tests.servers.discord.library import SECONDS, Client, Interacted, Rig, commanded, point, post


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordServer]:
    async with DiscordServer() as one:
        point(monkeypatch, one)
        yield one


@pytest.fixture
async def rig(server: DiscordServer) -> AsyncIterator[Rig]:
    one = Rig(server)
    yield one
    await one.close()


# Login


async def test_a_bot_logs_in_and_knows_its_guild(rig: Rig) -> None:
    client = await rig.client()
    assert client.user is not None
    assert str(client.user.id) == rig.bot.id
    assert client.user.bot
    assert [guild.name for guild in client.guilds] == ["Team"]
    assert rig.place(client).permissions_for(client.guilds[0].me).send_messages


async def test_a_wrong_token_is_refused(rig: Rig) -> None:
    _, task = rig.begin("wrong")
    with pytest.raises(discord.LoginFailure):
        await task
    assert rig.server.refusals.unauthorized == rig.server.refusals.invalid == 1


async def test_an_intent_that_the_portal_does_not_allow_closes_with_4014(rig: Rig) -> None:
    _, task = rig.begin(members=True)
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await task


async def test_a_revoked_token_closes_with_4004_and_is_401(rig: Rig) -> None:
    client, task = rig.begin()
    await client.until("ready")
    rig.server.revoke(rig.bot)
    with pytest.raises(discord.ConnectionClosed) as closed:
        await task
    assert closed.value.code == 4004
    assert (await post(rig, "/users/@me", None, "GET"))[0] == 401


# Messages


async def test_what_is_said_is_heard_with_its_files(rig: Rig) -> None:
    client = await rig.client()
    first = await rig.ann.say(rig.channel, "hello", files=[("a.txt", b"bytes")])
    await rig.ann.say(rig.channel, "again", reply_to=first)
    heard = await client.until_text("hello")
    assert str(heard.id) == first
    assert await heard.attachments[0].read() == b"bytes"
    answer = await client.until_text("again")
    assert answer.reference is not None
    assert str(answer.reference.message_id) == first


async def test_edits_deletes_and_reactions_are_told(rig: Rig) -> None:
    client = await rig.client()
    said = await rig.ann.say(rig.channel, "one")
    await rig.ann.edit(said, "two")
    await rig.ann.react(said, "👍")
    await rig.ann.unreact(said, "👍")
    await rig.ann.delete(said)
    assert (await client.until("raw_message_edit")).data["content"] == "two"
    assert str((await client.until("raw_reaction_add")).emoji) == "👍"
    await client.until("raw_reaction_remove")
    assert str((await client.until("raw_message_delete")).message_id) == said
    assert rig.server.messages(rig.channel) == []


async def test_a_bot_writes_edits_reacts_types_and_deletes(rig: Rig) -> None:
    client = await rig.client()
    place = rig.place(client)
    root = await rig.ann.say(rig.channel, "root")
    await place.typing()
    embed = discord.Embed(title="t", description="d")
    sent = await place.send(
        f"hi {rig.ann.mention}",
        embed=embed,
        file=discord.File(io.BytesIO(b"x" * 9), "log.txt"),
        reference=place.get_partial_message(int(root)),
        mention_author=False,
        allowed_mentions=discord.AllowedMentions.none(),
    )
    [seen] = rig.server.messages(rig.channel)[1:]
    assert (seen.author, seen.reply_to, seen.pings) == (rig.bot.id, root, frozenset())
    assert seen.attachments == [("log.txt", b"x" * 9)]
    assert seen.embeds[0]["title"] == "t"
    await sent.edit(content="changed", attachments=[])
    await sent.add_reaction("👀")
    [seen] = rig.server.messages(rig.channel)[1:]
    assert (seen.content, seen.edited, seen.attachments) == ("changed", True, [])
    assert seen.reactions == {"👀": [rig.bot.id]}
    await sent.delete()
    assert len(rig.server.messages(rig.channel)) == 1
    assert rig.server.typing == [rig.channel]


async def test_without_allowed_mentions_everybody_named_is_notified(rig: Rig) -> None:
    client = await rig.client()
    root = await rig.ann.say(rig.channel, "root")
    devs = rig.server.role(rig.guild, "devs")
    text = f"@everyone <@&{devs}> {rig.ann.mention} `@here`"
    place = rig.place(client)
    await place.send(text)
    await place.send("reply", reference=place.get_partial_message(int(root)), mention_author=True)
    only = discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(int(rig.ann.id))])
    await place.send(text, allowed_mentions=only)
    pings = [message.pings for message in rig.server.messages(rig.channel)[1:]]
    assert pings == [{"everyone", devs, rig.ann.id}, {rig.ann.id}, {rig.ann.id}]


async def test_without_the_content_intent_only_mentions_own_and_direct_messages_are_read(rig: Rig) -> None:
    rig.bot.allowed = 0
    client = await rig.client(message_content=False)
    secret = await rig.ann.say(rig.channel, "secret", files=[("a", b"b")])
    await rig.ann.say(rig.channel, f"<@{rig.bot.id}> open")
    await rig.ann.dm(rig.bot, "between us")
    await client.until_text("between us")
    assert client.texts() == ["", f"<@{rig.bot.id}> open", "between us"]
    read = await rig.place(client).fetch_message(int(secret))
    assert (read.content, read.attachments) == ("", [])


async def test_the_same_nonce_makes_no_second_message(rig: Rig) -> None:
    client = await rig.client()
    first = await rig.place(client).send("once", nonce="n-1")
    second = await rig.place(client).send("twice", nonce="n-1")
    assert first.id == second.id
    assert second.nonce == "n-1"
    assert [message.content for message in rig.server.messages(rig.channel)] == ["once"]
    assert (await rig.place(client).fetch_message(first.id)).nonce is None
    rig.server.later(301)
    assert (await rig.place(client).send("later", nonce="n-1")).id != first.id


async def test_history_can_be_read_in_both_directions(rig: Rig) -> None:
    client = await rig.client()
    said = [await rig.ann.say(rig.channel, str(number)) for number in range(5)]
    place = rig.place(client)
    newest = [message.content async for message in place.history(limit=2)]
    after = [message.content async for message in place.history(after=discord.Object(int(said[2])))]
    assert (newest, after) == (["4", "3"], ["3", "4"])


async def test_a_direct_message_can_be_answered(rig: Rig) -> None:
    client = await rig.client()
    await rig.ann.dm(rig.bot, "psst")
    heard = await client.until_text("psst")
    await heard.channel.send("yes?")
    seen = rig.server.messages(rig.server.direct(rig.ann, rig.bot))
    assert [message.content for message in seen] == ["psst", "yes?"]


# Threads


async def test_a_thread_made_of_a_message_has_its_id_and_is_the_only_one(rig: Rig) -> None:
    client = await rig.client()
    message = await rig.place(client).send("root")
    thread = await message.create_thread(name="work")
    assert thread.id == message.id
    with pytest.raises(discord.HTTPException) as refused:
        await message.create_thread(name="more")
    assert refused.value.code == 160004
    await thread.send("inside")
    assert [one.content for one in rig.server.messages(str(thread.id))] == ["inside"]
    assert [one.name for one in rig.server.threads(rig.channel)] == ["work"]


async def test_an_archived_thread_takes_messages_but_no_edits(rig: Rig) -> None:
    client = await rig.client()
    thread = await rig.thread(client)
    sent = await thread.send("inside")
    await thread.edit(name="renamed")
    await thread.edit(archived=True)
    assert rig.server.thread(str(thread.id)).archived
    for change in (sent.edit(content="x"), sent.add_reaction("👀"), thread.edit(name="y")):
        with pytest.raises(discord.HTTPException) as refused:
            await change
        assert refused.value.code == 50083
    await thread.send("awake")
    seen = rig.server.thread(str(thread.id))
    assert (seen.name, seen.archived) == ("renamed", False)


async def test_a_locked_thread_takes_nothing_without_manage_threads(rig: Rig) -> None:
    client = await rig.client()
    thread = await rig.thread(client)
    await thread.edit(archived=True, locked=True)
    with pytest.raises(discord.HTTPException) as refused:
        await thread.send("knock")
    assert refused.value.code == 50083
    rig.server.forbid(rig.guild, "MANAGE_THREADS")
    with pytest.raises(discord.Forbidden):
        await thread.edit(archived=False)
    with pytest.raises(ClientRefused, match="locked"):
        await rig.ann.say(str(thread.id), "knock")


async def test_a_quiet_thread_is_archived_and_not_synced_at_the_next_start(rig: Rig) -> None:
    client = await rig.client()
    quiet = await rig.thread(client, "quiet")
    rig.server.later(24 * 3600)
    busy = await rig.thread(client, "busy")
    again = await rig.client()
    assert [thread.name for thread in again.guilds[0].threads] == ["busy"]
    found = await again.fetch_channel(quiet.id)
    assert isinstance(found, discord.Thread)
    assert found.archived
    archived = [thread.id async for thread in rig.place(again).archived_threads()]
    assert (archived, busy.archived) == ([quiet.id], False)


async def test_a_persons_thread_and_its_end_are_told(rig: Rig) -> None:
    client = await rig.client()
    root = await rig.ann.say(rig.channel, "root")
    made = await rig.ann.thread(root, "talk")
    await client.until("thread_create")
    await rig.ann.say(made, "in it")
    heard = await client.until_text("in it")
    assert isinstance(heard.channel, discord.Thread)
    await rig.ann.change_thread(made, name="talked")
    await client.until("thread_update")
    renamed = await client.until_text("talked")
    assert renamed.type is discord.MessageType.channel_name_change
    rig.server.delete_thread(made)
    await client.until("raw_thread_delete")
    rig.server.delete_channel(rig.channel)
    await client.until("guild_channel_delete")
    assert (await post(rig, f"/channels/{rig.channel}/messages", {"content": "x"}))[1]["code"] == 10003


# Commands and other interactions


async def test_a_command_is_deferred_and_answered(rig: Rig) -> None:
    client = await rig.client()
    commanded(client)
    await client.tree.sync()
    assert [one["name"] for one in rig.server.commands(rig.bot)] == ["aq"]
    used = await rig.ann.slash(rig.channel, "aq task add", title="paint", number=3)
    assert used.deferred
    assert used.acked_after is not None
    assert used.acked_after < 3
    loading = await client.until("message")
    assert loading.flags.loading
    await client.until("raw_message_edit")
    assert used.response == str(loading.id)
    [seen] = rig.server.messages(rig.channel)
    assert (seen.content, seen.interaction, seen.loading, seen.edited) == ("paint 3", used.id, False, False)


async def test_an_ephemeral_answer_is_seen_by_one_and_heard_by_nobody(rig: Rig) -> None:
    client = await rig.client()
    commanded(client)
    await client.tree.sync(guild=None)
    used = await rig.ann.slash(rig.channel, "aq task show", task="7")
    assert used.ephemeral
    [seen] = rig.server.messages(rig.channel)
    assert (seen.content, seen.ephemeral) == ("7", True)
    await rig.ann.say(rig.channel, "after")
    await client.until_text("after")
    assert client.count("message") == 1
    status, _ = await post(rig, f"/channels/{rig.channel}/messages/{seen.id}", None, "GET")
    assert status == 404


async def test_autocomplete_offers_what_the_bot_says(rig: Rig) -> None:
    client = await rig.client()
    commanded(client)
    await client.tree.sync()
    assert await rig.ann.complete(rig.channel, "aq task show", "task", "t") == [("t0", "0"), ("t1", "1")]


async def test_a_client_refuses_what_is_not_registered(rig: Rig) -> None:
    client = await rig.client()
    commanded(client)
    with pytest.raises(ClientRefused, match="nobody here has a command"):
        await rig.ann.slash(rig.channel, "aq task add", title="x")
    await client.tree.sync()
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("aq task drop", {}, "no 'drop'"),
        ("aq task", {}, "needs a subcommand"),
        ("aq task add", {}, "needs"),
        ("aq task add", {"title": "x", "more": 1}, "no option"),
        ("aq task add", {"title": "x", "number": "y"}, "not of type"),
    ]
    for path, options, why in wrong:
        with pytest.raises(ClientRefused, match=why):
            await rig.ann.slash(rig.channel, path, **options)


async def test_a_button_updates_its_message_and_a_form_comes_back(rig: Rig) -> None:
    client = await rig.client()
    done = asyncio.Event()

    class Why(discord.ui.Modal, title="Why?"):
        reason: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Reason", max_length=5)

        async def on_submit(self, interaction: Interacted) -> None:  # type: ignore[override]
            await interaction.response.edit_message(content=f"no: {self.reason.value}", view=None)
            done.set()

    class Choice(discord.ui.View):
        @discord.ui.button(label="Yes", custom_id="yes")
        async def yes(self, interaction: Interacted, _: discord.ui.Button[Any]) -> None:
            await interaction.response.edit_message(content="yes")
            await interaction.followup.send("more", ephemeral=True)
            done.set()

        @discord.ui.button(label="No", custom_id="no")
        async def no(self, interaction: Interacted, _: discord.ui.Button[Any]) -> None:
            await interaction.response.send_modal(Why())

    sent = await rig.place(client).send("?", view=Choice(timeout=None))
    pressed = await rig.ann.press(str(sent.id), "yes")
    await asyncio.wait_for(done.wait(), SECONDS)
    assert pressed.response == str(sent.id)
    assert [one.content for one in rig.server.messages(rig.channel)] == ["yes", "more"]
    done.clear()
    asked = await rig.ann.press(str(sent.id), "no")
    assert asked.modal is not None
    [field] = [part["components"][0]["custom_id"] for part in asked.modal["components"]]
    with pytest.raises(ClientRefused, match="characters"):
        await rig.ann.submit(asked, {field: "because"})
    sentence = await rig.ann.submit(asked, {field: "cost"})
    assert not sentence.failed
    seen = rig.server.message(str(sent.id))
    assert seen is not None
    assert (seen.content, seen.components) == ("no: cost", [])


async def test_an_interaction_is_acknowledged_once_and_its_token_ends(rig: Rig) -> None:
    client = await rig.client()
    [used] = [await acknowledged(rig, client)]
    path = f"/interactions/{used.id}/{used.token}/callback"
    assert (await post(rig, path, {"type": 5}))[1]["code"] == 40060
    hook = f"/webhooks/{rig.bot.id}/{used.token}"
    assert (await post(rig, hook, {"content": "more"}))[0] == 200
    rig.server.later(15 * 60)
    assert (await post(rig, hook, {"content": "late"}))[1]["code"] == 50027


async def acknowledged(rig: Rig, client: Client) -> Interaction:
    """Somebody's command, which a client has answered."""
    commanded(client)
    await client.tree.sync()
    return await rig.ann.slash(rig.channel, "aq task show", task="1")


async def test_a_follow_up_to_a_loading_answer_is_that_answer(rig: Rig) -> None:
    client = await rig.client()

    @client.tree.command(name="slow", description="slow")
    async def slow(interaction: Interacted) -> None:
        await interaction.response.defer(thinking=True, ephemeral=True)

    await client.tree.sync()
    used = await rig.ann.slash(rig.channel, "slow")
    assert used.response is None
    await post(rig, f"/webhooks/{rig.bot.id}/{used.token}", {"content": "now"})
    [seen] = rig.server.messages(rig.channel)
    assert (seen.content, seen.ephemeral) == ("now", True)
    assert rig.server.interaction(used.id).response == seen.id


async def test_an_interaction_without_an_answer_fails_and_is_unknown_then() -> None:
    async with DiscordServer(patience=0.1) as server:
        rig = Rig(server)
        command = {"name": "mute", "description": "says nothing", "type": 1}
        assert (await post(rig, f"/applications/{rig.bot.id}/commands", command))[0] == 201
        used = await rig.ann.slash(rig.channel, "mute")
        assert (used.failed, used.acked_after) == (True, None)
        path = f"/interactions/{used.id}/{used.token}/callback"
        assert (await post(rig, path, {"type": 4, "data": {"content": "x"}}))[1]["code"] == 10062
        assert (await post(rig, f"/webhooks/{rig.bot.id}/{used.token}", {"content": "x"}))[1]["code"] == 10015


# Rights and places


async def test_missing_rights_have_their_codes(rig: Rig) -> None:
    client = await rig.client()
    place = rig.place(client)
    rig.server.forbid(rig.channel, "SEND_MESSAGES")
    with pytest.raises(discord.Forbidden) as refused:
        await place.send("x")
    assert refused.value.code == 50013
    rig.server.forbid(rig.channel, "VIEW_CHANNEL")
    with pytest.raises(discord.Forbidden) as refused:
        await place.send("x")
    assert refused.value.code == 50001
    await client.until("guild_channel_update", 2)
    assert not place.permissions_for(client.guilds[0].me).view_channel
    await rig.ann.say(rig.channel, "unheard")
    rig.server.allow(rig.channel, "VIEW_CHANNEL", "SEND_MESSAGES")
    await rig.ann.say(rig.channel, "heard")
    await client.until_text("heard")
    assert client.texts() == ["heard"]
    assert rig.server.refusals.forbidden == 2


async def test_only_own_messages_are_edited(rig: Rig) -> None:
    client = await rig.client()
    said = await rig.ann.say(rig.channel, "mine")
    with pytest.raises(discord.Forbidden) as refused:
        await rig.place(client).get_partial_message(int(said)).edit(content="x")
    assert refused.value.code == 50005


async def test_a_bot_that_is_removed_hears_so_and_may_nothing(rig: Rig) -> None:
    client = await rig.client()
    place = rig.place(client)
    rig.server.kick(rig.guild, rig.bot)
    await client.until("guild_remove")
    with pytest.raises(discord.Forbidden) as refused:
        await place.send("x")
    assert refused.value.code == 50001
    rig.server.join(rig.guild, rig.bot)
    await client.until("guild_join")
    await rig.place(client).send("back")


async def test_a_test_waits_for_what_the_server_knows(rig: Rig) -> None:
    client = await rig.client()
    waiting = asyncio.create_task(rig.server.until(lambda: rig.server.messages(rig.channel)))
    await rig.place(client).send("there")
    assert [message.content for message in await waiting] == ["there"]
    with pytest.raises(TimeoutError, match="the moon did not come"):
        await rig.server.until(lambda: False, 0.01, what="the moon")
