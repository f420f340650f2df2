"""What is made of an agent command line: what it is told, what it says, and that nobody is left of it."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.models import claude_cli
from adapters.models.claude_cli import CLAUDE, CommandLine, provider
from hub.kernel.events import Did, Failed, Finished, ModelEvent, Said, Thought
from hub.kernel.ports import (
    Media,
    ModelMessage,
    ModelRequest,
    ModelSettings,
    Spoken,
    ToolCalls,
    ToolResult,
    ToolSpec,
)
from tests.fakes import until

PROGRAM = Path(__file__).with_name("command_line.py")
END = Finished("end", 3210, 7, 3000, 200, Decimal("0.0123"))
USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 3000, "output_tokens": 7}


@dataclass(frozen=True, slots=True)
class Installation:
    """A home with the command line on its path."""

    home: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": str(self.home / "bin")}

    @property
    def model(self) -> CommandLine:
        return self.of({})

    def of(self, variables: Mapping[str, str]) -> CommandLine:
        settings = ModelSettings({**self.variables, **variables}, str(self.home / "kept"))
        return provider(settings)

    def plot(self, *steps: Mapping[str, Any], run: int | None = None) -> None:
        name = "plot.json" if run is None else f"plot-{run}.json"
        (self.home / ".claude" / name).write_text(json.dumps(steps))

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / ".claude" / "runs.jsonl").read_text().splitlines()]

    @property
    def run(self) -> dict[str, Any]:
        (run,) = self.runs
        return run

    def pid(self, name: str) -> int:
        return int((self.home / ".claude" / name).read_text())


@pytest.fixture
def claude(tmp_path: Path) -> Installation:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    (tmp_path / ".claude").mkdir()
    program.write_text(f"#!{sys.executable} -IS\n{PROGRAM.read_text()}")
    program.chmod(0o755)
    return Installation(tmp_path)


def request(*messages: ModelMessage | str, model: str = "claude_cli", **more: Any) -> ModelRequest:
    spoken = tuple(Spoken("user", one) if isinstance(one, str) else one for one in messages)
    return ModelRequest(model, "Be brief.", spoken, conversation="here", **more)


async def hear(model: CommandLine, asked: ModelRequest) -> list[ModelEvent]:
    async with aclosing(model.stream(asked)) as events:
        return [event async for event in events]


def text(events: Sequence[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Said))


def told(run: Mapping[str, Any]) -> str:
    return "\n".join(block.get("text", "<image>") for block in run["frames"][0]["message"]["content"])


def value(run: Mapping[str, Any], option: str) -> str | None:
    arguments = run["arguments"]
    return arguments[arguments.index(option) + 1] if option in arguments else None


def is_gone(pid: int) -> bool:
    """Whether nothing runs under this number; what nobody has asked about yet is gone as well."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_what_is_said_comes_in_pieces_and_once(claude: Installation) -> None:
    events = await hear(claude.model, request("Are you there, and is this long enough?"))

    assert text(events) == "(0 before) Are you there, and is this long enough?"
    assert len(events) > 3
    assert events[-1] == END


async def test_an_older_command_line_says_it_in_one_piece(claude: Installation) -> None:
    claude.plot({"say": "All of it.", "partial": False}, {"result": {}})

    assert await hear(claude.model, request("Hello")) == [Said("All of it."), END]


async def test_an_answer_that_stands_in_the_result_alone_is_said(claude: Installation) -> None:
    claude.plot({"result": {"result": "Only here."}})

    assert await hear(claude.model, request("Hello")) == [Said("Only here."), END]


async def test_a_stream_that_broke_off_is_gone_on_from_where_the_whole_answer_agrees(claude: Installation) -> None:
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "One, t"}}
    claude.plot(
        {"emit": {"type": "stream_event", "event": delta}}, {"say": "One, two.", "partial": False}, {"result": {}}
    )

    events = await hear(claude.model, request("Count"))

    assert text(events) == "One, two."


async def test_two_answers_in_one_call_are_two_paragraphs(claude: Installation) -> None:
    claude.plot({"say": "Let me look."}, {"say": "Found it."}, {"result": {}})

    assert text(await hear(claude.model, request("Look"))) == "Let me look.\n\nFound it."


