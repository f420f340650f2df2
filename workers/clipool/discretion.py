"""Models and tools that tell no secret: what they say goes through the worker's redactor before anybody hears it.

What a tool brings is redacted by value and by looks, so that no model ever reads a secret. What a model says is
redacted by value alone, for what merely looks like a secret belongs in many an honest answer; a value that comes in
pieces is held back until it is whole.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from factory_contracts.trace import ModelStep, Step, excerpt
from hub.kernel.events import Called, Did, Failed, ModelEvent, Said, Thought
from hub.kernel.ports import Emissary, Equipped, Media, Model, ModelRequest, Observation, Occasion, Tool, ToolFailed
from hub.kernel.secrecy import Redactor


@dataclass(frozen=True, slots=True)
class DiscreetTool:
    """A tool whose results hold no secret."""

    tool: Tool
    redactor: Redactor

    async def run(self, arguments: str, occasion: Occasion) -> str | Observation:
        """What the tool says, redacted, also where it fails."""
        redact = self.redactor.redact
        try:
            result = await self.tool.run(arguments, occasion)
        except ToolFailed as error:
            error.args = (redact(str(error)),)
            raise
        if isinstance(result, str):
            return redact(result)
        return replace(
            result,
            content=redact(result.content),
            files=tuple(map(self._file, result.files)),
            choices=tuple(map(redact, result.choices)),
        )

    def _file(self, file: Media) -> Media:
        """The same file without values, where it is a text; what looks secret in it is the person's own to judge."""
        try:
            text = file.data.decode()
        except UnicodeDecodeError:
            return file
        return replace(file, data=self.redactor.without_values(text).encode())


@dataclass(frozen=True, slots=True)
class DiscreetModel:
    """A model that says none of the secrets which its provider has in hand."""

    model: Model
    redactor: Redactor

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """What it says; the end of a piece that may begin a secret comes with the next piece."""
        held = ""
        async with aclosing(self.model.stream(request)) as events:
            async for event in events:
                match event:
                    case Said(text):
                        told, held = self.redactor.parted(held + text)
                        if told:
                            yield event if told == text else Said(told)
                        continue
                    case Thought():
                        yield event
                        continue
                if held:
                    yield Said(held)
                    held = ""
                yield self._redacted(event)
        if held:
            yield Said(held)

    @property
    def asks_once(self) -> bool:
        """Whether nobody may ask it the same again."""
        return isinstance(self.model, Emissary) and self.model.asks_once

    async def close(self) -> None:
        """Let go of what is held between calls."""
        await self.model.close()

    def _redacted(self, event: ModelEvent) -> ModelEvent:
        match event:
            case Failed(reason):
                return replace(event, reason=self.redactor.redact(reason))
            case Did(text=text):
                return replace(event, text=self.redactor.redact(text))
            case Called(arguments=arguments):
                return replace(event, arguments=self.redactor.without_values(arguments))
        return event


def discreet_tool(equipped: Equipped, redactor: Redactor) -> Equipped:
    """The same tool, whose results hold no secret."""
    return replace(equipped, tool=DiscreetTool(equipped.tool, redactor))


def discreet_step(step: Step, redactor: Redactor) -> Step:
    """The step as it may stand in a trace; what the model said of it is redacted already."""

    def discreet(text: str) -> str:
        # The word for a secret may be longer than the secret.
        return excerpt(redactor.redact(text))

    if isinstance(step, ModelStep):
        # Most model calls end well.
        return step.model_copy(update={"error": discreet(step.error)}) if step.error else step
    return step.model_copy(update={"arguments": discreet(step.arguments), "content": discreet(step.content)})
