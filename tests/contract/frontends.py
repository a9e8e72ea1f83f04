"""The rules of the chat seam: subclass `FrontendContract` with a `platform` fixture of its own.

A `Platform` is what the rules and the scenarios (`tests/contract/scenarios.py`) drive: a frontend under test, with
people's eyes and mouths on the other side of it.
"""

import asyncio
import base64
import contextlib
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from bots import registry
from bots.features import Feature
from orchestrator.store.database import Database
from orchestrator.support import Level, Support
from orchestrator.transport import (
    Action,
    Capabilities,
    Card,
    File,
    Form,
    Frontend,
    Inbound,
    InboundKind,
    Later,
    Post,
    Refused,
    Target,
    Tone,
    Verdict,
    Watermark,
    Wire,
)

_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel, as base64."""
_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})(?P<rest>.*)")


T = TypeVar("T")
_CALLS = "@everyone @here <!channel> <!everyone> <@U024BE7LH> <@!123456789012345678> <@&123> <#123> @room "
HOSTILE = (
    _CALLS + "x" * 100_000,
    f"{'`' * 3}\n{_CALLS}\n{'`' * 7}\n{'`' * 300}\n{_CALLS}\n{'`' * 300}",
    f"a{'`' * 90}b {_CALLS}",
    f"\u202e{_CALLS}\u2066\u200b<\u200b!channel>\u200d@\ufeffeveryone\x1b[31m\x00 \ud83d",
    f"[{_CALLS}](<@U024BE7LH>) <https://example.org|<!channel>> ![{_CALLS}](http://x)\n> {_CALLS}\n# {_CALLS}\n"
    f"|{_CALLS}|\n|-|\n",
    "\\<!channel> &lt;!channel&gt; &amp;lt;!here> <!subteam^S1|@all> <!date^1^{date}|@here> \\@everyone",
    "*_~|>-#" * 5_000 + _CALLS,
)
"""What agents and strangers may say to call somebody, or to break what is around their words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One message as a person sees it, or a wire as they would."""

    id: str = ""
    root: str | None = None
    """The thread that it is in."""
    text: str
    card: str = ""
    """Its card in words, where that is no part of the text."""
    actions: tuple[str, ...] = ()
    """The ids that its buttons carry."""
    labels: tuple[str, ...] = ()
    """What can be pressed on it, in whichever way the platform has."""
    files: tuple[tuple[str, str], ...] = ()
    reply_to: str | None = None
    verdict: str | None = None


class Platform(ABC):
    """A platform for tests, with its frontend and with eyes and a mouth of its own."""

    name: str
    """The frontend's name in the configuration."""
    frontend: Frontend
    """The one that was made last."""
    channel = "main"
    carries: frozenset[str] = frozenset({"reply_to", "verdict"})
    """What of a post the platform has a place for."""
    patience = 60.0
    """Seconds that whatever is waited for may take."""
    glance = 0.02
    """Seconds between two looks at what is shown."""
    cannot: Mapping[str, str] = {}
    """The names of what tests cannot do to this platform, with the reason."""

    @property
    def support(self) -> Mapping[Feature, Support]:
        """What the frontend says that it supports."""
        return registry.support(self.name)

    def level(self, feature: Feature) -> Level:
        """How far it does."""
        return self.support[feature].level

    # -- the frontend

    @abstractmethod
    def restarted(self) -> Frontend:
        """Another frontend of the same platform, as after a restart of the daemon; not started."""

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """Its section of the daemon's configuration."""

    def build(
        self, section: BaseModel, *, database: Database, data_dir: Path, redact: Callable[[str], str]
    ) -> Frontend:
        """The frontend for one life of the daemon."""
        self.frontend = registry.create(
            self.name, section, database=database, data_dir=data_dir, redact=redact
        )
        return self.frontend

    def account(self, who: str) -> str:
        """The account of `ann` or of the `stranger`."""
        return who

    @abstractmethod
    def read(self, wire: Wire) -> Seen:
        """What a person would see of *wire*."""

    def images(self, wires: Sequence[Wire]) -> Sequence[tuple[str, bytes]]:
        """The pictures among *wires* that are shown as such."""
        return ()

    def pings(self, wire: Wire) -> bool:
        """Whether *wire* would call somebody by name; never where a platform has no mentions."""
        return False

    def length(self, wire: Wire) -> int:
        """The length of the text in the platform's measure."""
        return len(self.read(wire).text)

    # -- what people see and do

    @abstractmethod
    async def seen(self, root: str | None = None) -> Sequence[Seen]:
        """What the channel shows of us now, or the thread under *root*, oldest first."""

    @abstractmethod
    async def speak(self, text: str, root: str | None = None, who: str = "ann") -> str:
        """Say something to us, with sigil or mention where the place needs it; returns the event's id."""

    async def send(self, name: str, content: bytes, text: str = "", root: str | None = None) -> str:
        """Send a file, with words or without; as `speak`."""
        raise NotImplementedError

    async def marks(self, event: str) -> Sequence[str]:
        """With what we have reacted to an event."""
        raise NotImplementedError

    @abstractmethod
    async def press(self, message: Seen, label: str) -> str:
        """Press what is labelled so on *message*, as Ann; returns the event's id."""

    async def fill(self, message: Seen, label: str, values: Mapping[str, str]) -> str:
        """Press what is labelled so, and send off the form that opens, with *values* by argument; as `press`."""
        raise NotImplementedError

    async def title(self, root: str) -> tuple[str, bool]:
        """What the thread under *root* is called now, and whether it is open."""
        raise NotImplementedError

    async def edit(self, event: str, text: str) -> None:
        """Change what Ann said."""
        raise NotImplementedError

    async def withdraw(self, event: str) -> None:
        """Take back what Ann said."""
        raise NotImplementedError

    async def complete(self, line: str) -> Sequence[str]:
        """What the platform offers Ann for an unfinished line."""
        raise NotImplementedError

    def calls(self, message: Seen) -> bool:
        """Whether *message* has called somebody by name."""
        return False

    def signs(self) -> Set[Feature]:
        """Which of the passing signs (typing, receipts, quiet, encryption) the platform has had from us."""
        return frozenset()

    # -- what goes wrong

    async def redeliver(self, event: str) -> None:
        """Hand us an event once more."""
        raise NotImplementedError

    def outage(self) -> contextlib.AbstractAsyncContextManager[None]:
        """We cannot reach the platform meanwhile; people can."""
        raise NotImplementedError

    def spent(self) -> bool:
        """Whether everything that was to go wrong with a send has gone wrong."""
        raise NotImplementedError

    async def limit_next(self, seconds: float) -> None:
        """Our next send is answered by "later", for about so long."""
        raise NotImplementedError

    async def lose_answer(self) -> None:
        """Our next send has its effect, and its answer is lost."""
        raise NotImplementedError