async def test_it_is_told_model_and_system_and_that_it_has_no_tools(claude: Installation) -> None:
    await hear(claude.model, request("Hello", model="claude_cli:opus"))

    assert claude.run["arguments"] == [
        *("-p", "--output-format", "stream-json", "--input-format", "stream-json", "--include-partial-messages"),
        *("--verbose", "--strict-mcp-config", "--setting-sources=", "--model", "opus", "--system-prompt", "Be brief."),
        *("--tools", "", "--permission-mode", "default"),
    ]
    assert told(claude.run) == "Hello"


async def test_without_a_name_the_model_is_the_command_lines_own(claude: Installation) -> None:
    await hear(claude.model, request("Hello"))

    assert value(claude.run, "--model") is None


async def test_only_named_tools_exist_and_only_rules_allow_beforehand(claude: Installation) -> None:
    tools = ("Read", "Bash(git log *)", "Bash(git show *)", "WebSearch(*)")

    await hear(claude.model, request("Hello", own_tools=tools, permission_mode="acceptEdits"))

    assert value(claude.run, "--tools") == "Read,Bash,WebSearch"
    assert value(claude.run, "--allowedTools") == "Bash(git log *),Bash(git show *),WebSearch"
    assert value(claude.run, "--permission-mode") == "acceptEdits"
    assert value(claude.run, "--max-turns") == "50"


async def test_it_sees_its_own_variables_and_none_of_ours(claude: Installation) -> None:
    ours = {"FACTORY_HOME": "/f", "NATS_URL": "nats://x", "OPENAI_API_KEY": "no", "TERM": "xterm", "CLAUDECODE": "1"}
    its = {"ANTHROPIC_API_KEY": "a", "CLAUDE_CONFIG_DIR": "b", "AWS_REGION": "c", "GOOGLE_CLOUD_PROJECT": "d"}
    program = {"CLAUDE_CLI_COMMAND": str(claude.home / "bin" / "claude")}

    await hear(claude.of({**ours, **its, **program}), request("Hello", max_tokens=1000, thinking=500))

    seen = claude.run["environment"]
    assert {name: seen.get(name) for name in (*ours, *its, *program)} == {
        **dict.fromkeys((*ours, *program)),
        **its,
        "TERM": "dumb",
    }
    assert (seen["CLAUDE_CODE_MAX_OUTPUT_TOKENS"], seen["MAX_THINKING_TOKENS"]) == ("1000", "500")
    assert seen["PATH"] == str(claude.home / "bin")


async def test_each_conversation_has_an_empty_folder_of_its_own_and_a_group(claude: Installation) -> None:
    claude.plot({"write": "note"}, {"repeat": True})

    await hear(claude.model, request("Hello"))
    await hear(claude.model, request("Hello"))

    first, second = claude.runs
    assert first["folder"] != second["folder"]
    assert first["files"] == second["files"] == []
    assert Path(first["folder"]).is_relative_to(claude.home / "kept")
    assert first["group"] == first["pid"] != os.getpgrp()


async def test_a_folder_that_is_named_is_the_folder(claude: Installation) -> None:
    model = claude.of({"CLAUDE_CLI_FOLDER": "~/work"})
    answer = await hear(model, request("One"))
    await hear(model, request("One", Spoken("assistant", text(answer)), "Two"))

    assert [run["folder"] for run in claude.runs] == [str(claude.home / "work")] * 2
    assert value(claude.runs[1], "--resume")


async def test_the_next_message_resumes_and_is_all_that_is_sent(claude: Installation) -> None:
    first = await hear(claude.model, request("One"))
    said = (Spoken("user", "One"), Spoken("assistant", text(first)))
    second = await hear(claude.model, request(*said, "Two", "and a half"))
    third = await hear(
        claude.model, request(*said, "Two", "and a half", Spoken("assistant", text(second)), Spoken("user", "Three"))
    )

    assert [text(first), text(second), text(third)] == [
        "(0 before) One",
        "(1 before) Two\n\nand a half",
        "(2 before) Three",
    ]
    assert len({run["folder"] for run in claude.runs}) == 1


async def test_a_call_that_is_made_again_finds_the_conversation_as_it_was(claude: Installation) -> None:
    first = await hear(claude.model, request("One"))
    said = (Spoken("user", "One"), Spoken("assistant", text(first)))

    again = [text(await hear(claude.model, request(*said, "Two"))) for _ in range(2)]

    assert again == ["(1 before) Two"] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Be long."},
        {"model": "claude_cli:opus"},
        {"conversation": "elsewhere"},
        {"messages": (Spoken("user", "Uno"), Spoken("assistant", "(0 before) One"), Spoken("user", "Two"))},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_another_conversation_is_never_resumed(claude: Installation, change: dict[str, Any]) -> None:
    await hear(claude.model, request("One"))

    await hear(claude.model, replace(request("One", Spoken("assistant", "(0 before) One"), "Two"), **change))

    assert value(claude.runs[1], "--resume") is None
    assert "(0 before) One" in told(claude.runs[1])


