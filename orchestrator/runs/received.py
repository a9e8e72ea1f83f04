"""Files that people have sent, on their way into a worktree, where no commit takes them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from orchestrator.errors import UserError
from orchestrator.runs import beneath
from orchestrator.runs.attachments import FOLDER
from orchestrator.workspaces import notes

log = structlog.get_logger(__name__)


async def hand_in(kept: Path, worktree: Path, files: Sequence[str]) -> list[str]:
    """Put *files*, as they lie in the folder *kept*, into the worktree; returns their paths there.

    Fewer than there are files where a worktree is not as it should be: the words go on without them.
    """
    if not files:
        return []
    try:
        return await asyncio.to_thread(_hand_in, kept, worktree, files)
    except (OSError, UserError) as fault:
        log.warning("attachments.not_handed_in", worktree=str(worktree), error=str(fault))
        return []


def named(text: str, paths: Sequence[str], *, sent: int) -> str:
    """Words for an agent, with so many files that were *sent* with them."""
    parts = [text, f"Attached: {', '.join(paths)}" if paths else ""]
    if sent > len(paths):
        parts.append(f"({sent - len(paths)} of the files that were sent could not be put into this folder.)")
    return "\n\n".join(part for part in parts if part)


def _hand_in(kept: Path, worktree: Path, files: Sequence[str]) -> list[str]:
    there = {f"{FOLDER}/{name}": kept / name for name in files if (kept / name).is_file()}
    note = notes.read(worktree)  # first the note, so that none of them is ever committed
    notes.write(worktree, replace(note, copied=tuple(dict.fromkeys((*note.copied, *there)))))
    for path, source in there.items():
        beneath.put(str(worktree), path, source)
    return list(there)
