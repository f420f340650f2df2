"""The Markdown of one message -> the HTML of a rich message, which Telegram lays out itself.

An address inside Telegram becomes no link, and no picture is fetched from where a model says.
"""

import html
import re

from telegramify_markdown import richify

from adapters.chat.markdown import CARRIED, disarmed, rearmed
from adapters.telegram.render import is_link

_MOST_BYTES = 32_000
# Telegram takes 500 blocks, and no block is less than a line.
_LINE = 40
# Two bars would hide what stands between them.
_BARS = re.compile(r"\|(?=\|)")
_BETWEEN = "\ufdd3"
_DISARMED = re.compile(r"[\ufdd1\ufdd2]")
_IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"[^>]*>')
_EMOJI = re.compile(r"</?tg-emoji[^>]*>")
_PRICE = re.compile(r"<tg-math>([^<]*)</tg-math>(?=\w)")
_LINK = re.compile(r'<a href="([^"]*)">((?:(?!<a ).)*?)</a>', re.DOTALL)


def weight(text: str) -> int:
    """How much room a text takes in a rich message."""
    return len(html.escape(text, quote=False).encode()) + _LINE * text.count("\n")


def render_rich(source: str) -> str:
    """What a rich message holds."""
    shown = richify(_BARS.sub(f"|{_BETWEEN}", disarmed(source))).html or ""
    shown = _EMOJI.sub("", _PRICE.sub(r"$\1$", _IMAGE.sub(r"🖼 \2 (\1)", shown)))
    # A picture in a link was a link in a link.
    shown = _LINK.sub(_link, _LINK.sub(_link, shown))
    shown = _DISARMED.sub(_rearmed, shown.replace(_BETWEEN, "")).replace(CARRIED, "…")
    if not shown or len(shown.encode()) > _MOST_BYTES:
        return f"<pre>{html.escape(source, quote=False).replace(CARRIED, '…')}</pre>"
    return shown


def _link(found: re.Match[str]) -> str:
    return found[0] if is_link(rearmed(html.unescape(found[1]))) else f"{found[2]} ({found[1]})"


def _rearmed(found: re.Match[str]) -> str:
    return html.escape(rearmed(found[0]))
