"""The workers that come with the program are switched on by the file, and asked by whoever types."""

import json
import sys

import pytest

from tests.cli.installation import Factory, until

# So often it is started before it is left alone.
LIVES = 6
BEEP = """
import os, sys, wave
words = sys.stdin.read()
assert words != "FAIL" and "PATH" in os.environ and "OPENAI_API_KEY" not in os.environ
with wave.open(sys.argv[1], "wb") as file:
    file.setparams((1, 2, 22050, 0, "NONE", ""))
    file.writeframes(bytes(4410) * len(words))
"""


@pytest.fixture
def studio(factory: Factory) -> Factory:
    """A home that draws and speaks."""
    factory.home.mkdir(parents=True, exist_ok=True)
    command = json.dumps([sys.executable, "-c", BEEP, "{out}"])
    (factory.home / "factory.toml").write_text(f'[image]\n[voice.tts]\nengine = "command"\ncommand = {command}\n')
    factory.variables["OPENAI_API_KEY"] = "sk-of-nobody"
    return factory


def served(factory: Factory) -> set[str]:
    """Which capabilities are served."""
    done = factory.run("workers", "--json")
    return {row["capability"] for row in json.loads(done.stdout or "[]") if row["state"] == "serves"}


def test_a_person_asks_the_workers_that_the_program_runs(studio: Factory) -> None:
    studio.up()
    until(lambda: {"voice.tts", "image.qr", "image.chart"} <= served(studio), "workers that serve")

    said = studio.run("ask", "voice.tts", "Good morning", "--out", "said.ogg")
    drawn = studio.run("ask", "image.qr", "https://example.org", "--json")
    series = '[{"name": "5", "values": [1, 2]}]'
    chart = studio.run("ask", "image.chart", "--arg", f"series={series}", "--arg", "title=5")
    again = studio.run("ask", "image.chart", "--arg", f"series={series}")
    wrong = studio.run("ask", "image.chart", "--arg", "colour=red")
    failed = studio.run("ask", "voice.tts", "FAIL")
    unable = studio.run("ask", "image.chart", "--arg", "kind=pie", "--arg", 'series=[{"values": [-1]}]')

    folder = studio.folder
    assert (said.returncode, said.stdout) == (0, "said.ogg\n"), said.stderr
    assert (folder / "said.ogg").read_bytes()[:4] == b"OggS"
    assert json.loads(drawn.stdout) == {"text": "The code is drawn.", "files": ["qr.png"]}
    assert (folder / "qr.png").read_bytes().startswith(b"\x89PNG")
    assert (chart.stdout.splitlines()[-1:], again.stdout.splitlines()[-1:]) == (["chart.png"], ["chart (2).png"])
    assert (wrong.returncode, "there is no detail 'colour'; there is: kind, title" in wrong.stderr) == (1, True)
    assert (failed.returncode, failed.stderr.endswith(f"Its log says why: {studio.home}/log/voice.log\n")) == (1, True)
    assert (unable.returncode, unable.stderr.startswith("factory: A pie has one series")) == (1, True)


