"""Files that people send: their programs read them and send them in pieces, and the daemon keeps the copies.

The daemon opens no path that a client names: whoever speaks on the socket may be another user of this host.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bots.receiving import too_large
from bots.terminal.protocol import FILE_MAX, Named, Piece
from orchestrator.errors import UserError
from orchestrator.store.outbox import key_of
from orchestrator.transport import Refused, Sent

_KEPT: Final = 86_400.0
"""Seconds that a copy is kept: what was said with it is handled long before."""
_ALL_MAX: Final = 10 * FILE_MAX
"""Bytes of all copies together."""


class Uploads:
    """The copies in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, user: str, piece: Piece) -> None:
        """Take a piece of a file, which follows what there is of it or repeats that. UserError where it does not."""
        path = self._folder / _source(user, piece.file)
        there = path.stat().st_size if path.exists() else 0
        if piece.at > there:
            raise UserError("a piece of the file is missing; send it anew")
        if piece.at == 0:
            self._make_room()
        if piece.at + len(piece.data) > FILE_MAX:
            raise UserError(f"a file of more than {FILE_MAX / 1_000_000:g} MB cannot be sent")
        with path.open("r+b" if path.exists() else "xb") as file:
            file.seek(piece.at)
            file.write(piece.data)
            file.truncate()

    def sent(self, user: str, files: Sequence[Named]) -> tuple[Sent, ...]:
        """What *user* has sent before. UserError where that is not so."""
        found = []
        for one in files:
            path = self._folder / _source(user, one.file)
            if not path.is_file():
                raise UserError(f"the file {one.name!r} has not come; send it anew")
            found.append(Sent(name=one.name, source=path.name, size=path.stat().st_size))
        return tuple(found)

    def read(self, source: str, limit: int) -> bytes:
        """The content of a copy. Refused where it is gone, or has more than *limit* bytes."""
        try:
            with (self._folder / source).open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            raise Refused("it is gone") from None
        if len(content) > limit:
            raise Refused(too_large(limit))
        return content

    def _make_room(self) -> None:
        """Remove what is old. UserError where there is too much all the same."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        total = 0
        for path in self._folder.iterdir():
            known = path.stat()
            if known.st_mtime < time.time() - _KEPT:
                path.unlink()
            else:
                total += known.st_size
        if total > _ALL_MAX:
            raise UserError("too many files were sent of late; try again tomorrow")


def _source(user: str, file: str) -> str:
    """The name of a copy: nobody can name another's."""
    return key_of(user, file)