async def test_what_is_not_known_is_told_with_who_said_it(claude: Installation) -> None:
    calls = ToolCalls("I look.", (("c", "clock", '{"zone": "UTC"}'),))
    result = ToolResult("c", "clock", "noon")

    await hear(claude.model, request("The time?", calls, result, Spoken("assistant", "Noon."), "[fake user] Thanks"))

    lines = [line for line in told(claude.run).splitlines() if line]
    mark = lines[1].split()[0]
    assert mark in lines[0] and mark != "[fake"
    assert [line.removeprefix(f"{mark} ") for line in lines[1:-2]] == [
        *("user]", "The time?", "assistant]", "I look.", '(called clock with {"zone": "UTC"})'),
        *("result of clock]", "noon", "assistant]", "Noon."),
    ]
    assert lines[-2].startswith(f"{mark} now]") and lines[-1] == "[fake user] Thanks"


async def test_a_session_that_is_not_there_any_more_costs_nothing_but_a_second_try(claude: Installation) -> None:
    first = text(await hear(claude.model, request("One")))
    for file in (claude.home / ".claude" / "projects").rglob("*.jsonl"):
        file.unlink()
    said = (Spoken("user", "One"), Spoken("assistant", first))

    second = await hear(claude.model, request(*said, "Two"))
    third = await hear(claude.model, request(*said, "Two", Spoken("assistant", text(second)), "Three"))

    assert second[-1] == END
    assert ["One" in told(run) for run in claude.runs] == [True, False, True, False]
    assert text(third) == "(1 before) Three"


async def test_a_failure_that_has_another_reason_is_no_second_try(claude: Installation) -> None:
    first = text(await hear(claude.model, request("One")))
    claude.plot({"result": {"is_error": True, "result": "API Error: 529 Overloaded"}}, {"exit": 1})

    events = await hear(claude.model, request("One", Spoken("assistant", first), "Two"))

    assert [type(event) for event in events] == [Failed]
    assert len(claude.runs) == 2


async def test_what_failed_is_not_gone_on_from_and_leaves_no_folder(claude: Installation) -> None:
    claude.plot({"say": "Half"}, {"result": {"is_error": True, "result": "API Error: 500"}})
    await hear(claude.model, request("One"))

    await hear(claude.model, request("One", Spoken("assistant", "Half"), "Two"))

    assert value(claude.runs[1], "--resume") is None
    assert list((claude.home / "kept").rglob("work/*")) == []


async def test_the_newest_sessions_are_remembered_and_no_others(
    claude: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude_cli, "MAX_SESSIONS", 5)
    claude.plot({"write": "note"}, {"repeat": True})

    for number in range(7):
        last = await hear(claude.model, request(f"Hello {number}"))
    await hear(claude.model, request("Hello 6", Spoken("assistant", text(last)), "Again"))

    assert value(claude.runs[-1], "--resume")
    assert len(list((claude.home / "kept").rglob("sessions/*"))) <= 5
    assert len(list((claude.home / "kept").rglob("work/*"))) <= 5


def left(claude: Installation) -> list[str]:
    """What is kept of conversations: by us, and by the command line itself."""
    kept, projects = claude.home / "kept", claude.home / ".claude" / "projects"
    places = (kept.rglob("sessions/*"), kept.rglob("work/*"), projects.rglob("*.jsonl"))
    return [path.name for place in places for path in place]


def said_in(scope: str, *messages: ModelMessage | str) -> ModelRequest:
    return replace(request(*messages), conversation=f"{scope}:alice")


@pytest.mark.parametrize("is_told", [False, True], ids=["folders of its own", "a folder that is told"])
async def test_what_is_kept_of_a_conversation_is_erased_and_no_others(claude: Installation, is_told: bool) -> None:
    model = claude.of({"CLAUDE_CLI_FOLDER": str(claude.home / "told")} if is_told else {})
    for scope in ("cli:main:a", "cli:main:ab"):
        first = text(await hear(model, said_in(scope, "One")))
        await hear(model, said_in(scope, "One", Spoken("assistant", first), "Two"))
    before = left(claude)

    assert await model.erase("cli:main:a", (), time.time() + 1)

    after = left(claude)
    assert len(after) * 2 == len(before)
    said = (Spoken("user", "One"), Spoken("assistant", first))
    await hear(model, said_in("cli:main:ab", *said, "Three"))
    await hear(model, said_in("cli:main:a", *said, "Three"))
    assert [value(run, "--resume") is None for run in claude.runs[-2:]] == [False, True]


