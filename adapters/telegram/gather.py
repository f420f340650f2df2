"""What was sent in pieces becomes one message again: an album, and a long paste that the person's app split."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from adapters.telegram.normalize import Heard
from factory_contracts.messages import MAX_TEXT

# How long the next part is waited for.
WAIT = 0.8
# An app splits at 4,096 UTF-16 units, or before, at a space: what is nearly that long may be a part.
SPLIT = 4_096
NEARLY_SPLIT = 3_500
# Parts of one paste are sent at once, though their seconds may differ.
MAX_SECONDS = 2
MAX_PARTS = 100

_GAP = "\n\n"


class Gathering:
    """The messages of one scope, in order; a part that may grow waits here, and the clock is told."""

    def __init__(self) -> None:
        self._open: tuple[Heard, ...] = ()
        self.deadline: float | None = None

    def add(self, heard: Heard, now: float) -> tuple[tuple[Heard, ...], ...]:
        """What is complete by this, in order; a message that waits here already is not taken twice."""
        if any(heard.message.message_id == part.message.message_id for part in self._open):
            return ()
        before = () if _joins(self._open, heard) else self._close()
        self._open = (*self._open, heard)
        self.deadline = now + WAIT
        after = () if _may_grow(heard) else self._close()
        return tuple(filter(None, (before, after)))

    def due(self, now: float) -> tuple[Heard, ...]:
        """What is complete because its time is over, or nothing."""
        return self._close() if self.deadline is not None and now >= self.deadline else ()

    def _close(self) -> tuple[Heard, ...]:
        complete, self._open, self.deadline = self._open, (), None
        return complete


def merged(parts: Sequence[Heard]) -> Heard:
    """The parts as the one message that they are: it stands in the place of the first and covers them all."""
    if len(parts) == 1:
        return parts[0]
    first, messages = parts[0], [part.message for part in parts]
    message = first.message.model_copy(
        update={
            "covers": tuple(message.message_id for message in messages),
            "text": (_album(parts) if first.group else _paste(parts))[:MAX_TEXT],
            "quoted": next((message.quoted for message in messages if message.quoted is not None), None),
            "foreign": any(message.foreign for message in messages) or None,
            "is_addressed": any(message.is_addressed for message in messages),
        }
    )
    return replace(
        first,
        # Telegram counts on: with the last, those before it are confirmed.
        update_id=parts[-1].update_id,
        message=message,
        files=tuple(file for part in parts for file in part.files),
        length=sum(part.length for part in parts),
        is_plain=all(part.is_plain for part in parts),
    )


def _joins(parts: Sequence[Heard], heard: Heard) -> bool:
    if not parts or len(parts) == MAX_PARTS:
        return False
    last = parts[-1]
    if (last.message.user_id, last.chat_id) != (heard.message.user_id, heard.chat_id):
        return False
    if sum(len(part.message.text) + len(_GAP) for part in (*parts, heard)) > MAX_TEXT:
        return False
    if last.group or heard.group:
        return last.group == heard.group
    return _may_grow(last) and heard.is_plain and 0 <= heard.date - last.date <= MAX_SECONDS


def _may_grow(heard: Heard) -> bool:
    return heard.group is not None or (heard.is_plain and heard.length >= NEARLY_SPLIT)


def _album(parts: Sequence[Heard]) -> str:
    captions: list[str] = []
    for part in parts:
        caption = part.message.text
        # Each picture of an album that was passed on says from whom; once is enough.
        if caption and not any(f"{known}\n".startswith(f"{caption}\n") for known in captions):
            captions.append(caption)
    return _GAP.join(captions)


def _paste(parts: Sequence[Heard]) -> str:
    text = parts[0].message.text
    for before, part in pairwise(parts):
        # Where an app splits before the limit, it drops the space at which it does.
        text += ("" if before.length == SPLIT else "\n") + part.message.text
    return text
