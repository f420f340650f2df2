"""The workers that hear and speak: what people say aloud is written down, and answers are said aloud."""

import logging
from base64 import b64encode
from hashlib import sha256
from json import dumps

from adapters.mime import kind_of, mime_of
from adapters.nats.fleet import Fleet, Fulfilled, Wish
from factory_contracts import subjects
from factory_contracts.capability import CapabilityRefused
from factory_contracts.trace import hearing
from factory_nats.result import Err
from factory_nats.transport import Transport
from hub.kernel.ports import Media, Unheard

logger = logging.getLogger(__name__)

# A person waits for both.
HEARING_SECONDS = 60.0
SPEAKING_SECONDS = 45.0
_NOBODY = frozenset(("no worker", "no responders", "forbidden"))


class NatsVoice:
    """The workers of `voice.stt` and `voice.tts`, listened for once somebody speaks."""

    def __init__(self, transport: Transport) -> None:
        self._ear = Fleet(transport, subjects.HEARING)
        self._mouth = Fleet(transport, subjects.SPEAKING)

    async def hear(self, turn: str, sound: Media) -> str | Unheard:
        """What is said in a recording; why it is not known is logged."""
        if not await _is_there(self._ear):
            return Unheard(is_off=True)
        given = dumps({"audio": b64encode(sound.data).decode(), "name": sound.name or "voice.ogg"})
        wish = Wish(turn, hearing(sha256(sound.data).hexdigest()), HEARING_SECONDS, arguments=given)
        came = await self._ear.ask(wish, effect="read")
        if isinstance(came, Fulfilled):
            return came.text.strip() or Unheard()
        logger.warning("a voice message of turn %s was not heard: %s", turn, came.reason)
        return Unheard(is_off=isinstance(came, Err) and came.reason in _NOBODY)

    async def speak(self, turn: str, words: str) -> Media | None:
        """The words as a voice; None where nobody says them, which is logged."""
        if not await _is_there(self._mouth):
            return None
        wish = Wish(turn, "speak", SPEAKING_SECONDS, arguments=dumps({"text": words}))
        came = await self._mouth.ask(wish, effect="read")
        if isinstance(came, CapabilityRefused | Err) or not came.files:
            why = "it brought no sound" if isinstance(came, Fulfilled) else came.reason
            logger.warning("the answer of turn %s was not said aloud: %s", turn, why)
            return None
        name, data = came.files[0]
        mime = mime_of(name, data)
        return Media(kind_of(mime, data), name, mime, data)

    async def close(self) -> None:
        """Watch over no worker any more."""
        await self._ear.close()
        await self._mouth.close()


async def _is_there(fleet: Fleet) -> bool:
    """Whether anybody was ever heard who does this."""
    return await fleet.listen() is None and await fleet.describe() is not None
