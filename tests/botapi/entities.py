"""Texts as Telegram measures and marks them: lengths and offsets are in UTF-16 code units."""

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from tests.botapi.refusal import Json, bad, wrong

STYLES = frozenset({"bold", "italic", "underline", "strikethrough", "spoiler"})
CODE = frozenset({"code", "pre"})
QUOTES = frozenset({"blockquote", "expandable_blockquote"})
# What a bot may mark.
MARKS = STYLES | CODE | QUOTES | {"text_link", "text_mention", "custom_emoji", "date_time"}
# What the server finds by itself; from a bot it ignores them.
FOUND = frozenset({"mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "bank_card_number"})
# What each kind must have beside its place, and of which type.
NEEDS = {
    "text_link": ("url", str),
    "text_mention": ("user", dict),
    "custom_emoji": ("custom_emoji_id", str),
    "date_time": ("unix_time", int),
}
FIELDS = frozenset(
    {"type", "offset", "length", "url", "user", "language", "custom_emoji_id", "unix_time", "date_time_format"}
)
MOST = 100

_NAMES = "com|org|net|io|dev|ai|app|co|info|edu|gov|me|ru|de|uk|fr|eu|tv|xyz"
_PATTERNS = (
    (
        "url",
        re.compile(rf"(?<![\w@.])(?:(?:https?|ftp|tg)://\S+|(?:[\w-]+\.)+(?:{_NAMES})\b(?:[/?#:]\S*)?)(?!@)", re.I),
    ),
    ("email", re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[a-z]{2,}", re.I)),
    ("mention", re.compile(r"(?<![\w@])@[A-Za-z0-9_]{3,32}(?!\w)")),
    ("bot_command", re.compile(r"(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/<>])")),
    ("hashtag", re.compile(r"(?<![\w#])#(?=\w*[^\W\d])\w{1,256}")),
    ("cashtag", re.compile(r"(?<![\w$])\$[A-Z]{1,8}(?!\w)")),
)
_BLANK = " \n\t\v\f\u00a0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"


def units(text: str) -> int:
    """The length of a text as Telegram counts it."""
    return len(text.encode("utf-16-le")) // 2


def part(text: str, offset: int, length: int) -> str:
    """What lies at so many code units."""
    return text.encode("utf-16-le")[offset * 2 : (offset + length) * 2].decode("utf-16-le")


def find(text: str, taken: Iterable[Json] = ()) -> list[Json]:
    """What Telegram marks by itself, outside of code, links and each other."""
    covered = [_span(entity) for entity in taken if entity["type"] not in STYLES | QUOTES]
    found: list[Json] = []
    # An address of mail is found before the name in it, a link before both.
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            said = match[0].rstrip(".,;:!?)'\"…") if kind == "url" else match[0]
            begin = units(text[: match.start()])
            end = begin + units(said)
            if all(end <= other[0] or other[1] <= begin for other in covered):
                covered.append((begin, end))
                found.append({"type": kind, "offset": begin, "length": end - begin})
    return sorted(found, key=lambda entity: int(entity["offset"]))


def shown(text: str, entities: Sequence[Json], limit: int, too_long: str) -> tuple[str, list[Json]]:
    """The text as it will be seen: cleaned and trimmed, with the marks of the bot and those of the server."""
    check(text, entities)
    text, kept = _tidied(text, [entity for entity in entities if entity["type"] in MARKS])
    if units(text) > limit:
        raise bad(too_long)
    return text, _in_order([*kept, *find(text, kept)])


def check(text: str, entities: Sequence[Json]) -> None:
    """Refuse marks that Telegram would refuse, drop or show elsewhere than meant."""
    for entity in entities:
        _check_alone(text, entity)
    counted = [entity for entity in entities if entity["type"] in MARKS and entity["length"]]
    if len(counted) > MOST:
        raise wrong("ENTITIES_TOO_LONG")
    for index, one in enumerate(counted):
        for other in counted[index + 1 :]:
            _check_together(one, other)


def _check_alone(text: str, entity: Json) -> None:
    kind, offset, length = (entity.get(key) for key in ("type", "offset", "length"))
    if not isinstance(kind, str) or kind not in MARKS | FOUND:
        raise wrong("can't parse MessageEntity: Unsupported type specified")
    for key, value in (("offset", offset), ("length", length)):
        if type(value) is not int:
            raise wrong(f'can\'t parse MessageEntity: Field "{key}" must be of type Number')
    if unknown := entity.keys() - FIELDS:
        raise wrong(f"can't parse MessageEntity: there is no field {', '.join(sorted(unknown))}")
    if kind in NEEDS:
        key, needed = NEEDS[kind]
        if not isinstance(entity.get(key), needed):
            raise wrong(f"can't parse MessageEntity: Can't find field \"{key}\"")
    if kind == "text_link" and not is_link(entity["url"]):
        raise wrong(f"can't parse MessageEntity: {entity['url']!r} is no link")
    raw = text.encode("utf-16-le")
    begin, end = _span(entity)
    if begin < 0 or end < begin or end * 2 > len(raw) or _splits(raw, begin) or _splits(raw, end):
        raise wrong("ENTITY_BOUNDS_INVALID")


def _check_together(one: Json, other: Json) -> None:
    """Which marks may lie in each other: the last rules of "Formatting options" in the Bot API's manual."""
    first, second = sorted((one, other), key=lambda entity: (entity["offset"], -entity["length"]))
    (begin, end), (inner, last) = _span(first), _span(second)
    if end <= inner:
        return
    kinds = {first["type"], second["type"]}
    if last > end:
        raise wrong(f"can't parse entities: {first['type']} and {second['type']} overlap")
    if kinds <= QUOTES:
        raise wrong("can't parse entities: a quotation can't be nested")
    # A quotation holds everything; styles hold and are in everything but code.
    outer = second if (begin, end) == (inner, last) and second["type"] in QUOTES else first
    if outer["type"] in QUOTES or (not kinds & CODE and kinds & STYLES):
        return
    raise wrong(f"can't parse entities: {second['type']} can't be nested with {first['type']}")


def is_link(url: str) -> bool:
    """Whether Telegram makes a link of it."""
    if not url or any(mark.isspace() for mark in url):
        return False
    parts = urlsplit(url if ":" in url.split("/")[0] else f"http://{url}")
    if parts.scheme in ("tg", "ton", "mailto", "tel"):
        return bool(parts.netloc or parts.path)
    host = parts.hostname or ""
    return parts.scheme in ("http", "https", "ftp") and ("." in host.strip(".") or host == "localhost")


def _tidied(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    """Without what is never shown: control characters, blanks at both ends (but those that a mark begins with)."""
    first = min((entity["offset"] for entity in entities if entity["length"]), default=units(text))
    end = len(text.rstrip(_BLANK + "\r"))
    kept: list[str] = []
    places = [0]
    for index, mark in enumerate(text):
        is_blank = mark in _BLANK or mark == "\r"
        is_kept = index < end and mark != "\r" and bool(kept or not is_blank or len(places) > first)
        if is_kept:
            kept.append(" " if mark < " " and mark != "\n" else mark)
        size = units(mark)
        places += [places[-1] + size * is_kept] * size
    moved = (
        entity | {"offset": begin, "length": places[entity["offset"] + entity["length"]] - begin}
        for entity in entities
        for begin in (places[entity["offset"]],)
    )
    return "".join(kept), [entity for entity in moved if entity["length"] > 0]


def _in_order(entities: list[Json]) -> list[Json]:
    return sorted(entities, key=lambda entity: (entity["offset"], -entity["length"], entity["type"]))


def _span(entity: Json) -> tuple[int, int]:
    return entity["offset"], entity["offset"] + entity["length"]


def _splits(raw: bytes, unit: int) -> bool:
    """Whether a place lies in the middle of a character of two units."""
    return 0 < unit * 2 < len(raw) and 0xDC <= raw[unit * 2 + 1] <= 0xDF


def texts(text: str, entities: Iterable[Json], kind: str) -> Iterator[str]:
    """What is marked so."""
    return (part(text, entity["offset"], entity["length"]) for entity in entities if entity["type"] == kind)
