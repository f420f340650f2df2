"""Agents of others as models, over the agent protocol of Synadia: `agents:TOKEN/OWNER/SESSION` names one.

Such an agent has a memory, tools and rules of its own, so it is told what was said since its last answer and nothing
else. When it asks back, its question ends the answer, and what is said next in that conversation goes to it as the
reply. Nobody here knows what it has read, so whatever it says was written elsewhere. A prompt is never sent twice: once
it has left, a failure is told and not tried again.
"""

import asyncio
import logging
import re
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import chunks
from adapters.provider import LIFE, model_name, object_of, one_line, parsed, text_of, told_only
from factory_nats.connect import Identity, connect
from factory_nats.identity import read_credentials
from factory_nats.result import Err, Ok, Result
from factory_nats.subject import is_literal
from factory_nats.transport import Delivery, Subscription, Transport
from hub.kernel.events import Failed, Finished, ModelEvent, Relayed, Said
from hub.kernel.foreign import bare
from hub.kernel.ports import Media, ModelRequest, ModelSettings, Spoken

logger = logging.getLogger(__name__)

PROVIDER = "agents"
URL = "AGENTS_URL"
CREDS = "AGENTS_CREDS"
# As others do: they find in two seconds, and who says nothing for a minute says nothing any more.
PATIENCE = 2.0
STALL = 60.0
ASKED_FOR = 600.0
MOST_ASKING = 64
MOST_HELD = 10_000
MOST_BYTES = 16_000_000
RATE_LIMITED = 429

_NAME = re.compile(r"([^/\s]+)/([^/\s]+)/([^/\s]+)")
_SIZE = re.compile(r"\s*([0-9]{1,9})\s*(B|KB|MB|GB)\s*", re.IGNORECASE)
_UNITS = ("B", "KB", "MB", "GB")


def provider(settings: ModelSettings) -> "Agents":
    """The provider, as the variables of the surroundings describe it."""
    return Agents(settings.variables.get(URL, ""), settings.variables.get(CREDS, ""))


@dataclass(frozen=True, slots=True)
class Found:
    """An agent that was found: where it is prompted, and what it takes."""

    subject: str
    most_bytes: int | None
    takes_files: bool


