"""Writing an engine: steps in their order, each of them an agent's, a tool's or a function of your own.

    def count(input: str) -> dict[str, int]:
        return {"words": len(input.split())}

    DIGEST = Engine(
        "digest",
        "Sums a text up, and says how long it takes to read.",
        (
            CodeStep("count", count),
            HarnessStep("summary", "Sum this up in two sentences:\\n{input}"),
            ToolStep("minutes", "calculator", {"expression": "ceil({count.words} / 200)"}),
        ),
    )

Agency where you want a decision, code where you want a guarantee. `{input}` is what the engine was given, `{count}`
what the step of that name put out, `{count.words}` a part of it; a value that stands alone keeps its type, and what is
put in is never looked at for more. `{{` and `}}` are brackets. A function has a parameter for each thing that it needs.
What a step puts out can be written as JSON, and what the last one puts out is what the engine does.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal

__all__ = ["CodeStep", "Engine", "HarnessStep", "ToolStep", "Unfit"]

INPUT = "input"
MOST_STEPS = 32

Spell = Callable[[str, object], str]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FORMATTER = Formatter()


class Unfit(Exception):
    """Raised by a function of a code step: this will not do, and the engine ends; the words are for the person."""


class Missing(LookupError):
    """What a step put out has no such part; the sentence names it."""


@dataclass(frozen=True, slots=True)
class HarnessStep:
    """An agent is given an instruction, decides and acts, and what it answers is what the step puts out.

    The agent is who runs the engine, or one of those whom that one may ask. What `{...}` brings it sees labelled, as
    material and never as an instruction.
    """

    name: str
    instruction: str = "{input}"
    agent: str | None = None
    kind: Literal["harness"] = field(default="harness", init=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that it reads."""
        return tuple(name for name, *_ in references(self.instruction))


@dataclass(frozen=True, slots=True)
class ToolStep:
    """A tool of the agent that runs the engine is called with these arguments, and puts out what it says."""

    name: str
    tool: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    kind: Literal["tool"] = field(default="tool", init=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that it reads."""
        return tuple(name for name, *_ in references(self.arguments))


@dataclass(frozen=True, slots=True)
class CodeStep:
    """A function, which gives the same for the same, and nothing else: it may be run again."""

    name: str
    function: Callable[..., object]
    kind: Literal["code"] = field(default="code", init=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that it reads: its parameters."""
        return tuple(inspect.signature(self.function).parameters)


Step = HarnessStep | ToolStep | CodeStep


@dataclass(frozen=True, slots=True)
class Engine:
    """Steps in their order; each may read what was given and what steps before it put out.

    The version names the content of the file that it stands in. Raises `TypeError` that says what is wrong with it.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    version: str = "-"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TypeError(f"engine {self.name!r}: a name is 1 to 32 of a-z, 0-9 and '_', and begins with a letter")
        if not self.description.strip():
            raise TypeError(f"engine {self.name}: say what it does; whoever may run it is told so")
        if not 1 <= len(self.steps) <= MOST_STEPS:
            raise TypeError(f"engine {self.name}: it has {len(self.steps)} steps, and it must be 1 to {MOST_STEPS}")
        known = [INPUT]
        for step in self.steps:
            if not _NAME.fullmatch(step.name) or step.name in known:
                raise TypeError(f"engine {self.name}: step {step.name!r} needs a name of its own, such as 'summary'")
            try:
                needs = step.needs
            except ValueError as error:
                raise TypeError(f"engine {self.name}: step {step.name}: {error}") from None
            for needed in needs:
                if needed not in known:
                    there = ", ".join(known)
                    raise TypeError(
                        f"engine {self.name}: step {step.name} reads {needed!r}; before it there is {there}"
                    )
            known.append(step.name)


def references(template: object) -> Iterator[tuple[str, ...]]:
    """What a template refers to, each as a path. Raises `ValueError` where it cannot be read."""
    match template:
        case str():
            for _, path, spec, conversion in _FORMATTER.parse(template):
                if path is None:
                    continue
                if spec or conversion or not all(path.split(".")):
                    raise ValueError(f"{{{path}}} is no name; a bracket by itself is written twice")
                yield tuple(path.split("."))
        case Mapping():
            for value in template.values():
                yield from references(value)
        case list() | tuple():
            for value in template:
                yield from references(value)


def filled(template: object, values: Mapping[str, object], spell: Spell) -> object:
    """The template with these values; `spell` writes one into a text. Raises `Missing`."""
    match template:
        case str():
            pieces = list(_FORMATTER.parse(template))
            if len(pieces) == 1 and not pieces[0][0] and pieces[0][1] is not None:
                return _at(pieces[0][1], values)
            return written(template, values, spell)
        case Mapping():
            return {key: filled(value, values, spell) for key, value in template.items()}
        case list() | tuple():
            return [filled(value, values, spell) for value in template]
    return template


def written(template: str, values: Mapping[str, object], spell: Spell) -> str:
    """The text with these values in it. Raises `Missing`."""
    return "".join(
        text + ("" if path is None else spell(path, _at(path, values)))
        for text, path, _, _ in _FORMATTER.parse(template)
    )


def _at(path: str, values: Mapping[str, object]) -> object:
    found: object = values
    for key in path.split("."):
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            raise Missing(f"there is no {{{path}}}")
    return found
