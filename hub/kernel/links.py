"""The links of an answer, as it grows: those that may not stand there are left out, and said to be.

Whoever follows a link, and every app that looks ahead at one, tells its words to a server. So an address that a model
made up after it had read what strangers wrote is shown to nobody, however it is spelled: in Markdown, in part behind
escapes and emphasis, in entities, with letters that nobody sees, or piece by piece.
"""

import re
from collections.abc import Callable
from html import unescape

from hub.kernel.foreign import visible

# Of a word that is longer than any address that somebody means, only the end may still become a part of one.
MAX_WORD = 2_048
MAX_BEGINNING = 256

_SUSPECT = re.compile(r"[:/\\&%.]")
# Endings of names that are files and no domains.
_FILES = (
    "js|ts|jsx|tsx|css|scss|html?|json|toml|ya?ml|txt|csv|xml|png|jpe?g|gif|svg|webp|pdf|gz|tar|bz2|xz|cpp|hpp|rb|php"
    "|lua|sql|ini|cfg|conf|lock|log|exe|dll|bak|tmp|docx?|xlsx?|pptx?|mp3|wav|ogg|ipynb|vue|git"
)
# With one of these, which no program calls anything, a name of three parts is that of a host.
_DOMAINS = (
    "com|net|org|info|biz|xyz|online|website|icu|lol|zip|dev|co|io|ai|sh|cc|gg|tk|ml|ga|cf|pw|ws|su|example"
    "|ru|cn|in|uk|de|fr|eu|jp|br|pl|nl|se|ch|at|be|es|au|ca"
)
# Scripts that put no space between words: who waits for one would wait for the end of the paragraph.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff01-\uff60"
# Where an address shows: at its scheme, behind its host, or, without either's help, at a name of three parts.
_SHOWS = (
    r"[a-z][a-z0-9+.-]{1,30}:[/\\]{2}|https?:|www\."
    rf"|\.(?!(?:{_FILES})[/?#:\\])(?:xn--[a-z0-9-]+|[^\W\d_]{{2,24}})(?::\d+)?[/?#\\]"
    r"|(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?!/\d{1,2}(?!\d))[/?#]"
    rf"|(?<=\w)\.[\w-]{{1,63}}\.(?:{_DOMAINS})(?![a-z0-9_-]|\.\w)"
)
_LINK = re.compile(rf"(?P<target>\]\(<?)|(?:{_SHOWS})[^\s\"<>«»]*", re.IGNORECASE)
_HIDDEN = re.compile(_SHOWS, re.IGNORECASE)
_HOST_BEFORE = re.compile(rf"(?:[^\W{_UNSPACED}]|[.-]){{0,253}}\Z")
# What a reader of Markdown takes away, so that what stood apart stands together.
_MARKUP = re.compile(r"\]\([^\s)]*\)|[*_~`|\\\[\]]")
_CODE = re.compile(r"[(\[{\"']*`[\w.()]+`[)\]}\"'.,;:!?]*")
_RELATIVE = re.compile(r"#[\w-]*|(?:/|(?:\.{1,2}/)+)?[\w-]+(?:/[\w.-]+)*/?")
_TRAIL = ".,;:!?)]}'*_~`|"
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_LAST_UNSPACED = re.compile(rf".*[{_UNSPACED}]", re.DOTALL)
_HOST = re.compile(r"[\w-]{1,63}\.[^\W\d_]{2,24}")


