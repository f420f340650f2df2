"""What was said aloud, written down before a model is asked."""

import asyncio
from dataclasses import dataclass
from json import dumps

from factory_contracts import subjects
from factory_contracts.messages import Attachment
from factory_contracts.trace import ToolStep, excerpt, hearing
from factory_contracts.work import Line
from hub.kernel.ports import Blobs, Media, Unheard, Voice
from workers.clipool.tape import clean

SOUNDS = frozenset(("voice", "audio"))
OFF = "[A voice message came, and nobody here can hear it.]"
FAILED = "[A voice message came, and it could not be made out.]"
NOTICE = (
    "I cannot hear voice messages here: nobody serves `voice.stt`. Whoever runs this switches it on with a table "
    "`[voice.stt]` in `factory.toml`.\n\n"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """A line in words, what was done to write it down, and what the person is to be told first."""

    line: Line
    steps: tuple[ToolStep, ...] = ()
    notice: str = ""


def is_spoken(line: Line) -> bool:
    """Whether somebody said it aloud."""
    return any(one.kind == "voice" for one in line.attachments)


async def heard(voice: Voice | None, blobs: Blobs | None, turn: str, scope: str, line: Line) -> Heard:
    """The line with what its recordings say instead of the recordings.

    Whatever else makes a sound stays as it is where nobody hears it, for it may be no words.
    """
    words, kept, steps, notice = [line.text] if line.text else [], list[Attachment](), list[ToolStep](), ""
    for one in line.attachments:
        if one.kind not in SOUNDS:
            kept.append(one)
            continue
        began = asyncio.get_running_loop().time()
        said = await _said(voice, blobs, turn, scope, one)
        is_off = isinstance(said, Unheard) and said.is_off
        if not is_off:
            steps.append(_step(one, said, asyncio.get_running_loop().time() - began))
        if isinstance(said, str):
            words.append(clean(said))
        elif one.kind != "voice":
            kept.append(one)
        else:
            words.append(OFF if is_off else FAILED)
            notice = NOTICE if is_off else notice
    if len(kept) == len(line.attachments):
        return Heard(line, tuple(steps))
    # A recording may be somebody else's, so that nothing in it counts as written by the person.
    told = Line(role=line.role, text="\n\n".join(words), attachments=tuple(kept))
    return Heard(told, tuple(steps), notice)


async def _said(
    voice: Voice | None, blobs: Blobs | None, turn: str, scope: str, recording: Attachment
) -> str | Unheard:
    if voice is None or blobs is None:
        return Unheard(is_off=True)
    data = await blobs.get(scope, recording)
    if data is None:
        return Unheard()
    return await voice.hear(turn, Media(recording.kind, recording.name, recording.mime, data))


def _step(recording: Attachment, said: str | Unheard, seconds: float) -> ToolStep:
    return ToolStep(
        call=hearing(recording.blob),
        tool=subjects.HEARING,
        effect="read",
        arguments=excerpt(clean(dumps({"name": recording.name}, ensure_ascii=False))),
        outcome="ok" if isinstance(said, str) else "error",
        content=excerpt(clean(said)) if isinstance(said, str) else "",
        seconds=round(seconds, 3),
    )