async def test_what_was_said_after_the_time_that_is_named_stays(claude: Installation) -> None:
    await hear(claude.model, said_in("cli:main:a", "One"))
    before = left(claude)

    assert await claude.model.erase("cli:main:a", (), time.time() - 60)

    assert left(claude) == before


async def test_where_nothing_was_ever_kept_nothing_is_to_be_erased(claude: Installation) -> None:
    assert await claude.model.erase("cli:main:a", (), time.time())
    assert await claude.of({"HOME": ""}).erase("cli:main:a", (), time.time())


async def test_the_transcript_of_a_call_that_failed_is_gone_with_its_folder(claude: Installation) -> None:
    claude.plot({"say": "Half"}, {"result": {"is_error": True, "result": "API Error: 500"}})
    await hear(claude.model, said_in("cli:main:a", "One"))

    assert left(claude) == []


async def test_sessions_of_an_earlier_version_go_with_any_conversation(claude: Installation) -> None:
    await hear(claude.model, said_in("cli:main:a", "One"))
    for file in (claude.home / "kept").rglob("sessions/*"):
        kept = json.loads(file.read_text())
        work = Path(kept["work"]).rename(Path(kept["work"]).with_name("k3p2_q"))
        file.write_text(json.dumps({"session": kept["session"], "work": str(work)}))

    assert await claude.model.erase("cli:main:b", (), time.time() + 1)

    assert list((claude.home / "kept").rglob("sessions/*")) == list((claude.home / "kept").rglob("work/*")) == []


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"session": "--x", "work": "/"}', b"\xff", b'{"session": 1}'])
async def test_a_file_of_ours_that_is_broken_is_as_none(claude: Installation, kept: bytes) -> None:
    await hear(claude.model, request("One"))
    for file in (claude.home / "kept").rglob("sessions/*"):
        file.write_bytes(kept)

    events = await hear(claude.model, request("One", Spoken("assistant", "(0 before) One"), "Two"))

    assert events[-1] == END
    assert value(claude.runs[1], "--resume") is None


async def test_images_are_shown_texts_are_quoted_and_other_files_are_told(claude: Installation) -> None:
    media = (
        Media("image", "a.png", "image/png", b"12345"),
        Media("document", "b.csv", "text/csv; charset=utf-8", b"x,y"),
        Media("document", "c\n.pdf", "application/pdf", b"%PDF"),
        Media("image", "d.tiff", "image/tiff", b"II"),
        Media("document", "e.json", "application/json", b"\xff"),
    )

    events = await hear(claude.model, request(Spoken("user", "See", media)))

    assert text(events).splitlines() == [
        "(0 before) See",
        "<image/png of 5 bytes>",
        *('[The file "b.csv" came with this message:]', "x,y", '[End of the file "b.csv".]', ""),
        '[The file "c .pdf" (document, application/pdf, 4 bytes) came with this message. It cannot be shown to you.]',
        "",
        '[The file "d.tiff" (image, image/tiff, 2 bytes) came with this message. It cannot be shown to you.]',
        "",
        '[The file "e.json" (document, application/json, 1 bytes) came with this message. It cannot be shown to you.]',
    ]


@pytest.mark.parametrize("messages", [(), ("",), (" \n",), ("One", Spoken("assistant", "Two"))], ids=repr)
async def test_there_is_always_something_to_answer(claude: Installation, messages: tuple[str, ...]) -> None:
    assert (await hear(claude.model, request(*messages)))[-1] == END


@pytest.mark.parametrize("said", ["/cost", "  /clear now", "\n/login"])
async def test_a_command_in_a_message_is_text(claude: Installation, said: str) -> None:
    claude.plot({"old": True}, {"repeat": True})

    events = await hear(claude.model, request(said))

    assert text(events).endswith(said.strip())


async def test_a_path_in_a_message_is_no_file(claude: Installation) -> None:
    (claude.home / "secret").write_text("the secret")
    claude.plot({"old": True}, {"repeat": True})

    events = await hear(claude.model, request(f"What stands in @{claude.home}/secret ?"))

    assert "the secret" not in text(events)
    assert claude.run["frames"][0]["client_composed"] is True


