"""Files that people and bots have sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from tests.botapi.refusal import Json, Refused, bad

# In bytes: what getFile gives, what a bot may upload, and of photos.
DOWNLOAD = 20 * 1024 * 1024
UPLOAD = 50 * 1024 * 1024
PHOTO = 10 * 1024 * 1024
# A link to download from lives so many server seconds.
LINK = 3600.0
_FOLDERS: Mapping[str, tuple[str, str]] = {
    "photo": ("photos", "jpg"),
    "voice": ("voice", "oga"),
    "audio": ("music", "mp3"),
    "video": ("videos", "mp4"),
    "video_note": ("video_notes", "mp4"),
    "animation": ("animations", "mp4"),
    "sticker": ("stickers", "webp"),
    "document": ("documents", "bin"),
}
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")


@dataclass(frozen=True, slots=True)
class File:
    """A file: its size may be told larger than the content that is kept of it."""

    kind: str
    number: int
    content: bytes = field(repr=False)
    size: int
    name: str
    mime: str

    @property
    def id(self) -> str:
        """What a bot asks for it with."""
        return f"BQACAgIAAxkBAAI{self.kind}-{self.number:06d}"

    @property
    def path(self) -> str:
        """Where it lies for download."""
        folder, ending = _FOLDERS[self.kind]
        after = self.name.rpartition(".")[2] if "." in self.name else ending
        return f"{folder}/file_{self.number}.{after}"

    def json(self) -> Json:
        """What every kind of file tells of itself."""
        return {"file_id": self.id, "file_unique_id": f"AgAD{self.number:06d}", "file_size": self.size}


class Files:
    """All files by their ids."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._links: dict[str, tuple[File, float]] = {}
        self._numbers = count(1)

    def add(self, kind: str, content: bytes, name: str = "", mime: str = "", size: int | None = None) -> File:
        """Keep a file."""
        told = len(content) if size is None else size
        file = File(kind, next(self._numbers), content, told, name, mime or "application/octet-stream")
        self._files[file.id] = file
        return file

    def upload(self, kind: str, content: bytes, name: str, mime: str) -> File:
        """Keep a file that a bot sent, if Telegram would."""
        if not content:
            raise bad("file must be non-empty")
        if len(content) > UPLOAD:
            raise Refused(413)
        if kind == "photo":
            if len(content) > PHOTO:
                size = len(content)
                raise bad(f"file of size {size} bytes is too big for a photo; the maximum size is {PHOTO} bytes")
            if not content.startswith(_IMAGES):
                raise bad("IMAGE_PROCESS_FAILED")
        return self.add(kind, content, name, mime)

    def again(self, kind: str, id: str) -> File:
        """The file of an id that a bot sends again."""
        file = self._files.get(id)
        if file is None:
            raise bad("wrong file identifier/HTTP URL specified")
        if file.kind != kind:
            raise bad(f"can't use file of type {file.kind.title()} as {kind.title()}")
        return file

    def link(self, id: str, now: float) -> Json:
        """What getFile answers."""
        file = self._files.get(id)
        if file is None:
            raise bad("invalid file_id")
        if file.size > DOWNLOAD:
            raise bad("file is too big")
        self._links[file.path] = (file, now + LINK)
        return file.json() | {"file_path": file.path}

    def at(self, path: str, now: float) -> File:
        """The file that lies there, while its link lives."""
        file, until = self._links.get(path, (None, 0.0))
        if file is None or now >= until:
            raise Refused(404)
        return file


def described(file: File, **about: object) -> Json:
    """A file as it stands in a message, under its kind."""
    said = file.json()
    named = {"file_name": file.name, "mime_type": file.mime} if file.name else {"mime_type": file.mime}
    size = {"width": about.get("width", 640), "height": about.get("height", 480)}
    length = {"duration": about.get("duration", 1)}
    match file.kind:
        case "photo":
            small = said | {"file_id": said["file_id"], "width": 90, "height": 67}
            return {"photo": [small, said | size]}
        case "sticker":
            shape = {"type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False}
            return {"sticker": said | shape | {"emoji": about.get("emoji", "👍")}}
        case "voice":
            return {"voice": said | length | {"mime_type": file.mime}}
        case "video_note":
            return {"video_note": said | length | {"length": 240}}
        case "audio":
            known = {key: about[key] for key in ("performer", "title") if key in about}
            return {"audio": said | named | length | known}
        case "video":
            return {"video": said | named | size | length}
        case "animation":
            # An animation is told as a document too, for clients older than animations.
            return {"animation": said | named | size | length, "document": said | named}
        case _:
            return {"document": said | named}
