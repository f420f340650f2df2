"""Markdown as it is read to be shown somewhere: every event of the parser, and where in the source it stands."""

import re
from collections.abc import Iterator
from itertools import accumulate, pairwise

import pyromark
from pyromark.event import Event

# What comes before this sign is there for the parser alone: it tells in which list or quote a message begins.
CARRIED = "\ufdd0"
# \(x\) and \[x\], which Markdown would take for escaped brackets.
FORMULA = re.compile(r"\\\(((?:(?!\n\n).){1,500}?)\\\)|\\\[((?:(?!\n\n).){1,500}?)\\\]", re.DOTALL)

_LESS, _COLON = "\ufdd1", "\ufdd2"
_RESTORED = {ord(_LESS): "<", ord(_COLON): ":"}
_TAG = re.compile(r"(?<!\]\()<")
_OPTIONS = (
    pyromark.Options.ENABLE_TABLES
    | pyromark.Options.ENABLE_STRIKETHROUGH
    | pyromark.Options.ENABLE_TASKLISTS
    | pyromark.Options.ENABLE_MATH
)

# Something that the parser sees: what it is, where it begins and where it ends.
Seen = tuple[Event, int, int]


def parse(source: str) -> Iterator[Seen]:
    """What the parser sees, and where in the source it begins and ends."""
    told = disarmed(source)
    events = pyromark.events_with_range(told, options=_OPTIONS)
    if told.isascii():
        for event, place in events:
            yield event, place["start"], place["end"]
        return
    data, placed = told.encode(), tuple(events)
    edges = sorted({edge for _, place in placed for edge in (place["start"], place["end"])})
    lengths = (len(data[before:edge].decode()) for before, edge in pairwise([0, *edges]))
    positions = dict(zip(edges, accumulate(lengths), strict=True))
    for event, place in placed:
        yield event, positions[place["start"]], positions[place["end"]]


def disarmed(source: str) -> str:
    """The source, as long as it was, without HTML and definitions of links: both would be read and never shown."""
    return _TAG.sub(_LESS, source).replace("]:", f"]{_COLON}")


def rearmed(text: str) -> str:
    """What a parser made of the disarmed source, as the model wrote it."""
    return text.translate(_RESTORED)
