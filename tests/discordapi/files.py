"""Files that people and bots have sent, and the links under which they lie for a while."""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from mimetypes import guess_type
from urllib.parse import quote

from tests.discordapi.refusal import Json, no

# In bytes: what a bot may send as one file, and in one call.
UPLOAD = 10 * 1024 * 1024
MOST_BODY = 25 * 1024 * 1024
MOST_FILES = 10


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a call."""

    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class File:
    """A file: its size may be told larger than the content that is kept of it."""

    id: int
    name: str
    mime: str
    content: bytes = field(repr=False)
    size: int
    # What more is told of it: width and height, duration_secs and waveform, description.
    about: Json = field(default_factory=dict)

    @property
    def noted(self) -> Json:
        """What the ledger tells of it."""
        return {"name": self.name, "size": self.size, "mime": self.mime}


class Files:
    """All files by their numbers; a link to one lives so many server seconds."""

    def __init__(self, life: float) -> None:
        self.url = ""
        self._life = life
        self._files: dict[int, File] = {}

    def add(
        self,
        id: int,
        content: bytes,
        name: str = "file.bin",
        mime: str = "",
        size: int | None = None,
        about: Json | None = None,
    ) -> File:
        """Keep a file; its name is made such as can stand in a link."""
        tidy = re.sub(r"[^\w.\-]+", "_", name).strip("_") or "unknown"
        told = mime or guess_type(tidy)[0] or "application/octet-stream"
        file = File(id, tidy, told, content, len(content) if size is None else size, dict(about or {}))
        self._files[id] = file
        return file

    def upload(self, id: int, upload: Upload, about: Json) -> File:
        """Keep a file that a bot sent, if Discord would."""
        if len(upload.content) > UPLOAD:
            raise no(40005)
        # What a bot says of the type is not heeded.
        return self.add(id, upload.content, upload.name, about=about)

    def json(self, file: File, channel: int, now: float) -> Json:
        """A file as it stands in a message, under a fresh link."""
        until = f"{int(now + self._life):x}"
        link = f"{self.url}/attachments/{channel}/{file.id}/{quote(file.name)}"
        query = f"?ex={until}&is={int(now):x}&hm={_signed(file.id, until)}&"
        return {
            "id": str(file.id),
            "filename": file.name,
            "size": file.size,
            "url": link + query,
            "proxy_url": link + query,
            "content_type": file.mime,
            **file.about,
        }

    def at(self, id: str, until: str, signature: str, now: float) -> File | None:
        """The file of this number, while its link lives."""
        file = self._files.get(int(id)) if id.isdecimal() else None
        if file is None or signature != _signed(file.id, until) or now >= int(until, 16):
            return None
        return file


def _signed(id: int, until: str) -> str:
    return sha256(f"{id}/{until}".encode()).hexdigest()
