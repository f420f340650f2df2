"""What a file is, told by what it holds and what it is called."""

import pytest

from adapters.mime import ending_of, kind_of, mime_of

PNG = b"\x89PNG\r\n\x1a\n\0"
OPUS = b"OggS" + b"\0" * 24 + b"OpusHead\x01"
BINARY = b"\x80\0\x01"


@pytest.mark.parametrize(
    ("name", "data", "mime", "kind"),
    [
        ("a.png", PNG, "image/png", "image"),
        ("a.txt", PNG, "image/png", "image"),
        ("a", b"\xff\xd8\xff\xe0", "image/jpeg", "image"),
        ("a", b"GIF89a\0", "image/gif", "image"),
        ("a", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "image"),
        ("a.png", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "image"),
        ("a", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav", "audio"),
        ("a", b"RIFF\0\0\0\0????", "application/octet-stream", "document"),
        ("a.pdf", b"%PDF-1.7\n", "application/pdf", "document"),
        ("a", b"ID3\x04\0", "audio/mpeg", "audio"),
        ("a.mp3", b"\xff\xfb\x90\0", "audio/mpeg", "audio"),
        ("a", b"fLaC\0", "audio/flac", "audio"),
        ("a", b"OggS\0", "audio/ogg", "audio"),
        ("a", b"\x1aE\xdf\xa3\0", "video/webm", "video"),
        ("a.mp3", b"OggS\0", "audio/mpeg", "audio"),
        ("a.ogg", OPUS, "audio/ogg", "voice"),
        ("a.oga", OPUS, "audio/ogg", "voice"),
        ("a.opus", OPUS, "audio/opus", "voice"),
        ("a.mp3", b"ID3\x04OpusHead", "audio/mpeg", "audio"),
        ("a", b"\0\0\0\x20ftypisom", "video/mp4", "video"),
        ("a.m4a", b"\0\0\0\x20ftypM4A ", "audio/mp4", "audio"),
        ("a.jpg", b"\0\0\0\x20ftypheic", "image/heic", "image"),
        ("a.mov", b"\0\0\0\x14ftypqt  ", "video/quicktime", "video"),
        ("a.txt", b"text", "text/plain", "document"),
        ("a.csv", "grün".encode(), "text/csv", "document"),
        ("a.json", b"{}", "application/json", "document"),
        ("a.svg", b"<svg/>", "image/svg+xml", "document"),
        ("a.ts", b"const a = 1", "text/plain", "document"),
        ("Makefile", b"all:\n", "text/plain", "document"),
        ("a.sh", b"#!/bin/sh\n", "text/plain", "document"),
        ("a.png", b"not a picture", "text/plain", "document"),
        ("a.png", BINARY, "application/octet-stream", "document"),
        ("a.pdf", BINARY, "application/octet-stream", "document"),
        ("a.txt", BINARY, "application/octet-stream", "document"),
        ("a.txt", "grün".encode("latin-1"), "text/plain", "document"),
        ("a.zip", b"PK\x03\x04\0\xff", "application/zip", "document"),
        ("a.tar.gz", b"\x1f\x8b\0", "application/octet-stream", "document"),
        ("a.png", b"", "text/plain", "document"),
        ("", b"", "text/plain", "document"),
        ("no.such-ending", BINARY, "application/octet-stream", "document"),
    ],
)
def test_the_first_bytes_say_what_a_file_is_and_its_name_what_they_leave_open(
    name: str, data: bytes, mime: str, kind: str
) -> None:
    assert mime_of(name, data) == mime
    assert kind_of(mime, data) == kind


@pytest.mark.parametrize(
    ("mime", "ending"),
    [
        ("image/png", ".png"),
        ("image/jpeg", ".jpg"),
        ("image/webp", ".webp"),
        ("audio/ogg", ".ogg"),
        ("audio/wav", ".wav"),
        ("application/pdf", ".pdf"),
        ("video/mp4", ".mp4"),
        ("text/plain", ".txt"),
        ("x/of-no-kind", ""),
        ("", ""),
    ],
)
def test_a_file_without_a_name_is_given_the_ending_of_its_kind(mime: str, ending: str) -> None:
    assert ending_of(mime) == ending
