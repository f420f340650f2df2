"""The text of an answer so far -> what a terminal prints once, what it keeps alive below, what a program is told.

Markdown is cut into blocks. A finished block never changes, whatever the model says next, so it is printed once and
scrolls away; the rest is the tail, of which only the last lines are shown and drawn over. All blocks and the tail
together are always the text itself.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from factory_contracts.messages import Usage
from factory_contracts.render import AnswerEnded, QuestionAsked, RenderEvent, TextDelta, TextReplaced, ToolSummary

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_NESTED_FENCE = re.compile(r"(?:[ \t]|[-*+][ \t]|\d{1,9}[.)][ \t])*(`{3,}(?=[^`]*$)|~{3,})")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?=\s)")
# What may stand right below a paragraph and ends it.
_INTERRUPTS = re.compile(r" {0,3}(?:[-*+]|1[.)])[ \t]+\S")
_HEADING = re.compile(r" {0,3}#{1,6}(?=\s)")
# A control character in an answer could move the cursor, name the window or fill the clipboard.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")

# Markdown and a width -> lines for a terminal.
Paint = Callable[[str, int], str]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do on the screen about an answer that has grown."""

    blocks: tuple[str, ...]
    tail: str
    printed: str
    starts_over: bool = False


def advance(printed: str, text: str, *, is_final: bool, is_asked: bool = False) -> Step:
    """From what is printed for good to the answer as it stands now; a question stands below all that was said.

    A restarted attempt that repeats what is printed is waited for; one that says something else starts over.
    """
    if not is_final and printed.startswith(text):
        return Step((), "", printed)
    starts_over = not text.startswith(printed)
    held = "" if starts_over else printed
    blocks, tail = split(text[len(held) :])
    if (is_final or is_asked) and tail:
        blocks, tail = (*blocks, tail), ""
    return Step(blocks, tail, held + "".join(blocks), starts_over)


def advance_plain(printed: str, text: str, *, is_final: bool) -> Step:
    """The same for a pipe, where nothing is drawn over and so every character is printed for good."""
    if not is_final and printed.startswith(text):
        return Step((), "", printed)
    starts_over = not text.startswith(printed)
    rest = text if starts_over else text[len(printed) :]
    return Step((rest,) if rest else (), "", text, starts_over)


def split(text: str) -> tuple[tuple[str, ...], str]:
    """The finished blocks and the tail; of a longer text the blocks begin with these."""
    blocks: list[str] = []
    start = 0
    while (end := _end_of_block(text, start)) is not None:
        blocks.append(text[start:end])
        start = end
    return tuple(blocks), text[start:]


def is_apart(before: str, block: str) -> bool:
    """Whether a blank line stands between two blocks; the items of a tight list stand close."""
    if not (_ITEM.match(before.lstrip("\n")) and _ITEM.match(block)):
        return True
    return before.endswith("\n\n") or block.startswith("\n")


def unstyled(drawn: str) -> str:
    """Drawn lines without their colours."""
    return _STYLE.sub("", drawn)


def clean(text: str) -> str:
    """The text without what a terminal would obey."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def live(tail: str, longest: int = 4_000) -> str:
    """As much of the tail as is worth drawing many times a second, still Markdown of the same kind."""
    if len(tail) <= longest:
        return tail
    first, _, _ = tail.lstrip("\n").partition("\n")
    end = tail[-longest:]
    _, _, whole_lines = end.partition("\n")
    if _FENCE.match(first):
        return f"{first}\n{whole_lines or end}"
    return whole_lines or end


def fit(text: str, columns: int, *, is_end: bool = False) -> str:
    """The beginning (or the end) of a text as one line, which stays on one even if every character is wide."""
    line = " ".join(clean(text).split())
    room = columns - 2
    kept = ""
    for character in reversed(line) if is_end else line:
        room -= 1 if character < "\u1100" else 2
        if room < 0:
            return f"…{kept[::-1]}" if is_end else f"{kept}…"
        kept += character
    return line


def usage_line(usage: Usage) -> str:
    """What a turn consumed, in one line."""
    calls = f"{usage.calls} model call{'' if usage.calls == 1 else 's'}"
    cached = f" ({usage.cache_read_tokens:,} cached)" if usage.cache_read_tokens else ""
    cost = f" · ${usage.cost.normalize():f}" if usage.cost else ""
    unknown = " · of unknown price" if usage.unpriced else ""
    return f"{calls} · {usage.input_tokens:,} tokens in{cached} · {usage.output_tokens:,} out{cost}{unknown}"


def paid_by(model: str, payer: str) -> str:
    """The model, and what pays for it."""
    if model.partition(":")[0] == "scripted":
        return "scripted: offline, costs nothing"
    return f"{model} · {payer}" if payer else model


@dataclass(frozen=True, slots=True)
class Told:
    """What a program that reads RenderEvents knows of an answer."""

    text: str = ""
    activity: str | None = None
    question: str | None = None


def events(
    told: Told, turn: str, text: str, activity: str | None, ended: AnswerEnded | None, question: str | None = None
) -> tuple[Told, tuple[RenderEvent, ...]]:
    """What a program must be told now to know the answer as it stands."""
    news: list[RenderEvent] = []
    if activity is not None and activity != told.activity:
        news.append(ToolSummary(turn=turn, text=activity))
    if not text.startswith(told.text):
        news.append(TextReplaced(turn=turn, text=text))
    elif text != told.text:
        news.append(TextDelta(turn=turn, text=text[len(told.text) :]))
    if question is not None and question != told.question:
        news.append(QuestionAsked(turn=turn, text=question))
    if ended is not None:
        news.append(ended)
    return Told(text, activity, question), tuple(news)


def _end_of_block(text: str, start: int) -> int | None:
    """Where the block that begins here is finished for good; None while that is not known."""
    begun = False
    is_list = False
    is_after_blank = False
    fence = ""
    for line, begin, end, is_whole in _lines(text, start):
        if not line.strip():
            if not is_whole:
                return None
            if begun and not fence and not is_list:
                return end
            is_after_blank = begun
            continue
        if fence:
            if is_whole and _closes(line, fence):
                fence = ""
                if not is_list:
                    return end
            continue
        item = _ITEM.match(line)
        if begun and is_list:
            # What is not indented and follows a blank line, or is an item itself, is no part of this item.
            if (is_after_blank and not line[0].isspace()) or (item and not line[0].isspace()):
                return begin
            if is_whole and (nested := _NESTED_FENCE.match(line)):
                fence = nested.group(1)
            elif not is_whole:
                return None
            is_after_blank = False
            continue
        if not is_whole:
            return None
        if begun and (_FENCE.match(line) or _INTERRUPTS.match(line)):
            return begin
        if opened := _FENCE.match(line):
            fence = opened.group(1)
        elif item and not begun:
            is_list = True
            if nested := _NESTED_FENCE.match(line):
                fence = nested.group(1)
        elif _HEADING.match(line) and not begun:
            return end
        begun = True
    return None


def _lines(text: str, start: int) -> Iterator[tuple[str, int, int, bool]]:
    """Each line without its end, where it begins and ends, and whether it is whole."""
    while start < len(text):
        newline = text.find("\n", start)
        end = len(text) if newline < 0 else newline + 1
        yield text[start : end if newline < 0 else newline], start, end, newline >= 0
        start = end


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and stripped == fence[0] * len(stripped)
