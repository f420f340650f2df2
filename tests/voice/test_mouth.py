"""Words become a voice, whoever speaks them."""

import json
import sys
from ast import literal_eval
from importlib import import_module
from io import BytesIO
from pathlib import Path

import pytest

from factory_contracts.worker import File, Unable
from tests.providers.formants import WORDS, Recogniser, note
from tests.providers.media import KEY, MediaServer
from workers.endpoint import MOST_BYTES, Endpoint, NoAnswer
from workers.voice.mouth import Asked, Spoken, Words, mouth
from workers.voice.opus import Encoder, NoSound, is_opus
from workers.voice.settings import ESPEAK, Program, Server, present, wrong_command

# A program that writes down what it is told.
NOTES = """
import sys
with open(sys.argv[1], "w") as file:
    file.write(repr((sys.stdin.read(), sys.argv[2])))
print("RIFF")
"""
# A program that beeps once for each character, at a rate that Opus does not know.
BEEPS = """
import sys, wave
words, out = sys.stdin.buffer.read().decode(), sys.argv[1]
with wave.open(sys.stdout.buffer if out == "-" else out, "wb") as file:
    file.setparams((1, 2, 22050, 0, "NONE", ""))
    file.writeframes(b"\\x00\\x20" * 2205 * len(words))
"""


def program(*arguments: str, code: str = BEEPS) -> Program:
    return Program((sys.executable, "-c", code, *arguments))


async def said(program: Program, text: str = "hello", voice: str = "", *, encodes: bool = True) -> File | Unable:
    return await mouth(Spoken(program), Encoder().encode if encodes else None)(Words(text=text, voice=voice))


@pytest.mark.parametrize("out", ["-", "{out}"])
async def test_what_a_program_says_goes_out_as_a_voice_message_of_the_same_length(out: str) -> None:
    made = await said(program(out))

    assert isinstance(made, File)
    assert made.name == "voice.ogg"
    assert is_opus(made.data)
    assert import_module("soundfile").info(BytesIO(made.data)).duration == pytest.approx(0.5, abs=0.01)


async def test_without_an_encoder_it_goes_out_as_it_was_made() -> None:
    made = await said(program("{out}"), encodes=False)

    assert isinstance(made, File)
    assert (made.name, made.data[:4]) == ("voice.wav", b"RIFF")


async def test_words_reach_the_program_as_they_are_and_no_shell(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words = f"-v $(touch {tmp_path}/x); `touch {tmp_path}/x` | 'grün' && {{out}} {{voice}}\n"

    await said(program(str(kept), "{voice}", code=NOTES), words, "en-gb+f2", encodes=False)

    assert kept.read_text() == repr((words, "en-gb+f2"))
    assert not (tmp_path / "x").exists()


async def test_a_program_is_told_what_every_program_needs_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    code = "import os, sys\nopen(sys.argv[1], 'w').write(repr(dict(os.environ)))\nprint('RIFF')"
    variables = {"PATH": "/bin", "LANG": "C.UTF-8", "OPENAI_API_KEY": KEY, "NATS_URL": f"nats://ann:{KEY}@box"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    await Spoken(program(str(kept), code=code), variables).speak("hello", "")

    assert KEY not in kept.read_text()
    assert {"PATH": "/bin", "LANG": "C.UTF-8"}.items() <= literal_eval(kept.read_text()).items()


@pytest.mark.parametrize("voice", ["-w", "../x", "a b", "{out}"])
async def test_what_is_no_name_of_a_voice_reaches_no_program(voice: str) -> None:
    assert isinstance(await said(program("-"), voice=voice), Unable)


async def test_a_program_that_fails_or_cannot_be_had_is_told_in_the_log() -> None:
    for wrong, why in (
        (program("-", code="import sys; sys.exit(3)"), "status 3"),
        (program("-", code=""), "0 bytes"),
        (Program(("/nowhere/at-all",)), "cannot be started"),
    ):
        with pytest.raises(NoSound, match=why):
            await said(wrong)


async def test_a_program_that_goes_on_for_ever_is_ended() -> None:
    endless = program(code="import sys, time; sys.stdin.close(); time.sleep(1000)")

    with pytest.raises(NoSound, match="not done within"):
        await Spoken(endless, seconds=0.2).speak("hello " * 100_000, "")


async def test_a_program_that_makes_no_end_of_sound_is_ended() -> None:
    with pytest.raises(NoSound, match="or more"):
        await said(program(code="import os\nwhile True: os.write(1, bytes(1 << 16))"))


@pytest.mark.skipif(present(Program(ESPEAK)) is None, reason="no espeak-ng here")
async def test_espeak_says_what_a_recogniser_understands() -> None:
    espeak = present(Program(ESPEAK, "en"))
    assert espeak is not None

    heard = []
    for word in WORDS:
        made = await said(espeak, word)
        assert isinstance(made, File)
        heard.append(Recogniser().hear(made.data))

    assert heard == list(WORDS)
    with pytest.raises(NoSound, match="status 1"):
        await said(espeak, voice="zz-nobody")


async def test_a_voice_that_is_too_long_to_be_sent_is_refused_in_words() -> None:
    made = await mouth(Spoken(program("-")), lambda sound: bytes(MOST_BYTES + 1))(Words(text="hello"))

    assert made == Unable("That is too long to be sent; say less.")


@pytest.mark.parametrize("encodes", [True, False])
@pytest.mark.parametrize("data", [b"<html>Sign in</html>", b"RIFF", b""])
async def test_what_is_no_sound_is_not_sent(data: bytes, encodes: bool) -> None:
    async with MediaServer(speak=lambda words: data) as server:
        speaks = mouth(Asked(Server(server.url, "m"), Endpoint(server.url, KEY)), Encoder().encode if encodes else None)
        if data == b"RIFF" and not encodes:
            # Whoever cannot read sound goes by how it begins.
            assert isinstance(await speaks(Words(text="hello")), File)
        else:
            with pytest.raises(NoSound):
                await speaks(Words(text="hello"))


def test_a_template_names_only_what_means_something() -> None:
    assert wrong_command(ESPEAK) == ""
    assert "{words}" in wrong_command(("say", "{words}"))
    assert wrong_command(()) != ""


async def test_a_server_is_asked_for_what_messengers_play() -> None:
    spoken = note("why")
    async with MediaServer(speak=lambda words: spoken) as server:
        asked = Asked(Server(server.url, "tts-1", voice="alloy"), Endpoint(server.url, KEY))
        made = await mouth(asked, Encoder().encode)(Words(text="Why?"))

        assert made == File("voice.ogg", spoken)
        expected = {"model": "tts-1", "input": "Why?", "voice": "alloy", "response_format": "opus"}
        assert server.asked == [("/v1/audio/speech", expected)]


async def test_what_a_server_complains_of_is_told_in_the_log_and_its_key_is_not() -> None:
    async with MediaServer() as server:
        endpoint = Endpoint(server.url, "sk-secret")
        with pytest.raises(NoAnswer, match="status 401, Incorrect API key provided") as told:
            await Asked(Server(server.url, "tts-1"), endpoint).speak("Why?", "")

    assert "sk-secret" not in f"{told.value}{endpoint}"
    with pytest.raises(NoAnswer, match="ConnectError"):
        await endpoint.ask("/audio/speech", {})


def test_an_agent_is_told_what_it_may_ask_for() -> None:
    parameters = json.loads(mouth(Spoken(program()), None).parameters)

    assert parameters["required"] == ["text"]
    assert set(parameters["properties"]) == {"text", "voice"}
