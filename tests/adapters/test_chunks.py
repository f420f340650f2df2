"""What the agent protocol of others puts on the wire, whoever wrote it."""

import json
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synadia_ai.agents import messages
from synadia_ai.agents.envelope import decode

from adapters import chunks
from adapters.chunks import Ended, Fault, File, Prompt, Query, Said, Status, Unreadable

FILE = {"filename": "a.txt", "content": b64encode(b"abc").decode(), "more": 1}


@pytest.mark.parametrize(
    ("data", "prompt"),
    [
        (b"hello", Prompt("hello")),
        (b"  hello {", Prompt("  hello {")),
        (b'{"prompt": "h\\u00e9", "x": 1}', Prompt("hé")),
        (b'\r\n\t {"prompt": "x", "attachments": null}', Prompt("x")),
        (json.dumps({"prompt": "x", "attachments": [FILE]}).encode(), Prompt("x", (File("a.txt", b"abc"),))),
        (b'{"prompt": "\\ud800"}', Prompt("?")),
    ],
)
def test_a_prompt_is_text_or_an_object(data: bytes, prompt: Prompt) -> None:
    assert chunks.read_prompt(data) == prompt


@pytest.mark.parametrize(
    ("data", "headers", "chunk"),
    [
        (b"", None, Ended()),
        (b"", {"X": "1"}, None),
        (b'{"type": "response", "data": "a"}', None, Said("a")),
        (b'{"type": "response", "data": {"text": "a", "attachments": []}}', {"X": "1"}, Said("a")),
        (b'{"type": "status", "data": "ack"}', None, Status("ack")),
        (b'{"type": "query", "data": {"id": "1", "reply_subject": "r", "prompt": "?"}}', None, Query("r", "?")),
        (b'{"type": "weather"}', None, None),
        (b"", {chunks.ERROR_CODE: "429", chunks.ERROR: "slow"}, Fault(429, "slow")),
        (b"{}", {chunks.ERROR_CODE: "what", chunks.ERROR: "x"}, Fault(500, "x")),
        (b'{"message": "m", "retry_after_s": 3}', {chunks.ERROR_CODE: "429"}, Fault(429, "m", 3.0)),
        (b"[", {chunks.ERROR_CODE: "400", chunks.ERROR: "x"}, Fault(400, "x")),
    ],
)
def test_a_chunk_is_what_it_says(data: bytes, headers: dict[str, str] | None, chunk: chunks.Chunk | None) -> None:
    assert chunks.read_chunk(data, headers) == chunk


@settings(deadline=None)
@given(st.binary(), st.one_of(st.none(), st.dictionaries(st.sampled_from([chunks.ERROR_CODE, "X"]), st.text())))
def test_whatever_comes_is_understood_or_said_to_be_none(data: bytes, headers: dict[str, str] | None) -> None:
    with suppress(Unreadable):
        chunks.read_prompt(data)
    with suppress(Unreadable):
        chunks.read_chunk(data, headers)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: (
            st.lists(one)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "data", "text", "prompt", "attachments", "filename", "content", "reply_subject"]
                ),
                one,
            )
        ),
    )
)
def test_no_json_is_too_odd_to_be_told_so(said: object) -> None:
    data = json.dumps(said).encode()
    with suppress(Unreadable):
        chunks.read_prompt(data)
    with suppress(Unreadable):
        chunks.read_chunk(data, None)


@settings(deadline=None)
@given(st.text(min_size=1), st.lists(st.tuples(st.text(), st.binary()), max_size=3))
def test_what_we_write_the_sdk_of_others_reads(text: str, files: list[tuple[str, bytes]]) -> None:
    named = tuple(File(name, data) for name, data in files)
    said = messages.decode_chunk(chunks.said(text, named))
    asked = messages.decode_chunk(chunks.query("1", "r", text))
    prompt = decode(chunks.write_prompt(Prompt(text, named)))

    assert isinstance(said, messages.ResponseChunk)
    assert isinstance(asked, messages.QueryChunk)
    assert (said.text, asked.prompt, prompt.prompt) == (text, text, text)
    for sent in (said.attachments or [], prompt.attachments or []):
        assert [(one.filename, one.to_bytes()) for one in sent] == files


@settings(deadline=None)
@given(st.text())
def test_an_error_stands_on_one_line_of_ascii(text: str) -> None:
    body, headers = chunks.fault(500, text)

    assert headers[chunks.ERROR].isascii()
    assert len(headers[chunks.ERROR].splitlines()) <= 1
    assert json.loads(body)["error"] == "internal"
