"""What the terminals of a home keep of a session beside the screen, removed: notes, typed lines, files of answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adapters.cli import downloads, sessions, typed


@dataclass(frozen=True, slots=True)
class Remains:
    """Where all of it lies, and whom to tell that something went."""

    history_file: Path
    sessions_file: Path
    files_folder: Path
    went: Callable[[str], None]

    async def erase(self, scope_id: str, until: float) -> None:
        """Remove what was kept of a session until then."""
        await asyncio.to_thread(self._erase, scope_id, until)
        self.went(scope_id)

    def _erase(self, scope: str, until: float) -> None:
        when = datetime.fromtimestamp(until)
        sessions.forget(self.sessions_file, scope, when)
        typed.forget(self.history_file, scope, when)
        downloads.forget(downloads.folder_of(self.files_folder, scope), until)
