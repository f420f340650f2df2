"""How long a terminal waits for what does not come, by a clock that a test sets forward."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input

from adapters.cli.bot import Bot, Terminal
from adapters.cli.normalize import Speaker
from adapters.spoke import Reply
from factory_contracts.messages import (
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    AttachmentKind,
    InboundMessage,
    Refused,
    Welcome,
)
from tests.fakes import idle

HERE = Address(platform="cli", bot_id="main", scope_id="here")
GIVEN_UP = "the end of this answer did not come"


class Lent:
    """A conversation in which nothing is asked."""

    async def start(self) -> Welcome:
        return Welcome(epoch=1, agent="assistant", model="scripted")

    async def hello(self, scope_id: str) -> Welcome:
        return await self.start()

    async def submit(self, message: InboundMessage) -> Accepted | AlreadyAccepted | Refused:
        return Accepted(turn="t", epoch=1)

    async def decide(self, scope_id: str, turn: str, code: str, user_id: str, *, approved: bool) -> Refused | None:
        return None

    async def keep(self, scope_id: str, kind: AttachmentKind, name: str, mime: str, data: bytes) -> Attachment | None:
        return None

    async def read(self, attachment: Attachment) -> bytes | None:
        return None

    async def close(self) -> None:
        return


@asynccontextmanager
async def terminal(folder: Path, screen: io.StringIO) -> AsyncIterator[Bot]:
    """A person who types nothing, and leaves at the end."""
    with create_pipe_input() as keys, create_app_session(input=keys):
        bot = Bot(
            Terminal("here", Speaker("main", "someone"), None, folder / "history", folder / "sessions", folder, False),
            join=lambda scope, its_screen: Lent(),
            load_paint=lambda: lambda text, width: text,
            stdout=screen,
        )
        running = asyncio.create_task(bot.run())
        yield bot
        keys.send_text("\x04")
        await running


def reply(turn: str, text: str, *, is_final: bool = False) -> Reply:
    """An answer as it stands."""
    return Reply(turn=turn, address=HERE, text=text, is_final=is_final)


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """It is so many seconds later."""

    def set_forward(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + seconds)

    return set_forward


async def test_an_answer_whose_end_does_not_come_holds_up_the_next_for_a_while(
    tmp_path: Path, forward: Callable[[float], None]
) -> None:
    screen = io.StringIO()
    async with terminal(tmp_path, screen) as bot:
        await bot.edit("one", reply("one", "One.\n\nTw"))
        following = asyncio.create_task(bot.edit("two", reply("two", "Next.", is_final=True)))

        await idle()
        forward(15)
        await idle()
        assert not following.done()
        forward(5)
        await following

    assert screen.getvalue().index(GIVEN_UP) < screen.getvalue().index("Next.")


async def test_an_answer_that_goes_on_is_not_given_up(tmp_path: Path, forward: Callable[[float], None]) -> None:
    screen = io.StringIO()
    async with terminal(tmp_path, screen) as bot:
        await bot.edit("one", reply("one", "One.\n\nTw"))
        following = asyncio.create_task(bot.edit("two", reply("two", "Next.", is_final=True)))
        await idle()
        forward(15)
        await bot.edit("one", reply("one", "One.\n\nTwo.\n\nThr"))
        forward(15)
        await idle()
        await bot.edit("one", reply("one", "One.\n\nTwo.\n\nThree.", is_final=True))
        await following

    assert GIVEN_UP not in screen.getvalue()
    assert screen.getvalue().index("Three.") < screen.getvalue().index("Next.")
