"""An answer as it is said aloud: without the marks that are for the eye."""

import re

# More takes longer than anybody listens, and than servers take at once.
MOST_CHARACTERS = 3_500
CODE = "(the code is in the text)"

_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
_ADDRESS = re.compile(r"<?https?://([^/\s>]+)[^\s>]*>?")
_BEGINNING = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+|\|)", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=|:][ \t]*){3,}$", re.MULTILINE)
_MARKS = re.compile(r"\*+|(?<!\w)_+|_+(?!\w)|`+|~~")
_SENTENCE = re.compile(r"[.!?:;\n]\s")


def aloud(markdown: str) -> str:
    """The words of an answer; of a long one as many whole sentences as there is room for."""
    text = _FENCED.sub(CODE, markdown)
    text = _ADDRESS.sub(r"\1", _LINK.sub(r"\1", text))
    text = _MARKS.sub("", _BEGINNING.sub("", _RULE.sub("", text))).replace("|", ",")
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if len(text) <= MOST_CHARACTERS:
        return text
    ends = [found.end() for found in _SENTENCE.finditer(text, 0, MOST_CHARACTERS)]
    return text[: ends[-1] if ends else MOST_CHARACTERS].rstrip()
