"""The files of a message are fetched one after another, but no conversation waits long for what does not come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from adapters.chat.enclosed import FETCH_SECONDS, enclosed
from adapters.chat.trouble import Unreachable
from adapters.spoke import NotNow
from factory_contracts.messages import Address, Attachment, AttachmentKind, InboundMessage

MESSAGE = InboundMessage(
    message_id="m",
    user_id="ann",
    text="Look",
    address=Address(platform="telegram", bot_id="main", scope_id="here"),
)


@dataclass(frozen=True)
class Remote:
    """A file somewhere."""

    name: str
    kind: AttachmentKind = "document"
    mime: str = "x/y"
    size: int | None = None


async def keep(scope_id: str, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
    """Whatever comes is kept."""
    return Attachment(kind=kind, name=name, mime=mime, size=len(data), blob=name)


@pytest.mark.parametrize("how", ["hangs", "is away", "wants silence"])
async def test_all_files_of_a_message_have_one_time_to_be_fetched(how: str) -> None:
    async def download(file: Remote) -> bytes:
        if file.name == "good":
            return b"content"
        if how == "is away":
            await asyncio.sleep(FETCH_SECONDS / 4)
            raise Unreachable
        if how == "wants silence":
            raise NotNow(3600.0)
        await asyncio.get_running_loop().create_future()
        return b""

    loop = asyncio.get_running_loop()
    began = loop.time()
    files = [Remote("good"), *(Remote(f"bad{number}") for number in range(9))]

    whole = await enclosed(MESSAGE, files, download, keep)

    assert loop.time() - began <= FETCH_SECONDS + 1
    assert [file.name for file in whole.attachments] == ["good"]
    assert whole.text.count("could not be fetched") == 9


async def test_the_time_in_which_a_file_is_kept_is_not_the_next_ones() -> None:
    async def download(file: Remote) -> bytes:
        await asyncio.sleep(1)
        return b"content"

    async def keep_slowly(scope_id: str, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        await asyncio.sleep(FETCH_SECONDS)
        return await keep(scope_id, kind, name, mime, data)

    whole = await enclosed(MESSAGE, [Remote("one"), Remote("two")], download, keep_slowly)

    assert [file.name for file in whole.attachments] == ["one", "two"]