class Listener:
    """An intake that keeps what it is handed, as the inbox would."""

    def __init__(self) -> None:
        self.events: dict[str, Inbound] = {}
        self.handed = 0
        self.complaints: list[str] = []
        self._marks: dict[tuple[str, str], str] = {}
        self._changed = asyncio.Condition()

    async def accept(self, *events: Inbound, watermark: Watermark | None = None) -> bool:
        new = any(event.event_id not in self.events for event in events)
        for event in events:
            self.events.setdefault(event.event_id, event)
            self.handed += 1
        if watermark is not None:
            self._marks[watermark.transport, watermark.scope] = watermark.value
        async with self._changed:
            self._changed.notify_all()
        return new

    async def watermark(self, transport: str, scope: str) -> str | None:
        return self._marks.get((transport, scope))

    async def knows(self, transport: str, account: str) -> bool:
        return True

    async def complete(self, event: Inbound) -> Sequence[str]:
        return ()

    async def form(self, action: str) -> Form | None:
        return None

    async def look(self, event: Inbound) -> Post:
        return Post()

    async def tell(self, transport: str, words: str) -> None:
        self.complaints.append(words)

    async def heard(self, *texts: str) -> None:
        """Wait until exactly *texts* were said, in this order."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.events) >= len(texts))
        assert [event.text for event in self.events.values()] == list(texts)


@contextlib.asynccontextmanager
async def started(frontend: Frontend, intake: Listener | None = None) -> AsyncIterator[Frontend]:
    await asyncio.wait_for(frontend.start(intake or Listener()), 30)
    try:
        yield frontend
    finally:
        await frontend.close()


async def patiently(send: Callable[[], Awaitable[T]]) -> T:
    """Send as the relay does where the platform asks for patience."""
    while True:
        try:
            return await send()
        except Later as later:
            await asyncio.sleep(later.seconds)


def fences_are_whole(text: str) -> bool:
    """Whether every fence that is opened is closed."""
    mark = ""
    for line in text.split("\n"):
        found = _FENCE.fullmatch(line)
        if found is None:
            continue
        this, rest = found["mark"], found["rest"].strip()
        if not mark and not (this[0] == "`" and "`" in rest):
            mark = this
        elif mark and this[0] == mark[0] and len(this) >= len(mark) and not rest:
            mark = ""
    return not mark


def texts(caps: Capabilities) -> list[Post]:
    """Posts of all lengths around the limits, with fences, mentions and marks of every sort."""
    draw = random.Random(7)
    words = (
        "word ", "a\n", "\n\n", "@everyone ", "<@U123> ", "<!channel> ", "@room ", "`x` ", "**b** ",
        "é", "🙂", "</b>", "[l](http://x) ", "x" * 60, "\n~~~\ncode @here\n~~~\n",
        "\n```py\n" + "x = 1  # @everyone\n" * 10 + "```\n",
    )  # fmt: skip
    made = [Post(text="".join(draw.choices(words, k=draw.choice((1, 10, 60))))) for _ in range(60)]
    for size in (
        caps.text_max // 2,
        caps.text_max - 1,
        caps.text_max + 1,
        caps.text_max * 2,
        caps.text_max * 9,
    ):
        line = "line of <@U1> text\n"
        plain = line * (size // len(line)) + "x" * (size % len(line))
        made += [Post(text=plain), Post(text=plain, verbatim=True), Post(text=f"a\n```\n{plain}\n```\nb")]
    for text in HOSTILE:
        card = Card(title=text[:300], fields=((text[:200], text[:2000]), ("x" * 300, text[-2000:])))
        made += [Post(text=text), Post(text=text, verbatim=True), Post(text="see above", card=card)]
    return made


class FrontendContract:
    """The rules of the chat seam; each runs against a platform of its own."""

    async def test_what_is_posted_is_seen_and_found_by_its_key(self, platform: Platform) -> None:
        async with started(platform.frontend) as frontend:
            here = Target(channel=platform.channel)
            [wire] = frontend.render(Post(text="hello"))
            made = await frontend.post(here, wire, "key-1")
            [other] = frontend.render(Post(text="never said"))
            assert list(await frontend.find(here, "key-1", wire, time.time() - 60)) == [made]
            assert list(await frontend.find(here, "key-2", other, time.time() - 60)) == []
            assert [(one.id, one.text) for one in await platform.seen()] == [(made, "hello")]

    async def test_a_thread_hangs_on_its_root(self, platform: Platform) -> None:
        async with started(platform.frontend) as frontend:
            [wire] = frontend.render(Post(text="root"))
            root = await frontend.open_thread(platform.channel, wire, "key-1", "the title")
            within = Target(channel=platform.channel, root=root)
            [reply] = frontend.render(Post(text="within"))
            made = await frontend.post(within, reply, "key-2")
            assert list(
                await frontend.find(Target(channel=platform.channel), "key-1", wire, time.time() - 60)
            ) == [root]
            assert list(await frontend.find(within, "key-2", reply, time.time() - 60)) == [made]
            assert [one.id for one in await platform.seen()] == [root]
            assert [one.text for one in await platform.seen(root)] == ["within"]

    async def test_an_edit_replaces_and_a_deletion_removes(self, platform: Platform) -> None:
        async with started(platform.frontend) as frontend:
            [first] = frontend.render(Post(text="first", actions=(Action(label="Go", line="go", id="a1"),)))
            [second] = frontend.render(Post(text="second"))
            root = await frontend.open_thread(platform.channel, first, "key-1", "the title")
            for to in (Target(channel=platform.channel), Target(channel=platform.channel, root=root)):
                made = await patiently(lambda: frontend.post(to, first, f"post {to.root}"))  # noqa: B023
                if frontend.capabilities().edits:
                    await patiently(lambda: frontend.edit(to, made, second, f"edit {to.root}"))  # noqa: B023
                    assert [(s.text, s.actions) for s in await platform.seen(to.root) if s.id == made] == [
                        ("second", ())
                    ]
                for _ in range(2):
                    await patiently(lambda: frontend.delete(to, made))  # noqa: B023
                assert made not in [one.id for one in await platform.seen(to.root)]
            if frontend.capabilities().edits:
                within = Target(channel=platform.channel, root=root)
                await patiently(lambda: frontend.edit(within, root, second, "root"))
                assert [one.text for one in await platform.seen()] == ["second"]

    async def test_what_it_supports_it_says_of_every_feature(self, platform: Platform) -> None:
        assert set(platform.support) == set(Feature)
        async with started(platform.frontend) as frontend:
            caps = frontend.capabilities()
            for feature, there in (
                (Feature.BUTTONS, caps.actions_max > 0),
                (Feature.EDITS, caps.edits),
                (Feature.FILES, caps.files),
                (Feature.FORMS, caps.forms),
                (Feature.REPEATS, frontend.repeatable(time.time())),
            ):
                assert (platform.level(feature) is Level.FULL) == there, feature

    async def test_a_repeated_send_is_honoured_or_can_be_told(self, platform: Platform) -> None:
        here = Target(channel=platform.channel)
        [wire] = platform.frontend.render(Post(text="once"))
        async with started(platform.frontend) as frontend:
            first = await frontend.post(here, wire, "key-1")
            root = await frontend.open_thread(platform.channel, wire, "key-2", "the title")
        async with started(platform.restarted()) as frontend:
            assert first in await frontend.find(here, "key-1", wire, time.time() - 60)
            again = await frontend.post(here, wire, "key-1")
            found = list(await frontend.find(here, "key-1", wire, time.time() - 60))
            if frontend.repeatable(time.time()):
                assert again == first
                assert await frontend.open_thread(platform.channel, wire, "key-2", "the title") == root
                assert len(await platform.seen()) == 2
                assert first in found
            else:
                assert found == [first, again]

    async def test_what_is_rendered_fits_is_whole_and_pings_nobody(self, platform: Platform) -> None:
        caps = platform.frontend.capabilities()
        for post in texts(caps):
            wires = platform.frontend.render(post)
            assert 1 <= sum(not wire.get("attachment") for wire in wires) <= caps.parts_max
            for wire in wires:
                assert platform.length(wire) <= caps.text_max
                assert post.verbatim or post.card or fences_are_whole(platform.read(wire).text), post.text
                assert not platform.pings(wire), post.text
            assert wires == platform.frontend.render(post), "rendering is pure"

    async def test_a_long_text_is_shown_or_attached_whole(self, platform: Platform) -> None:
        caps = platform.frontend.capabilities()
        for size in (caps.text_max * 2, caps.text_max * (caps.parts_max + 2)):
            text = "".join(f"line {n}\n" for n in range(size // 10))
            for verbatim in (False, True):
                seen = [
                    platform.read(wire)
                    for wire in platform.frontend.render(Post(text=text, verbatim=verbatim))
                ]
                files = [content for one in seen for _, content in one.files]
                if caps.files and files:
                    assert files == [text]
                elif len(seen) > 1:
                    shown = "".join(one.text for one in seen)
                    assert re.findall(r"line \d+", shown) == text.split("\n")[:-1]

    async def test_what_hangs_on_a_post_is_carried_once(self, platform: Platform) -> None:
        caps = platform.frontend.capabilities()
        post = Post(
            text="paragraph of text\n\n" * (caps.text_max // 12),
            card=Card(title="The title", tone=Tone.GOOD, fields=(("project", "api"),)),
            actions=(
                Action(label="Approve", line="task approve x", id="a1"),
                Action(label="No", line="no", id="a2"),
            ),
            files=(File(name="a.diff", content="+x\n"),),
            reply_to="event-1",
            verdict=Verdict.OK,
        )
        wires = platform.frontend.render(post)
        seen = [platform.read(wire) for wire in wires]
        assert len(seen) > 1
        if caps.actions_max >= len(post.actions):
            assert [one.actions for one in seen if one.actions] == [("a1", "a2")]
        else:
            assert "task approve x" in seen[-1].text, "what cannot be pressed is typed"
        if caps.files:
            assert [file for one in seen for file in one.files] == [("a.diff", "+x\n")]
        assert ["The title" in str(wire) for wire in wires] == [True] + [False] * (len(wires) - 1)
        if "reply_to" in platform.carries:
            told = [one for one, wire in zip(seen, wires, strict=True) if not wire.get("attachment")]
            assert {one.reply_to for one in told} == {"event-1"}
        if "verdict" in platform.carries:
            assert [one.verdict for one in seen if one.verdict] == ["ok"]

    async def test_a_picture_is_shown_or_named(self, platform: Platform) -> None:
        dot = base64.b64decode(_DOT)
        wires = platform.frontend.render(
            Post(text="look", files=(File(name="a.png", content=_DOT, encoded=True),))
        )
        if platform.level(Feature.IMAGES) is Level.FULL:
            assert list(platform.images(wires)) == [("a.png", dot)]
        else:
            assert "a.png" in str(wires)

    async def test_what_people_say_is_handed_on_once_and_in_order(self, platform: Platform) -> None:
        listener = Listener()
        async with started(platform.frontend, listener) as frontend:
            [wire] = frontend.render(Post(text="root"))
            root = await frontend.open_thread(platform.channel, wire, "key-1", "the title")
            await platform.speak("one")
            await platform.speak("two", root)
            await listener.heard("one", "two")
        events = list(listener.events.values())
        assert [event.root for event in events] == [None, root]
        assert {event.place.transport for event in events} == {platform.frontend.name}
        assert {event.place.channel for event in events} == {platform.channel}

    async def test_a_file_that_is_sent_can_be_read_as_far_as_it_is_no_larger_than_asked(
        self, platform: Platform
    ) -> None:
        if platform.level(Feature.SENDING) is Level.NONE:
            pytest.skip(platform.support[Feature.SENDING].how or "no files can be sent there")
        listener = Listener()
        async with started(platform.frontend, listener) as frontend:
            [wire] = frontend.render(Post(text="root"))
            root = await frontend.open_thread(platform.channel, wire, "key-1", "the title")
            await platform.send("a note.txt", b"\x00content", root=root)
            await listener.heard("")
            [event] = listener.events.values()
            assert (event.kind, event.root) == (InboundKind.MESSAGE, root)
            [sent] = event.files
            assert sent.name in ("a note.txt", "a_note.txt")
            assert sent.size in (8, None)
            assert await frontend.fetch(sent.source, 8) == b"\x00content"
            with pytest.raises(Refused):
                await frontend.fetch(sent.source, 7)

    async def test_a_reaction_stands_once_on_what_was_said_however_often_it_is_sent(
        self, platform: Platform
    ) -> None:
        if platform.level(Feature.MARKS) is Level.NONE:
            pytest.skip(platform.support[Feature.MARKS].how or "there are no reactions")
        listener = Listener()
        async with started(platform.frontend, listener) as frontend:
            assert frontend.capabilities().reactions
            [wire] = frontend.render(Post(text="root"))
            root = await frontend.open_thread(platform.channel, wire, "key-1", "the title")
            said = await platform.speak("one", root)
            await listener.heard("one")
            [event] = listener.events.values()
            to = Target(channel=platform.channel, root=root)
            for emoji in ("📨", "👀", "📨"):
                await patiently(lambda: frontend.react(to, event.message, emoji, f"react {emoji}"))  # noqa: B023
            assert list(dict.fromkeys(await platform.marks(said))) == ["📨", "👀"]
            await platform.speak("two", root)
            await listener.heard("one", "two")  # and not what we have reacted with

    async def test_what_was_said_while_we_were_away_is_handed_on(self, platform: Platform) -> None:
        if platform.level(Feature.AWAY) is Level.NONE:
            pytest.skip(platform.support[Feature.AWAY].how or "nobody can speak there without us")
        listener = Listener()
        async with started(platform.frontend, listener):
            await platform.speak("before")
            await listener.heard("before")
        await platform.speak("away 1")
        await platform.speak("away 2")
        async with started(platform.restarted(), listener):
            await listener.heard("before", "away 1", "away 2")
            await platform.speak("after")
            await listener.heard("before", "away 1", "away 2", "after")

    async def test_closing_is_harmless_twice_and_before_the_start(self, platform: Platform) -> None:
        await platform.frontend.close()
        async with started(platform.frontend) as frontend:
            watch = asyncio.ensure_future(frontend.closed())
            await asyncio.wait([watch], timeout=0.05)
            assert not watch.done(), "it is not lost while it is there"
            watch.cancel()
        await platform.frontend.close()
        async with started(platform.frontend):
            pass
