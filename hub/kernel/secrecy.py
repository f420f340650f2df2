"""What must not be seen: secrets are taken out of a text by their exact values, and by what secrets look like.

A redactor is a value. Whoever is given a secret makes one, and what it hands on goes through it: a process's log, what
a tool says to a model, and what a model says to a person.

The main defence is that a model is never told a secret, for what tools say is redacted before it reads it: an answer
can only hold what somebody told. What speaks with secrets of its own in hand, a provider or an agent command line, is
why an answer is searched as well, by value and across the pieces in which it comes.
"""

import json
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from urllib.parse import quote, quote_plus

WORD = "[secret]"
# What is shorter would be found in the middle of ordinary words.
SHORTEST = 6
# A longer value is looked for in pieces, so that little has to be held back of an answer that may become one.
LONGEST = 64

_HTML = MappingProxyType({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
# Each keeps what its group holds. They are asked one after another: letters that a pattern begins with are found at
# the speed of a search, which an alternation of all of them would not be.
_LOOKS = (
    # Telegram, also behind /bot and in an address; Discord's bots, and its word for one button or command.
    r"[0-9]{6,12}(?::|%3[Aa])[A-Za-z0-9_-]{30,}",
    r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",
    r"aW50ZXJhY3Rpb246[A-Za-z0-9_=-]{16,}",
    # Providers of models, GitHub, AWS.
    r"sk-(?:(?:ant|proj|or|svcacct|admin)-[A-Za-z0-9_-]{16,}|[A-Za-z0-9]{32,})",
    r"AIza[A-Za-z0-9_-]{35}",
    r"gh[opsru]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{30,}",
    r"A[KS]IA[A-Z0-9]{16}",
    r"(aws_secret_access_key[\"']?\s*[=:]\s*[\"']?)[A-Za-z0-9/+]{40}",
    # What proves who somebody is: keys of the bus, private keys, whether cut off or whole.
    r"S[ACNOUX][A-Z2-7]{56}",
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=:,\s\\]|-(?!----)){40,}"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----)?",
    # Headers, in a request as in code that makes one; a secret holds a digit, the name of a variable seldom does.
    r"([Bb]earer\s+)(?=[A-Za-z._~+/-]*[0-9])[A-Za-z0-9._~+/=-]{16,}",
    r"([Aa]uthorization[\"']?\s*[:=]\s*[\"']?(?:[A-Z][a-z]+\s+)?)"
    r"(?=[A-Za-z._~+/:-]*[0-9])[A-Za-z0-9._~+/=:-]{16,}",
    r"([Xx]-[Aa][Pp][Ii]-[Kk][Ee][Yy][\"']?\s*[:=]\s*[\"']?)(?=[A-Za-z._-]*[0-9])[A-Za-z0-9._-]{16,}",
    # Addresses that log in, and our own codes that make an owner.
    r"(://[^\s/:@\"'<>]{0,64}:)[^\s/@\"'<>]+(?=@)",
    r"(/start(?:@\w{1,64})?\s+)[0-9a-f]{24}",
    r"([?&]start=)[0-9a-f]{24}",
)


@dataclass(frozen=True, slots=True)
class Redactor:
    """Knows secrets, and puts a word in the place of each. Made by `of`."""

    values: re.Pattern[str] | None = field(default=None, repr=False)
    spellings: re.Pattern[str] | None = field(default=None, repr=False)
    beginnings: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, secrets: Iterable[str]) -> "Redactor":
        """One that knows these; what is shorter than six characters is no secret that could be kept."""
        pieces = {piece for secret in secrets for piece in _pieces(secret.strip())}
        if not pieces:
            return cls()
        # Of two that begin alike the longer one is looked for first.
        ordered = sorted(pieces, key=lambda piece: (-len(piece), piece))
        return cls(
            values=_any_of(tuple(map(re.escape, piece)) for piece in ordered),
            spellings=_any_of(spelling for piece in ordered for spelling in _spellings(piece)),
            beginnings=frozenset(piece[:end] for piece in pieces for end in range(1, len(piece))),
        )

    def redact(self, text: str) -> str:
        """The text without what is known to be secret, however it is spelled, and without what looks secret."""
        if self.spellings is not None:
            text = self.spellings.sub(WORD, text)
        for pattern in _looks():
            text = pattern.sub(_instead, text)
        return text

    def without_values(self, text: str) -> str:
        """The text without the secrets themselves, and otherwise as it is, whatever that looks like."""
        return text if self.values is None else self.values.sub(WORD, text)

    def parted(self, text: str) -> tuple[str, str]:
        """What may be said of a text that goes on, without secrets, and its end where that may begin one.

        The end is to be put before what comes next.
        """
        if self.values is None:
            return text, ""
        text = self.values.sub(WORD, text)
        for start in range(max(0, len(text) - LONGEST), len(text)):
            if text[start:] in self.beginnings:
                return text[:start], text[start:]
        return text, ""


LOOKS_ALONE = Redactor()


@cache
def _looks() -> tuple[re.Pattern[str], ...]:
    # To understand them takes a while, and many a process has nothing to redact.
    return tuple(map(re.compile, _LOOKS))


def _instead(found: re.Match[str]) -> str:
    return f"{found[1]}{WORD}" if found.lastindex else WORD


def _pieces(secret: str) -> Iterator[str]:
    """What a secret is looked for by: its lines, and of a long one the parts."""
    for line in secret.splitlines():
        line = line.strip()
        # The rule around a key stands in many a text that holds none.
        if len(line) >= SHORTEST and not line.startswith("-----"):
            cuts = range(0, len(line) - SHORTEST + 1, LONGEST - SHORTEST)
            ends = (*cuts[1:], len(line))
            yield from (line[start:end] for start, end in zip(cuts, ends, strict=True))


def _spellings(piece: str) -> Iterator[tuple[str, ...]]:
    """Patterns of the piece, letter by letter: as it is or escaped in one of many ways, and as base64."""
    yield tuple(letter if letter.isalnum() and letter.isascii() else _spelled(letter) for letter in piece)
    data = piece.encode(errors="surrogatepass")
    for before in range(3):
        # Of the first and the last letter of base64, bits belong to what stands beside the secret.
        text = b64encode(bytes(before) + data).decode()[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
        yield tuple({"+": "[+-]", "/": "[/_]"}.get(letter, letter) for letter in text)


def _spelled(letter: str) -> str:
    """A letter that an address, JSON, Python, HTML or Markdown may escape."""
    coded = quote(letter, safe="", errors="surrogatepass")
    escaped = (f"\\{letter}", json.dumps(letter)[1:-1], repr(letter)[1:-1], _HTML.get(letter, letter))
    ways = (letter, coded, coded.lower(), quote_plus(letter, errors="surrogatepass"), *escaped)
    return f"(?:{'|'.join(dict.fromkeys(map(re.escape, ways)))})"


def _any_of(spellings: Iterable[tuple[str, ...]]) -> re.Pattern[str]:
    """One pattern of many; those that begin alike share their beginning, or a search would try each at each place."""
    rests: defaultdict[str, list[str]] = defaultdict(list)
    for first, *rest in spellings:
        rests[first].append("".join(rest))
    return re.compile("|".join(f"{first}(?:{'|'.join(dict.fromkeys(rest))})" for first, rest in rests.items()))
