"""What a chat that cannot begin says, before it looks for the bus."""

from pathlib import Path

import pytest

from adapters.cli.__main__ import ChatSettings, chat
from factory_nats.connect import Identity


@pytest.mark.parametrize(
    ("session", "resume", "prompt", "why"),
    [
        (None, "", "hi", "there is no session to resume yet"),
        (None, "gone", "hi", "there is no session to resume yet"),
        ("", None, "hi", "scope: must be 1 to 255 bytes"),
        ("x" * 256, None, "hi", "scope: must be 1 to 255 bytes"),
        (None, None, " \n", "nothing was asked"),
    ],
)
async def test_a_wrong_wish_is_a_sentence_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    session: str | None,
    resume: str | None,
    prompt: str,
    why: str,
) -> None:
    settings = ChatSettings(
        nats_url="nats://127.0.0.1:1",
        identity=Identity("cli-main"),
        user_id="someone",
        user_name="Someone",
        history_file=tmp_path / "history",
        sessions_file=tmp_path / "sessions",
        files_folder=tmp_path / "files",
        session=session,
        resume=resume,
        prompt=prompt,
    )

    code = await chat(settings)

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert why in err


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (("missing",), "there is no file missing"),
        (("/",), "/ is a folder; only single files go with a message"),
        (("/dev/null",), "/dev/null is no ordinary file, but a pipe, a socket or a device"),
        (("missing",) * 11, "11 files are too many: 10 go with a message"),
    ],
)
async def test_a_file_that_cannot_go_with_the_question_is_a_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: tuple[str, ...], why: str
) -> None:
    settings = ChatSettings(
        nats_url="nats://127.0.0.1:1",
        identity=Identity("cli-main"),
        user_id="someone",
        user_name="Someone",
        history_file=tmp_path / "history",
        sessions_file=tmp_path / "sessions",
        files_folder=tmp_path / "files",
        prompt="look",
        files=files,
    )

    code = await chat(settings)

    assert (code, *capsys.readouterr()) == (2, "", f"{why}\n")
