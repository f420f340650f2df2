"""Bytes that fit, bytes from a newer sender, and bytes that are broken."""

from __future__ import annotations

import json

import pytest

from factory_nats.codec import Codec
from factory_nats.result import Err, Ok


def read(raw: bytes) -> int:
    if len(raw) > 1000:
        raise ValueError("too deep or too long")
    found = json.loads(raw)
    if not isinstance(found, dict) or found.get("schema_version") != 1 or set(found) != {"schema_version", "number"}:
        raise ValueError("secret text must not be repeated")
    number = found["number"]
    if not isinstance(number, int):
        raise ValueError("secret text must not be repeated")
    return number


def write(number: int) -> bytes:
    return json.dumps({"schema_version": 1, "number": number}).encode()


NUMBER = Codec(encode=write, decode=read, version=1)


def test_what_was_written_is_read() -> None:
    assert NUMBER.decode(NUMBER.encode(7)) == Ok(7)


def test_a_newer_sender_is_told_apart_and_both_versions_are_named() -> None:
    outcome = NUMBER.decode(b'{"schema_version": 9, "number": 7, "new": true}')

    assert outcome == Err("newer version", "the sender speaks version 9, this process understands 1")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"secret",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"{}",
        b'{"schema_version": "9"}',
        b'{"schema_version": true}',
        b'{"schema_version": 1, "number": "secret"}',
        b'{"schema_version": 0, "number": 1}',
        b"[" * 100_000,
    ],
)
def test_what_does_not_fit_is_malformed_and_not_repeated(raw: bytes) -> None:
    outcome = NUMBER.decode(raw)

    assert isinstance(outcome, Err)
    assert outcome.reason == "malformed"
    assert "secret" not in outcome.detail


def test_an_explanation_names_what_is_wrong() -> None:
    codec = Codec(encode=write, decode=read, version=1, explain=lambda error: "number")

    outcome = codec.decode(b'{"schema_version": 1, "number": "secret"}')

    assert outcome == Err("malformed", "the object does not fit schema version 1: number")