class Links:
    """What of an answer may be shown; `may_stand` says which addresses may. An unfinished word is held back."""

    __slots__ = ("_held", "_is_dropping", "_may_stand")

    def __init__(self, may_stand: Callable[[str], bool]) -> None:
        self._may_stand = may_stand
        self._held = ""
        self._is_dropping = False

    def feed(self, text: str) -> str:
        """What can be shown now that this was said as well."""
        text = self._held + text
        cut = max(map(text.rfind, " \n\t\u3000")) + 1
        whole, tail = self._cleared(text[:cut]), text[cut:]
        if self._is_dropping:
            tail = ""
        elif len(tail) > MAX_WORD and _has_link(tail):
            whole += self._cleared(tail)
            self._is_dropping, tail = True, ""
        else:
            begun = _begun(tail)
            whole, tail = whole + tail[:begun], tail[begun:]
        self._held = tail
        return whole

    def end(self) -> str:
        """What was held back, as there will be no more of it."""
        rest, self._held = self._cleared(self._held), ""
        self._is_dropping = False
        return rest

    def _cleared(self, text: str) -> str:
        """The text, word for word, without the addresses that may not stand there."""
        if self._is_dropping and text:
            # The rest of a word that was too long.
            text = text if text[0].isspace() else text[len(text.split(maxsplit=1)[0]) :]
            self._is_dropping = False
        return re.sub(r"\S+", self._word, text) if _SUSPECT.search(text) is not None else text

    def _word(self, found: re.Match[str]) -> str:
        if _SUSPECT.search(found[0]) is None or _CODE.fullmatch(found[0]):
            return found[0]
        word = visible(found[0])
        shown: list[str] = []
        apart: list[str] = []
        at = 0
        while (link := _LINK.search(word, at)) is not None:
            is_target = bool(link["target"])
            start = link.start() if is_target else at + _host_start(word[at : link.start()])
            said, end = self._target(word, link) if is_target else self._address(word[start : link.end()], start)
            shown += (word[at:start], said)
            # Around a target a reader of Markdown sees one word.
            apart += (word[at:start], "" if is_target else " ")
            at = end
        plain = _MARKUP.sub("", unescape("".join((*apart, word[at:]))))
        hidden = _HIDDEN.search(plain)
        if hidden is not None:
            return left_out(plain[_host_start(plain[: hidden.start()]) :])
        return "".join((*shown, word[at:]))

    def _target(self, word: str, link: re.Match[str]) -> tuple[str, int]:
        """What is said of the target of a link in Markdown, and where it ends."""
        start, is_bracketed = link.end(), link["target"].endswith("<")
        depth, end = 0, start
        while end < len(word) and not (word[end] == ">" if is_bracketed else word[end] == ")" and not depth):
            depth += {"(": 1, ")": -1}.get(word[end], 0)
            end += 1
        target, end = word[start:end], min(len(word), end + (2 if is_bracketed else 1))
        if not target or _RELATIVE.fullmatch(target) or self._may_stand(target):
            # Where nothing was begun that this ends, an app may read on in what follows.
            gap = " " if word[end:].strip(_TRAIL) else ""
            return f"{word[link.start() : end]}{gap}", end
        return f"] {left_out(target)}", end

    def _address(self, whole: str, start: int) -> tuple[str, int]:
        """What is said of an address in the text, and where it ends."""
        if self._standing(whole):
            return whole, start + len(whole)
        beyond = _BEYOND_ASCII.search(whole)
        # An app may read on in letters that only follow.
        if beyond is not None and self._standing(whole[: beyond.start()]):
            return f"{whole[: beyond.start()]} ", start + beyond.start()
        return left_out(whole), start + len(whole)

    def _standing(self, text: str) -> bool:
        """Whether it is an address that may stand there, and marks that end a sentence or a bracket."""
        for _ in range(8):
            if text and self._may_stand(text):
                return True
            if not text or text[-1] not in _TRAIL:
                return False
            text = text[:-1]
        return False


def without_links(text: str, may_stand: Callable[[str], bool]) -> str:
    """A whole text as it may be shown."""
    links = Links(may_stand)
    return links.feed(text) + links.end()


def left_out(address: str) -> str:
    """What is said instead: of its host no more than somebody can have registered, so that it carries nothing."""
    host = re.split(r"[/?#\\]", re.sub(r"\A[a-z][a-z0-9+.-]*:[/\\]*", "", address, flags=re.IGNORECASE), maxsplit=1)[0]
    labels = host.rpartition("@")[2].partition(":")[0].strip(".").split(".")
    place = ".".join(labels[-2:]).lower()
    return f"[link to {place if _HOST.fullmatch(place) else 'another place'} left out]"


def _has_link(word: str) -> bool:
    if _SUSPECT.search(word) is None:
        return False
    word = unescape(visible(word))
    return _LINK.search(word) is not None or _HIDDEN.search(_MARKUP.sub("", word)) is not None


def _begun(word: str) -> int:
    """Where in an unfinished word something begins that may become an address."""
    if _has_link(word):
        return 0
    begun = max(0, len(word) - MAX_BEGINNING) if len(word) > MAX_WORD else 0
    last = None if word.isascii() else _LAST_UNSPACED.match(word)
    return max(begun, last.end() if last is not None else 0)


def _host_start(before: str) -> int:
    """Where a host begins that ends behind this text."""
    found = _HOST_BEFORE.search(before[-253:])
    return max(0, len(before) - 253) + (found.start() if found is not None else 0)
