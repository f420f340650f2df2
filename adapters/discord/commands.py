"""Slash commands that wait for their answer, each of which is the message that Discord shows under the command.

A command is told of once and not again, so it is remembered before Discord hears that we have it.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from discord.http import Route

from adapters.chat.trouble import Rejected, Unauthorized, Unreachable
from adapters.discord.client import Client
from adapters.discord.memory import Memory
from adapters.discord.normalize import Command
from adapters.spoke import NotNow

logger = logging.getLogger(__name__)

# By these names discord.py knows to which command a limit belongs: by others all share one, and wait for each other.
_CALLBACK = "/interactions/{webhook_id}/{webhook_token}/callback"
_ORIGINAL = "/webhooks/{webhook_id}/{webhook_token}/messages/@original"
_FOLLOWUP = "/webhooks/{webhook_id}/{webhook_token}"
# "I have it, an answer follows", with a new message or with the one under which a button was pressed.
DEFERRED, DEFERRED_UPDATE = 5, 6
ALREADY_DEFERRED = 40060
TRIES = 3
TRY_AGAIN = 0.5


@dataclass(slots=True)
class _Waiting:
    """A command and whether Discord has heard that it will be answered."""

    command: Command
    is_deferred: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False


class Commands:
    """The commands of one bot that are not answered yet, by the turns that they became."""

    def __init__(self, client: Client, memory: Memory) -> None:
        self._client = client
        self._memory = memory
        self._waiting: dict[str, _Waiting] = {}

    def begin(self, turn: str, command: Command, event: object) -> None:
        """Remember a command; it is to be deferred at once."""
        self._memory.begin(command.id, event)
        self._waiting[turn] = _Waiting(command)

    async def defer(self, turn: str) -> None:
        """Tell Discord that a command will be answered: it waits three seconds and no more."""
        waiting = self._waiting[turn]
        waiting.is_lost = not await defer(self._client, waiting.command, DEFERRED)
        waiting.is_deferred.set()
        if waiting.is_lost:
            self.end(turn)

    async def original(self, turn: str) -> Command | None:
        """The command whose own answer this turn writes; None where there is none, or Discord takes it no more."""
        waiting = self._waiting.get(turn)
        if waiting is None:
            return None
        await waiting.is_deferred.wait()
        return None if waiting.is_lost else waiting.command

    def end(self, turn: str) -> None:
        """The turn is answered, or its command can be answered no more."""
        waiting = self._waiting.pop(turn, None)
        if waiting is not None:
            self._memory.end(waiting.command.id)


async def defer(client: Client, command: Command, kind: int) -> bool:
    """Tell Discord that an answer follows; False where it is too late for that."""
    for _ in range(TRIES):
        try:
            # Whoever was told of a command is the only one who can answer in time, also while the hub is away.
            await client.ask(
                Route("POST", _CALLBACK, webhook_id=command.id, webhook_token=command.token),
                {"type": kind},
                at_once=True,
            )
            return True
        except Rejected as error:
            if error.code == ALREADY_DEFERRED:
                return True
            logger.warning("a command cannot be answered in its place: %s", error)
            return False
        except (NotNow, Unreachable, Unauthorized) as error:
            logger.info("a command is not deferred yet: %s", error)
            await asyncio.sleep(TRY_AGAIN)
    return False


def original(method: str, command: Command) -> Route:
    """The message that Discord shows under a command."""
    return Route(method, _ORIGINAL, webhook_id=command.application, webhook_token=command.token)


def followup(command: Command) -> Route:
    """One more message to who gave a command or pressed a button."""
    return Route("POST", _FOLLOWUP, webhook_id=command.application, webhook_token=command.token)
