"""A file walks from a person's terminal to the model, or from an agent to the terminal, and is the same there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from adapters.cli.__main__ import ChatSettings, chat
from adapters.models.prices import GenaiPrices
from adapters.models.scripted import Scripted, parse
from adapters.nats.blobs import NatsBlobs
from adapters.tools.choices import CHOICES
from adapters.tools.files import Folders
from factory_cli.config import Configuration
from factory_cli.membership import members
from factory_contracts import subjects
from factory_contracts.work import Approvals, Files
from factory_nats import blobs
from factory_nats.connect import connect, generate_seed, public_key
from factory_nats.result import Ok
from factory_nats.server import EmbeddedServer
from hub.composition import HubSettings, serve
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.events import Finished, ModelEvent, Said
from hub.kernel.foreign import labelled
from hub.kernel.ports import Media, Model, ModelRequest, Spoken
from hub.kernel.routing import Binding, Bindings
from workers.clipool.composition import run
from workers.clipool.kit import Given, Kit

BOT = "main"
SPOKE = f"cli-{BOT}"
WORKER = subjects.CLIPOOL
MEMBERS = {one.identity: one for one in members(Configuration())}
CSV = "name,sum\nZoë,12\n"
# An agent that writes a file, sends it twice, tries to send another and asks what next.
SENDS = """
[[reply]]
steps = [
    { say = "One moment. " },
    { call = "make_folder", arguments = { path = "out" } },
    { call = "write_file", arguments = { path = "out/sums.csv", content = '''name,sum
Zoë,12
''' } },
    { call = "send_file", arguments = { path = "out/sums.csv" } },
    { call = "send_file", arguments = { path = "./out/sums.csv" } },
    { call = "send_file", arguments = { path = "../secret" } },
    { call = "choices", arguments = { options = ["Yes", "No"] } },
    { say = "The sums of {said}. {tool} More?" },
]
"""
# Nobody is asked before she writes what she was asked to.
ALICE = Agent("alice", "scripted", tools=("choices",), files=Files(), approvals=Approvals(write="never"))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2_000


class Witness:
    """A model that remembers what it was shown, and says how many files that were."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        yield Said(f"I see {len(self.seen)} files.")
        yield Finished("end")

    async def close(self) -> None:
        """Nothing is held between calls."""

    @property
    def spoken(self) -> list[Spoken]:
        """The lines it was shown last."""
        return [message for message in self.requests[-1].messages if isinstance(message, Spoken)]

    @property
    def seen(self) -> list[Media]:
        """The files it was shown last."""
        return [media for line in self.spoken for media in line.media]


