"""Whose a token is: asked of its platform once, for the set-up of a bot and for the doctor."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Protocol

from factory_cli import botapi, discordapi
from factory_cli.config import Configuration
from factory_cli.platforms import DISCORD, TELEGRAM
from factory_cli.question import Unanswered, too_slow

SECONDS = 10.0


class Account(Protocol):
    """A bot as its platform knows it, and what that means for how it is configured here."""

    def rows(self, configuration: Configuration, code: str) -> Sequence[tuple[str, str]]:
        """What a person is shown who sets it up, with what leads to its owner's code."""
        ...

    def document(self, configuration: Configuration, code: str) -> Mapping[str, object]:
        """The same for a program."""
        ...

    def remarks(self, configuration: Configuration, log: Path | None) -> Iterator[tuple[bool, str]]:
        """What the doctor says of it, and whether that is good; the log is its spoke's, while that runs."""
        ...


_LOOKS: Mapping[str, Callable[[str, str, float], Account]] = MappingProxyType(
    {TELEGRAM: botapi.look, DISCORD: discordapi.look}
)


def look(platform: str, api_base: str, token: str, seconds: float = SECONDS) -> Account:
    """The bot of this token. Raises `Unanswered`, at the latest after so many seconds."""
    answer: Future[Account] = Future()

    def ask() -> None:
        try:
            answer.set_result(_LOOKS[platform](api_base, token, seconds))
        except Unanswered as error:
            answer.set_exception(error)

    # The time-out of a socket does not hold for the look-up of a name, nor for an answer that trickles.
    Thread(target=ask, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise too_slow(api_base, seconds) from None