class Agents:
    """The provider `agents`: one connection for all agents of one bus."""

    asks_once = True

    def __init__(
        self,
        url: str,
        creds: str = "",
        *,
        seed: str | None = None,
        patience: float = PATIENCE,
        stall: float = STALL,
        asked_for: float = ASKED_FOR,
    ) -> None:
        self._url = url.strip()
        self._creds = creds.strip()
        self._seed = seed
        self._patience = patience
        self._stall = stall
        self._asked_for = asked_for
        self._transport: Transport | None = None
        self._joining = asyncio.Lock()
        # Who asked something back and waits for what is said next, by conversation.
        self._asking: OrderedDict[str, tuple[_Talk, chunks.Query, float]] = OrderedDict()
        self._talks: set[_Talk] = set()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """One prompt, or the answer to what the agent asked back, and what it says to that."""
        said = _newest(request)
        talk = await self._resumed(request.conversation, said)
        if talk is None:
            opened = await self._opened(request, said)
            if isinstance(opened, Failed):
                yield opened
                return
            talk = opened
        is_kept = is_relayed = False
        try:
            async with aclosing(talk.events()) as events:
                async for event in events:
                    if isinstance(event, Said | chunks.Query) and not is_relayed:
                        is_relayed = True
                        yield Relayed()
                    if not isinstance(event, chunks.Query):
                        yield event
                        continue
                    trouble = await self._kept(request.conversation, talk, event)
                    is_kept = not trouble
                    if trouble:
                        yield Failed(trouble)
                    else:
                        yield Said(f"\n\n{event.text}" if talk.has_spoken else event.text)
                        yield Finished("end")
                    return
        finally:
            if not is_kept:
                # The protocol knows no word for "stop": whoever wants no more does not listen any more.
                self._talks.discard(talk)
                await talk.close()

    async def close(self) -> None:
        """Leave, whoever waits for an answer."""
        for conversation in tuple(self._asking):
            await self._forget(conversation)
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def _opened(self, request: ModelRequest, said: Spoken) -> "_Talk | Failed":
        """A prompt on its way, and where its answer is awaited."""
        wanted = _NAME.fullmatch(model_name(request.model))
        if wanted is None:
            return Failed(f"{one_line(request.model)!r} names no agent; it is written {PROVIDER}:TOKEN/OWNER/SESSION")
        joined = await self._joined()
        if isinstance(joined, Err):
            return Failed(joined.detail, is_transient=joined.reason in ("disconnected", "timeout"))
        transport = joined.value
        found = await self._find(transport, wanted.groups())
        if isinstance(found, Failed):
            return found
        prompt = _prompt(said, takes_files=found.takes_files)
        payload = chunks.write_prompt(prompt)
        if found.most_bytes is not None and len(payload) > found.most_bytes:
            return Failed(f"{len(payload)} bytes are more than this agent takes, which is {found.most_bytes}")
        talk = _Talk(transport, self._stall)
        self._talks.add(talk)
        opened = await talk.open(found.subject, payload)
        if isinstance(opened, Err):
            self._talks.discard(talk)
            await talk.close()
            return Failed(opened.detail, is_transient=opened.reason == "disconnected")
        return talk

    async def _joined(self) -> Result[Transport]:
        """The connection, made at the first call."""
        # Two first calls would make one each.
        async with self._joining:
            if self._transport is not None:
                return Ok(self._transport)
            if not self._url:
                return Err("malformed", f"{URL} is not set: put the address of the bus there on which the agents are")
            seed, ticket = self._seed, None
            if self._creds:
                try:
                    text = await asyncio.to_thread(Path(self._creds).expanduser().read_text, encoding="utf-8")
                    seed, ticket = read_credentials(text)
                except (OSError, UnicodeDecodeError) as error:
                    return Err("unauthorized", f"{CREDS}: cannot be read ({type(error).__name__})")
                except ValueError as error:
                    return Err("unauthorized", f"{CREDS}: {error}")
            identity = Identity(PROVIDER, seed, ticket=ticket, inboxes=chunks.INBOXES)
            joined = await connect(
                self._url, identity, name="factory", on_disconnect=self._note_lost, on_closed=self._note_end
            )
            if isinstance(joined, Ok):
                self._transport = joined.value
            return joined

    def _note_lost(self) -> None:
        # What was on its way is lost with the connection, and nothing tells how much that was.
        for talk in self._talks:
            talk.lose()

    def _note_end(self, why: str) -> None:
        logger.error("the bus of the agents is lost: %s", why)
        self._transport = None

    async def _find(self, transport: Transport, wanted: tuple[str, ...]) -> Found | Failed:
        """The agent of that name, by what all that are there say of themselves."""
        found: list[Found] = []

        def is_another(data: bytes) -> bool:
            one = _read(data, wanted)
            found.extend([one] if one is not None else [])
            return not found

        asked = await transport.request(chunks.FIND, b"", timeout=self._patience, more=is_another)
        if found:
            return found[0]
        name = "/".join(map(one_line, wanted))
        if isinstance(asked, Ok) or asked.reason in ("timeout", "no responders"):
            return Failed(f"there is no agent {name} on its bus", is_transient=True)
        return Failed(f"the agent {name} cannot be looked for: {asked.detail}", is_transient=True)

    async def _resumed(self, conversation: str, said: Spoken) -> "_Talk | None":
        """Who waits for this as its answer, now that it is told."""
        waiting = self._asking.pop(conversation, None)
        if waiting is None:
            return None
        talk, query, until = waiting
        if asyncio.get_running_loop().time() < until and not talk.has_ended:
            answer = chunks.write_prompt(chunks.Prompt(bare(said.text).strip() or "-", _files(said.media)))
            if isinstance(await talk.answer(query.reply_subject, answer), Ok):
                return talk
        # It does not wait any more, so this is said to it as anything else.
        self._talks.discard(talk)
        await talk.close()
        return None

    async def _kept(self, conversation: str, talk: "_Talk", query: chunks.Query) -> str:
        """Keep who asks back until there is an answer; words where that cannot be."""
        if not conversation:
            return "the agent asks back, and nobody is here who could answer"
        if not is_literal(query.reply_subject) or not query.reply_subject.startswith(("_INBOX", chunks.ROOT)):
            # Whoever is asked must not choose where we write.
            return "the agent asks back and wants the answer where none is sent"
        now = asyncio.get_running_loop().time()
        while self._asking and (oldest := next(iter(self._asking.items())))[1][2] <= now:
            await self._forget(oldest[0])
        if len(self._asking) >= MOST_ASKING or conversation in self._asking:
            return "too many agents wait for an answer"
        self._asking[conversation] = talk, query, now + self._asked_for
        return ""

    async def _forget(self, conversation: str) -> None:
        """Whoever waits for an answer there waits no more."""
        talk, _, _ = self._asking.pop(conversation)
        self._talks.discard(talk)
        await talk.close()


