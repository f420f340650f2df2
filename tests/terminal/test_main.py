"""What a chat that cannot begin says, before it looks for the bus."""

import asyncio
import io
import sys
from pathlib import Path

import pytest

from adapters.cli.__main__ import ChatSettings, chat
from factory_contracts import subjects
from factory_contracts.messages import MAX_TEXT
from factory_nats.connect import Identity, connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer, User


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


LONG = "x" * (MAX_TEXT + 1)
TOO_LONG = "too long: 100,001 characters, and 100,000 are the limit; --file PATH sends a file as it is\n"
NO_TEXT = "what is piped in is no text in UTF-8; --file PATH sends a file as it is\n"


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize(
    ("prompt", "piped", "stdin", "why"),
    [
        (LONG, "", b"", f"the prompt is {TOO_LONG}"),
        ("Why?", LONG, b"", f"what is piped in is {TOO_LONG}"),
        (" ", LONG, b"", f"what is piped in is {TOO_LONG}"),
        (None, "", LONG.encode(), f"what is piped in is {TOO_LONG}"),
        (None, "", b"\x89PNG", NO_TEXT),
    ],
)
async def test_what_no_message_holds_is_a_sentence_that_does_not_quote_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prompt: str | None,
    piped: str,
    stdin: bytes,
    why: str,
    is_json: bool,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
    settings = ChatSettings(
        nats_url="nats://127.0.0.1:1",
        identity=Identity("cli-main"),
        user_id="someone",
        user_name="Someone",
        history_file=tmp_path / "history",
        sessions_file=tmp_path / "sessions",
        files_folder=tmp_path / "files",
        prompt=prompt,
        piped=piped,
        is_json=is_json,
    )

    code = await chat(settings)

    assert (code, *capsys.readouterr()) == (2, "", why)


async def test_a_terminal_without_a_bus_names_the_server_and_why_and_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ChatSettings(
        nats_url="nats://ann:pa55word@127.0.0.1:1",
        identity=Identity("cli-main"),
        user_id="someone",
        user_name="Someone",
        history_file=tmp_path / "history",
        sessions_file=tmp_path / "sessions",
        files_folder=tmp_path / "files",
        prompt="is anybody there?",
    )
    said = ""

    chatting = asyncio.create_task(chat(settings))
    async with asyncio.timeout(5):
        while not said:
            await asyncio.sleep(0)
            said = capsys.readouterr().err
    chatting.cancel()
    await asyncio.gather(chatting, return_exceptions=True)

    why = "no server at nats://127.0.0.1:1 (ConnectionRefusedError)"
    assert said == f"waiting for the bus: {why}; start it, or end this with Ctrl-C\n"


async def test_a_terminal_that_the_bus_sends_away_says_so_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = {name: generate_seed() for name in ("hub", "cli-main")}
    hub = User("hub", public_key(seeds["hub"]))
    async with EmbeddedServer(tmp_path, users=[hub, User("cli-main", public_key(seeds["cli-main"]))]) as server:
        joined = await connect(server.url, Identity("hub", seeds["hub"]))
        assert isinstance(joined, Ok)
        asked = asyncio.Event()
        await joined.value.subscribe(subjects.plane("inbound")[0], lambda delivery: asked.set())
        settings = ChatSettings(
            nats_url=server.url,
            identity=Identity("cli-main", seeds["cli-main"]),
            user_id="someone",
            user_name="Someone",
            history_file=tmp_path / "history",
            sessions_file=tmp_path / "sessions",
            files_folder=tmp_path / "files",
            prompt="is anybody there?",
        )
        chatting = asyncio.create_task(chat(settings))
        await asked.wait()

        server.let_in([hub])
        async with asyncio.timeout(5):
            code = await chatting
        await joined.value.close()

    assert code == 1
    assert "the bus has sent this terminal away" in capsys.readouterr().err


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
