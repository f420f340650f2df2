"""Where nats-server prepares a batch before it stores it: in memory, so that only the log itself is synced to the disk.

It makes a store of its own for each batch, syncs that three times and removes it before it answers, which takes several
times as long as to write the batch to the log. When it was killed while it stored one, the next server takes what was
prepared from that place, and then removes the place: so that is laid anew until the server answers.

Only when the machine itself goes down in that millisecond is nothing prepared any more: then the first of a batch that
nobody was answered for may be stored without the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# What lies here is gone when the machine is: there is such a place on Linux, and elsewhere the disk has to do.
MEMORY: Final = Path("/dev/shm")
PLACE: Final = "batches"


class Staging:
    """The places where the batches of some streams are prepared."""

    def __init__(self, streams: Iterable[Path], memory: Path = MEMORY) -> None:
        self._links = tuple(stream / PLACE for stream in streams)
        # The same for the same store: what a server that was killed had prepared, the next one finds.
        name = hashlib.sha256("\n".join(str(link.absolute()) for link in self._links).encode()).hexdigest()[:16]
        self._folder = memory / f"nats-{os.getuid()}-{name}"
        self._is_there = False
        self._old: tuple[Path, ...] = ()

    def open(self) -> None:
        """Before the server starts: a folder in memory, which each stream's place leads to."""
        self._is_there, self._old = False, ()
        if not self._links:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            found = self._folder.lstat()
            # In a folder that everybody may write to, it could be somebody else's.
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            self._is_there = is_ours and not found.st_mode & 0o077
        if self._is_there:
            self._old = tuple(self._folder.iterdir())
        self.lay()

    def lay(self) -> None:
        """Lead each place there from which the server took that away, unless it has made one of its own."""
        if not self._is_there:
            return
        for link in self._links:
            with contextlib.suppress(OSError):
                link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                link.symlink_to(self._folder, target_is_directory=True)

    def clear(self) -> None:
        """When the server has read all that was stored: remove what an earlier one had prepared."""
        for old in self._old:
            shutil.rmtree(old, ignore_errors=True)
        self._old = ()

    def close(self) -> None:
        """When the server has ended in order: leave nothing in memory."""
        if not self._is_there:
            return
        for link in self._links:
            if link.is_symlink():
                link.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