class _Talk:
    """One prompt and what is answered, however long it takes."""

    def __init__(self, transport: Transport, stall: float) -> None:
        self._transport = transport
        self._stall = stall
        self._held: deque[Delivery] = deque()
        self._has_come = asyncio.Event()
        self._subscription: Subscription | None = None
        self._bytes = 0
        self._trouble = ""
        self.has_spoken = False

    @property
    def has_ended(self) -> bool:
        """Whether it came to its end while nobody listened."""
        return bool(self._trouble) or any(
            not one.data or (one.headers and chunks.ERROR_CODE in one.headers) for one in self._held
        )

    async def open(self, subject: str, payload: bytes) -> Result[None]:
        """Listen, and then ask."""
        inbox = self._transport.inbox("$", secrets.token_hex(8))
        listening = await self._transport.subscribe(inbox, self._take)
        if isinstance(listening, Err):
            return listening
        self._subscription = listening.value
        return await self._transport.publish(subject, payload, reply=inbox)

    async def answer(self, subject: str, payload: bytes) -> Result[None]:
        """Answer what was asked back."""
        return await self._transport.publish(subject, payload)

    async def events(self) -> AsyncGenerator[ModelEvent | chunks.Query, None]:
        """What is said, to its end or to the next question back."""
        while True:
            try:
                async with asyncio.timeout(self._stall):
                    delivery = await self._next()
            except TimeoutError:
                yield Failed(f"the agent said nothing for {self._stall:g} s", has_begun=True)
                return
            if delivery is None:
                yield Failed(self._trouble, has_begun=True)
                return
            if delivery.status:
                yield Failed("the agent is not there any more", is_transient=True)
                return
            try:
                chunk = chunks.read_chunk(delivery.data, delivery.headers)
            except chunks.Unreadable as error:
                yield Failed(f"the agent does not keep to the protocol: {error}")
                return
            match chunk:
                case chunks.Said():
                    text = "\n".join((chunk.text, *map(_told, chunk.files))) if chunk.files else chunk.text
                    self.has_spoken = self.has_spoken or bool(text)
                    yield Said(text)
                case chunks.Query():
                    yield chunk
                case chunks.Status():
                    yield LIFE
                case chunks.Fault():
                    is_transient = chunk.code == RATE_LIMITED and not self.has_spoken
                    yield Failed(
                        f"the agent says: {chunk.code} {one_line(chunk.text)}", is_transient, chunk.retry_after
                    )
                    return
                case chunks.Ended():
                    yield Finished("end")
                    return

    async def close(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    def lose(self) -> None:
        """The connection was lost."""
        self._trouble = "the connection to the agent was lost"
        self._has_come.set()

    def _take(self, delivery: Delivery) -> None:
        self._bytes += len(delivery.data)
        if len(self._held) < MOST_HELD and self._bytes <= MOST_BYTES:
            self._held.append(delivery)
        else:
            self._trouble = "the agent says more than is read"
        self._has_come.set()

    async def _next(self) -> Delivery | None:
        """What comes next; None where there is trouble."""
        while not self._held:
            if self._trouble:
                return None
            self._has_come.clear()
            await self._has_come.wait()
        return self._held.popleft()


def _newest(request: ModelRequest) -> Spoken:
    """What was said since the last answer, as one."""
    texts: list[str] = []
    media: list[Media] = []
    for message in reversed(request.messages):
        if not isinstance(message, Spoken) or message.role != "user":
            break
        texts.insert(0, message.text)
        media[:0] = message.media
    return Spoken("user", "\n\n".join(text for text in texts if text), tuple(media))


def _prompt(said: Spoken, *, takes_files: bool) -> chunks.Prompt:
    if takes_files:
        return chunks.Prompt(said.text or "(no words)", _files(said.media))
    lines = [told_only(one) for one in said.media]
    return chunks.Prompt("\n".join((said.text, *lines)).strip() or "(no words)")


def _files(media: tuple[Media, ...]) -> tuple[chunks.File, ...]:
    return tuple(chunks.File(one.name or one.kind, one.data) for one in media)


def _told(file: chunks.File) -> str:
    return f"[the agent sent a file {one_line(file.name)} of {len(file.data)} bytes, which cannot be passed on]"


def _read(data: bytes, wanted: tuple[str, ...]) -> Found | None:
    """What an agent says of itself, if it is the one that is wanted and speaks a version that is known."""
    said = object_of(parsed(data.decode(errors="replace")))
    about = object_of(said.get("metadata"))
    endpoints = said.get("endpoints")
    for one in endpoints if isinstance(endpoints, list) else ():
        endpoint = object_of(one)
        subject = text_of(endpoint.get("subject"))
        if said.get("name") != chunks.SERVICE or endpoint.get("name") != "prompt" or not is_literal(subject):
            continue
        if not _is_known(about) or not subject.startswith(chunks.ROOT):
            continue
        session = subject.split(".")[-1]
        tokens = tuple(subject.split(".")[2:])
        if tokens == wanted or (about.get("agent"), about.get("owner"), session) == wanted:
            return _found(subject, object_of(endpoint.get("metadata")))
    return None


def _is_known(about: Mapping[str, Any]) -> bool:
    return text_of(about.get("protocol_version")).split(".")[:2] == chunks.VERSION.split(".")


def _found(subject: str, about: Mapping[str, Any]) -> Found:
    size = _SIZE.fullmatch(text_of(about.get("max_payload")))
    most = None if size is None else int(size[1]) * 1024 ** _UNITS.index(size[2].upper())
    return Found(subject, most, about.get("attachments_ok") in ("true", True))
