"""The fold of a scope's log: what was said, what is open, who answers.

`state = fold(records)`: the same records in the same order give the same session, whoever reads them and however often
a record stands there, because a record whose fact is known already changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from sys import intern

from factory_contracts.messages import Attachment, Exchange, InboundMessage, Outcome, Usage, turn_id
from factory_contracts.records import (
    Asked,
    Bound,
    Compacted,
    Decided,
    Forgotten,
    HeadMoved,
    Record,
    ReplyOpened,
    ReplyShown,
    ReplyUndeliverable,
    SessionOpened,
    Spending,
    Start,
    StepDone,
    StepOutput,
    Tally,
    ToolDone,
    ToolStarted,
    Trust,
    TurnAnswered,
    TurnReceived,
    TurnRefused,
    TurnStarted,
    TurnSuperseded,
    record_id,
)
from factory_contracts.subjects import HEARING
from factory_contracts.trace import Step, ToolStep, hearing
from factory_contracts.work import KnownCall, Line
from hub.kernel.approval import Approval
from hub.kernel.foreign import labelled, named, neutral, unmarked

SEEN_KEPT = 1_000
COMPACT_AFTER = 25
NOTHING = Decimal(0)
HISTORY_EXCHANGES = 50
HISTORY_CHARACTERS = 100_000
QUOTED = "quoted"
COMPACT = "/compact"
VOICE = "/voice"
USE = "/use"
EXPAND = "/expand"
FORGET = "/forget"
FORGET_ALL = f"{FORGET} everything"


@dataclass(frozen=True, slots=True)
class Passage:
    """One exchange of the conversation: tainted where the model was shown what came from elsewhere."""

    turn: str
    asked: str
    answered: str
    user_name: str = ""
    attachments: tuple[Attachment, ...] = ()
    outcome: Outcome = "complete"
    is_tainted: bool = False
    is_trusted: bool = False
    _lines: tuple[Line, ...] = field(default=(), init=False, repr=False, compare=False)

    @property
    def lines(self) -> tuple[Line, ...]:
        """What a model is shown of it."""
        # Every later turn asks again, and most idle conversations are never asked.
        return self._lines or self._make_lines()

    @property
    def size(self) -> int:
        """Its length in characters."""
        return len(self.asked) + len(self.answered)

    def _make_lines(self) -> tuple[Line, ...]:
        asked = Line(role="user", text=self.asked, attachments=self.attachments, trusted=self.is_trusted or None)
        lines = (asked, Line(role="assistant", text=self.answered)) if self.answered else (asked,)
        # It looks the same before and after.
        object.__setattr__(self, "_lines", lines)
        return lines


@dataclass(frozen=True, slots=True)
class Joined:
    """What another turn asked that was heard in this one."""

    turn: str
    asked: str
    is_tainted: bool
    is_trusted: bool


@dataclass(slots=True)
class OpenTurn:
    """A turn that lacks its answer or its receipt."""

    message: InboundMessage
    turn: str
    trust: Trust
    received: int
    at: float = 0.0
    start: Start | None = None
    bubbles: tuple[str, ...] = ()
    answer: TurnAnswered | TurnRefused | None = None
    known_calls: tuple[KnownCall, ...] = ()
    known_steps: tuple[StepOutput, ...] = ()
    joined: tuple[Joined, ...] = ()
    again: Passage | None = None
    quotes_known: bool = False
    approvals: tuple[Approval, ...] = ()

    @property
    def bubble(self) -> str | None:
        """The platform's message that the answer begins in, once it is known."""
        return self.bubbles[0] if self.bubbles else None

    @property
    def asked(self) -> str:
        """What a model is asked: the message, or the earlier one that is asked again, and what joined it."""
        first = self.again.asked if self.again is not None else _asked(self)
        return "\n\n".join((first, *(other.asked for other in self.joined)))

    @property
    def line(self) -> Line:
        """The same, as a model is shown it."""
        return Line(role="user", text=self.asked, attachments=self.attachments, trusted=self.is_trusted or None)

    def given(self, words: str) -> Line:
        """What an engine is given: these words of the message, else what it answers to, else its file."""
        text = words or self.message.quoted or ""
        attachments = () if text else self.message.attachments
        is_trusted = bool(words) and self.trust != "public" and not self.message.foreign
        return Line(role="user", text=text, attachments=attachments, trusted=is_trusted or None)

    @property
    def is_trusted(self) -> bool:
        """Whether all of it that is not labelled was written by an owner or somebody trusted."""
        is_first = self.trust != "public" and (self.again is None or self.again.is_trusted)
        return is_first and all(other.is_trusted for other in self.joined)

    @property
    def is_tainted(self) -> bool:
        """Whether any of it comes from strangers, from files or from elsewhere."""
        message = self.message
        is_foreign = bool(message.foreign or message.attachments or (message.quoted and not self.quotes_known))
        is_old = self.again is not None and self.again.is_tainted
        return self.trust == "public" or is_foreign or is_old or any(other.is_tainted for other in self.joined)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The files that go with it."""
        return self.again.attachments if self.again is not None else self.message.attachments

    @property
    def is_word(self) -> bool:
        """Whether it looks like a word to the hub."""
        return self.message.text.lstrip().startswith("/")

    @property
    def may_join(self) -> bool:
        """Whether it may be heard in another turn: a word to the hub is for the hub, and files are not passed on."""
        return not self.message.attachments and not self.is_word

    @property
    def is_answered(self) -> bool:
        """Whether there is something to show for good."""
        return self.answer is not None

    def approval(self, call: str) -> Approval | None:
        """Whether the call may be made, as far as anybody was asked."""
        return next((one for one in self.approvals if one.asked.call == call), None)

    @property
    def questions(self) -> tuple[Asked, ...]:
        """What the present attempt waits to be allowed, the oldest first; with the answer it is over."""
        if self.is_answered or not self.approvals:
            return ()
        attempt = self.start.attempt if self.start is not None else 0
        return tuple(one.asked for one in self.approvals if one.decided is None and one.attempt == attempt)


@dataclass(frozen=True, slots=True)
class Used:
    """What model calls consumed: a `Usage` as it is kept for every conversation, in a tenth of the memory."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal = NOTHING
    unpriced: int = 0

    def plus(self, usage: Usage) -> "Used":
        """This and that together."""
        return Used(
            self.calls + usage.calls,
            self.input_tokens + usage.input_tokens,
            self.output_tokens + usage.output_tokens,
            self.cache_read_tokens + usage.cache_read_tokens,
            self.cache_write_tokens + usage.cache_write_tokens,
            self.cost + usage.cost if usage.cost else self.cost,
            self.unpriced + usage.unpriced,
        )

    def usage(self) -> Usage:
        """The same as it is written."""
        return Usage(
            calls=self.calls,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
            cost=self.cost,
            unpriced=self.unpriced,
        )


