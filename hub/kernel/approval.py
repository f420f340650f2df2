"""One call that a person is asked about: what they are shown of it, and where the question stands.

What is shown is made of the call's real arguments, and two calls that differ are never shown alike. Strings stand in
quotes, and whatever could not be seen is spelled.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from json import dumps, loads
from types import MappingProxyType
from unicodedata import category

from factory_contracts.records import Asked, Decided, Effect, ToolStarted

MAX_NAME = 60
MAX_VALUE = 600
# A sentence and the longest name of a host.
MAX_REASON = 360
MAX_REASONS = 3
# How many characters of all arguments together begin a last line.
MAX_ARGUMENTS = 1_000
HEAD, TAIL = 400, 100

_EFFECTS: Mapping[Effect, str] = MappingProxyType(
    {
        "read": "It looks something up.",
        "write": "It changes what is kept here.",
        "external": "It acts outside of this system, where nothing can be taken back.",
    }
)
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_.-]{{0,{MAX_NAME - 1}}}")
_SPELLED: Mapping[str, str] = MappingProxyType({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})
# Of these categories nothing is seen, or it moves what is beside it.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
# Characters of other categories that take no room, or nothing but room: fillers, selectors, joiners.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


@dataclass(frozen=True, slots=True)
class Approval:
    """A question as the log tells of it: who asks now, what was decided, and which attempt began the call."""

    asked: Asked
    attempt: int
    decided: Decided | None = None
    begun: int | None = None

    def after(self, record: Asked | Decided | ToolStarted, attempt: int) -> "Approval":
        """Where it stands once this is on the log: the first decision counts, and the first attempt that begins."""
        match record:
            case Asked():
                return replace(self, attempt=attempt)
            case Decided() if self.decided is None and record.code == self.asked.code:
                return replace(self, decided=record)
            case ToolStarted() if self.begun is None:
                return replace(self, begun=record.attempt)
        return self


def digest(tool: str, arguments: str) -> str:
    """What a call is known by: the tool and its arguments, in one spelling."""
    return sha256(f"{tool}\0{arguments}".encode(errors="surrogatepass")).hexdigest()


def read(arguments: str) -> dict[str, object] | None:
    """The arguments by name; None where that is no JSON object in the one spelling, and so might say two things."""
    try:
        value = loads(arguments)
        is_plain = dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) == arguments
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and is_plain else None


def worded(
    tool: str, effect: Effect, arguments: Mapping[str, object], reasons: Sequence[str], expires_at: float
) -> str:
    """The question: what is to be done, with which arguments, why it is asked, and who may answer until when."""
    named = "\n".join(_listed(arguments)) or "(no arguments)"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", named)), default=0))
    asked = [f"- {in_code(reason, MAX_REASON)}" for reason in reasons[:MAX_REASONS]]
    return "\n".join(
        (
            f"May {in_code(tool, MAX_NAME)} be used? {_EFFECTS[effect]}",
            *(["", "You are asked because:", *asked] if asked else []),
            "",
            fence,
            named,
            fence,
            "",
            f"Only an owner of this bot can allow it, until {_spelled_time(expires_at)}.",
        )
    )


def in_code(words: str, most: int) -> str:
    """Words in which no sign means anything but itself."""
    spelled = "".join("\\u0060" if character == "`" else _visible(character) for character in words[: most + 1])
    return f"`{spelled if len(spelled) <= most else f'{spelled[: most - 1]}…'}`"


def _listed(arguments: Mapping[str, object]) -> Iterator[str]:
    """A line for each argument, as far as there is room, and one that stands for all others."""
    room = MAX_ARGUMENTS
    left = dict(arguments)
    for name, value in arguments.items():
        if room <= 0:
            rest = dumps(left, sort_keys=True, separators=(",", ":"))
            yield f"(and {len(left):,} more: {len(rest):,} characters, sha256 {sha256(rest.encode()).hexdigest()})"
            return
        line = f"{name if _NAME.fullmatch(name) else _quoted(name, MAX_NAME)}: {_shown(value)}"
        yield line
        room -= len(line)
        del left[name]


def _shown(value: object) -> str:
    if isinstance(value, str):
        # A line of the value is a line on the screen, further in than what names an argument.
        return _quoted(value, MAX_VALUE, line_break="\\n\n  ")
    spelled = _spelled(value)
    if len(spelled) <= MAX_VALUE:
        return spelled
    plain = dumps(value, sort_keys=True, separators=(",", ":"))
    return f"{spelled[:HEAD]} … {spelled[-TAIL:]} {_summed(len(plain), plain.encode())}"


def _spelled(value: object) -> str:
    match value:
        case str():
            return f'"{"".join(map(_visible, value))}"'
        case list():
            return f"[{', '.join(map(_spelled, value))}]"
        case dict():
            return f"{{{', '.join(f'{_spelled(name)}: {_spelled(inner)}' for name, inner in value.items())}}}"
        case _:
            return dumps(value)


def _quoted(text: str, most: int, line_break: str = "\\n") -> str:
    """The text between quotes; its beginning, its end and its digest where it is long."""

    def spelled(part: str) -> list[str]:
        return [line_break if character == "\n" else _visible(character) for character in part]

    whole = spelled(text[: most + 1])
    if sum(map(len, whole)) <= most:
        return f'"{"".join(whole)}"'
    head, tail = min(HEAD, most // 2), min(TAIL, most // 4)
    begun = _fitting(spelled(text[:head]), head)
    ended = _fitting(spelled(text[-tail:])[::-1], tail)[::-1]
    summed = _summed(len(text), text.encode(errors="surrogatepass"))
    return f'"{"".join(begun)}" … "{"".join(ended)}" {summed}'


def _fitting(spelled: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    for one in spelled:
        room -= len(one)
        if room < 0:
            break
        kept.append(one)
    return kept


def _summed(length: int, data: bytes) -> str:
    return f"({length:,} characters, sha256 {sha256(data).hexdigest()})"


def _visible(character: str) -> str:
    """The character, or how it is written where it cannot be seen for what it is."""
    if character in _SPELLED:
        return _SPELLED[character]
    if character == " " or (category(character) not in _UNSEEN and not _BLANK.match(character)):
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _spelled_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