class Town:
    """A home with its keys, in which everybody may what they may in the product."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.witness = Witness()
        self.model: Model = self.witness
        self._capsys = capsys
        seeds = {key: generate_seed() for one in MEMBERS.values() for key, _ in one.grants}
        self._who = {name: one.proves(seeds.__getitem__) for name, one in MEMBERS.items()}
        self._users = [user for one in MEMBERS.values() for user in one.users(lambda key: public_key(seeds[key]))]
        self._url = ""

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Everything runs, from the server on; at the end nothing does."""
        async with EmbeddedServer(self.folder / "nats", users=self._users) as server:
            self._url = server.url
            async with self._until_told(self._reign), self._until_told(self._work):
                yield

    async def ask(self, words: str, *files: Path, session: str = "here", is_json: bool = False) -> str:
        """What a person reads on their terminal who asks this."""
        code = await chat(
            ChatSettings(
                nats_url=self._url,
                identity=self._who[SPOKE],
                user_id="ann",
                user_name="Ann",
                history_file=self.folder / "history",
                sessions_file=self.folder / "sessions",
                files_folder=self.folder / "files",
                session=session,
                prompt=words,
                files=tuple(map(str, files)),
                is_json=is_json,
            )
        )
        out, err = self._capsys.readouterr()
        assert code == 0, err
        return out

    async def spoke_reads(self, name: str) -> bytes | None:
        """What the store holds under this name, as the terminal's spoke reads it."""
        connected = await connect(self._url, self._who[SPOKE], patience=10)
        assert isinstance(connected, Ok)
        found = await blobs.get(connected.value, subjects.blobs("cli", BOT), name)
        await connected.value.close()
        assert isinstance(found, Ok)
        return found.value

    async def _reign(self, stop: asyncio.Event) -> None:
        settings = HubSettings(
            nats_url=self._url,
            identity=self._who[subjects.HUB],
            bindings=Bindings({ALICE.name: ALICE}, (Binding(ALICE.name),)),
            policies=(BotPolicy("cli", BOT, access="public", rate_per_minute=1_000, rate_per_scope_minute=1_000),),
        )
        assert await serve(settings, stop) == 0

    async def _work(self, stop: asyncio.Event) -> None:
        connected = await connect(self._url, self._who[WORKER], patience=10)
        assert isinstance(connected, Ok)
        kit = Kit(
            models=Given({"scripted": self.model}),
            tools={"choices": CHOICES},
            prices=GenaiPrices({}),
            now=time.time,
            sources=(Folders(self.folder / "work"),),
        )
        await run(connected.value, replace(kit, blobs=NatsBlobs(connected.value)), stop)
        await connected.value.close()

    @asynccontextmanager
    async def _until_told(self, work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(work(stop))
        try:
            yield
        finally:
            stop.set()
            await task


@pytest.fixture
def town(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Town:
    return Town(tmp_path, capsys)


@pytest.fixture
def album(tmp_path: Path) -> list[Path]:
    """A picture of several chunks, a text, and a file with nothing in it."""
    contents = {"cat.png": PNG, "notes.txt": "grün".encode(), "empty.bin": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


async def test_a_terminals_file_reaches_the_model_to_the_byte(town: Town, album: list[Path]) -> None:
    async with town.life():
        answer = await town.ask("what is this?", album[0])

    assert answer == "I see 1 files.\n"
    assert town.witness.spoken == [Spoken("user", "what is this?", (Media("image", "cat.png", "image/png", PNG),))]


async def test_an_album_is_one_message_with_all_its_files_in_order(town: Town, album: list[Path]) -> None:
    async with town.life():
        await town.ask("and these?", *album)

    (line,) = town.witness.spoken
    assert [(media.name, media.kind, media.mime, media.data) for media in line.media] == [
        ("cat.png", "image", "image/png", PNG),
        ("notes.txt", "document", "text/plain", labelled("notes.txt", "grün").encode()),
        ("empty.bin", "document", "text/plain", labelled("empty.bin", "").encode()),
    ]


async def test_a_file_outlives_a_restart_of_everything_and_is_there_for_the_next_question(
    town: Town, album: list[Path]
) -> None:
    async with town.life():
        await town.ask("what is this?", album[0])
    album[0].unlink()

    async with town.life():
        answer = await town.ask("are you sure?")

    assert answer == "I see 1 files.\n"
    asked, answered, again = town.witness.spoken
    assert asked == Spoken("user", "what is this?", (Media("image", "cat.png", "image/png", PNG),))
    assert (answered.role, answered.text) == ("assistant", "I see 1 files.")
    assert again == Spoken("user", "are you sure?")


async def test_a_file_is_shown_where_it_was_sent_and_nowhere_else(town: Town, album: list[Path]) -> None:
    async with town.life():
        await town.ask("what is this?", album[0])
        await town.ask("hello", session="elsewhere")
        elsewhere = town.witness.seen
        await town.ask("/new")
        await town.ask("hello")

    assert elsewhere == []
    assert town.witness.seen == []


async def test_a_question_asked_again_has_its_file_again(town: Town, album: list[Path]) -> None:
    async with town.life():
        await town.ask("what is this?", album[0])
        await town.ask("/retry")

    assert len(town.witness.requests) == 2
    assert town.witness.spoken == [Spoken("user", "what is this?", (Media("image", "cat.png", "image/png", PNG),))]


async def test_a_copy_of_the_session_has_the_files_too(town: Town, album: list[Path]) -> None:
    async with town.life():
        await town.ask("what is this?", album[0])
        await town.ask("/fork copy")
        await town.ask("and now?", session="copy")

    assert [media.data for media in town.witness.seen] == [PNG]


@pytest.fixture
def sender(town: Town) -> Town:
    town.model = Scripted(parse(SENDS, "sends", Path()))
    return town


async def test_a_file_that_an_agent_wrote_and_sent_lies_on_the_persons_machine_to_the_byte(sender: Town) -> None:
    async with sender.life():
        said = await sender.ask("May")

    saved = sender.folder / "files" / "here"
    assert said.startswith("One moment. \n\nThe sums of May. The person is offered 'Yes', 'No' beneath your answer.")
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == {"sums.csv": CSV.encode()}


async def test_a_program_is_told_where_a_sent_file_lies_and_what_may_be_said_next(sender: Town) -> None:
    async with sender.life():
        lines = (await sender.ask("May", is_json=True)).splitlines()
        again = (await sender.ask("June", is_json=True)).splitlines()

    saved = sender.folder / "files" / "here"
    file = {"name": "sums.csv", "mime": "text/csv", "size": len(CSV.encode())}
    assert json.loads(lines[-1])["files"] == [{**file, "path": str(saved / "sums.csv")}]
    assert json.loads(lines[-1])["choices"] == ["Yes", "No"]
    assert json.loads(again[-1])["files"] == [{**file, "path": str(saved / "sums (2).csv")}]
    assert (saved / "sums (2).csv").read_bytes() == CSV.encode()


async def test_a_sent_file_outlives_a_restart_of_everything(sender: Town) -> None:
    async with sender.life():
        await sender.ask("May")
    (sender.folder / "work" / "alice" / "out" / "sums.csv").unlink()

    async with sender.life():
        found = await sender.spoke_reads(sha256(CSV.encode()).hexdigest())

    assert found == CSV.encode()
