"""What the orchestrator says: `notify` and `create_thread`, which only write outbox rows.

They never wait for a platform. Every message's key follows from the event that it tells of, so that
saying it again after a crash stores nothing new.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from orchestrator.delivery.posts import post_from_json, post_to_json
from orchestrator.store import outbox, projects
from orchestrator.store.database import Row, Tx
from orchestrator.store.outbox import Entry, Op, key_of, root_key
from orchestrator.transport import Lane, Place, Post

_CARD_MAX = 700
"""Characters of text that a message with buttons holds; more is said before it."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A task's thread, in every channel that its project is bound to."""

    speaker: "Speaker"
    task_id: str
    project_id: str

    async def say(self, tx: Tx, post: Post, *, key: str, urgency: Lane) -> None:
        """Say something in the thread, or in the channel where a platform has no thread of it."""
        await self.speaker.say_in_thread(tx, self.task_id, post, key=key, urgency=urgency)

    async def notify_main(self, tx: Tx, post: Post, *, key: str) -> None:
        """Say a short line in the main channel."""
        await self.speaker.notify(tx, post, self.project_id, key=key)


class Speaker:
    """Writes to the outbox of every configured frontend. *homes* maps each to its home channel.

    *phrase* makes of a text what people on a frontend can say after it: `task list` becomes `!aq task list` where
    commands begin so.
    """

    def __init__(
        self,
        homes: Mapping[str, str],
        *,
        redact: Callable[[str], str],
        clock: Callable[[], float],
        phrase: Callable[[str, str, bool], str] = lambda transport, text, in_thread: text,
    ) -> None:
        self.homes = dict(homes)
        self._phrase = phrase
        self.redact = redact
        self._clock = clock

    async def places(self, tx: Tx, project_id: str | None) -> list[Place]:
        """Where a project is spoken of: its channel on each frontend, else the frontend's home."""
        bound = await projects.channels(tx, project_id)
        return [Place(transport=t, channel=bound.get(t, home)) for t, home in self.homes.items()]

    async def notify(
        self,
        tx: Tx,
        post: Post,
        project_id: str | None,
        *,
        key: str,
        urgency: Lane = Lane.NOTICE,
        task_id: str | None = None,
        but: str = "",
    ) -> None:
        """Say something in the main channel of a project; what is to be pressed may be about a task.

        *but* names a frontend that is left out where there is another: the one that is amiss.
        """
        stored = await self._with_actions(tx, post, key, task_id)
        for place in await self.places(tx, project_id):
            if place.transport == but and len(self.homes) > 1:
                continue
            await self.say_at(tx, place, stored, key=key, urgency=urgency)

    async def say_at(self, tx: Tx, place: Place, post: Post, *, key: str, urgency: Lane) -> None:
        """Say something in one channel of one frontend."""
        await self._enqueue(tx, place, None, Op.POST, post, key=key, urgency=urgency)

    async def reply(
        self, tx: Tx, place: Place, root: str | None, post: Post, *, key: str, urgency: Lane = Lane.URGENT
    ) -> None:
        """Answer somebody where they spoke: in their thread, or in the channel."""
        thread_id = await self._thread_at(tx, place, root) if root else None
        task_id = await outbox.task_of(tx, place.transport, place.channel, root) if root else None
        stored = await self._with_actions(tx, post, key, task_id)
        other = root if thread_id is None else None  # a thread that is no task's
        await self._enqueue(tx, place, thread_id, Op.POST, stored, key=key, urgency=urgency, root=other)

    async def react(
        self, tx: Tx, place: Place, root: str | None, message: str, emoji: str, *, key: str
    ) -> None:
        """React to what somebody has said; it does not wait for what is to be said there."""
        if place.transport not in self.homes:
            return
        await outbox.enqueue(
            tx,
            Entry(
                transport=place.transport,
                lane=f"{place.channel}#{root or ''}#reactions",
                key=key,
                op=Op.REACT,
                channel=place.channel,
                root=root,
                subject=message,
                urgency=int(Lane.NOTICE),
                post=post_to_json(Post(text=emoji), self.redact),
                at=self._clock(),
            ),
        )

    async def create_thread(self, tx: Tx, name: str, first: Post, task_id: str, project_id: str) -> Thread:
        """Open the task's thread on *first* in every channel of the project where it has none yet."""
        for place in await self.places(tx, project_id):
            thread_id, new = await outbox.open_thread(tx, task_id, place.transport, place.channel)
            if new:
                key = root_key(thread_id)
                await self._enqueue(
                    tx, place, thread_id, Op.OPEN, first, key=key, urgency=Lane.NOTICE, subject=name
                )
        return Thread(self, task_id, project_id)

    async def say_in_thread(self, tx: Tx, task_id: str, post: Post, *, key: str, urgency: Lane) -> None:
        """Say something in every thread of a task."""
        stored = await self._with_actions(tx, post, key, task_id)
        for row in await self._threads(tx, task_id):
            place = Place(transport=row["transport"], channel=row["channel"])
            await self._enqueue(
                tx, place, row["id"], Op.POST, stored, key=key_of(key, row["id"]), urgency=urgency
            )

    async def edit_root(self, tx: Tx, task_id: str, post: Post, *, key: str) -> None:
        """Replace the message that a task's threads hang on."""
        stored = await self._with_actions(tx, post, key, task_id)
        for row in await self._threads(tx, task_id):
            place = Place(transport=row["transport"], channel=row["channel"])
            await self._enqueue(
                tx,
                place,
                row["id"],
                Op.EDIT,
                stored,
                key=key_of(key, row["id"]),
                urgency=Lane.NOTICE,
                subject=root_key(row["id"]),
            )

    async def settle(self, tx: Tx, card: str, task_id: str | None, note: str) -> None:
        """Close the buttons of a card that somebody has pressed, and show it wherever it was said."""
        keys = [card]
        if task_id is not None:
            keys += [key_of(card, row["id"]) for row in await outbox.threads(tx, task_id)]
        for entry in await outbox.said(tx, keys):
            if entry.op is not Op.POST or entry.transport not in self.homes:
                continue
            post = post_from_json(entry.post)
            text = f"{post.text}\n\n— {note}".strip()
            await self._enqueue(
                tx,
                Place(transport=entry.transport, channel=entry.channel),
                entry.thread_id,
                Op.EDIT,
                replace(post, text=text, actions=(), files=()),
                key=key_of(entry.key, "settled"),
                urgency=Lane.NOTICE,
                subject=entry.key,
                root=entry.root,
            )

    async def _threads(self, tx: Tx, task_id: str) -> list[Row]:
        return [row for row in await outbox.threads(tx, task_id) if row["transport"] in self.homes]

    async def _thread_at(self, tx: Tx, place: Place, root: str) -> int | None:
        task_id = await outbox.task_of(tx, place.transport, place.channel, root)
        if task_id is None:
            return None
        return (await outbox.open_thread(tx, task_id, place.transport, place.channel))[0]

    async def _with_actions(self, tx: Tx, post: Post, key: str, task_id: str | None) -> Post:
        """Store the post's buttons, so that they outlive us, and return it with their ids."""
        actions = []
        for number, action in enumerate(post.actions):
            stored = replace(action, id=key_of(key, "action", number))
            await outbox.add_action(tx, stored, key, task_id, self._clock())
            actions.append(stored)
        return replace(post, actions=tuple(actions))

    async def _enqueue(
        self,
        tx: Tx,
        place: Place,
        thread_id: int | None,
        op: Op,
        post: Post,
        *,
        key: str,
        urgency: Lane,
        subject: str = "",
        root: str | None = None,
    ) -> None:
        if place.transport not in self.homes:
            return
        if op is Op.POST and post.actions and len(post.text) > _CARD_MAX:
            # what is decided upon is changed later: its text stays apart from that
            long = Post(text=post.text, verbatim=post.verbatim, reply_to=post.reply_to)
            first = key_of(key, "text")
            await self._enqueue(tx, place, thread_id, op, long, key=first, urgency=urgency, root=root)
            post = replace(post, text="")
        if urgency is not Lane.PROGRESS and not post.verbatim:
            post = replace(post, text=self._phrase(place.transport, post.text, bool(thread_id or root)))
        lane = place.channel if thread_id is None else f"{place.channel}#{thread_id}"
        if root is not None:
            lane = f"{place.channel}#{root}"
        await outbox.enqueue(
            tx,
            Entry(
                transport=place.transport,
                lane=lane,
                key=key,
                op=op,
                channel=place.channel,
                thread_id=thread_id,
                root=root,
                subject=subject,
                urgency=int(urgency),
                post=post_to_json(replace(post, quiet=urgency is Lane.PROGRESS), self.redact),
                at=self._clock(),
            ),
        )