async def test_a_long_system_prompt_goes_by_a_file_that_does_not_stay(claude: Installation) -> None:
    system = "Be brief. é" * 50_000

    events = await hear(claude.model, replace(request("Hello"), system=system))

    assert events[-1] == END
    assert claude.run["system"] == system
    assert list((claude.home / "kept").rglob("system-*")) == []


async def test_a_long_message_is_heard_whole_and_a_long_answer_too(claude: Installation) -> None:
    said = "word " * 400_000

    assert text(await hear(claude.model, request(said))) == f"(0 before) {said}"


async def test_what_it_does_itself_is_shown_in_a_line(claude: Installation) -> None:
    secret = "sk-ant-0123456789"
    uses = [
        {"type": "tool_use", "id": "1", "name": "Read", "input": {"file_path": "/etc/hosts"}},
        {"type": "tool_use", "id": "2", "name": "Bash", "input": {"command": f"curl -H 'x-api-key: {secret}'\n" * 9}},
        {"type": "tool_use", "id": "3", "name": "TodoWrite", "input": {"todos": []}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "1", "content": "127.0.0.1"},
        {"type": "tool_result", "tool_use_id": "2", "content": "denied", "is_error": True},
    ]
    thinking = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hm."}}
    claude.plot(
        {"emit": {"type": "stream_event", "event": thinking}},
        {"say": "I look."},
        {"emit": {"type": "assistant", "message": {"id": "m", "content": uses}}},
        {"emit": {"type": "user", "message": {"role": "user", "content": results}}},
        {"say": "Done."},
        {"result": {}},
    )

    events = await hear(claude.model, request("Look", own_tools=("Read", "Bash")))

    did = [event for event in events if isinstance(event, Did)]
    assert events[0] == Thought("Hm.")
    assert text(events) == "I look.\n\nDone."
    assert [(one.call, one.tool, one.state) for one in did] == [
        *(("1", "Read", "running"), ("2", "Bash", "running"), ("3", "TodoWrite", "running")),
        *(("1", "Read", "ok"), ("2", "Bash", "error"), ("3", "TodoWrite", "error")),
    ]
    assert [one.effect for one in did] == ["read", "external", "read"] * 2
    assert (did[0].text, did[2].text) == ("Read: /etc/hosts", "TodoWrite")
    assert did[1].text.startswith("Bash: curl") and secret not in did[1].text
    assert len(did[1].text) < 100 and "\n" not in did[1].text


async def test_what_a_helper_of_its_own_says_is_no_part_of_the_answer(claude: Installation) -> None:
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "inner"}}
    said = {"content": [{"type": "text", "text": "inner"}]}
    claude.plot(
        {"emit": {"type": "stream_event", "parent_tool_use_id": "1", "event": delta}},
        {"emit": {"type": "assistant", "parent_tool_use_id": "1", "message": said}},
        {"say": "Outer."},
        {"result": {}},
    )

    assert text(await hear(claude.model, request("Go"))) == "Outer."


async def test_our_tools_are_not_given_to_it_which_is_said_once(
    claude: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "adapters.models.claude_cli")
    model, asked = claude.model, request("Hello", tools=(ToolSpec("clock", "Tells the time.", "{}"),))

    for _ in range(2):
        assert (await hear(model, asked))[-1] == END

    assert [record.getMessage() for record in caplog.records] == [
        "claude uses tools of its own only; the agent's are not given to it"
    ]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, END),
        ({"usage": {}, "total_cost_usd": None}, Finished("end")),
        ({"usage": None, "total_cost_usd": "free"}, Finished("end")),
        ({"usage": {"input_tokens": -1, "output_tokens": True}, "total_cost_usd": -1}, Finished("end")),
        ({"usage": {"input_tokens": 10**400}, "total_cost_usd": 1e300}, Finished("end")),
        ({"subtype": "error_max_turns", "is_error": True}, replace(END, reason="length")),
        ({"stop_reason": "max_tokens"}, replace(END, reason="length")),
        ({"stop_reason": "refusal"}, replace(END, reason="refusal")),
        ({"stop_reason": "unheard of", "subtype": "new"}, END),
        ({"is_error": True, "result": "Prompt is too long"}, replace(END, reason="full")),
    ],
    ids=repr,
)
async def test_a_result_is_read_to_the_digit(claude: Installation, fields: dict[str, Any], outcome: Finished) -> None:
    claude.plot({"say": "Said."}, {"result": fields})

    assert await hear(claude.model, request("Go")) == [Said("Said."), outcome]


