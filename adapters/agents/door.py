"""One bot as those outside meet it: prompts become messages for the hub, what the hub tells goes back in chunks.

Who asks is known by the subject alone: the server lets nobody else use it. An answer goes where the server leads it, to
whoever asked, and nowhere else. What was sent is always the beginning of the answer: where that cannot be kept, the
stream ends in an error, and never in words that are not the answer's.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from adapters import chunks
from adapters.agents.presence import Session
from adapters.agents.settings import AgentsSettings, BotSettings
from adapters.mime import kind_of, mime_of
from adapters.spoke import Reply, Spoke, survived
from factory_contracts import subjects
from factory_contracts.messages import (
    MAX_TEXT,
    Address,
    AlreadyAccepted,
    Attachment,
    InboundMessage,
    Question,
    Refused,
    Said,
    turn_id,
)
from factory_nats.result import Err, Ok
from factory_nats.subject import leads_outside
from factory_nats.transport import Delivery, Handler, Transport

logger = logging.getLogger(__name__)

PLATFORM = subjects.AGENTS
PACE_MS = 100
PAUSE = 0.25
# So many prompts wait to be taken, and so many for their answer; no caller alone fills either.
MOST = 1_000
MOST_OF_ONE = 200
# Who asks the same again has mostly left the way before.
MOST_ALIKE = 4
FINALS_KEPT = 200
HEARD_KEPT = 10_000
MOST_FILES = 20
PIECE = 100_000
# What a file grows by on its way, and what stands around it.
MOST_FILE_BYTES = 700_000
ASKED_AGAIN = 2
# Who asks for what was asked before waits so long to hear anything of it.
UNHEARD = 120.0
MESSAGE_ID = "Nats-Msg-Id"
LONGEST_ID = 200
ANSWERS = MappingProxyType({"yes": True, "y": True, "no": False, "n": False})

HOW = "Answer yes or no."
WORKING = "working"
REFUSED = "refused"
BROKEN_OFF = "The way to you was interrupted. Ask again with the same Nats-Msg-Id to be told the whole answer."
BEGUN_ANEW = (
    "The answer was begun anew with other words. Ask again with the same Nats-Msg-Id to be told the whole of it."
)
ASKED_BEFORE = (
    "That was asked before, and nothing is heard of its answer. Ask again later, or with another Nats-Msg-Id."
)
ASKED_SINCE = "That was asked again since, and who asked last is answered."
TOO_MANY = "Too many are waiting here. Try again later."
_CODES: Mapping[str, int] = MappingProxyType(
    {
        "blocked": 403,
        "no owner": 403,
        "not allowed": 403,
        "too fast": 429,
        "queue full": 429,
        "too large": 400,
        "malformed": 400,
    }
)


@dataclass(slots=True)
class _Stream:
    """Somebody outside who waits for an answer."""

    reply: str
    session: Session
    turn: str = ""
    sent: str = ""
    is_acked: bool = False
    is_broken: bool = False
    is_over: bool = False
    gives_up_at: float | None = None
    question: Question | None = None


@dataclass(slots=True)
class _Open:
    """A question that was asked back, and who may answer it here."""

    stream: _Stream
    turn: str
    question: Question
    asked: int = 1


class Door:
    """One bot's door, joined to the hub: its spoke writes on it as on a screen."""

    def __init__(
        self,
        settings: AgentsSettings,
        bot: BotSettings,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.time,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self._settings = settings
        self._bot_id = bot.bot_id
        self._visitors = bot.visitors
        self._transport = transport
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._spoke = Spoke(transport, PLATFORM, bot.bot_id, self, notes=bot.notes, remains=self, at=at)
        # What is asked in each session and is not the hub's yet.
        self._queues: dict[str, deque[tuple[Session, Delivery]]] = {}
        self._streams: dict[str, list[_Stream]] = {}
        self._finals: OrderedDict[str, Reply] = OrderedDict()
        # Whom this process heard: the way to anybody else was known to another one.
        # One caller's prompts push out nobody else's.
        self._heard: defaultdict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._questions: dict[str, _Open] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            await self._spoke.start()
            for subject in subjects.door(self._bot_id):
                await self._listen(subject, self._on_asked, chunks.GROUP)
            for visitor in self._visitors:
                await self._listen(subjects.finding(visitor.name), self._on_find)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat())
                group.create_task(self._stay_alive())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._spoke.close()

    def note_lost(self) -> None:
        """The connection was lost: what was on its way to those who wait may have been lost with it."""
        for stream in self._all_streams():
            stream.is_broken = stream.is_broken or stream.is_acked

    # What those outside ask

    async def _listen(self, subject: str, handler: Handler, group: str = "") -> None:
        while isinstance(listening := await self._transport.subscribe(subject, handler, group=group), Err):
            logger.warning("cannot listen to those outside yet: %s", listening.detail)
            await asyncio.sleep(PAUSE)

    def _on_find(self, delivery: Delivery) -> None:
        asked = self._read(delivery)
        if asked is None or not leads_outside(delivery.reply):
            return
        verb, _, id = asked.rest.partition(".")
        if verb not in subjects.FINDS:
            return
        for session in self._sessions(asked.caller):
            if id in ("", session.id):
                self._spawn(self._tell(delivery.reply, session.record(verb)))

    def _on_asked(self, delivery: Delivery) -> None:
        asked = self._read(delivery)
        if asked is None:
            return
        session = Session(asked.bot_id, asked.caller, asked.session, self._process)
        if asked.what == "reply":
            self._spawn(self._take_answer(session, asked.rest, delivery.data))
        elif not leads_outside(delivery.reply):
            logger.warning("%s asks for an answer where none is sent", asked.caller)
        elif asked.what == "status":
            self._spawn(self._tell(delivery.reply, session.beat(self._clock(), self._settings.beat_s)))
        else:
            self._enqueue(session, delivery)

    def _read(self, delivery: Delivery) -> subjects.Asked | None:
        try:
            asked = subjects.read_asked(delivery.subject)
        except subjects.BadToken as error:
            logger.warning("what was asked on %s is passed over: %s", delivery.subject[:100], error)
            return None
        return asked if asked.caller in (visitor.name for visitor in self._visitors) else None

    def _sessions(self, caller: str) -> Iterator[Session]:
        for visitor in self._visitors:
            if visitor.name == caller:
                yield from (Session(self._bot_id, caller, name, self._process) for name in visitor.sessions)

    def _enqueue(self, session: Session, delivery: Delivery) -> None:
        waiting = [one.caller for queue in self._queues.values() for one, _ in queue]
        answered = [stream.session.caller for stream in self._all_streams()]
        if any(len(those) >= MOST or those.count(session.caller) >= MOST_OF_ONE for those in (waiting, answered)):
            self._spawn(self._end(_Stream(delivery.reply, session), 429, TOO_MANY))
            return
        scope_id = _scope(session)
        queue = self._queues.get(scope_id)
        if queue is None:
            queue = self._queues[scope_id] = deque()
            self._spawn(self._work(scope_id, queue))
        queue.append((session, delivery))

    async def _work(self, scope_id: str, queue: deque[tuple[Session, Delivery]]) -> None:
        """Hand what is asked in one session to the hub, in its order."""
        while queue:
            # What is being handed over waits as well.
            session, delivery = queue[0]
            stream = _Stream(delivery.reply, session)
            if not await survived(self._prompt(stream, delivery), "a prompt from outside could not be taken"):
                await self._end(stream, 500, "Something went wrong here.")
            queue.popleft()
        del self._queues[scope_id]

    async def _prompt(self, stream: _Stream, delivery: Delivery) -> None:
        try:
            prompt = chunks.read_prompt(delivery.data)
        except chunks.Unreadable as error:
            why = str(error)
            await self._end(stream, 400, f"{why[0].upper()}{why[1:]}.")
            return
        if len(prompt.text) > MAX_TEXT or len(prompt.files) > MOST_FILES:
            limit = f"{MAX_TEXT:,} characters and {MOST_FILES} files"
            await self._end(stream, 400, f"That is too much: {limit} are the limit.")
            return
        id = (delivery.headers or {}).get(MESSAGE_ID, "")
        if len(id) > LONGEST_ID:
            await self._end(stream, 400, f"{MESSAGE_ID} is longer than {LONGEST_ID} characters.")
            return
        message = self._message(stream, prompt.text, id)
        self._note_heard(stream.session.caller, stream.reply)
        if prompt.files:
            if (refused := await self._spoke.would_take(message)) is not None:
                await self._refuse(stream, refused)
                return
            attachments = await self._kept(stream, prompt.files)
            if len(attachments) < len(prompt.files):
                await self._end(stream, 500, "A file could not be kept.")
                return
            message = message.model_copy(update={"attachments": attachments})
        turn = turn_id(PLATFORM, self._bot_id, message.address.scope_id, message.message_id)
        # What the hub tells may be here before its word that it took the message.
        self._join(turn, stream)
        outcome = await self._spoke.submit(message)
        if isinstance(outcome, Refused):
            await self._refuse(stream, outcome)
            return
        await self._acknowledge(stream)
        if isinstance(outcome, AlreadyAccepted):
            await self._tell_again(turn, stream)

    def _message(self, stream: _Stream, text: str, id: str) -> InboundMessage:
        caller = stream.session.caller
        return InboundMessage(
            # Without an id every prompt is one of its own, and so is the subject that its answer goes to.
            message_id=f"id:{id}" if id else stream.reply,
            user_id=caller,
            user_name=caller,
            text=text,
            address=Address(
                platform=PLATFORM,
                bot_id=self._bot_id,
                scope_id=_scope(stream.session),
                # Whoever comes after this process finds here whom it left waiting.
                thread=stream.reply,
                pace_ms=PACE_MS,
            ),
            sent_at=self._clock(),
        )

    async def _kept(self, stream: _Stream, files: tuple[chunks.File, ...]) -> tuple[Attachment, ...]:
        kept: list[Attachment] = []
        for file in files:
            mime = mime_of(file.name, file.data)
            name = file.name.replace("\\", "/").rpartition("/")[2]
            one = await self._spoke.keep(_scope(stream.session), kind_of(mime, file.data), name, mime, file.data)
            if one is not None:
                kept.append(one)
        return tuple(kept)

    async def _refuse(self, stream: _Stream, refused: Refused) -> None:
        await self._end(stream, _CODES.get(refused.reason, 500), refused.text or f"Not taken: {refused.reason}.")

    async def _tell_again(self, turn: str, stream: _Stream) -> None:
        """Answer whoever asks what was asked before: what goes on is heard as it comes, the rest from the log."""
        final = self._finals.get(turn)
        if final is None:
            welcome = await self._spoke.hello(_scope(stream.session))
            for one in welcome.history:
                if one.turn == turn:
                    address = Address(platform=PLATFORM, bot_id=self._bot_id, scope_id=_scope(stream.session))
                    final = Reply(turn, address, one.answered, is_final=True, outcome=one.outcome)
                    final = replace(final, attachments=one.attachments)
        if final is not None:
            self._drop(stream)
            await self._show(stream, final)
        else:
            # It waits or goes on, and is heard of; or it is of a session that is over, and nothing will come.
            stream.gives_up_at = asyncio.get_running_loop().time() + UNHEARD
            for older in self._streams.get(turn, [])[:-MOST_ALIKE]:
                await self._end(older, 409, ASKED_SINCE)

    async def _take_answer(self, session: Session, token: str, data: bytes) -> None:
        """An answer to a question of ours: nothing but a plain yes or no is taken for one."""
        asked = self._questions.get(token)
        if asked is None or _scope(asked.stream.session) != _scope(session):
            logger.info("%s answers what is not asked", session.caller)
            return
        del self._questions[token]
        try:
            word = chunks.read_prompt(data).text.strip().lower().rstrip(".!")
        except chunks.Unreadable:
            word = ""
        approved = ANSWERS.get(word)
        if approved is not None:
            code, caller = asked.question.code, session.caller
            refused = await self._spoke.decide(_scope(session), asked.turn, code, caller, approved=approved)
            if refused is not None:
                await self._send(asked.stream, chunks.status(REFUSED))
        elif asked.asked <= ASKED_AGAIN and asked.stream.question == asked.question:
            await self._ask_back(asked.stream, asked.turn, asked.question, asked.asked + 1)

    # What the hub tells

    async def send(self, reply: Reply) -> str:
        """A stream has no messages to be edited: it is known by its turn, and the words come with the first edit."""
        return reply.turn

    async def edit(self, message_id: str, reply: Reply) -> None:
        """Tell those who wait for this answer what is new in it."""
        left_behind = reply.address.thread or ""
        caller = reply.address.scope_id.partition("/")[0]
        if left_behind not in self._heard[caller] and leads_outside(left_behind):
            # It was told by a process that is no more, and nobody knows how far that came.
            self._note_heard(caller, left_behind)
            session = Session(self._bot_id, caller, "", self._process)
            await self._end(_Stream(left_behind, session), 500, BROKEN_OFF)
        if reply.is_final:
            self._finals[reply.turn] = reply
            while len(self._finals) > FINALS_KEPT:
                self._finals.popitem(last=False)
        streams = self._streams.pop(reply.turn, []) if reply.is_final else self._streams.get(reply.turn, [])
        for stream in tuple(streams):
            await self._show(stream, reply)

    async def said(self, said: Said) -> None:
        """What another's answer answers as well is told there and here."""
        if said.joined is None:
            return
        streams = self._streams.pop(said.turn, [])
        final = self._finals.get(said.joined)
        if final is None:
            for stream in streams:
                self._join(said.joined, stream)
            return
        for stream in streams:
            await self._show(stream, final)

    async def erase(self, scope_id: str, until: float) -> None:
        """Remember no answer of this session any more."""
        for turn in [turn for turn, final in self._finals.items() if final.address.scope_id == scope_id]:
            del self._finals[turn]

    async def _show(self, stream: _Stream, reply: Reply) -> None:
        """Tell one who waits what is new, and at the end that it is the end."""
        if stream.is_over:
            return
        if stream.is_broken:
            await self._end(stream, 500, BROKEN_OFF)
            return
        stream.gives_up_at = None
        await self._acknowledge(stream)
        if reply.is_final and reply.outcome == "failed":
            await self._end(stream, 500, reply.text.removeprefix(stream.sent).strip() or "That failed.")
            return
        new = _continuation(stream.sent, reply.text, is_final=reply.is_final)
        if new is None:
            await self._end(stream, 500, BEGUN_ANEW)
            return
        # Two events of one turn may be told at once: what is sent is noted before.
        stream.sent += new
        for start in range(0, len(new), PIECE):
            await self._send(stream, chunks.said(new[start : start + PIECE]))
        if reply.question != stream.question:
            stream.question = reply.question
            self._withdraw(stream)
            if reply.question is not None:
                await self._ask_back(stream, reply.turn, reply.question)
        if reply.is_final:
            await self._finish(stream, reply)

    async def _finish(self, stream: _Stream, reply: Reply) -> None:
        for attachment in reply.attachments:
            await self._send(stream, await self._carried(attachment))
        if reply.choices:
            offered = "".join(f"\n- {choice}" for choice in reply.choices)
            await self._send(stream, chunks.said(f"\n{offered}"))
        if stream.is_broken:
            await self._end(stream, 500, BROKEN_OFF)
            return
        stream.is_over = True
        await self._tell(stream.reply, chunks.END)

    async def _carried(self, attachment: Attachment) -> bytes:
        """A file of an answer, or a line that says why it is missing."""
        data = await self._spoke.read(attachment) if attachment.size <= MOST_FILE_BYTES else b""
        if data and len(data) <= MOST_FILE_BYTES:
            return chunks.said("", (chunks.File(attachment.name, data),))
        why = "is not there any more" if data is None else "is too large to be sent here"
        return chunks.said(f"\n[the file {attachment.name} {why}]")

    async def _ask_back(self, stream: _Stream, turn: str, question: Question, asked: int = 1) -> None:
        token = secrets.token_hex(16)
        self._questions[token] = _Open(stream, turn, question, asked)
        session = stream.session
        where = subjects.asked_back(self._bot_id, session.caller, session.name, token)
        await self._send(stream, chunks.query(token, where, f"{question.text}\n\n{HOW}"))

    def _withdraw(self, stream: _Stream) -> None:
        for token in [token for token, one in self._questions.items() if one.stream is stream]:
            del self._questions[token]

    # Telling

    async def _acknowledge(self, stream: _Stream) -> None:
        if not stream.is_acked:
            stream.is_acked = True
            await self._send(stream, chunks.status("ack"))

    async def _send(self, stream: _Stream, chunk: bytes) -> None:
        if not stream.is_over and not await self._tell(stream.reply, chunk):
            stream.is_broken = True

    async def _end(self, stream: _Stream, code: int, why: str) -> None:
        """End it with an error."""
        if stream.is_over:
            return
        stream.is_over = True
        self._drop(stream)
        self._withdraw(stream)
        logger.info("%s is told: %d %s", stream.session.caller, code, why.partition(".")[0])
        body, headers = chunks.fault(code, why)
        await self._tell(stream.reply, body, headers)
        await self._tell(stream.reply, chunks.END)

    async def _tell(self, reply: str, data: bytes, headers: Mapping[str, str] | None = None) -> bool:
        told = await self._transport.publish(reply, data, headers=headers)
        if isinstance(told, Err):
            logger.info("somebody outside is not told: %s", told.detail)
        return isinstance(told, Ok)

    async def _beat(self) -> None:
        """Say that every session lives."""
        while True:
            for visitor in self._visitors:
                for session in self._sessions(visitor.name):
                    beat = session.beat(self._clock(), self._settings.beat_s)
                    await self._transport.publish(session.subject("hb"), beat)
            await asyncio.sleep(self._settings.beat_s)

    async def _stay_alive(self) -> None:
        """Tell those who wait that they do not wait in vain; the server, too, forgets a way that is not used."""
        while True:
            await asyncio.sleep(self._settings.alive_s)
            for stream in tuple(self._all_streams()):
                if stream.is_broken and self._transport.is_connected:
                    await self._end(stream, 500, BROKEN_OFF)
                elif stream.gives_up_at is not None and stream.gives_up_at < asyncio.get_running_loop().time():
                    await self._end(stream, 409, ASKED_BEFORE)
                elif stream.is_acked:
                    await self._send(stream, chunks.status(WORKING))

    def _all_streams(self) -> Iterator[_Stream]:
        return (stream for streams in self._streams.values() for stream in streams if not stream.is_over)

    def _join(self, turn: str, stream: _Stream) -> None:
        stream.turn = turn
        self._streams.setdefault(turn, []).append(stream)

    def _drop(self, stream: _Stream) -> None:
        streams = self._streams.get(stream.turn, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._streams.pop(stream.turn, None)

    def _note_heard(self, caller: str, reply: str) -> None:
        heard = self._heard[caller]
        heard[reply] = None
        while len(heard) > HEARD_KEPT:
            heard.popitem(last=False)

    def _spawn(self, work: Coroutine[None, None, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _scope(session: Session) -> str:
    return f"{session.caller}/{session.name}"


def _continuation(sent: str, text: str, *, is_final: bool) -> str | None:
    """What is to be sent so that `text` was told; None where what was sent is no beginning of it."""
    if text.startswith(sent):
        return text[len(sent) :]
    if not sent.startswith(text):
        return None
    # A new attempt has not come as far again, or the end of the answer lost its last blanks.
    return None if is_final and sent[len(text) :].strip() else ""
