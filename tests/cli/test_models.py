"""Which model answers where an agent leaves it open, and who pays for one that it names."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from genai_prices import Usage, calc_price

from factory_cli.models import PAID, Choice, Paid, choose, describe, find_claude, find_ollama, look

ALL = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "OPENROUTER_API_KEY": "r", "GEMINI_API_KEY": "g"}
HERE = "runs on this machine, costs nothing to call"
Answer = Callable[[socket.socket], None]


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in ALL.items() if name not in names}


@pytest.mark.parametrize(
    ("variables", "ollama", "model", "payer"),
    [
        (ALL, ["llama3.2"], "anthropic:claude-sonnet-5-5", "paid by ANTHROPIC_API_KEY"),
        (without("ANTHROPIC_API_KEY"), [], "openai:gpt-6.1-sol", "paid by OPENAI_API_KEY"),
        (
            without("ANTHROPIC_API_KEY", "OPENAI_API_KEY"),
            [],
            "openrouter:anthropic/claude-sonnet-5.5",
            "paid by OPENROUTER_API_KEY",
        ),
        ({"GEMINI_API_KEY": "g"}, ["llama3.2"], "gemini:gemini-3.8-flash", "paid by GEMINI_API_KEY"),
        ({"ANTHROPIC_API_KEY": " "}, ["llama3.2"], "ollama:llama3.2", HERE),
        ({}, ["nomic-embed-text:latest", "bge-m3", "qwen3:8b", "llama3.2"], "ollama:qwen3:8b", HERE),
        ({"OLLAMA_HOST": "http://box:80"}, ["qwen3"], "ollama:qwen3", "runs on box, costs nothing to call"),
        ({"OLLAMA_HOST": "0.0.0.0"}, ["qwen3"], "ollama:qwen3", HERE),
        ({}, ["all-minilm"], "scripted", "an offline stand-in, free"),
        ({}, [], "scripted", "an offline stand-in, free"),
    ],
    ids=repr,
)
def test_a_key_decides_then_ollama_then_the_stand_in(
    variables: dict[str, str], ollama: list[str], model: str, payer: str
) -> None:
    choice = choose(variables, ollama=ollama, claude=None)

    assert (choice.model, choice.payer, choice.offers, choice.complaint) == (model, payer, (), "")


def test_the_reason_names_what_decided() -> None:
    assert choose(ALL, ollama=(), claude=None).why == "ANTHROPIC_API_KEY is set"
    assert choose({}, ollama=["qwen3"], claude=None).why == "no key is set, and Ollama serves qwen3"
    assert choose({}, ollama=(), claude=None).why.endswith("is set, and no Ollama serves a model")


@pytest.mark.parametrize("variables", [{}, ALL], ids=["nothing else", "keys"])
def test_claude_is_offered_and_never_taken(variables: dict[str, str]) -> None:
    offer = '/bin/claude is there: `model = "claude_cli"` in the agent file lets it answer, paid for as it is signed in'

    choice = choose(variables, ollama=(), claude="/bin/claude")

    assert choice == replace(choose(variables, ollama=(), claude=None), offers=(offer,))


@pytest.mark.parametrize("paid", PAID, ids=lambda paid: paid.name)
def test_each_model_that_is_chosen_has_a_price(paid: Paid) -> None:
    table = {"gemini": "google"}.get(paid.name, paid.name)

    assert calc_price(Usage(input_tokens=1_000, output_tokens=1_000), paid.model, provider_id=table).total_price > 0


@pytest.mark.parametrize(
    ("model", "variables", "payer", "complaint"),
    [
        ("scripted", {}, "an offline stand-in, free", ""),
        ("scripted:/a/b.toml", {}, "an offline stand-in, free", ""),
        ("anthropic:claude-opus-5-5", ALL, "paid by ANTHROPIC_API_KEY", ""),
        (
            "anthropic:claude-opus-5-5",
            {},
            "nobody pays for it yet",
            "ANTHROPIC_API_KEY is not set: put a key there, or choose another model",
        ),
        (
            "gemini:x",
            {"GEMINI_API_KEY": " "},
            "nobody pays for it yet",
            "GEMINI_API_KEY is not set: put a key there, or choose another model",
        ),
        ("openai", ALL, "paid by OPENAI_API_KEY", "'openai' names no model: say which, such as openai:gpt-6.1-sol"),
        ("ollama:qwen3", {}, HERE, ""),
        ("ollama", {}, HERE, "'ollama' names no model: say which, as ollama:NAME"),
        ("vllm:x", {"VLLM_BASE_URL": "https://gpu.lan/v1"}, "runs on gpu.lan, costs nothing to call", ""),
        (
            "openai_like:x",
            {},
            HERE,
            "OPENAI_LIKE_BASE_URL is not set: put the address of the server there, or choose another model",
        ),
        ("claude_cli", {**ALL, "CLAUDE_CLI_COMMAND": "ssh box claude"}, "paid by ANTHROPIC_API_KEY", ""),
        (
            "claude_cli:opus",
            {"PATH": "/nowhere"},
            "paid for as claude is signed in",
            "there is no claude on the PATH: install Claude Code, name its path in CLAUDE_CLI_COMMAND, or choose "
            "another model",
        ),
        (
            "agents:bob/acme/desk",
            {},
            "paid for by whoever runs that agent",
            "AGENTS_URL is not set: put the address of the bus there on which it is",
        ),
        ("agents:bob/acme/desk", {"AGENTS_URL": "nats://x"}, "paid for by whoever runs that agent", ""),
        ("ours:x", {}, "paid for as ours bills it", ""),
    ],
    ids=repr,
)
def test_a_named_model_has_a_payer_or_a_complaint(
    model: str, variables: dict[str, str], payer: str, complaint: str
) -> None:
    assert describe(model, variables) == Choice(model, "the agent names it", payer, complaint=complaint)


def test_claude_is_found_where_its_variable_or_the_path_says(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert find_claude({"PATH": str(tmp_path)}) == str(program)
    assert find_claude({"PATH": "", "HOME": str(tmp_path), "CLAUDE_CLI_COMMAND": "~/claude"}) == str(program)
    assert find_claude({"PATH": str(tmp_path), "CLAUDE_CLI_COMMAND": "/nowhere"}) is None


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """A server that deals with each connection as it is told to, and gives its address."""
    with ExitStack() as stack:

        def start(answer: Answer) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = Thread(target=accept, args=(listener, answer))
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"127.0.0.1:{listener.getsockname()[1]}"

        yield start


def accept(listener: socket.socket, answer: Answer) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            answer(connection)


def saying(body: bytes, status: str = "200 OK", *headers: str) -> Answer:
    def answer(connection: socket.socket) -> None:
        asked = connection.recv(65_536)
        assert asked.startswith(b"GET /api/tags HTTP/1.1\r\n")
        head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
        connection.sendall(f"{head}\r\n\r\n".encode() + body)

    return answer


def listing(*models: object) -> bytes:
    return json.dumps({"models": models}).encode()


def test_what_ollama_serves_comes_last_changed_first_and_without_what_cannot_chat(
    serve: Callable[[Answer], str],
) -> None:
    body = listing(
        {"name": "old:1b", "modified_at": "2024-05-04T10:00:00.123456789+02:00"},
        {"name": "undated", "modified_at": "yesterday"},
        {"name": "nomic-embed-text", "modified_at": "2026-05-04T10:00:00Z"},
        {"name": "reader", "modified_at": "2026-05-04T10:00:00Z", "capabilities": ["embedding"]},
        {"name": "measurer", "modified_at": "2026-05-04T10:00:00Z", "details": {"family": "nomic-bert"}},
        {"name": "new:8b", "modified_at": "2026-01-01T00:00:00-07:00", "capabilities": ["completion", "tools"]},
        {"model": "newest", "modified_at": "2026-01-01T07:00:01"},
        {"name": "new:8b"},
    )

    assert find_ollama({"OLLAMA_HOST": serve(saying(body))}) == ("newest", "new:8b", "old:1b", "undated")


def test_the_whole_look_takes_what_is_served(serve: Callable[[Answer], str]) -> None:
    address = serve(saying(listing({"name": "qwen3:8b"}), "200 OK", "Connection: close"))

    choice = look({"OLLAMA_HOST": f"http://{address}/", "PATH": "/nowhere"})

    assert (choice.model, choice.payer) == ("ollama:qwen3:8b", HERE)


def test_with_a_key_nobody_is_asked(serve: Callable[[Answer], str]) -> None:
    asked: list[bytes] = []
    address = serve(lambda connection: asked.append(connection.recv(1)))

    assert look({**ALL, "OLLAMA_HOST": address, "PATH": "/nowhere"}).model.startswith("anthropic:")
    assert asked == []


@pytest.mark.parametrize(
    "answer",
    [
        saying(b"", "500 Internal Server Error"),
        saying(listing({"name": "x"}), "404 Not Found"),
        saying(b"", "302 Found", "Location: http://169.254.169.254/api/tags"),
        saying(b"no json"),
        saying(b"\xff\xfe"),
        saying(b"[" * 100_000),
        saying(b"[]"),
        saying(b'{"models": {}}'),
        saying(listing(7, None, {}, {"name": 7}, {"name": "a b"}, {"name": "x" * 201}, {"name": "a\nb"})),
        saying(listing(*({"name": f"model-{number}"} for number in range(50_000)))),
        lambda connection: connection.sendall(b"\0garbage\r\n\r\n"),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000 + b"\r\n"),
        lambda connection: None,
    ],
    ids=lambda answer: "",
)
def test_an_answer_that_is_none_is_none(serve: Callable[[Answer], str], answer: Answer) -> None:
    assert find_ollama({"OLLAMA_HOST": serve(answer)}) == ()


def dripping(head: bytes) -> Answer:
    """A byte now and then, for as long as somebody listens."""

    def answer(connection: socket.socket) -> None:
        connection.settimeout(0.02)
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            try:
                if not connection.recv(65_536):
                    return
            except TimeoutError:
                continue

    return answer


def hang(connection: socket.socket) -> None:
    """Nothing, until the other side leaves."""
    while connection.recv(65_536):
        continue


@pytest.mark.parametrize(
    "answer",
    [hang, dripping(b"HTTP/1.1 200 OK\r\nX: "), dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")],
    ids=["silence", "a header", "a body"],
)
def test_who_does_not_answer_in_time_is_not_there(serve: Callable[[Answer], str], answer: Answer) -> None:
    began = time.monotonic()

    assert find_ollama({"OLLAMA_HOST": serve(answer)}) == ()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "host",
    ["ftp://127.0.0.1", "http://[::1", "127.0.0.1:99999", "127.0.0.1:x", "a b", "http://127.0.0.1:1/a b", "é", "\0"],
)
def test_an_address_that_is_none_is_not_asked(host: str) -> None:
    assert find_ollama({"OLLAMA_HOST": host}) == ()


def test_where_nobody_listens_there_is_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert find_ollama({"OLLAMA_HOST": f"127.0.0.1:{port}"}) == ()


def test_it_loads_without_anything_heavy() -> None:
    heavy = ("pydantic", "anthropic", "openai", "genai_prices", "http.client", "ssl", "typer")
    script = f"import sys, factory_cli.models; print([name for name in {heavy!r} if name in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"
