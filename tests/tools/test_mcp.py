"""What agents have of MCP servers, whatever those do; and our own tools as such a server."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from adapters.tools.mcp import MAX_DESCRIPTION, MAX_RESULT, McpServers, Patience
from factory_contracts.work import AgentSpec, McpServer
from hub.kernel.harness import MAX_FILES
from hub.kernel.ports import ANYWHERE, Equipped, Media, Observation, Occasion, ToolFailed
from hub.kernel.schema import complaint
from tests.fakes import words_of
from tests.nursery import nursery

HERE = Path(__file__).parent
REAL = HERE / "mcp_server.py"
BROKEN = HERE / "broken_mcp_server.py"
# What the server shows.
PNG = b"\x89PNG\r\n\x1a\n\0"
OPUS = b"OggS" + bytes(24) + b"OpusHead"
PDF = b"%PDF-1.7\n"
# A busy machine is no failure: only what a test waits out is short.
CALM = Patience(start=60, listing=60, call=60, grace=0.5)
OCCASION = Occasion("turn", "call", "scope", "user", AgentSpec(name="a", hash="h", model="m", namespace="n"))
VARIABLES: Mapping[str, str] = MappingProxyType(
    {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
)


def real(name: str = "real", *flags: str, **more: Any) -> McpServer:
    return McpServer(name=name, command=(sys.executable, str(REAL), *flags), **more)


def broken(way: str, pids: Path | None = None) -> McpServer:
    more = () if pids is None else (str(pids),)
    return McpServer(name="broken", command=(sys.executable, "-S", str(BROKEN), way, *more))


def agent(*servers: McpServer) -> AgentSpec:
    return AgentSpec(name="a", hash="h", model="m", namespace="n", mcp=servers)


def started(pids: Path) -> list[int]:
    """The process of each start, in order."""
    return [int(line.split()[0]) for line in pids.read_text().splitlines()] if pids.exists() else []


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


async def end_of(pid: int) -> None:
    """Wait until the process is no more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


class Clock:
    """A steady clock that the test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Bench:
    """All servers, and the tools of one agent by name."""

    servers: McpServers

    async def tools(self, *servers: McpServer) -> dict[str, Equipped]:
        return {tool.spec.name: tool for tool in await self.servers.tools(agent(*servers))}


async def ask(tool: Equipped, **arguments: object) -> str:
    return await words_of(tool, json.dumps(arguments), OCCASION)


@asynccontextmanager
async def bench(
    patience: Patience | None = None, now: Callable[[], float] | None = None, **variables: str
) -> AsyncIterator[Bench]:
    servers = McpServers({**VARIABLES, **variables}, patience=patience or CALM, **({} if now is None else {"now": now}))
    try:
        yield Bench(servers)
    finally:
        await servers.close()


@contextmanager
def over_http(*flags: str) -> Iterator[str]:
    """The address of a real server over HTTP."""
    reading, writing = os.pipe()
    with open(reading) as said, open(os.devnull) as nothing:
        with open(writing, "w") as saying:
            server = nursery("mcp.server.streamable_http_manager", "uvicorn").bear(
                "tests.tools.mcp_server",
                ["--http", *flags],
                stdin=nothing.fileno(),
                stdout=saying.fileno(),
                stderr=2,
            )
        try:
            yield f"http://127.0.0.1:{said.readline().strip()}/mcp"
        finally:
            server.end()


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[str]:
    """The address of something that gives everybody the same answer, headers and all, and goes on to the end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
                writer.write(answer)
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                return

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


# What a server that follows the protocol gives.


@pytest.fixture(scope="module")
async def settled() -> AsyncIterator[Bench]:
    """A server that several tests call, over its standard streams."""
    async with bench(TOKEN="hush", OTHER="unseen", LANG="C.UTF-8") as one:
        yield one


SHARED = real(env=("TOKEN",), reads=("echo",))


