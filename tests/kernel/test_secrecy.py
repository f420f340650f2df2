"""No secret survives, in whatever spelling, and nothing else is touched."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from itertools import pairwise
from time import process_time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub.kernel.secrecy import LONGEST, LOOKS_ALONE, SHORTEST, WORD, Redactor

VALUE = "Canary-7/fine+day=42"
SEED = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"
TELEGRAM = "123456789:AAF-a_secret_that_nobody_may_ever_see"
DISCORD = "MTA4MTIzNDU2Nzg5MDEyMzQ1Ng.Gx1y2z.a-secret_that_nobody_may_see_at_all1"
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + 3 * ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU" * 2 + "\n")

often = settings(max_examples=300, deadline=None)
# What a password may be made of; a value that holds the word which takes its place could not be hidden by it.
secrets = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_characters="[]", exclude_categories=("Cs", "Z", "C")),
    min_size=SHORTEST,
    max_size=LONGEST - 1,
).filter(lambda secret: secret == secret.strip() and not secret.startswith("-----"))
spellings = st.sampled_from(
    [
        str,
        quote,
        lambda secret: quote(secret, safe=""),
        quote_plus,
        lambda secret: json.dumps(secret)[1:-1],
        lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
        lambda secret: repr(secret)[1:-1],
        lambda secret: b64encode(secret.encode()).decode(),
        lambda secret: urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    ]
)


@often
@given(secret=secrets, spelling=spellings, before=st.text(), after=st.text(), others=st.lists(secrets, max_size=3))
def test_a_secret_survives_in_none_of_its_spellings(
    secret: str, spelling: Callable[[str], str], before: str, after: str, others: list[str]
) -> None:
    spelled = spelling(secret)

    said = Redactor.of([secret, *others]).redact(f"{before} {spelled} {after}")

    assert secret not in said
    assert spelled not in said
    assert WORD in said


@often
@given(secret=secrets, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_a_secret_in_the_middle_of_base64_cannot_be_read_there(secret: str, before: bytes, after: bytes) -> None:
    coded = b64encode(before + secret.encode() + after).decode()

    said = Redactor.of([secret]).redact(f"Basic {coded}")

    left = said.removeprefix("Basic ").split(WORD)
    for part in left:
        for offset in range(4):
            kept = part[offset : offset + (len(part) - offset) // 4 * 4]
            assert secret.encode() not in b64decode(kept.replace("=", "A"))
    assert said != f"Basic {coded}"


@often
@given(secret=secrets, before=st.text(), after=st.text(), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_a_secret_that_is_said_in_pieces_is_not_said(secret: str, before: str, after: str, cuts: list[int]) -> None:
    redactor, whole = Redactor.of([secret]), before + secret + after
    at = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})

    told, held = "", ""
    for start, end in pairwise(at):
        said, held = redactor.parted(held + whole[start:end])
        told += said
        assert len(held) < LONGEST
    told += held

    assert secret not in told
    assert told.startswith(before[: max(0, len(before) - len(secret))])


@often
@given(text=st.text(), secret=secrets)
def test_a_text_without_secrets_stays_as_it_is(text: str, secret: str) -> None:
    assume(secret not in text)
    redactor = Redactor.of([secret])

    assert redactor.without_values(text) == "".join(redactor.parted(text)) == text
    assert LOOKS_ALONE.redact(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (TELEGRAM, WORD),
        (
            f"404, url=https://api.telegram.org/bot{TELEGRAM}/getMe",
            "404, url=https://api.telegram.org/bot[secret]/getMe",
        ),
        (f"/file/bot{TELEGRAM.replace(':', '%3A')}/a.jpg", "/file/bot[secret]/a.jpg"),
        (f"Authorization: Bot {DISCORD}", "Authorization: Bot [secret]"),
        (f"the token {DISCORD}.", f"the token {WORD}."),
        (f"/interactions/1/aW50ZXJhY3Rpb246{'a1' * 20}/callback", "/interactions/1/[secret]/callback"),
        (
            f"429 PATCH /webhooks/1/aW50ZXJhY3Rpb246{'a1' * 20}/messages/@original",
            "429 PATCH /webhooks/1/[secret]/messages/@original",
        ),
        ("sk-ant-api03-abcdefghijklmnopqrstuvwxyz", WORD),
        (f"key=sk-{'a1B2' * 12}, please", "key=[secret], please"),
        (f"'\\nsk-proj-{'a1B2' * 12}'", "'\\n[secret]'"),
        (f"AIza{'b' * 35}", WORD),
        (f"ghp_{'a1' * 18} github_pat_{'a1_' * 12}", f"{WORD} {WORD}"),
        ("AKIAIOSFODNN7EXAMPLE", WORD),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [secret]",
        ),
        (f"seed {SEED}\n", f"seed {WORD}\n"),
        ("Authorization: Bearer abcdefghijklmnop1", "Authorization: Bearer [secret]"),
        ("{'authorization': 'Bearer eyJhbGciOi.J9.x1'}", "{'authorization': 'Bearer [secret]'}"),
        ("authorization: Basic dXNlcjpwYXNzd29yZDE=", "authorization: Basic [secret]"),
        ('"x-api-key": "abcdefgh12345678"', '"x-api-key": "[secret]"'),
        ("X-API-Key: abcdefgh12345678", "X-API-Key: [secret]"),
        ("nats://ann:pa55:word@bus:4222,tls://b:c@d", "nats://ann:[secret]@bus:4222,tls://b:[secret]@d"),
        (f"{PRIVATE}-----END OPENSSH PRIVATE KEY-----\nbye", f"{WORD}\nbye"),
        (PRIVATE, WORD),
        (json.dumps(PRIVATE), f'"{WORD}"'),
        (f"/start {'0a' * 12}", "/start [secret]"),
        (f"/start@zoe_bot {'0a' * 12} thanks", "/start@zoe_bot [secret] thanks"),
        (f"https://t.me/zoe_bot?start={'0a' * 12}", "https://t.me/zoe_bot?start=[secret]"),
    ],
)
def test_what_looks_secret_goes_and_what_stands_around_it_stays(text: str, redacted: str) -> None:
    assert LOOKS_ALONE.redact(text) == redacted
    assert LOOKS_ALONE.redact(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "At 12:30 the task-force on risk-based decisions-about-anything-at-all met.",
        "sk-learn, sk-fading-circle and disk-2024-01-15-with-a-long-name-behind-it are no keys",
        "src/module.py:12345: a_function_with_a_name_that_is_really_very_long",
        "Bearer authentication-is-required, says the bearer of bad-news-from-the-headquarters",
        'headers["Authorization"] = f"Bearer {token}"; headers = {"x-api-key": self._settings.key}',
        "Authorization: required. x-api-key: ${SOME_KEY_1}",
        "ssh://git@github.com/a/b, http://127.0.0.1:8080/@zoe and mailto:a@b.c",
        'if "-----BEGIN PRIVATE KEY-----" in text:\n    refuse()',
        f"sha256 {'0a' * 32}, uuid 123e4567-e89b-12d3-a456-426614174000, /start 0a0a, {'A1' * 30}",
        "UAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4G is a public key",
        "turn telegram:main:-1001234567890 of 2026-01-01T00:00:00.000000+00:00 took 12.345 s",
        "https://example.org/?start=again&restart=0a0a0a",
    ],
)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    assert LOOKS_ALONE.redact(text) == text


def test_a_secret_of_several_lines_is_known_by_each_of_them() -> None:
    secret = "-----BEGIN SOMETHING-----\nfirst line of it\n second one \nx\n-----END SOMETHING-----\n"
    redactor = Redactor.of([secret])

    assert redactor.redact("a first line of it, a second one, x") == f"a {WORD}, a {WORD}, x"
    assert redactor.redact("-----BEGIN SOMETHING-----") == "-----BEGIN SOMETHING-----"


def test_a_long_secret_is_said_neither_as_a_whole_nor_by_its_letters() -> None:
    secret = "".join(f"{number:03}x" for number in range(300))
    redactor = Redactor.of([secret])

    told = held = ""
    for letter in f"<{secret}>":
        said, held = redactor.parted(held + letter)
        told += said

    assert set((told + held).split(WORD)) <= {"<", "", ">"}
    assert set(redactor.redact(f"<{secret}>").split(WORD)) <= {"<", "", ">"}


@pytest.mark.parametrize("secret", ["", " ", "short", "\n\n", "  five5  "])
def test_what_is_too_short_to_be_secret_is_not_looked_for(secret: str) -> None:
    assert Redactor.of([secret]).redact("a short text of five5 words") == "a short text of five5 words"


def test_a_redactor_does_not_show_what_it_knows() -> None:
    assert VALUE[:SHORTEST] not in repr(Redactor.of([VALUE]))


def test_a_secret_is_not_hidden_by_what_surrounds_a_file() -> None:
    assert Redactor.of([f"  {VALUE}\n"]).redact(f"<{VALUE}>") == f"<{WORD}>"


def test_of_two_secrets_the_one_that_holds_the_other_goes_as_a_whole() -> None:
    assert Redactor.of(["abcdef", "abcdefghi"]).redact("abcdefghi abcdef") == f"{WORD} {WORD}"


def test_what_bytes_of_the_surroundings_are_no_text_can_be_secret_all_the_same() -> None:
    secret = b"caf\xe9-secret".decode(errors="surrogateescape")

    assert Redactor.of([secret]).redact(f"<{secret}>") == f"<{WORD}>"


def test_values_alone_are_taken_out_where_everything_else_must_stay() -> None:
    text = f"curl -H 'Authorization: Bearer abcdefghijklmnop1' {VALUE}"

    assert Redactor.of([VALUE]).without_values(text) == text.replace(VALUE, WORD)


@pytest.mark.parametrize(
    "text",
    [
        "the quick brown fox jumps over the lazy dog; 2026-01-01 12:00:00,123 INFO hub: turn a:b:12345 in 12.3 s\n"
        * 2_000,
        "1" * 200_000,
        "sk-" * 70_000,
        "://a:" * 40_000,
        "Bearer " + " " * 200_000,
        "bearer x" * 25_000,
        "-----BEGIN PRIVATE KEY-----" * 7_000,
        "M" * 200_000,
        VALUE[:-1] * 10_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_long_text_costs_little(text: str) -> None:
    redactor = Redactor.of([VALUE, SEED, TELEGRAM, DISCORD])

    begun = process_time()
    redactor.redact(text)

    assert process_time() - begun < 1.0
