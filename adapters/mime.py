"""What a file is: told by its first bytes and, as far as they do not say otherwise, by its name."""

import mimetypes
from collections.abc import Mapping
from types import MappingProxyType

from factory_contracts.messages import AttachmentKind

UNKNOWN = "application/octet-stream"
_TEXT = "text/plain"

# What the first bytes say is true whatever the name says.
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
# Both sound and film come in these, and only the name tells which.
_CONTAINERS = ((b"OggS", "audio/ogg"), (b"\x1aE\xdf\xa3", "video/webm"))
# What the tables of Python have no ending for, in every version that we run on.
_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "audio/flac": ".flac",
        "audio/mp4": ".m4a",
        "audio/ogg": ".ogg",
        "audio/opus": ".opus",
        "audio/wav": ".wav",
        "audio/webm": ".weba",
        "image/webp": ".webp",
    }
)
# A file that is named like one of these and does not begin like it is broken, and no model would read it.
_KNOWN_BY_BEGINNING = frozenset((*(mime for _, mime in _BEGINNINGS[:5]), "image/webp"))


def mime_of(name: str, data: bytes) -> str:
    """What kind of data it is: by its first bytes, else by its name, as far as the bytes do not say otherwise."""
    # The tables of Python itself: those of the machine call one and the same file this here and that there.
    guessed, encoding = mimetypes.MimeTypes().guess_type(name, strict=False)
    guessed = UNKNOWN if guessed is None or encoding is not None else guessed
    begins = _begins(data, guessed)
    if begins:
        return begins
    if _is_text(data):
        is_text = guessed.startswith("text/") or guessed.endswith(("/json", "+json", "/xml", "+xml"))
        return guessed if is_text else _TEXT
    if guessed in _KNOWN_BY_BEGINNING or (guessed.startswith("text/") and b"\0" in data):
        return UNKNOWN
    return guessed


def kind_of(mime: str, data: bytes) -> AttachmentKind:
    """What a person would call it."""
    # A drawing in XML is a text to be read, which no model takes for a picture.
    if mime.startswith("image/") and not mime.endswith("+xml"):
        return "image"
    if mime.startswith("audio/"):
        # What platforms record and play as a voice is Opus in Ogg, which says so on its first page.
        return "voice" if data.startswith(b"OggS") and b"OpusHead" in data[:64] else "audio"
    return "video" if mime.startswith("video/") else "document"


def ending_of(mime: str) -> str:
    """How the name of such a file ends, with its dot; nothing where nobody knows."""
    return _ENDINGS.get(mime) or mimetypes.MimeTypes().guess_extension(mime, strict=False) or ""


def _begins(data: bytes, guessed: str) -> str:
    for beginning, mime in _BEGINNINGS:
        if data.startswith(beginning):
            return mime
    for beginning, mime in _CONTAINERS:
        if data.startswith(beginning):
            return guessed if guessed.startswith(("audio/", "video/")) else mime
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "audio/mp4" if guessed.startswith("audio/") else "video/mp4")
    return ""


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
