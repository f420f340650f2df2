"""The lines of a conversation as a model is shown them, and as many of the files that came with them as it can use.

What a file holds and is called was chosen by others: its text is labelled, and its name is one line.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from factory_contracts.messages import Attachment
from factory_contracts.work import Line
from hub.kernel.foreign import labelled, named
from hub.kernel.ports import Blobs, Media, Spoken

# Every turn reads and sends again what it shows, and no model looks at more at once with profit.
MOST_FILES = 10
MOST_BYTES = 20 * 1024 * 1024
MAX_NAME = 255
GONE = "it is not here any more"
NO_ROOM = f"it is not shown, only the newest {MOST_FILES} files are, up to {MOST_BYTES >> 20} MB"


async def spoken(blobs: Blobs | None, scope: str, lines: Sequence[Line]) -> tuple[Spoken, ...]:
    """The lines with the newest files that fit; of every other file, and of one that is gone, only that it was there.

    No more than `MOST_FILES` are read, and no more than `MOST_BYTES` of them are held.
    """
    shown: list[Spoken] = []
    files, room = MOST_FILES, MOST_BYTES
    for line in reversed(lines):
        media: list[Media] = []
        if not line.attachments:
            shown.append(Spoken(line.role, line.text))
            continue
        words = [line.text] if line.text else []
        for attachment in line.attachments:
            # What a file is said to be like may be wrong, so its bytes are counted as well.
            if files == 0 or attachment.size > room:
                files = 0
                words.append(_told(attachment, NO_ROOM))
                continue
            files -= 1
            data = await blobs.get(scope, attachment) if blobs is not None else None
            if data is None:
                words.append(_told(attachment, GONE))
            elif len(data) > room:
                files = 0
                words.append(_told(attachment, NO_ROOM))
            else:
                room -= len(data)
                name = named(attachment.name, MAX_NAME)
                media.append(await _labelled(Media(attachment.kind, name, attachment.mime, data)))
        shown.append(Spoken(line.role, "\n".join(words), tuple(media)))
    return tuple(reversed(shown))


def _told(attachment: Attachment, why: str) -> str:
    return f"[a file {named(attachment.name, MAX_NAME)!r} ({attachment.mime}) came with this; {why}]"


async def _labelled(file: Media) -> Media:
    if not file.is_text:
        return file
    # A long text takes a moment, and the loop has others to serve.
    text = await asyncio.to_thread(labelled, file.name or "file", file.data.decode(errors="replace"))
    return replace(file, data=text.encode(errors="replace"))