@pytest.mark.parametrize(
    ("written", "cost"),
    [
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1.5e-05", "0.000015"),
        ("1.2345678901234567e-05", "0.000012345678901235"),
        ("3", "3"),
        ("0", "0"),
    ],
)
async def test_the_cost_is_what_was_written(claude: Installation, written: str, cost: str) -> None:
    claude.plot({"line": f'{{"type": "result", "result": "x", "total_cost_usd": {written}}}'})

    events = await hear(claude.model, request("Go"))

    assert events[-1] == Finished("end", cost=Decimal(cost))


@pytest.mark.parametrize(
    ("fields", "is_transient", "words"),
    [
        ({"result": "Invalid API key · Please run /login"}, False, "type /login, or set ANTHROPIC_API_KEY"),
        ({"result": "API Error: 401 authentication_error"}, False, "it is not signed in"),
        ({"result": "Go away", "api_error_status": 403}, False, "it is not signed in"),
        ({"result": "Credit balance is too low"}, False, "Credit balance is too low"),
        ({"result": 'API Error: 529 {"type":"overloaded_error"}'}, True, "529"),
        ({"result": "Something", "api_error_status": 500}, True, "Something"),
        ({"result": "API Error: Connection error."}, True, "Connection error"),
        ({"result": "API Error: Rate limit reached"}, True, "Rate limit"),
        ({"result": "There's an issue with the selected model (x)"}, False, "selected model"),
        ({"subtype": "error_during_execution", "result": None, "errors": ["It broke", 7]}, False, "It broke"),
        ({"subtype": "error_max_budget_usd", "result": ""}, False, "error_max_budget_usd"),
        ({"result": "key sk-ant-abcdefghijkl " + "long " * 1000}, False, "key ***"),
    ],
    ids=repr,
)
async def test_an_error_is_for_the_operator(
    claude: Installation, fields: dict[str, Any], is_transient: bool, words: str
) -> None:
    claude.plot({"result": {"is_error": True, "usage": USAGE, **fields}}, {"exit": 1})

    (failed,) = await hear(claude.model, request("Go"))

    assert isinstance(failed, Failed)
    assert failed.is_transient is is_transient
    assert words in failed.reason and failed.reason.startswith("claude ") and len(failed.reason) <= 500
    assert (failed.input_tokens, failed.output_tokens, failed.cache_read_tokens) == (3210, 7, 3000)
    assert failed.cost == Decimal("0.0123")


async def test_what_the_command_line_says_of_an_error_is_not_said_to_the_person(claude: Installation) -> None:
    error = {"model": "<synthetic>", "content": [{"type": "text", "text": "API Error: Overloaded"}]}
    claude.plot(
        {"say": "I think"},
        {"emit": {"type": "assistant", "error": "server_error", "message": error}},
        {"result": {"is_error": True, "result": ""}},
        {"exit": 1},
    )

    events = await hear(claude.model, request("Go"))

    assert text(events) == "I think"
    assert isinstance(events[-1], Failed) and events[-1].is_transient and "Overloaded" in events[-1].reason


