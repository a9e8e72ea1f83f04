"""Turns at a repository: who may fetch, and who may merge. One daemon owns a repository, so these live in memory."""

import asyncio
import os


class Turns:
    """The locks of one repository."""

    def __init__(self) -> None:
        self.preparing = asyncio.Lock()
        self.fetching = asyncio.Lock()
        self.merging = asyncio.Lock()
        self.fetched: dict[str, float] = {}
        """When the last fetch of a branch that succeeded began, by the event loop's clock."""


_turns: dict[str, Turns] = {}


def of(path: str) -> Turns:
    """The turns at the repository at *path*, which two links to one repository share."""
    return _turns.setdefault(os.path.realpath(path), Turns())