UNUSED = Used()


@dataclass(frozen=True, slots=True)
class Farewell:
    """Somebody asked in this turn, and was granted, that all be removed which was said until then."""

    turn: str
    by: str
    received: int
    at: float


@dataclass(frozen=True, slots=True)
class Reply:
    """How an answer came to be."""

    turn: str
    agent: str
    model: str
    attempts: int
    worker: str
    outcome: Outcome
    used: Used
    reference: str | None
    seconds: float


@dataclass(slots=True)
class Session:
    """Where a scope stands after the records applied so far."""

    platform: str
    bot_id: str
    scope_id: str
    sequence: int = 0
    compacted: int = 0
    forked: str = ""
    answered_since: int = 0
    agent: str | None = None
    model: str | None = None
    summary: str = ""
    summarised: str | None = None
    is_summary_tainted: bool = False
    used: Used = UNUSED
    latest: Reply | None = None
    farewell: Farewell | None = None
    erased_at: float | None = None
    forgotten: int = 0
    history: tuple[Passage, ...] = ()
    seen: dict[str, str] = field(default_factory=dict)
    turns: dict[str, OpenTurn] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    received: int = 0
    answered: int = 0
    refused: int = 0
    superseded: int = 0

    def apply(self, sequence: int, record: Record) -> None:
        """Take one record of the log, in the log's order."""
        is_late = sequence < self.sequence
        self.sequence = max(self.sequence, sequence)
        match record:
            case TurnReceived():
                self._received(sequence, record)
            case TurnStarted():
                self._started(record.turn, record.start)
            case ReplyOpened():
                turn = self.turns.get(record.turn)
                if turn is not None and (record.part or 0) == len(turn.bubbles):
                    turn.bubbles = (*turn.bubbles, record.message_id)
            case ToolStarted():
                self._know(record.turn, KnownCall(call=record.call, outcome="unknown"))
                self._approve(record)
            case Asked() | Decided():
                self._approve(record)
            case ToolDone():
                known = KnownCall(
                    call=record.call, outcome=record.outcome, content=record.content, attachments=record.attachments
                )
                self._know(record.turn, known)
            case StepDone(output=output):
                turn = self.turns.get(record.turn)
                if turn is not None and all(output.step != one.step for one in turn.known_steps):
                    turn.known_steps = (*turn.known_steps, output)
            case TurnAnswered() | TurnRefused():
                self._answered(record)
            case TurnSuperseded():
                turn = self.turns.get(record.turn)
                if turn is not None and not turn.is_answered:
                    del self.turns[record.turn]
                    self.superseded += 1
                    by = self.turns.get(record.by)
                    if by is not None and not by.is_answered:
                        by.joined = (*by.joined, Joined(turn.turn, turn.asked, turn.is_tainted, turn.is_trusted))
            case ReplyShown() | ReplyUndeliverable():
                turn = self.turns.get(record.turn)
                if turn is not None and turn.is_answered:
                    del self.turns[record.turn]
                    # An emptied dict keeps its room, and most conversations are idle.
                    self.turns = self.turns or {}
            case SessionOpened() | Bound() | HeadMoved():
                # Nothing that these change tells a double from a second one, so their ids are kept.
                if record.id not in self.changes:
                    self.changes = (*self.changes, record.id)
                    self._change(record)
            case Compacted():
                # A double names an older view than the one that stands.
                if record.compacted >= self.compacted:
                    self._compacted(sequence, record, is_late)
            case Forgotten():
                if record.compacted >= self.compacted:
                    self._forgotten(sequence, record)
            case _:
                # Money is folded by those who keep budgets.
                pass

    def known(self, message: InboundMessage) -> tuple[str, tuple[str, ...]] | None:
        """The turn that already stands for some of these platform ids, and which of them."""
        covered: list[str] = []
        turn = None
        for platform_id in message.ids:
            found = self.seen.get(self._id(platform_id))
            if found is not None:
                covered.append(platform_id)
                turn = turn or found
        return None if turn is None else (turn, tuple(covered))

    @property
    def waiting(self) -> int:
        """How many turns have no answer yet."""
        return sum(1 for turn in self.turns.values() if not turn.is_answered)

    @property
    def queued(self) -> int:
        """How many turns have neither an answer nor a worker."""
        return sum(1 for turn in self.turns.values() if not turn.is_answered and turn.start is None)

    def next_turn(self) -> OpenTurn | None:
        """The turn whose time has come: the oldest unanswered one, once every bubble before it is on the log."""
        for turn in self.turns.values():
            if not turn.is_answered:
                return turn
            if turn.bubble is None:
                return None
        return None

    def lines(self, turn: OpenTurn) -> tuple[Line, ...]:
        """What the model is shown: as much of the conversation as fits, then the message."""
        line = turn.line
        return (*self.past(len(line.text)), line)

    def past(self, length: int = 0) -> tuple[Line, ...]:
        """As much of the conversation as fits beside a message of this length."""
        lines: list[Line] = []
        if self.summary:
            lines.append(Line(role="user", text=f"[What was said before, in short: {self.summary}]"))
        for passage in reversed(self._shown_with(length)):
            lines += passage.lines
        return tuple(lines)

    def is_tainted(self, turn: OpenTurn) -> bool:
        """Whether what the model is shown holds anything of strangers, of files or from elsewhere."""
        if turn.is_tainted or (self.summary and self.is_summary_tainted):
            return True
        return any(passage.is_tainted for passage in self._shown_with(len(turn.asked)))

    def _shown_with(self, length: int) -> list[Passage]:
        """The passages that are shown with a message of this length, the newest first."""
        room = HISTORY_CHARACTERS - length
        chosen: list[Passage] = []
        for passage in reversed(self.history):
            room -= passage.size
            # What a summary tells of is not told twice.
            if room < 0 or passage.turn == self.summarised:
                break
            chosen.append(passage)
        return chosen

    @property
    def is_long(self) -> bool:
        """Whether so much was answered since the last compaction that the next refill would be slow."""
        return self.answered_since >= COMPACT_AFTER and not self.turns and self.farewell is None

    def compaction(self, id: str, turn: str, at: float) -> Compacted:
        """Everything up to here as one record; what the model is shown does not change by it."""
        return Compacted(
            id=id,
            turn=turn,
            at=at,
            compacted=self.compacted,
            history=tuple(
                Exchange(
                    turn=passage.turn,
                    asked=passage.asked,
                    answered=passage.answered,
                    user_name=passage.user_name,
                    attachments=passage.attachments,
                    outcome=passage.outcome,
                    tainted=passage.is_tainted or None,
                    trusted=passage.is_trusted or None,
                )
                for passage in self.history
            ),
            forgotten=self.forgotten,
            summary=self.summary,
            summarised=self.summarised,
            tainted=self.is_summary_tainted or None,
            agent=self.agent,
            model=self.model,
            usage=self.used.usage(),
            seen=self._seen(),
            tally=self.tally,
            erased_at=self.erased_at,
        )

    def forgetting(self, farewell: Farewell, at: float, files: int, spent: tuple[Spending, ...]) -> Forgotten:
        """What stays of all that was said up to here; of its words nothing."""
        return Forgotten(
            id=record_id(farewell.turn, "forgotten"),
            turn=farewell.turn,
            at=at,
            compacted=self.compacted,
            by=farewell.by,
            files=files,
            agent=self.agent,
            model=self.model,
            usage=self.used.usage(),
            seen=self._seen(),
            tally=self.tally,
            spent=spent,
        )

    def copy(self, id: str, at: float) -> Compacted:
        """The view with which another conversation goes on from here; ids and costs stay with this one."""
        view = self.compaction(id, id, at)
        return view.model_copy(
            update={"compacted": 0, "seen": (), "tally": Tally(), "usage": Usage(), "erased_at": None}
        )

    @property
    def tally(self) -> Tally:
        """How many turns ended how."""
        return Tally(received=self.received, answered=self.answered, refused=self.refused, superseded=self.superseded)

    def _seen(self) -> tuple[str, ...]:
        return tuple(f"{key}>{value}" if key != value else key for key, value in self.seen.items())[-SEEN_KEPT:]

    def _id(self, platform_id: str) -> str:
        return turn_id(self.platform, self.bot_id, self.scope_id, platform_id)

    def _know(self, name: str, known: KnownCall) -> None:
        """What is known of a call with an effect; what is known to be done stays done."""
        turn = self.turns.get(name)
        if turn is None:
            return
        before = {one.call: one for one in turn.known_calls}
        if known.call not in before or before[known.call].outcome == "unknown":
            turn.known_calls = tuple({**before, known.call: known}.values())

    def _approve(self, record: Asked | Decided | ToolStarted) -> None:
        """What becomes of a question."""
        turn = self.turns.get(record.turn)
        if turn is None:
            return
        attempt = turn.start.attempt if turn.start is not None else 0
        if isinstance(record, Asked) and turn.approval(record.call) is None:
            turn.approvals = (*turn.approvals, Approval(record, attempt))
        else:
            turn.approvals = tuple(
                one.after(record, attempt) if one.asked.call == record.call else one for one in turn.approvals
            )

    def _received(self, sequence: int, record: TurnReceived) -> None:
        if record.turn in self.seen:
            return
        for platform_id in record.message.ids:
            self.seen.setdefault(self._id(platform_id), record.turn)
        self.seen[record.turn] = record.turn
        turn = OpenTurn(record.message, record.turn, record.trust, sequence, record.at, record.start)
        turn.quotes_known = self._knows(record.message.quoted)
        self.turns[record.turn] = turn
        self.received += 1

    def _knows(self, quoted: str | None) -> bool:
        """Whether a quotation is of something that was said here and is not tainted, however a platform spells it."""
        letters = _letters(quoted or "")
        return bool(letters) and any(
            letters in _letters(said)
            for passage in self.history
            if not passage.is_tainted
            for said in (passage.answered, passage.asked)
        )

    def _started(self, name: str, start: Start) -> None:
        turn = self.turns.get(name)
        if turn is not None and (turn.start is None or start.attempt > turn.start.attempt):
            turn.start = start

    def _answered(self, record: TurnAnswered | TurnRefused) -> None:
        turn = self.turns.get(record.turn)
        if turn is None or turn.is_answered:
            return
        turn.answer = record
        if isinstance(record, TurnRefused):
            self.refused += 1
            return
        self.answered += 1
        self.answered_since += 1
        word = turn.message.text.strip().partition(" ")[0]
        if word == EXPAND and record.outcome == "complete":
            self._unsummarise()
        # What the hub itself answered is no part of the conversation that a model is shown, nor what was said before.
        if record.agent is None or word in (VOICE, USE):
            if turn.message.text.strip() == FORGET_ALL and record.outcome == "complete":
                self.farewell = Farewell(turn.turn, turn.message.user_id, turn.received, record.at)
            return
        if word == COMPACT:
            if record.outcome == "complete" and self.history:
                self.summary, self.summarised = record.text, self.history[-1].turn
                self.is_summary_tainted = bool(record.tainted)
        else:
            asked, attachments = _with_voices(turn, record.steps)
            passage = Passage(
                record.turn,
                asked,
                record.text,
                turn.message.user_name,
                attachments,
                record.outcome,
                bool(record.tainted) or turn.is_tainted,
                # A recording may be somebody else's.
                turn.is_trusted and attachments == turn.attachments,
            )
            self._remember((*self.history, passage))
        self.used = self.used.plus(record.usage)
        self.latest = Reply(
            turn=record.turn,
            # Many conversations share these words, so they are kept once.
            agent=intern(record.agent),
            model=intern(record.model or ""),
            attempts=turn.start.attempt if turn.start is not None else 0,
            worker=intern(turn.start.worker) if turn.start is not None else "",
            outcome=record.outcome,
            used=UNUSED.plus(record.usage),
            reference=record.reference,
            seconds=max(0.0, record.at - turn.at),
        )

    def _remember(self, history: tuple[Passage, ...]) -> None:
        """Keep the newest passages within bounds; the same bounds hold at every reader, so every fold agrees."""
        kept = history[-HISTORY_EXCHANGES:]
        size = sum(passage.size for passage in kept)
        while len(kept) > 1 and size > HISTORY_CHARACTERS:
            size -= kept[0].size
            kept = kept[1:]
        self.forgotten += len(history) - len(kept)
        self.history = kept

    def _change(self, record: SessionOpened | Bound | HeadMoved) -> None:
        match record:
            case SessionOpened():
                self.history, self.forgotten = (), 0
                self._unsummarise()
            case Bound():
                self.agent, self.model = record.agent, record.model
            case HeadMoved():
                self._head(record)

    def _head(self, record: HeadMoved) -> None:
        kept = 0
        if record.after is not None:
            turns = [passage.turn for passage in self.history]
            # What is not there any more cannot be gone back to.
            kept = turns.index(record.after) + 1 if record.after in turns else len(turns)
        # A summary of what is taken back is taken back with it.
        if any(one.turn == self.summarised for one in self.history[kept:]):
            self._unsummarise()
        turn = self.turns.get(record.turn)
        if record.again and turn is not None and kept < len(self.history):
            turn.again = self.history[kept]
        self.history = self.history[:kept]

    def _unsummarise(self) -> None:
        self.summary, self.summarised, self.is_summary_tainted = "", None, False

    def _compacted(self, sequence: int, record: Compacted, is_late: bool) -> None:
        self.compacted = sequence
        self.changes = ()
        self.answered_since = 0
        # Its writer already knows what came after it on the log, and all that the view holds.
        if is_late:
            return
        self._stand_at(record)
        self.summary, self.summarised = record.summary, record.summarised
        self.is_summary_tainted = bool(record.tainted)
        self.forked = record.id if record.id.startswith("fork.") else ""
        self.forgotten = record.forgotten
        self.erased_at = record.erased_at
        self.history = tuple(
            Passage(
                exchange.turn,
                exchange.asked,
                exchange.answered,
                exchange.user_name,
                exchange.attachments,
                exchange.outcome,
                bool(exchange.tainted),
                bool(exchange.trusted),
            )
            for exchange in record.history
        )

    def _forgotten(self, sequence: int, record: Forgotten) -> None:
        self.compacted = sequence
        self.changes = ()
        self.answered_since = 0
        self._stand_at(record)
        self._unsummarise()
        self.history, self.forgotten, self.forked = (), 0, ""
        self.latest = self.farewell = None
        self.erased_at = record.at
        # What is still open has its answer, and nobody could be shown it in all the time there was.
        self.turns = {}

    def _stand_at(self, record: Compacted | Forgotten) -> None:
        self.agent, self.model = record.agent, record.model
        self.used = UNUSED.plus(record.usage)
        self.seen = {}
        for entry in record.seen:
            key, _, value = entry.partition(">")
            self.seen[key] = value or key
        self.received, self.answered = record.tally.received, record.tally.answered
        self.refused, self.superseded = record.tally.refused, record.tally.superseded


