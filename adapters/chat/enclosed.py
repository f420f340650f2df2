"""The files that come with a message: fetched from the platform, and kept where those who answer can read them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from adapters.chat.trouble import Barred, Rejected, Unauthorized, Unreachable
from adapters.spoke import NotNow
from factory_contracts.messages import Attachment, AttachmentKind, InboundMessage

logger = logging.getLogger(__name__)

MOST_FETCHED = 20 * 1024 * 1024
# All files of a message together: what comes after it waits for them, and where a platform hands over in one order only
# so much, in time everybody.
FETCH_SECONDS = 60.0
TRIES = 5
TRY_AGAIN = 1.0


class RemoteFile(Protocol):
    """A file that a platform keeps for us; a size that it does not tell is None."""

    @property
    def kind(self) -> AttachmentKind:
        """What it is to be taken for."""
        ...

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def mime(self) -> str:
        """What it says that it is."""
        ...

    @property
    def size(self) -> int | None:
        """How many bytes it has."""
        ...


F = TypeVar("F", bound=RemoteFile)
Keep = Callable[[str, AttachmentKind, str, str, bytes], Awaitable[Attachment | None]]


def announced(message: InboundMessage, files: Sequence[RemoteFile]) -> InboundMessage:
    """The message as it will be, before there are any files."""
    attachments = tuple(
        Attachment(kind=file.kind, name=file.name[:255], mime=file.mime[:127], size=file.size or 0, blob="-")
        for file in files
    )
    return message.model_copy(update={"attachments": attachments})


async def enclosed(
    message: InboundMessage, files: Sequence[F], download: Callable[[F], Awaitable[bytes]], keep: Keep
) -> InboundMessage:
    """The message with its files; what cannot be had is told in its text."""
    attachments: list[Attachment] = []
    missing: list[str] = []
    left, loop = FETCH_SECONDS, asyncio.get_running_loop()
    for file in files:
        began = loop.time()
        data = await _fetch(file, download, left)
        left -= loop.time() - began
        if isinstance(data, str):
            missing.append(data)
        elif kept := await keep(message.address.scope_id, file.kind, file.name, file.mime, data):
            attachments.append(kept)
        else:
            missing.append(f"[{file.kind} {file.name!r}: could not be kept]")
    text = "\n\n".join(filter(None, (message.text, *missing)))
    return message.model_copy(update={"text": text, "attachments": tuple(attachments)})


async def _fetch(file: F, download: Callable[[F], Awaitable[bytes]], seconds: float) -> bytes | str:
    """What a file holds, or in words why it is not there."""
    if (file.size or 0) > MOST_FETCHED:
        return f"[{file.kind} {file.name!r}: too large to be fetched, {file.size} bytes]"
    try:
        async with asyncio.timeout(seconds):
            for _ in range(TRIES):
                try:
                    return await download(file)
                except (NotNow, Unreachable, Unauthorized) as error:
                    logger.info("a file is not fetched yet: %s", error)
                    await asyncio.sleep(error.seconds if isinstance(error, NotNow) else TRY_AGAIN)
    except (Rejected, Barred) as error:
        logger.warning("a file is not to be had: %s", error)
    except TimeoutError:
        logger.warning("a file is not had in time")
    return f"[{file.kind} {file.name!r}: could not be fetched]"
