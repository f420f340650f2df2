"""What a person types becomes the use of one tool, and what came of it is said."""

import json

import pytest

from adapters.models.hand import HERE, NOT_HERE, Hand, arguments
from hub.kernel.agent import BY_HAND
from hub.kernel.events import Called, Finished, ModelEvent, Said
from hub.kernel.foreign import labelled
from hub.kernel.harness import SENT
from hub.kernel.ports import ModelMessage, ModelRequest, Spoken, ToolResult, ToolSpec


def schema(*required: str, **types: str) -> str:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return json.dumps({"type": "object", "properties": properties, "required": list(required)})


async def said(*messages: ModelMessage, tools: tuple[ToolSpec, ...] = ()) -> list[ModelEvent]:
    return [event async for event in Hand().stream(ModelRequest(BY_HAND, "", messages, tools))]


@pytest.mark.parametrize(
    ("words", "parameters", "given"),
    [
        ("https://a.example", schema("url", url="string", start="integer"), {"url": "https://a.example"}),
        ("Hello you", schema("text", more="string", text="string"), {"text": "Hello you"}),
        ("pie", schema("series", kind="string", series="array"), {"kind": "pie"}),
        ('{"kind": "pie"}', schema("series", kind="string"), {"kind": "pie"}),
        ("", schema(text="string"), {}),
        ("what", schema(count="integer"), {}),
        ("what", "{}", {}),
    ],
)
def test_what_is_typed_is_what_the_tool_mainly_wants(words: str, parameters: str, given: object) -> None:
    assert json.loads(arguments(words, parameters)) == given


async def test_the_tool_is_used_once_and_what_it_said_is_said() -> None:
    fetch = ToolSpec("fetch", "Reads a page.", schema("url", url="string"))
    asked = Spoken("user", " https://a.example ")
    result = ToolResult("hand", "fetch", labelled("a.example", "A page."), is_foreign=True)

    assert await said(asked, tools=(fetch,)) == [
        Called(BY_HAND, "fetch", '{"url": "https://a.example"}'),
        Finished("tools"),
    ]
    assert await said(asked, result, tools=(fetch,)) == [Said("A page."), Finished("end")]


@pytest.mark.parametrize(("content", "text"), [("Done.\n[the file 'a' {}]", "Done."), ("[the file 'a' {}]", HERE)])
async def test_a_person_is_not_told_of_files_that_they_see(content: str, text: str) -> None:
    result = ToolResult("hand", "draw", content.format(SENT))

    assert await said(Spoken("user", "x"), result) == [Said(text), Finished("end")]


async def test_a_tool_that_is_not_here_is_told_in_words() -> None:
    assert await said(Spoken("user", "x")) == [Said(NOT_HERE), Finished("end")]