def fold(platform: str, bot_id: str, scope_id: str, records: Iterable[tuple[int, Record]]) -> Session:
    """The session that these records tell of."""
    session = Session(platform, bot_id, scope_id)
    for sequence, record in records:
        session.apply(sequence, record)
    return session


def _with_voices(turn: OpenTurn, steps: Iterable[Step]) -> tuple[str, tuple[Attachment, ...]]:
    """What was asked, in words also where it was said aloud, and the files beside what was written down like this."""
    said = {step.call: step.content for step in steps if isinstance(step, ToolStep) and step.tool == HEARING}
    heard = {one: said[hearing(one.blob)] for one in turn.attachments if said.get(hearing(one.blob))}
    words = (turn.asked, *heard.values()) if turn.asked else tuple(heard.values())
    return "\n\n".join(words), tuple(one for one in turn.attachments if one not in heard)


def _asked(turn: OpenTurn) -> str:
    """The message as a model reads it: in a group the speaker's name, and what the message answers to.

    What is not the sender's own is labelled, and what a stranger says can mean nothing but what it says.
    """
    message = turn.message
    text = neutral(message.text) if turn.trust == "public" else unmarked(message.text)
    if message.foreign:
        text = labelled("passed on", message.text)
    if message.quoted:
        quoted = "\n".join(f"> {line}" for line in neutral(message.quoted).splitlines())
        text = f"{quoted if turn.quotes_known else labelled(QUOTED, message.quoted)}\n\n{text}"
    if message.in_group and message.user_name:
        text = f"{named(message.user_name)}: {text}"
    return text


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))
