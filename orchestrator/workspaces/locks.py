"""Turns at a repository: who may fetch, and who may merge. One daemon owns a repository, so these live in memory."""

import asyncio
import os
from weakref import WeakValueDictionary


class Turns:
    """The locks of one repository, for as long as somebody holds or awaits them."""

    def __init__(self) -> None:
        self.preparing = asyncio.Lock()
        self.fetching = asyncio.Lock()
        self.merging = asyncio.Lock()
        self.fetched = float("-inf")
        """When the last fetch that succeeded began, by the event loop's clock."""


_turns: WeakValueDictionary[str, Turns] = WeakValueDictionary()


def of(path: str) -> Turns:
    """The turns at the repository at *path*, which two links to one repository share."""
    return _turns.setdefault(os.path.realpath(path), Turns())