async def test_the_tools_of_a_server_bear_its_name_and_what_it_says_of_them(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    assert {"real_add", "real_echo", "real_fail"} <= tools.keys()
    add = tools["real_add"].spec
    assert add.description == "The tool add."
    assert json.loads(add.parameters)["required"] == ["a", "b"]


async def test_a_tool_only_reads_where_the_operator_says_so_whatever_the_server_says(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    assert {name for name, tool in tools.items() if tool.spec.effect == "read"} == {"real_echo"}
    assert {tool.spec.effect for name, tool in tools.items() if name != "real_echo"} == {"external"}
    assert not any(tool.spec.is_idempotent for tool in tools.values())
    # Nobody is asked about what reads, but for the places that it tells something.
    assert {name for name, tool in tools.items() if tool.spec.reaches == ANYWHERE} == {"real_echo"}


async def test_texts_are_told_as_they_are_and_structure_as_json(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    assert await ask(tools["real_echo"], text="grüß\ndich") == "grüß\ndich"
    assert json.loads(await ask(tools["real_add"], a=1, b=2)) == {"sum": 3}


async def test_pictures_sounds_and_files_are_for_the_person_and_what_else_is_no_text_is_told_in_a_line(
    settled: Bench,
) -> None:
    tools = await settled.tools(SHARED)

    shown = await tools["real_show"].tool.run("{}", OCCASION)

    assert isinstance(shown, Observation)
    assert shown.content.splitlines() == [
        "Look:",
        "[resource: notes, file:///notes.txt]",
        "[resource: file:///a.txt, text/plain]",
        "[image: image/png, about 6 bytes]",
        "[image: image/png, about 9 bytes]",
    ]
    assert shown.files == (
        Media("image", "show-1.png", "image/png", PNG),
        Media("voice", "show-2.ogg", "audio/ogg", OPUS),
        Media("document", "may sum.pdf", "application/pdf", PDF),
    )


async def test_a_result_brings_so_many_files_and_no_more(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    shown = await tools["real_gallery"].tool.run(f'{{"pictures":{MAX_FILES + 1}}}', OCCASION)

    assert isinstance(shown, Observation)
    assert [file.name for file in shown.files] == [f"gallery-{one}.png" for one in range(1, MAX_FILES + 1)]
    assert shown.content == "[image: image/png, about 9 bytes]"


async def test_what_a_server_shows_and_calls_an_error_goes_to_nobody(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    with pytest.raises(ToolFailed) as failed:
        await tools["real_gallery"].tool.run('{"pictures":1,"fails":true}', OCCASION)

    assert str(failed.value) == "[image: image/png, about 9 bytes]"


async def test_a_long_result_is_cut_where_it_can_be_seen(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    told = await ask(tools["real_echo"], text="ä" * 100_000)

    assert len(told.encode()) < MAX_RESULT + 100
    assert told.endswith("[… cut: the result has 200000 bytes in all …]")


async def test_a_tool_that_fails_says_so_in_its_own_words(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    with pytest.raises(ToolFailed, match=r"^It cannot be done\.$"):
        await ask(tools["real_fail"])


async def test_a_server_is_given_the_variables_that_its_agent_names_and_no_others(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    environment = json.loads(await ask(tools["real_where"]))["environment"]

    assert environment.keys() - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "TOKEN"}
    assert (environment["TOKEN"], environment["LANG"]) == ("hush", "C.UTF-8")


async def test_calls_run_side_by_side(settled: Bench) -> None:
    tools = await settled.tools(SHARED)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        met = [group.create_task(ask(tools["real_meet"], people=5)) for _ in range(5)]

    assert [one.result() for one in met] == ["met"] * 5


async def test_agents_that_name_the_same_server_share_it(settled: Bench) -> None:
    one, other = await asyncio.gather(settled.tools(SHARED), settled.tools(SHARED))

    first, second = [json.loads(await ask(tools["real_where"]))["pid"] for tools in (one, other)]

    assert first == second


async def begun(tools: Mapping[str, Equipped], prefix: str) -> dict[str, int]:
    seen: dict[str, int] = json.loads(await ask(tools[f"{prefix}_seen"]))
    return seen


async def test_a_cancelled_call_is_cancelled_at_the_server_which_serves_on(settled: Bench) -> None:
    tools = await settled.tools(SHARED)
    before = await begun(tools, "real")

    waiting = asyncio.create_task(ask(tools["real_wait"]))
    async with asyncio.timeout(10):
        while (await begun(tools, "real"))["begun"] == before["begun"]:
            pass
        waiting.cancel()
        while (await begun(tools, "real"))["cancelled"] == before["cancelled"]:
            pass

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await ask(tools["real_echo"], text="still here") == "still here"


async def test_tools_that_come_later_are_there_at_the_next_turn(settled: Bench) -> None:
    tools = await settled.tools(SHARED)
    assert "real_grown" not in tools

    await ask(tools["real_grow"])

    assert "real_grown" in await settled.tools(SHARED)


@pytest.mark.parametrize(
    "arguments", ["", "[]", "{", '{"text": NaN}', '{"text": "\\ud800"}', "[" * 5000, '{"a":' * 70 + "1" + "}" * 70]
)
async def test_arguments_that_are_no_object_cost_the_call_alone(settled: Bench, arguments: str) -> None:
    tools = await settled.tools(SHARED)

    with pytest.raises(ToolFailed, match="must be a JSON object"):
        await tools["real_echo"].tool.run(arguments, OCCASION)

    assert await ask(tools["real_echo"], text="on") == "on"


async def test_a_list_of_tools_is_read_to_its_end_and_no_further_than_is_sane() -> None:
    async with bench() as here:
        few = await here.tools(real("few", "--tools", "120"))
        many = await here.tools(real("many", "--tools", "500"))

    assert len(few) == 133
    assert "few_extra_119" in few
    assert len(many) == 200


async def test_when_all_is_closed_no_process_is_left(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with bench() as here:
        tools = await here.tools(real("real", "--pids", str(pids)))
        child = int(await ask(tools["real_breed"]))
        assert is_alive(child)

    assert not is_alive(started(pids)[0])
    await end_of(child)
    assert await here.tools(real("real", "--pids", str(pids))) == {}
    with pytest.raises(ToolFailed, match="is down"):
        await ask(tools["real_echo"])
    assert len(started(pids)) == 1


async def test_a_server_that_nobody_calls_is_let_go_and_starts_again_when_it_is_called(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with bench(replace(CALM, idle=0.05)) as here:
        tools = await here.tools(broken("answers", pids))
        await end_of(started(pids)[0])

        assert await ask(tools["broken_plain"], text="again") == "again"
        assert len(started(pids)) == 2


# What happens when a server does not.


@pytest.mark.parametrize("way", ["dies at start", "is deaf", "babbles", "lies about tools", "lists for ever"])
async def test_a_server_that_does_not_come_up_costs_its_own_tools_alone(way: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with bench(replace(CALM, start=3, listing=3)) as here:
        async with asyncio.timeout(20):
            tools = await here.tools(broken(way, pids), replace_name(broken("answers"), "good"))

        assert tools.keys() == {"good_plain"}
        assert await ask(tools["good_plain"]) == "answers"

    assert not any(is_alive(pid) for pid in started(pids))


def replace_name(server: McpServer, name: str) -> McpServer:
    return server.model_copy(update={"name": name})


@pytest.mark.parametrize("way", ["greets", "floods stderr", "notifies"])
async def test_a_server_that_is_merely_noisy_serves(way: str) -> None:
    async with bench() as here:
        for _ in range(2):
            tools = await here.tools(broken(way))
            assert await ask(tools["broken_plain"], text="well") == "well"


async def test_the_last_words_of_a_server_are_logged_for_who_looks_closely(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "adapters.tools.mcp"):
        async with bench() as here:
            await here.tools(broken("floods stderr"))

    (record,) = [one for one in caplog.records if "standard error" in one.getMessage()]
    assert record.levelno == logging.DEBUG
    assert record.getMessage().endswith("The last words.'")
    assert len(record.getMessage()) < 3000


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("dies in a call", "died during the call"),
        ("leaves a child", "died during the call"),
        ("closes output", "died during the call"),
        ("says too much", "died during the call"),
        ("lies in a call", "no result of a tool"),
    ],
)
async def test_a_call_that_the_server_does_not_survive_is_an_observation(way: str, words: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with bench() as here:
        tools = await here.tools(broken(way, pids))

        with pytest.raises(ToolFailed, match=f"The server broken .*{words}"):
            await ask(tools["broken_plain"])

    assert not any(is_alive(pid) for pid in started(pids))


async def test_a_server_that_hangs_in_a_call_is_given_up_and_replaced(tmp_path: Path) -> None:
    pids, clock = tmp_path / "pids", Clock()
    async with bench(replace(CALM, listing=3, call=0.2), now=clock) as here:
        tools = await here.tools(broken("hangs in a call", pids))

        with pytest.raises(ToolFailed, match=r"The server broken does not answer: 0\.2 s have passed"):
            await ask(tools["broken_plain"])
        await end_of(started(pids)[0])
        clock.time += 1

        assert "broken_plain" in await here.tools(broken("hangs in a call", pids))


async def test_a_server_whose_tool_is_merely_slow_is_kept(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    server = real("real", "--pids", str(pids))
    async with bench(replace(CALM, call=0.2)) as here:
        tools = await here.tools(server)

        with pytest.raises(ToolFailed, match="does not answer"):
            await ask(tools["real_wait"])

        assert "real_wait" in await here.tools(server)
        assert len(started(pids)) == 1


async def test_a_server_that_died_is_left_alone_for_a_while_and_then_started_again(tmp_path: Path) -> None:
    pids, clock = tmp_path / "pids", Clock()
    async with bench(now=clock) as here:
        tools = await here.tools(broken("dies in a call", pids))
        for start, pause in enumerate((1, 5, 30, 30), 1):
            with pytest.raises(ToolFailed, match="died during the call"):
                await ask(tools["broken_plain"])
            clock.time += pause - 0.1
            with pytest.raises(ToolFailed, match="is down"):
                await ask(tools["broken_plain"])
            assert await here.tools(broken("dies in a call", pids)) == {}
            assert len(started(pids)) == start
            clock.time += 0.2

        assert "broken_plain" in await here.tools(broken("dies in a call", pids))


async def test_that_a_server_is_down_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    async with bench(now=clock) as here:
        for _ in range(4):
            assert await here.tools(broken("dies at start")) == {}
            clock.time += 31

    (warning,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "the server broken is down: it ended with exit code 4" in warning.getMessage()


async def test_a_server_that_stops_answering_delays_one_turn_and_is_started_again_later(tmp_path: Path) -> None:
    pids, clock = tmp_path / "pids", Clock()
    async with bench(replace(CALM, listing=3), now=clock) as here:
        assert "broken_plain" in await here.tools(broken("stops answering", pids))
        clock.time += 1

        assert await here.tools(broken("stops answering", pids)) == {}
        assert await here.tools(broken("stops answering", pids)) == {}
        clock.time += 1.1

        assert "broken_plain" in await here.tools(broken("stops answering", pids))
        assert len(started(pids)) == 2


async def test_a_server_that_is_slow_to_start_delays_the_first_turn_alone(tmp_path: Path) -> None:
    clock = Clock()
    async with bench(replace(CALM, listing=1), now=clock) as here:
        assert await here.tools(broken("is mute")) == {}
        clock.time += 1
        before = asyncio.get_running_loop().time()

        assert await here.tools(broken("is mute")) == {}

        assert asyncio.get_running_loop().time() - before < 0.5


async def test_a_server_killed_between_turns_is_there_again_at_a_later_one(tmp_path: Path) -> None:
    pids, clock = tmp_path / "pids", Clock()
    async with bench(now=clock) as here:
        tools = await here.tools(broken("answers", pids))
        os.kill(started(pids)[0], signal.SIGKILL)
        await end_of(started(pids)[0])
        with pytest.raises(ToolFailed):
            await ask(tools["broken_plain"])
        clock.time += 1

        assert await ask(tools["broken_plain"], text="back") == "back"
        assert len(started(pids)) == 2


async def test_a_server_that_wants_the_newer_handshake_gets_it() -> None:
    async with bench() as here:
        tools = await here.tools(broken("refuses the old handshake"))

        assert await ask(tools["broken_plain"], text="new") == "new"


async def test_no_tool_name_is_refused_by_a_provider_or_stands_for_two_tools() -> None:
    async with bench() as here:
        tools = await here.servers.tools(
            agent(broken("has odd tools"), replace_name(broken("has odd tools"), "broken_h__lich"))
        )

    names = [tool.spec.name for tool in tools]
    assert len(names) == len(set(names)) == 12
    for name in names:
        assert 0 < len(name) <= 64
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert "broken_h__lich_" in names


async def test_what_a_server_says_of_its_tools_is_bounded_and_seen_by_everybody() -> None:
    async with bench() as here:
        tools = await here.servers.tools(agent(broken("has odd tools")))

    first, second, third, long, longer, wrong = tools
    assert first.spec.description == "Shows what is there.\nReally."
    assert len(second.spec.description) == MAX_DESCRIPTION
    assert json.loads(third.spec.parameters)["properties"] == {"a": {}, "b": {"items": {"type": "integer"}}}
    for tool in (long, longer, wrong):
        assert json.loads(tool.spec.parameters) == {"type": "object"}
    for tool in tools:
        assert complaint(json.loads(tool.spec.parameters), {"a": 1, "b": [1]}) == ""


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (McpServer(name="x"), "it needs a command or a url"),
        (McpServer(name="x", command=("true",), url="http://127.0.0.1:9/"), "it needs a command or a url"),
        (McpServer(name="x", url="file:///etc/passwd"), "its url must begin with http"),
        (McpServer(name="x", command=("/nowhere/at/all",)), "No such file or directory"),
        (
            McpServer(name="x", url="http://127.0.0.1:9/", bearer="ABSENT"),
            "the variable ABSENT with its token is not set",
        ),
    ],
)
async def test_what_is_wrong_with_a_server_is_told_to_the_operator(
    server: McpServer, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench() as here:
        assert await here.tools(server) == {}

    assert any(words in one.getMessage() for one in caplog.records if one.levelno == logging.WARNING)


async def test_a_turn_that_is_cancelled_while_a_server_starts_leaves_it_starting() -> None:
    async with bench() as here:
        turn = asyncio.create_task(here.tools(broken("answers")))
        await asyncio.wait((turn,), timeout=0)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn

        assert "broken_plain" in await here.tools(broken("answers"))


async def test_closing_while_a_server_starts_leaves_nothing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with bench(replace(CALM, listing=0.1)) as here:
        assert await here.tools(broken("is deaf", pids)) == {}

    assert not any(is_alive(pid) for pid in started(pids))


ELSEWHERE_LOOP = """
import asyncio, json, sys, uvloop
from adapters.tools.mcp import McpServers
from factory_contracts.work import AgentSpec, McpServer
from hub.kernel.ports import Occasion, ToolFailed

async def main(*servers):
    agent = AgentSpec(name="a", hash="h", model="m", namespace="n", mcp=tuple(
        McpServer(name=f"s{number}", command=(sys.executable, *command)) for number, command in enumerate(servers)
    ))
    source = McpServers({})
    said = []
    for tool in await source.tools(agent):
        try:
            said.append(await tool.tool.run('{"text": "x"}', Occasion("t", "c", "s", "u", agent)))
        except ToolFailed as failed:
            said.append(str(failed))
    await source.close()
    print(json.dumps(said))

uvloop.run(main(*json.loads(sys.argv[1])))
"""


def test_it_is_the_same_on_the_loop_that_workers_run_on(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ways = ("answers", "dies in a call", "leaves a child", "dies at start", "floods stderr")
    servers = [["-S", str(BROKEN), way, str(pids)] for way in ways]
    script = [sys.executable, "-W", "error", "-c", ELSEWHERE_LOOP, json.dumps(servers)]

    done = subprocess.run(script, check=False, capture_output=True, text=True, cwd=HERE.parents[1], timeout=60)

    assert done.returncode == 0, done.stderr
    first, second, third, last = json.loads(done.stdout)
    assert (first, last) == ("x", "x")
    assert "died during the call" in second
    assert "died during the call" in third
    assert len(started(pids)) == len(ways)
    assert not any(is_alive(pid) for pid in started(pids))
    assert "Error" not in done.stderr


# The same over HTTP.


@pytest.mark.parametrize("flags", [(), ("--old",)], ids=["new", "old"])
async def test_a_server_over_http_is_used_like_any_other(flags: tuple[str, ...]) -> None:
    with over_http(*flags, "--token", "hush") as url:
        async with bench(
            HTTP_TOKEN=" hush\n", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9"
        ) as here:
            server = McpServer(name="web", url=url, bearer="HTTP_TOKEN", reads=("echo",))
            tools = await here.tools(server)
            before = await begun(tools, "web")

            assert json.loads(await ask(tools["web_add"], a=1, b=2)) == {"sum": 3}
            with pytest.raises(ToolFailed, match=r"^It cannot be done\.$"):
                await ask(tools["web_fail"])
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(ask(tools["web_meet"], people=3))
            waiting = asyncio.create_task(ask(tools["web_wait"]))
            async with asyncio.timeout(10):
                while (await begun(tools, "web"))["begun"] == before["begun"]:
                    pass
                waiting.cancel()
                while (await begun(tools, "web"))["cancelled"] == before["cancelled"]:
                    pass
            await asyncio.wait((waiting,))
            assert await ask(tools["web_echo"], text="on") == "on"


async def test_a_server_over_http_that_has_forgotten_us_is_met_anew() -> None:
    clock = Clock()
    with over_http("--old") as url:
        async with bench(now=clock) as here:
            server = McpServer(name="web", url=url)
            tools = await here.tools(server)

            await ask(tools["web_forget"])
            with pytest.raises(ToolFailed, match=r"nothing was done\. Try again"):
                await ask(tools["web_echo"], text="one")
            assert await ask(tools["web_echo"], text="two") == "two"
            await ask(tools["web_forget"])
            clock.time += 61
            assert "web_echo" in await here.tools(server)
            assert await ask(tools["web_echo"], text="three") == "three"


async def test_a_wrong_token_is_told_to_the_operator_by_its_status(caplog: pytest.LogCaptureFixture) -> None:
    with over_http("--token", "hush") as url:
        async with bench(HTTP_TOKEN="wrong-and-secret") as here:
            assert await here.tools(McpServer(name="web", url=url, bearer="HTTP_TOKEN")) == {}

    assert any("HTTP status 401" in one.getMessage() for one in caplog.records)
    assert not any("wrong-and-secret" in one.getMessage() for one in caplog.records)


async def test_a_server_over_http_that_dies_in_a_call_is_an_observation() -> None:
    with over_http() as url:
        async with bench() as here:
            tools = await here.tools(McpServer(name="web", url=url))

            with pytest.raises(ToolFailed, match="The server web died"):
                await ask(tools["web_die"])


async def test_nobody_there_costs_the_tools_alone() -> None:
    async with bench() as here:
        assert (await here.tools(McpServer(name="web", url="http://127.0.0.1:9/mcp"))) == {}


ENDLESS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + b" " * 20_000_000
BOMB = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: deflate\r\nconnection: close\r\n\r\n"
    + zlib.compress(b" " * 50_000_000)
)
ELSEWHERE = b"HTTP/1.1 307 Away\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
NONSENSE = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"


@pytest.mark.parametrize(
    "answer", [ENDLESS, BOMB, ELSEWHERE, PAGE, NONSENSE], ids=["endless", "bomb", "elsewhere", "page", "ssh"]
)
async def test_an_address_that_is_no_server_costs_the_tools_alone(answer: bytes) -> None:
    async with stranger(answer) as url, bench() as here, asyncio.timeout(30):
        assert await here.tools(McpServer(name="web", url=url)) == {}