@pytest.mark.parametrize(
    "steps",
    [
        [{"result": {"is_error": True, "result": "Claude AI usage limit reached|2000000000"}}],
        [
            {"emit": {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 2000000000}}},
            {"result": {"is_error": True, "result": "You've hit your session limit · resets 3:33am"}},
        ],
    ],
    ids=["in the words", "in an event"],
)
async def test_a_limit_tells_when_to_come_back(claude: Installation, steps: list[dict[str, Any]]) -> None:
    claude.plot(*steps)
    model = CommandLine(claude.variables, claude.home / "kept", now=lambda: 1_999_999_900.0)

    (failed,) = await hear(model, request("Go"))

    assert isinstance(failed, Failed) and failed.is_transient and failed.retry_after == 100.0


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PATH": "/nowhere"}, "there is no program 'claude' on the PATH: install it with `npm install"),
        ({"CLAUDE_CLI_COMMAND": "/nowhere/claude"}, "'/nowhere/claude' which CLAUDE_CLI_COMMAND names: install"),
        ({"CLAUDE_CLI_COMMAND": "'"}, "CLAUDE_CLI_COMMAND cannot be read as a command"),
        ({"CLAUDE_CLI_COMMAND": "~/.claude/notes"}, "cannot be started"),
        ({"CLAUDE_CLI_FOLDER": "/proc/nowhere"}, "cannot be started in /proc/nowhere"),
        ({"CLAUDE_CLI_COMMAND": "/\0"}, "there is no program '/\\x00'"),
    ],
    ids=repr,
)
async def test_without_the_program_it_is_said_what_to_do(
    claude: Installation, variables: dict[str, str], words: str
) -> None:
    (claude.home / ".claude" / "notes").write_text("no program")

    (failed,) = await hear(claude.of(variables), request("Go"))

    assert isinstance(failed, Failed) and not failed.is_transient
    assert words in failed.reason
    assert failed.cost == 0


async def test_a_command_may_have_words_of_its_own(claude: Installation) -> None:
    command = f"'{sys.executable}' -IS '{claude.home}/bin/claude'"

    assert (await hear(claude.of({"CLAUDE_CLI_COMMAND": command}), request("Go")))[-1] == END


async def test_another_dialect_is_a_matter_of_words(claude: Installation) -> None:
    (claude.home / "bin" / "claude").rename(claude.home / "bin" / "codette")
    dialect = replace(CLAUDE, program="codette", system=("--append-system-prompt", "{}"), tools=(), permission_mode=())
    model = CommandLine(claude.variables, claude.home / "kept", dialect=dialect)

    events = await hear(model, request("Go"))

    assert events[-1] == END
    assert value(claude.run, "--append-system-prompt") == "Be brief."
    assert value(claude.run, "--tools") is None


@pytest.mark.parametrize(
    ("steps", "is_transient", "words"),
    [
        ([{"exit": 3}], True, "claude ended with status 3 and gave no result: it said nothing"),
        ([{"error": "Segfault, perhaps\n"}, {"exit": 1}], True, "Segfault, perhaps"),
        ([{"line": "Invalid API key · Please run /login"}, {"exit": 1}], False, "it is not signed in"),
        ([{"error": "error: unknown option '--tools'"}, {"exit": 1}], False, "update it"),
        ([{"die": signal.SIGKILL}], True, "was killed by signal 9"),
        ([{"say": "I was just"}, {"exit": 0}], True, "ended with status 0 and gave no result"),
        ([{"error": "x" * 100_000 + " password=hunter22 the end"}, {"exit": 1}], True, "… password=*** the end"),
        ([{"error": "hunter22" * 1_000}, {"exit": 1}], True, "status 1"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_end_without_a_result_may_be_tried_again(
    claude: Installation, steps: list[dict[str, Any]], is_transient: bool, words: str
) -> None:
    claude.plot(*steps)

    failed = (await hear(claude.model, request("Go")))[-1]

    assert isinstance(failed, Failed)
    assert words in failed.reason and "hunter22" not in failed.reason and len(failed.reason) <= 500
    assert failed.is_transient is is_transient


async def test_who_died_after_it_began_may_have_thought_until_then(claude: Installation) -> None:
    claude.plot({"die": signal.SIGKILL})

    (failed,) = await hear(claude.model, request("Go"))

    assert isinstance(failed, Failed) and failed.has_begun


async def test_the_value_of_a_secret_variable_is_never_in_a_reason(claude: Installation) -> None:
    claude.plot({"error": "I was given correct-horse-battery"}, {"exit": 1})

    (failed,) = await hear(claude.of({"ANTHROPIC_AUTH_TOKEN": "correct-horse-battery"}), request("Go"))

    assert isinstance(failed, Failed) and failed.reason.endswith("I was given ***")


async def test_nonsense_among_its_output_is_passed_over(claude: Installation) -> None:
    halves = '{"type": "assistant", "message": {"content": [{"type": "text", "text": "half \\ud83d"}]}}'
    claude.plot(
        *({"line": line} for line in ("no json", "{", "[]", "7", "null", '"x"', "[" * 100_000, "1" * 10_000, "{}")),
        *({"emit": {"type": kind}} for kind in ("stream_event", "assistant", "user", "system", "unheard_of")),
        {"emit": {"type": "assistant", "message": {"content": "not blocks"}}},
        {"emit": {"type": "assistant", "message": {"content": [7, {"type": "text", "text": 7}, {"type": "tool_use"}]}}},
        {"emit": {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": ["x"]}]}}},
        {"emit": {"type": "stream_event", "event": {"type": "content_block_delta", "delta": []}}},
        {"bytes": b'{"type": "assistant", "message": {"content": [{"type": "text", "text": "\xff"}]}}\n\r\n\0\n'.hex()},
        {"line": halves},
        {"say": "Fine."},
        {"result": {}},
        {"line": '{"type": "result", "is_error": true}'},
        {"say": "Too late."},
    )

    events = await hear(claude.model, request("Go"))

    assert text(events).endswith("Fine.") and "Too late." not in text(events)
    text(events).encode()
    assert events[-1] == END


async def test_a_line_without_end_is_passed_over(claude: Installation) -> None:
    claude.plot({"flood": 20 * 2**20}, {"say": "Fine."}, {"result": {}})

    assert text(await hear(claude.model, request("Go"))) == "Fine."


@pytest.mark.parametrize("line", ["x" * 10_000, '{"type": "unheard_of"}\n' * 500], ids=["a line", "lines"])
async def test_output_without_end_comes_to_an_end(
    claude: Installation, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude_cli, "MAX_OUTPUT", 2**22)
    claude.plot({"for_ever": line})

    (failed,) = await hear(claude.model, request("Go"))

    assert failed == Failed("claude said more than 4 MB and came to no end")


async def test_output_without_end_after_the_result_does_not_matter(
    claude: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude_cli, "GRACE", 0.1)
    claude.plot({"say": "Fine."}, {"result": {}}, {"for_ever": "more\n"})

    assert (await hear(claude.model, request("Go")))[-1] == END
    assert is_gone(claude.run["pid"])


async def test_a_slow_listener_holds_the_command_line_up_and_loses_nothing(claude: Installation) -> None:
    claude.plot(*({"say": f"{number:06d} " * 10_000} for number in range(20)), {"result": {}})
    heard: list[ModelEvent] = []

    async with aclosing(claude.model.stream(request("Go"))) as events:
        async for event in events:
            heard.append(event)
            if len(heard) % 100 == 0:
                await asyncio.get_running_loop().run_in_executor(None, os.getpid)

    assert len(text(heard)) == 20 * 70_000 + 19 * 2
    assert heard[-1] == END


@pytest.mark.parametrize("is_deaf", [False, True], ids=["it obeys", "it does not"])
@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_a_call_that_is_given_up_leaves_nobody(
    claude: Installation, how: str, is_deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude_cli, "GRACE", 0.2)
    deaf: list[dict[str, Any]] = [{"deaf": True}] if is_deaf else []
    claude.plot(*deaf, {"child": True}, {"say": "I begin"}, {"hang": True})
    begun = asyncio.Event()

    async def listen() -> None:
        async with aclosing(claude.model.stream(request("Go"))) as events:
            async for event in events:
                if isinstance(event, Said) and event.text.endswith("n"):
                    begun.set()
                    if how == "closed":
                        return

    task = asyncio.create_task(listen())
    await begun.wait()
    if how == "cancelled":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await task if how == "closed" else None

    assert is_gone(claude.run["pid"])
    await until(lambda: is_gone(claude.pid("child")))
    assert list((claude.home / "kept").rglob("work/*")) == []


async def test_a_helper_that_stays_behind_is_ended_with_the_call(claude: Installation) -> None:
    claude.plot({"child": True}, {"say": "Fine."}, {"result": {}})

    assert (await hear(claude.model, request("Go")))[-1] == END
    await until(lambda: is_gone(claude.pid("child")))


async def test_somebody_else_who_holds_its_output_holds_up_nothing(
    claude: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude_cli, "GRACE", 0.2)
    claude.plot({"stranger": True}, {"say": "I was just"}, {"exit": 0})

    try:
        events = await hear(claude.model, request("Go"))
    finally:
        os.kill(claude.pid("stranger"), signal.SIGKILL)

    assert text(events) == "I was just"
    assert isinstance(events[-1], Failed) and events[-1].is_transient


async def test_one_that_does_not_listen_is_no_trouble(claude: Installation) -> None:
    program = claude.home / "bin" / "claude"
    program.write_text(f"#!{sys.executable} -IS\nprint('deaf', flush=True)\nraise SystemExit(4)\n")

    (failed,) = await hear(claude.model, request("word " * 1_000_000))

    assert isinstance(failed, Failed) and failed.reason == "claude ended with status 4 and gave no result: deaf"
    assert failed.is_transient


async def test_calls_side_by_side_do_not_mix(claude: Installation) -> None:
    model = claude.model

    answers = await asyncio.gather(*(hear(model, request(f"Number {number}")) for number in range(8)))

    assert [text(events) for events in answers] == [f"(0 before) Number {number}" for number in range(8)]