@pytest.mark.parametrize(
    ("toml", "arguments", "said"),
    [
        ("", ("ask", "image.qr", "x"), "nothing runs on"),
        ("", ("ask", "fetch", "http://127.0.0.1:1/x"), "Port 1 is not read"),
        ("", ("ask", "fetch", "http://localhost/"), "localhost is a name of a private network"),
        ("", ("ask", "fetch"), "fetch needs 'url': type it, or --arg url=VALUE"),
        ("", ("ask", "fetch", "https://example.org", "--arg", "start=abc"), "fetch: start must be of type integer"),
        ("", ("ask", "read_file", "x", "--arg", "start_line=x"), "read_file: start_line must be of type integer"),
        ("", ("ask", "fetch", "{x"), "fetch: The arguments are no valid JSON"),
        ("", ("ask", "voice.stt", "--file", "audio=/nowhere"), "/nowhere cannot be read: No such file or directory"),
        ("", ("worker", "voice"), "has no table [voice.tts] or [voice.stt]"),
        (
            "[voice.stt]\nengine = 'openai'\nbase_url = 'http://127.0.0.1:1'\nmodel = 'm'\nkey = 'NO_SUCH_KEY'\n",
            ("worker", "voice"),
            "NO_SUCH_KEY is not set, and a server is to be asked with it",
        ),
        (
            "[voice.stt]\nengine = 'whisper'\nmodel = '/models/base'\n",
            ("worker", "voice"),
            "faster_whisper is not installed; type: pip install 'factory-chat[whisper]'",
        ),
        (
            "[voice.tts]\nengine = 'command'\ncommand = ['no-such-program', '{out}']\n",
            ("worker", "voice"),
            "there is no program 'no-such-program'",
        ),
        (
            "[voice.stt]\nengine = 'whisper'\nmodel = '/models/base'\n",
            ("doctor",),
            "no model is in the folder '/models/base'; nothing is fetched",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    factory: Factory, toml: str, arguments: tuple[str, ...], said: str
) -> None:
    factory.home.mkdir(parents=True, exist_ok=True)
    (factory.home / "factory.toml").write_text(toml)

    done = factory.run(*arguments)

    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_who_may_not_serve_is_not_asked(studio: Factory) -> None:
    studio.up()

    done = studio.run("ask", "poster", "x")

    assert done.returncode == 1
    assert "nobody may serve 'poster' here; there is: voice.tts, image.qr, image.card, image.chart; " in done.stderr


def test_a_tool_that_needs_nobody_is_used_where_nothing_runs(factory: Factory) -> None:
    done = factory.run("ask", "calculator", "6 * 7")
    kept = factory.run("ask", "calculator", "6 * 7", "--out", "sum.txt")
    lost = factory.run("ask", "calculator", "6 * 7", "--out", "nowhere/sum.txt")

    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert (kept.stdout, (factory.folder / "sum.txt").read_text()) == ("sum.txt\n", "42")
    assert (lost.returncode, lost.stderr) == (1, "factory: --out: there is no folder nowhere\n")


def test_a_file_that_a_tool_sends_is_put_where_it_was_wanted(factory: Factory) -> None:
    factory.run("ask", "write_file", "note.txt", "--arg", "content=Buy milk.")
    (factory.folder / "kept.txt").write_text("as it was")

    sent = factory.run("ask", "send_file", "note.txt")
    put = factory.run("ask", "send_file", "note.txt", "--out", "there.txt")
    none = factory.run("ask", "send_file", "missing.txt", "--out", "kept.txt")

    assert (sent.returncode, sent.stdout) == (0, "note.txt\n"), sent.stderr
    assert (put.returncode, put.stdout) == (0, "there.txt\n"), put.stderr
    assert [(factory.folder / name).read_text() for name in ("note.txt", "there.txt")] == ["Buy milk."] * 2
    assert (none.returncode, (factory.folder / "kept.txt").read_text()) == (1, "as it was")


def test_a_person_uses_a_tool_of_the_agent_in_a_chat(studio: Factory) -> None:
    agents = studio.home / "agents"
    agents.mkdir()
    agent = 'model = "scripted"\ntools = ["calculator"]\nworkers = ["image.qr"]\n'
    (agents / "clerk.toml").write_text(agent)
    (agents / "bindings.toml").write_text('default = "clerk"\n')
    studio.up()
    until(lambda: "image.qr" in served(studio), "a worker that serves")

    reckoned = studio.run("chat", "-p", "/use calculator 6 * 7")
    drawn = studio.run("chat", "-p", "/use image.qr https://example.org", "--json")
    none = studio.run("chat", "-p", "/use wand x")

    assert reckoned.stdout.strip() == "42", reckoned.stderr
    ended = json.loads(drawn.stdout.splitlines()[-1])
    assert (ended["text"], [file["name"] for file in ended["files"]]) == ("The code is drawn.", ["qr.png"])
    assert ended["usage"]["calls"] == 0
    assert "There is: `calculator`, `image.qr`." in none.stderr


def test_a_voice_that_cannot_be_had_ends_nothing_else(factory: Factory) -> None:
    factory.home.mkdir(parents=True, exist_ok=True)
    (factory.home / "factory.toml").write_text("[voice.stt]\nengine = 'whisper'\nmodel = '/nowhere'\n")
    running = factory.start("up")

    until(lambda: factory.state() and factory.state()["children"]["voice"]["starts"] == LIVES, "a voice that dies")
    until(lambda: "clipool" in served(factory), "a worker that goes on")

    assert running.poll() is None
