"""An engine with all three kinds of steps: sums a text up, and says how long it takes to read.

factory engine add examples/digest.py && factory run digest --input notes.txt
"""

from factory_contracts.engine import CodeStep, Engine, HarnessStep, ToolStep, Unfit


def count(input: str) -> dict[str, int]:
    if not input.strip():
        raise Unfit("There is nothing to sum up.")
    return {"words": len(input.split()), "lines": len(input.splitlines())}


def page(count: dict[str, int], summary: str, minutes: str) -> str:
    return f"{summary.strip()}\n\n{count['words']} words in {count['lines']} lines, {minutes} min to read."


DIGEST = Engine(
    "digest",
    "Sums a text up in two sentences, and says how long it takes to read.",
    (
        CodeStep("count", count),
        HarnessStep("summary", "Sum this up in at most two sentences, and say nothing else:\n{input}"),
        ToolStep("minutes", "calculator", {"expression": "ceil({count.words} / 200)"}),
        CodeStep("page", page),
    ),
)
