"""What is said aloud is written down before a model is asked, and what cannot be is told."""

import pytest

from factory_contracts import subjects
from factory_contracts.messages import Attachment, AttachmentKind
from factory_contracts.trace import hearing
from factory_contracts.work import Line
from hub.kernel.ports import Media, Unheard
from workers.clipool.hearing import FAILED, NOTICE, OFF, Heard, heard, is_spoken


class Shelf:
    """Files by their name."""

    async def get(self, scope: str, attachment: Attachment) -> bytes | None:
        return None if attachment.blob == "gone" else attachment.blob.encode()

    async def keep(self, scope: str, file: Media) -> Attachment | None:
        raise AssertionError("nothing is kept where files are only heard")


class Voice:
    """Hears what it is told to."""

    def __init__(self, said: str | Unheard) -> None:
        self.said = said

    async def hear(self, turn: str, sound: Media) -> str | Unheard:
        return f"{self.said} {sound.data.decode()}" if isinstance(self.said, str) else self.said

    async def speak(self, turn: str, words: str) -> Media | None:
        raise AssertionError("nothing is said where words are only heard")


def file(blob: str, kind: AttachmentKind = "voice") -> Attachment:
    return Attachment(kind=kind, name=f"{blob}.ogg", mime="audio/ogg", size=1, blob=blob)


async def line(voice: Voice | None, text: str, *files: Attachment) -> Heard:
    said = Line(role="user", text=text, attachments=files, trusted=True)
    return await heard(voice, Shelf(), "t1", "cli:main:here", said)


async def test_a_recording_becomes_the_words_and_a_step_of_the_turn() -> None:
    told = await line(Voice("Heard"), "Listen:", file("a"), file("cat", "image"), file("song", "audio"))

    assert told.line.text == "Listen:\n\nHeard a\n\nHeard song"
    assert [one.blob for one in told.line.attachments] == ["cat"]
    assert [(step.call, step.tool, step.outcome, step.content) for step in told.steps] == [
        (hearing("a"), subjects.HEARING, "ok", "Heard a"),
        (hearing("song"), subjects.HEARING, "ok", "Heard song"),
    ]
    assert not told.notice


async def test_words_out_of_a_recording_do_not_count_as_written_by_an_owner() -> None:
    assert (await line(Voice("Heard"), "", file("a"))).line.trusted is None
    assert (await line(Voice("Heard"), "Hello")).line.trusted


@pytest.mark.parametrize("voice", [None, Voice(Unheard(is_off=True))])
async def test_where_nobody_hears_the_model_and_the_person_are_told(voice: Voice | None) -> None:
    told = await line(voice, "", file("a"), file("song", "audio"))

    assert told.line.text == OFF
    assert [one.blob for one in told.line.attachments] == ["song"]
    assert (told.steps, told.notice) == ((), NOTICE)


@pytest.mark.parametrize(("voice", "blob"), [(Voice(Unheard()), "a"), (Voice("Heard"), "gone")])
async def test_what_cannot_be_made_out_is_told_to_the_model_and_is_no_reason_to_switch_anything_on(
    voice: Voice, blob: str
) -> None:
    told = await line(voice, "", file(blob))

    assert told.line.text == FAILED
    assert [step.outcome for step in told.steps] == ["error"]
    assert not told.notice


def test_who_sends_music_has_said_nothing() -> None:
    assert is_spoken(Line(role="user", text="", attachments=(file("a"),)))
    assert not is_spoken(Line(role="user", text="", attachments=(file("a", "audio"),)))
