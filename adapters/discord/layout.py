"""The forms in which Discord shows a message: its Markdown, or the text as the model wrote it."""

from adapters.chat.layout import Layout
from adapters.chat.text import clip, units
from adapters.discord.render import is_shown, plain, render, unpaired

# Discord counts letters, and some count as two elsewhere: what fits counted so fits either way.
MOST_UNITS = 2_000
_LONGEST_DOING = 100
# What is left free for the line about a tool.
_ROOM = _LONGEST_DOING + 10
_ESCAPED = {ord(sign): f"\\{sign}" for sign in "*_~`|<>[]"}


def in_markdown() -> Layout[str]:
    """An answer; what Discord refuses is shown without any Markdown of ours."""
    return Layout(_Markdown(), _Plain())


class _Plain:
    """The text, with nothing in it that opens a fence."""

    window = 1_800

    def size(self, source: str) -> int:
        return units(source)

    def page(self, carried: str, source: str) -> str | None:
        return plain(source) if is_shown(source) else None

    def with_doing(self, page: str | None, doing: str) -> str:
        if not is_shown(doing):
            return page or "…"
        # What a tool says of itself is no Markdown.
        small = f"-# {clip(doing.translate(_ESCAPED), _LONGEST_DOING)}"
        return f"{page}\n{small}" if page else small

    def with_question(self, page: str | None, question: str) -> str | None:
        both = f"{page}\n\n{unpaired(question)}" if page else question
        return both if units(both) <= MOST_UNITS else None


class _Markdown(_Plain):
    """The Markdown that Discord understands."""

    def page(self, carried: str, source: str) -> str | None:
        for is_padded in (True, False) if is_shown(source) else ():
            shown = render(carried + source, is_padded=is_padded)
            if is_shown(shown) and units(shown) <= MOST_UNITS - _ROOM:
                return shown
        return super().page(carried, source)
