"""Which entries at the head of a lane become one message. Pure."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.delivery.posts import post_from_json
from orchestrator.store.outbox import Entry, Op
from orchestrator.transport import Capabilities, Card, File, Lane, Post
from orchestrator.words import plain

_SCARCE = 1.0
"""Messages a second at which, and below, each one counts, and what is in no hurry goes along with another."""
_INLINE_LINES, _INLINE_CHARACTERS = 12, 1000
"""Progress up to this size is shown in the message that it goes along with; more is attached to it."""
_BEHIND = 3
"""Messages of progress that may wait, where they are scarce; more of it is summarised, with the whole attached."""
_ROOM_LEFT = 500
"""Characters that a card and its neighbours may take."""
_CARRIES_MORE = ("actions", "files", "data", "reply_to")


def scarce(caps: Capabilities) -> bool:
    """Whether messages are scarce: each one saved is time won for the others."""
    return caps.rate <= _SCARCE


def superseded(entries: Sequence[Entry]) -> int:
    """How many entries at the head are edits that later ones replace."""
    last = {entry.subject: at for at, entry in enumerate(entries) if entry.op is Op.EDIT}
    heads = enumerate(entries)
    return next((at for at, e in heads if e.op is not Op.EDIT or last[e.subject] == at), len(entries))


def next_group(entries: Sequence[Entry], caps: Capabilities) -> Sequence[Entry]:
    """The entries at the head that become one message: a stretch of progress is merged.

    Where messages are scarce, an answer or a result goes before edits, which change another message, and takes along
    the progress and the notices before it; it then comes first here. A notice takes along the progress behind it.
    """
    if scarce(caps) and (group := _along(entries, caps) or _behind(entries, caps.text_max)):
        return group
    first = entries[0]
    end = 1
    if _is_progress(first):
        while end < len(entries) and _continues(first, entries[end]):
            end += 1
    return _whole(entries[:end], caps.text_max) if scarce(caps) else entries[:end]


def _along(entries: Sequence[Entry], caps: Capabilities) -> Sequence[Entry]:
    """The first post that is in a hurry, and what it takes along; nothing where another post has to go before it.

    What is decided upon is changed as a whole when it is settled: it takes no notice along, which would be gone then,
    and progress only as a file, which is worse to read than one more message where that costs no more than a second.
    """
    waiting: list[Entry] = []
    for entry in entries:
        if entry.op is Op.POST and entry.urgency <= Lane.FINAL:
            if _is_settled_later(entry) and waiting:
                return [entry, *waiting] if caps.rate < _SCARCE and all(map(_is_progress, waiting)) else ()
            return [entry, *waiting]
        if _is_progress(entry) or _is_plain_notice(entry):
            waiting.append(entry)
        elif entry.op is not Op.EDIT:
            return ()
    return ()


def _behind(entries: Sequence[Entry], room: int) -> Sequence[Entry]:
    """A notice at the head, and as much of the progress behind it as one message shows whole."""
    first, *rest = entries
    if not _is_plain_notice(first):
        return ()
    group = [first]
    left = room - _ROOM_LEFT - len(first.post["text"])
    for entry in rest:
        left -= len(entry.post["text"]) + 5 * (entry.post["text"].count("\n") + 1)  # each line is indented
        if entry.op is Op.EDIT:
            continue
        if not _is_progress(entry) or left < 0:
            break
        group.append(entry)
    return group


def _whole(group: Sequence[Entry], room: int) -> Sequence[Entry]:
    """As much of a stretch of progress as one message shows whole; all of it where too much waits.

    An attachment would be another message, and one that has to go before a result.
    """
    ends = list(itertools.accumulate(len(entry.post["text"]) for entry in group))
    if ends[-1] > _BEHIND * room:
        return group
    return group[: max(1, sum(end <= room for end in ends))]


def _is_settled_later(entry: Entry) -> bool:
    """Whether it is a question or a proposal: its message is changed when it is answered or decided."""
    return bool(entry.post.get("actions") or (entry.urgency == Lane.URGENT and entry.post.get("card")))


def _is_progress(entry: Entry) -> bool:
    return entry.op is Op.POST and entry.urgency == Lane.PROGRESS


def _is_plain_notice(entry: Entry) -> bool:
    """Whether it is a notice in a thread that has nothing to press, to open or to answer."""
    if entry.op is not Op.POST or entry.urgency != Lane.NOTICE or entry.thread_id is None:
        return False
    return not any(entry.post.get(what) for what in _CARRIES_MORE)


def _continues(first: Entry, entry: Entry) -> bool:
    return (
        _is_progress(entry)
        and entry.post["verbatim"] == first.post["verbatim"]
        and not any(entry.post.get(what) for what in ("card", *_CARRIES_MORE))
    )


def as_one(group: Sequence[Entry]) -> Post:
    """The post that a group becomes."""
    first = post_from_json(group[0].post)
    if len(group) == 1:
        return first
    if _is_progress(group[0]):
        return replace(first, text="".join(entry.post["text"] for entry in group))
    if group[0].urgency == Lane.NOTICE:
        return replace(first, text=f"{first.text}\n\n{_shown(group[1:])}".strip("\n"))
    notices = [_in_words(post_from_json(e.post)) for e in group[1:] if not _is_progress(e)]
    progress = [entry for entry in group[1:] if _is_progress(entry)]
    text = "".join(entry.post["text"] for entry in progress).rstrip()
    lines = len(text.splitlines())
    if not _is_settled_later(group[0]) and lines <= _INLINE_LINES and len(text) <= _INLINE_CHARACTERS:
        return replace(first, text=_joined(*notices, _shown(progress), first.text))
    # what is decided upon is edited later: the progress is kept apart
    note = f"… {lines} lines of output, all attached …" if lines else ""
    files = (File(name="output.txt", content=f"{text}\n"), *first.files) if lines else first.files
    return replace(first, text=_joined(*notices, note, first.text), files=files)


def _shown(progress: Sequence[Entry]) -> str:
    """Progress as it is shown within another message."""
    text = "".join(entry.post["text"] for entry in progress).rstrip()
    if any(entry.post["verbatim"] for entry in progress):
        return "\n".join(f"    {line}" for line in text.splitlines())
    return text


def _in_words(notice: Post) -> str:
    """A notice as a paragraph of another message."""
    return _joined(_titled(notice.card) if notice.card else "", notice.text)


def _titled(card: Card) -> str:
    fields = (f"{name}: {plain(value)}" for name, value in card.fields)
    return "; ".join([f"**{plain(card.title)}**", *fields])


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in (one.strip("\n") for one in parts) if part)
