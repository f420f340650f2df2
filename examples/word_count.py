"""A worker that computes, and says how far it is: without `async`, so that it does so in a thread.

factory worker examples/word_count.py
"""

from pydantic import BaseModel

from factory_contracts.worker import Report, capability


class Page(BaseModel):
    text: str


class Count(BaseModel):
    words: int
    longest: str


@capability("word_count", effect="read", at_once=2, stall=10)
def word_count(page: Page, report: Report) -> Count:
    """Count the words of a text, and find the longest."""
    count = Count(words=0, longest="")
    lines = page.text.splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split()
        count = Count(words=count.words + len(words), longest=max(count.longest, *words, "", key=len))
        report(f"line {number}", share=number / len(lines))
    return count
