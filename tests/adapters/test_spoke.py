"""What every spoke does, over a bus that loses things, before a hub that a test plays and a platform that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from adapters.lease import GOOD_FOR, Lease
from adapters.pace import Pace, Rhythm
from adapters.spoke import (
    BROKEN_RETRY,
    MOST_LOSSES,
    NOTES_KEPT,
    OPENING,
    Drafts,
    Gone,
    Left,
    Notes,
    NotNow,
    Remains,
    Reply,
    Screen,
    Spoke,
    Undeliverable,
)
from factory_contracts import subjects
from factory_contracts.envelope import SCHEMA_VERSION
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Address,
    Claim,
    Decision,
    Erase,
    Erased,
    Final,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Leased,
    Moved,
    Noted,
    Outbound,
    Question,
    Refused,
    Said,
    ShownReceipt,
    StandBy,
    StopPressed,
    Submit,
    ToSpoke,
    Update,
    Welcome,
)
from factory_nats import blobs
from factory_nats.blobs import MOST_BYTES
from factory_nats.result import Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from tests.adapters.test_journal import room_up_to
from tests.fakes import idle, pass_time, until

pytestmark = pytest.mark.asyncio(loop_scope="function")

ADDRESS = Address(platform="paper", bot_id="desk", scope_id="chat")
ELSEWHERE = Address(platform="paper", bot_id="desk", scope_id="other chat")
ROOM = 10
LONG = "one two three four five"
QUESTION = Question(code="0123456789abcdef", text="May I?", expires_at=60.0)
STORE = subjects.blobs("paper", "desk")


class Paper:
    """A platform that keeps everything that ever stood on it, and fails as it is told."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.edits: list[tuple[str, Reply]] = []
        self.heard: list[str] = []
        self.errors: list[Exception] = []
        self.may_edit = asyncio.Event()
        self.may_edit.set()

    async def send(self, reply: Reply) -> str:
        self._fail()
        self.sent.append(reply.text)
        return f"b{len(self.sent)}"

    async def edit(self, message_id: str, reply: Reply) -> None:
        await self.may_edit.wait()
        self._fail()
        self.edits.append((message_id, reply))

    async def said(self, said: Said) -> None:
        self.heard.append(said.text if said.joined is None else f"{said.turn} is answered with {said.joined}")

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    @property
    def texts(self) -> list[str]:
        return [reply.text for _, reply in self.edits]

    @property
    def questions(self) -> list[Question | None]:
        return [reply.question for _, reply in self.edits]


class Pages:
    """A platform whose messages hold few letters: a long reply takes several, and each call is one write."""

    def __init__(self) -> None:
        self.stands: dict[str, str] = {}
        self.opened: list[tuple[str, str]] = []
        self.edited: list[tuple[str, str]] = []
        self.drafts: list[str] = []
        self.parts: tuple[str, ...] = ()
        self.errors: list[Exception] = []
        self.misses = 0
        self.has_drafts = False
        self.may_note = asyncio.Event()
        self.may_return = asyncio.Event()
        self.may_note.set()
        self.may_return.set()

    async def send(self, reply: Reply) -> str:
        self._fail()
        name = f"p{len(self.opened) + 1}"
        self.opened.append((name, reply.text))
        self.stands[name] = reply.text[:ROOM]
        await self.may_note.wait()
        return name

    async def edit(self, message_id: str, reply: Reply) -> Left | None:
        self._fail()
        self.parts = (message_id, *reply.parts[1:])
        wanted = [reply.text[at : at + ROOM] for at in range(0, len(reply.text), ROOM)] or [""]
        shown = dict(zip(self.parts, [*wanted, *[""] * len(self.parts)], strict=False))
        behind = [name for name, text in shown.items() if self.stands.get(name) != text]
        if not self.stands.keys() >= shown.keys():
            self.misses += 1
            raise Gone(next(index for index, name in enumerate(self.parts) if name not in self.stands))
        if behind:
            self.edited.append((behind[0], shown[behind[0]]))
            self.stands[behind[0]] = shown[behind[0]]
            behind.pop(0)
        await self.may_return.wait()
        return "write" if behind else "open" if len(self.parts) < len(wanted) else None

    async def draft(self, reply: Reply) -> bool:
        self._fail()
        if self.has_drafts:
            self.drafts.append(reply.text)
        return self.has_drafts

    async def said(self, said: Said) -> None:
        pass

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    @property
    def text(self) -> str:
        """The reply as it can be read in the messages that it counts as its own."""
        return "".join(self.stands[part] for part in self.parts)


class Stage:
    """A spoke, its platform, and a hub that keeps what was opened, or whose answers a test chooses."""

    def __init__(
        self,
        notes: Path | None = None,
        *,
        screen: Screen | None = None,
        pace: Pace | None = None,
        drafts: Drafts | None = None,
        remains: Remains | None = None,
        scope: str | None = None,
        has_lease: bool = False,
    ) -> None:
        self.bus = FakeBus()
        self.hub = self.bus.join("hub")
        self.paper = Paper()
        self.asked: list[FromSpoke] = []
        self.opened: dict[str, list[str]] = {}
        self.answer: Callable[[FromSpoke], ToSpoke | None] = self.agree
        self._screen = screen or self.paper
        self._pace = pace
        self._drafts = drafts
        self._remains = remains
        self._scope = scope
        self._has_lease = has_lease
        self.lease: Lease | None = None
        self.spoke = self._spoke(notes)

    def _spoke(self, notes: Path | None) -> Spoke:
        transport = self.bus.join("paper-desk")
        self.lease = Lease(transport, "paper", "desk") if self._has_lease else None
        return Spoke(
            transport,
            "paper",
            "desk",
            self._screen,
            notes=notes,
            scope=self._scope,
            pace=self._pace,
            drafts=self._drafts,
            remains=self._remains,
            lease=self.lease,
        )

    async def restart(self, notes: Path | None = None) -> None:
        """The spoke is gone in the middle of whatever it did, and another begins."""
        await self.spoke.close()
        self.spoke = self._spoke(notes)
        await self.spoke.start()

    def agree(self, asked: FromSpoke) -> ToSpoke | None:
        match asked:
            case Hello():
                return Welcome(epoch=1)
            case Claim():
                return Leased(generation=7)
            case Submit():
                return Accepted(turn="t", epoch=1)
            case ShownReceipt():
                return self.keep(asked)
            case FinalReceipt():
                return Noted(message_id=asked.message_id, epoch=1)
            case Erased():
                return Noted(epoch=1)
            case _:
                return None

    def keep(self, asked: ShownReceipt) -> Noted:
        """The first message that is told for a part of a reply is the one that counts."""
        part, opened = asked.part or 0, self.opened.setdefault(asked.turn, [])
        if part == len(opened):
            opened.append(asked.message_id)
        return Noted(message_id=opened[part] if part < len(opened) else None, epoch=1)

    async def open(self) -> None:
        listening = await self.hub.subscribe(subjects.plane("inbound")[0], self._on_asked)
        assert isinstance(listening, Ok)

    def _on_asked(self, delivery: Delivery) -> None:
        asked = FROM_SPOKE.decode(delivery.data)
        self.asked.append(asked)
        answer = self.answer(asked)
        if answer is not None:
            self.bus.carry(self.hub, delivery.reply, TO_SPOKE.encode(answer), "")

    async def tell(self, event: Outbound) -> None:
        await self.hub.publish(subjects.outbound("paper", "desk"), OUTBOUND.encode(event))
        await idle()

    def receipts(self) -> list[tuple[str, str | None]]:
        return [(one.kind, one.message_id) for one in self.asked if isinstance(one, ShownReceipt | FinalReceipt)]

    def finals(self) -> list[FinalReceipt]:
        return [one for one in self.asked if isinstance(one, FinalReceipt)]


async def a_stage(
    notes: Path | None = None,
    *,
    screen: Screen | None = None,
    pace: Pace | None = None,
    drafts: Drafts | None = None,
    remains: Remains | None = None,
    scope: str | None = None,
) -> Stage:
    stage = Stage(notes, screen=screen, pace=pace, drafts=drafts, remains=remains, scope=scope)
    await stage.open()
    await stage.spoke.start()
    return stage


def update(
    text: str,
    *,
    base: int = 0,
    events: int = 1,
    attempt: int = 1,
    epoch: int = 1,
    mid: str | None = None,
    further: tuple[str, ...] | None = None,
    question: Question | None = None,
) -> Update:
    return Update(
        turn="t",
        attempt=attempt,
        events=events,
        base=base,
        text=text,
        question=question,
        message_id=mid,
        further=further,
        epoch=epoch,
        address=ADDRESS,
    )


def final(
    text: str = "All of it.",
    *,
    turn: str = "t",
    epoch: int = 1,
    mid: str | None = None,
    further: tuple[str, ...] | None = None,
    address: Address = ADDRESS,
) -> Final:
    return Final(
        turn=turn, text=text, outcome="complete", message_id=mid, further=further, epoch=epoch, address=address
    )


def message(text: str = "hello") -> InboundMessage:
    return InboundMessage(message_id="m", user_id="ann", text=text, address=ADDRESS)


async def test_a_message_is_submitted_until_the_hub_answers() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: None
    submitting = asyncio.create_task(stage.spoke.submit(message()))
    await pass_time(20)
    assert not submitting.done()

    stage.answer = stage.agree

    assert isinstance(await submitting, Accepted)
    assert len([one for one in stage.asked if isinstance(one, Submit)]) > 3
    await stage.spoke.close()


async def test_a_message_too_large_for_the_bus_is_refused_and_not_asked_for_ever() -> None:
    stage = await a_stage()
    large = message("x" * 99_000).model_copy(update={"quoted": "🙂" * 99_000, "user_name": "y"})
    stage.bus.max_payload = 100_000

    answer = await stage.spoke.submit(large)

    assert isinstance(answer, Refused)
    assert answer.reason == "too large"
    await stage.spoke.close()


async def test_a_bubble_opens_with_few_words_and_is_edited_after_its_receipt() -> None:
    stage = await a_stage()
    long = "word " * 40

    await stage.tell(update(long))
    await stage.tell(final())

    assert len(stage.paper.sent) == 1
    assert len(stage.paper.sent[0]) <= OPENING
    assert long.startswith(stage.paper.sent[0])
    assert stage.paper.texts == [long, "All of it."]
    assert stage.receipts() == [("shown", "b1"), ("final", "b1")]
    await stage.spoke.close()


@pytest.mark.parametrize("text", ["", "Yes.", "Yes, it is.", "An answer of a few words."])
async def test_a_short_answer_never_opens_its_bubble_whole(text: str) -> None:
    stage = await a_stage()

    await stage.tell(final(text))

    (opening,) = stage.paper.sent
    assert opening == "…" or (text.startswith(opening) and opening != text)
    assert stage.paper.texts == [text]
    await stage.spoke.close()


@pytest.mark.parametrize("text", ["  Yes.", "\n Yes, it is.", "\u200b Yes, it is.", "\u200d\n\n \ufeff Yes."])
async def test_no_bubble_opens_with_words_that_nobody_sees(text: str) -> None:
    stage = await a_stage()

    await stage.tell(final(text))

    assert stage.paper.sent == ["…"]
    assert stage.paper.texts == [text]
    await stage.spoke.close()


async def test_nothing_is_edited_before_the_hub_knows_the_bubble() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: None
    await stage.tell(update("One and "))
    await stage.tell(update("two", base=8, events=2))
    await pass_time(5)
    assert stage.paper.edits == []

    stage.answer = stage.agree
    await until(lambda: bool(stage.paper.edits))

    assert stage.paper.texts == ["One and two"]
    assert stage.paper.sent == ["One"]
    await stage.spoke.close()


async def test_a_final_that_comes_again_is_receipted_again_and_shown_once() -> None:
    stage = await a_stage()
    for _ in range(3):
        await stage.tell(final())

    assert len(stage.paper.sent) == 1
    assert stage.paper.texts == ["All of it."]
    assert stage.receipts() == [("shown", "b1"), ("final", "b1"), ("final", "b1"), ("final", "b1")]
    await stage.spoke.close()


async def test_a_spoke_that_starts_anew_edits_the_bubble_that_the_hub_names() -> None:
    stage = await a_stage()

    await stage.tell(final(mid="of an earlier life"))

    assert stage.paper.sent == []
    assert [where for where, _ in stage.paper.edits] == ["of an earlier life"]
    await stage.spoke.close()


async def test_a_spoke_that_starts_anew_edits_the_bubble_it_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    notes.add("t", "noted")
    notes.close()
    stage = await a_stage(tmp_path / "notes")

    await stage.tell(final())

    assert stage.paper.sent == []
    assert stage.receipts() == [("shown", "noted"), ("final", "noted")]
    await stage.spoke.close()


async def test_a_note_torn_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    for content in ('["a", "1"]\n["b", "2"]\n["c', '["a", "1"]\n["b", "2"]\n7\n["c"]\n{"c": 1}\n'):
        path.write_text(content)

        notes = Notes(path)

        assert (notes.get("a"), notes.get("b"), notes.get("c")) == ("1", "2", None)
        notes.add("d", "4")
        notes.close()
        assert Notes(path).get("d") == "4"


async def test_the_notes_of_a_long_life_do_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    notes = Notes(path)
    for number in range(3 * NOTES_KEPT):
        notes.add(f"{number}", "1")
        notes.tidy()

    assert len(path.read_text().splitlines()) <= 2 * NOTES_KEPT
    notes.add("last", "2")
    notes.close()
    again = Notes(path)
    assert (again.get("last"), again.get(f"{2 * NOTES_KEPT + 1}"), again.get("0")) == ("2", "1", None)


async def test_notes_that_cannot_be_written_anew_for_want_of_room_are_later(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    notes = Notes(path)
    for number in range(NOTES_KEPT + 1):
        notes.add(f"{number}", "1")
    before = path.read_bytes()

    with room_up_to(3):
        notes.tidy()
        with pytest.raises(OSError):
            notes.forget({"7"})
    assert path.read_bytes() == before
    notes.forget({"7"})

    assert (Notes(path).get("7"), Notes(path).get("8")) == (None, "1")


async def test_a_note_for_which_there_is_no_room_costs_no_second_message(tmp_path: Path) -> None:
    stage = await a_stage(tmp_path / "notes")

    with room_up_to(0):
        await stage.tell(final())
        await pass_time(BROKEN_RETRY + 1)

    assert len(stage.paper.sent) == 1
    assert stage.receipts() == [("shown", "b1"), ("final", "b1")]
    await stage.spoke.close()


class Cellar:
    """What a platform's spoke keeps beside the screen, and has trouble to remove as often as a test says."""

    def __init__(self, troubles: int = 0) -> None:
        self.erased: list[tuple[str, float]] = []
        self._troubles = troubles

    async def erase(self, scope_id: str, until: float) -> None:
        self.erased.append((scope_id, until))
        self._troubles -= 1
        if self._troubles >= 0:
            raise OSError("the cellar is locked")


def erase(*turns: str, address: Address = ADDRESS) -> Erase:
    return Erase(turn="f", turns=turns, until=7.5, epoch=1, address=address)


async def test_what_a_spoke_keeps_of_a_scope_is_removed_before_it_says_so(tmp_path: Path) -> None:
    cellar, path = Cellar(), tmp_path / "notes"
    stage = await a_stage(path, remains=cellar)
    await stage.tell(final())
    await stage.tell(final(turn="other", address=ELSEWHERE))
    assert b'"t"' in path.read_bytes()

    await stage.tell(erase("t", "and one more"))

    assert cellar.erased == [("chat", 7.5)]
    assert stage.asked[-1] == Erased(platform="paper", bot_id="desk", scope_id="chat", turn="f")
    assert b'"t"' not in path.read_bytes() and b'"other"' in path.read_bytes()
    await stage.restart(path)
    assert b'"t"' not in path.read_bytes() and b'"other"' in path.read_bytes()
    await stage.spoke.close()


async def test_what_could_not_be_removed_is_not_said_to_be_and_is_tried_when_it_is_asked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cellar = Cellar(troubles=1)
    stage = await a_stage(remains=cellar)

    await stage.tell(erase())
    said = [one for one in stage.asked if isinstance(one, Erased)]
    await stage.tell(erase())

    assert said == []
    assert isinstance(stage.asked[-1], Erased)
    assert "could not be removed" in caplog.text
    await stage.spoke.close()


async def test_a_spoke_that_keeps_nothing_else_says_so_at_once() -> None:
    stage = await a_stage()

    await stage.tell(erase("t"))

    assert isinstance(stage.asked[-1], Erased)
    await stage.spoke.close()


async def test_what_a_hub_that_is_over_wants_removed_is_not(tmp_path: Path) -> None:
    cellar = Cellar()
    stage = await a_stage(remains=cellar)
    await stage.tell(final().model_copy(update={"epoch": 9}))

    await stage.tell(erase())

    assert cellar.erased == []
    await stage.spoke.close()


async def test_a_spoke_of_one_scope_removes_what_is_kept_of_any_and_asks_what_it_missed_of_its_own() -> None:
    cellar = Cellar()
    stage = Stage(remains=cellar, scope="chat")
    stage.answer = lambda asked: Welcome(epoch=1, erased_at=3.5) if isinstance(asked, Hello) else stage.agree(asked)
    await stage.open()

    await stage.spoke.start()
    await stage.tell(erase(address=ELSEWHERE))

    assert cellar.erased == [("chat", 3.5), ("other chat", 7.5)]
    await stage.spoke.close()


async def test_where_the_log_holds_another_bubble_the_spoke_changes_over() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: (
        Noted(message_id="the first", epoch=1) if isinstance(asked, ShownReceipt) else stage.agree(asked)
    )

    await stage.tell(final())

    assert [where for where, _ in stage.paper.edits] == ["the first"]
    assert stage.receipts()[-1] == ("final", "the first")
    await stage.spoke.close()


async def test_a_gap_waits_for_the_next_snapshot() -> None:
    stage = await a_stage()
    await stage.tell(update("One "))
    await stage.tell(update("four", base=12, events=4))
    await stage.tell(update(" five", base=16, events=5))
    assert stage.paper.texts == ["One "]

    await stage.tell(update("One two three four five", events=5))
    await stage.tell(update(" six", base=23, events=6))

    assert stage.paper.texts == ["One ", "One two three four five", "One two three four five six"]
    await stage.spoke.close()


async def test_a_spoke_that_starts_anew_takes_nothing_back_while_it_waits_for_a_snapshot() -> None:
    stage = await a_stage()
    await stage.tell(update("four", base=14, events=4, mid="of an earlier life"))
    assert stage.paper.edits == []

    await stage.tell(update("One two three four", events=4, mid="of an earlier life"))

    assert stage.paper.texts == ["One two three four"]
    await stage.spoke.close()


async def test_a_new_attempt_starts_over_in_place_and_the_old_one_is_heard_no_more() -> None:
    stage = await a_stage()
    await stage.tell(update("Half an ans", events=5))
    await stage.tell(update("A whole ", attempt=2))
    await stage.tell(update("wer", base=11, events=6))
    await stage.tell(update("answer", base=8, attempt=2, events=2))

    assert stage.paper.texts == ["Half an ans", "A whole ", "A whole answer"]
    assert len(stage.paper.sent) == 1
    await stage.spoke.close()


async def test_a_new_hub_that_begins_behind_goes_on_without_a_step_back() -> None:
    stage = await a_stage()
    await stage.tell(update("One two three ", events=3))
    await stage.tell(update("One ", events=1, epoch=70))
    await stage.tell(update("two three four", base=4, events=4, epoch=70))

    assert stage.paper.texts == ["One two three ", "One two three four"]
    await stage.spoke.close()


async def test_a_superseded_hub_is_heard_no_more() -> None:
    stage = await a_stage()
    await stage.tell(update("new", epoch=70))
    await stage.tell(update("old", events=9, epoch=1))
    await stage.tell(final("old", epoch=1))

    assert stage.paper.texts == ["new"]
    await stage.spoke.close()


async def test_what_comes_after_the_final_changes_nothing() -> None:
    stage = await a_stage()
    stage.paper.may_edit.clear()
    await stage.tell(final())
    await stage.tell(update("late", attempt=9, events=9))

    stage.paper.may_edit.set()
    await idle()

    assert stage.paper.texts == ["All of it."]
    await stage.spoke.close()


async def test_the_latest_text_wins_while_the_platform_is_slow() -> None:
    stage = await a_stage()
    await stage.tell(update("1"))
    stage.paper.may_edit.clear()
    for number in range(2, 9):
        await stage.tell(update(f"{number}", base=number - 1, events=number))

    stage.paper.may_edit.set()
    await idle()

    assert stage.paper.texts[0] == "1"
    assert stage.paper.texts[-1] == "12345678"
    assert len(stage.paper.texts) <= 3
    await stage.spoke.close()


async def test_a_platform_that_fails_is_tried_again() -> None:
    stage = await a_stage()
    stage.paper.errors = [OSError("no route"), OSError("no route")]

    await stage.tell(final())
    await until(lambda: bool(stage.paper.edits))
    await idle()

    assert len(stage.paper.sent) == 1
    assert stage.receipts()[-1] == ("final", "b1")
    await stage.spoke.close()


@pytest.mark.parametrize("is_opened", [False, True])
async def test_what_the_platform_refuses_for_good_is_told_once_the_answer_is_whole(is_opened: bool) -> None:
    stage = await a_stage()
    if is_opened:
        await stage.tell(update("One "))
    stage.paper.errors = [Undeliverable("the chat is gone")]
    await stage.tell(update("two", base=4, events=2) if is_opened else update("One "))
    assert not [one for one in stage.asked if isinstance(one, FinalReceipt)]

    await stage.tell(final())

    (receipt,) = [one for one in stage.asked if isinstance(one, FinalReceipt)]
    assert receipt.undeliverable == "the chat is gone"
    await stage.spoke.close()


async def test_a_final_of_what_was_undeliverable_is_told_again_so() -> None:
    stage = await a_stage()
    stage.paper.errors = [Undeliverable("the chat is gone")]
    await stage.tell(final())
    await stage.tell(final())

    receipts = [one for one in stage.asked if isinstance(one, FinalReceipt)]
    assert [one.undeliverable for one in receipts] == ["the chat is gone"] * 2
    await stage.spoke.close()


async def test_a_reply_that_cannot_be_shown_holds_up_no_other() -> None:
    stage = await a_stage()
    stage.paper.may_edit.clear()
    await stage.tell(final())
    other = final().model_copy(update={"turn": "u"})

    await stage.tell(other)

    assert len(stage.paper.sent) == 2
    await stage.spoke.close()


async def test_hello_is_said_again_after_a_lost_connection() -> None:
    stage = await a_stage()
    await pass_time(3)
    before = len(stage.asked)
    stage.bus.stop()
    await pass_time(3)

    stage.bus.start()
    await until(lambda: len(stage.asked) > before)

    assert isinstance(stage.asked[-1], Hello)
    await stage.spoke.close()


async def test_hello_is_said_again_after_a_connection_lost_for_a_moment() -> None:
    stage = await a_stage()
    await pass_time(3.2)
    before = len(stage.asked)
    stage.bus.stop()
    stage.bus.start()

    await pass_time(2)

    assert len(stage.asked) == before + 1
    await stage.spoke.close()


async def test_what_others_said_is_shown() -> None:
    stage = await a_stage()
    await stage.tell(Said(turn="t", text="hello all", epoch=1, address=ADDRESS))

    assert stage.paper.heard == ["hello all"]
    await stage.spoke.close()


async def test_an_unreadable_event_and_one_of_another_bot_are_dropped() -> None:
    stage = await a_stage()
    await stage.hub.publish(subjects.outbound("paper", "desk"), b"nonsense")
    other = Address(platform="paper", bot_id="other", scope_id="chat")
    await stage.tell(final().model_copy(update={"address": other}))

    await stage.tell(final())

    assert stage.paper.texts == ["All of it."]
    await stage.spoke.close()


async def test_a_file_that_is_kept_can_be_read_by_the_name_it_was_given() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)

    kept = await stage.spoke.keep("chat", "image", "cat.png", "image/png", b"data")

    assert kept is not None
    assert (kept.kind, kept.name, kept.mime, kept.size) == ("image", "cat.png", "image/png", 4)
    assert await blobs.get(stage.hub, STORE, kept.blob) == Ok(b"data")
    await stage.spoke.close()


async def test_a_file_waits_for_the_hub_and_for_the_bus() -> None:
    stage = await a_stage()
    keeping = asyncio.create_task(stage.spoke.keep("chat", "document", "a", "text/plain", b"data"))
    await pass_time(60)
    stage.bus.stop()
    await pass_time(60)
    stage.bus.start()
    await pass_time(60)
    assert not keeping.done()

    await blobs.ensure(stage.hub, STORE)
    kept = await keeping

    assert kept is not None
    assert await blobs.get(stage.hub, STORE, kept.blob) == Ok(b"data")
    await stage.spoke.close()


async def test_a_file_whose_answer_was_lost_is_kept_all_the_same() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)
    stage.bus.lose_answers(3)

    kept = await stage.spoke.keep("chat", "document", "a", "text/plain", b"data")

    assert kept is not None
    assert await blobs.get(stage.hub, STORE, kept.blob) == Ok(b"data")
    await stage.spoke.close()


async def test_a_file_that_will_not_be_taken_is_none_at_once() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)

    too_large = await stage.spoke.keep("chat", "document", "a", "text/plain", bytes(MOST_BYTES + 1))
    stage.bus.is_full = True
    no_room = await stage.spoke.keep("chat", "document", "a", "text/plain", b"data")

    assert (too_large, no_room) == (None, None)
    await stage.spoke.close()


async def test_a_name_no_bus_could_carry_is_made_one() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)

    kept = await stage.spoke.keep("chat", "document", "\udce9" + "n" * 300, "x/" + "y" * 300, b"data")

    assert kept is not None
    assert kept.name == "?" + "n" * 254
    assert len(kept.mime) == 127
    FROM_SPOKE.encode(
        Submit(
            platform="paper",
            bot_id="desk",
            scope_id="chat",
            message=message().model_copy(update={"attachments": (kept,)}),
        )
    )
    await stage.spoke.close()


async def test_a_final_tells_once_which_other_turns_it_answers_and_they_are_shown_nothing_of_their_own() -> None:
    stage = await a_stage()
    answered = final().model_copy(update={"joined": ("other",)})

    await stage.tell(answered)
    await stage.tell(answered)
    await stage.tell(update("late").model_copy(update={"turn": "other"}))

    assert stage.paper.heard == ["other is answered with t"]
    assert all(reply.turn == "t" for _, reply in stage.paper.edits)
    await stage.spoke.close()


# Replies of several messages


def parts_told(stage: Stage) -> list[tuple[str, int | None]]:
    return [(one.message_id, one.part) for one in stage.asked if isinstance(one, ShownReceipt)]


async def test_a_long_reply_goes_on_in_messages_that_open_with_one_sign_and_are_noted_by_their_part(
    tmp_path: Path,
) -> None:
    pages = Pages()
    stage = await a_stage(tmp_path / "notes", screen=pages)

    await stage.tell(update(LONG))
    await stage.tell(final(LONG))

    assert [text for _, text in pages.opened] == ["one two", "…", "…"]
    assert list(pages.stands.values()) == ["one two th", "ree four f", "ive"]
    assert parts_told(stage) == [("p1", None), ("p2", 1), ("p3", 2)]
    assert [Notes(tmp_path / "notes").get("t", part) for part in range(4)] == ["p1", "p2", "p3", None]
    assert [one.message_id for one in stage.finals()] == ["p1"]
    await stage.spoke.close()


async def test_what_grows_beyond_a_message_goes_on_in_the_next_while_it_grows() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages)

    for end in range(1, len(LONG) + 1):
        # The hub is often a message behind.
        named = stage.opened.get("t", [])[:1]
        await stage.tell(update(LONG[end - 1 : end], base=end - 1, events=end, mid=named[0] if named else None))

    assert pages.text == LONG
    assert parts_told(stage) == [("p1", None), ("p2", 1), ("p3", 2)]
    assert not stage.finals()
    await stage.spoke.close()


async def test_a_spoke_killed_before_a_further_messages_receipt_sends_it_no_second_time(tmp_path: Path) -> None:
    pages = Pages()
    stage = await a_stage(tmp_path / "notes", screen=pages)
    stage.answer = lambda asked: None if isinstance(asked, ShownReceipt) and asked.part == 1 else stage.agree(asked)
    await stage.tell(update(LONG))
    stage.answer = stage.agree

    await stage.restart(tmp_path / "notes")
    await stage.tell(final(LONG, mid="p1"))

    assert [name for name, _ in pages.opened] == ["p1", "p2", "p3"]
    assert stage.opened["t"] == ["p1", "p2", "p3"]
    assert pages.text == LONG
    await stage.spoke.close()


async def test_a_spoke_without_its_notes_goes_on_in_the_messages_that_the_hub_names() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages)
    await stage.tell(update(LONG))

    await stage.restart()
    await stage.tell(final(LONG.upper(), mid="p1", further=("p2", "p3")))

    assert len(pages.opened) == 3
    assert pages.text == LONG.upper()
    await stage.spoke.close()


async def test_where_the_log_holds_another_further_message_the_spoke_changes_over() -> None:
    pages = Pages()
    pages.stands["before"] = "…"
    stage = await a_stage(screen=pages)
    stage.opened["t"] = ["p1", "before"]

    await stage.tell(final(LONG))

    assert pages.parts == ("p1", "before", "p3")
    assert pages.text == LONG
    await stage.spoke.close()


async def test_a_message_that_the_hub_names_before_its_answer_comes_counts_once() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: None
    await stage.tell(update("One and "))
    await stage.tell(update("two", base=8, events=2, mid="b1"))

    stage.answer = stage.agree
    await until(lambda: bool(stage.paper.edits))

    assert [reply.parts for _, reply in stage.paper.edits] == [("b1",)]
    await stage.spoke.close()


@pytest.mark.parametrize("has_drafts", [False, True])
async def test_a_message_that_the_hub_names_while_the_place_is_silent_is_not_sent_again(has_drafts: bool) -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(0.0))
    pages.has_drafts = has_drafts
    pages.stands["before"] = "…"
    stage = await a_stage(screen=pages, pace=pace, drafts=pages)
    pace.silence("chat", 60)
    await stage.tell(update("One"))

    await stage.tell(update(" and", base=3, events=2, mid="before"))
    await pass_time(61)

    assert (pages.opened, pages.drafts) == ([], [])
    assert pages.stands == {"before": "One and"}
    await stage.spoke.close()


async def test_a_further_message_that_the_hub_names_while_the_place_is_silent_is_not_sent_again() -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(0.0))
    pages.stands["before"] = "…"
    stage = await a_stage(screen=pages, pace=pace)
    await stage.tell(update("0123456789"))
    pace.silence("chat", 60)
    await stage.tell(update("abc", base=10, events=2))
    pages.errors = [NotNow(30), NotNow(30)]

    await pass_time(70)
    await stage.tell(update("def", base=13, events=3, mid="p1", further=("before",)))
    await pass_time(100)

    assert len(pages.opened) == 1
    assert pages.text == "0123456789abcdef"
    assert pages.parts == ("p1", "before")
    await stage.spoke.close()


async def test_a_further_message_that_the_hub_names_while_the_one_before_is_written_is_not_sent_again() -> None:
    pages = Pages()
    pages.stands["before"] = "…"
    stage = await a_stage(screen=pages)
    await stage.tell(update("0123456789"))
    pages.may_return.clear()
    await stage.tell(update("0123456789abc", events=2))

    await stage.tell(update("def", base=13, events=3, mid="p1", further=("before",)))
    pages.may_return.set()
    await idle()

    assert len(pages.opened) == 1
    assert pages.text == "0123456789abcdef"
    await stage.spoke.close()


async def test_a_spoke_killed_between_a_send_and_its_note_leaves_no_more_than_the_opening_words(tmp_path: Path) -> None:
    pages = Pages()
    stage = await a_stage(tmp_path / "notes", screen=pages)
    for text in ("0123456789", LONG):
        pages.may_note.clear()
        await stage.tell(update(text, events=len(text)))
        await stage.restart(tmp_path / "notes")
        pages.may_note.set()
        await stage.tell(update(text, events=len(text)))

    await stage.tell(final(LONG))

    assert pages.text == LONG
    orphans = [text for name, text in pages.opened if name not in pages.parts]
    assert orphans == ["…", "…"]
    await stage.spoke.close()


async def test_a_spoke_that_leaves_while_it_joins_opens_no_bubble() -> None:
    stage = Stage()
    starting = asyncio.create_task(stage.spoke.start())
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)

    await stage.spoke.close()
    await stage.tell(update("All"))

    assert stage.paper.sent == []


async def test_a_spoke_that_leaves_notes_what_it_has_just_sent(tmp_path: Path) -> None:
    pages = Pages()
    stage = await a_stage(tmp_path / "notes", screen=pages)
    pages.may_note.clear()
    await stage.tell(update("0123456789"))
    restarting = asyncio.create_task(stage.restart(tmp_path / "notes"))
    await idle()

    pages.may_note.set()
    await restarting
    await stage.tell(final("0123456789"))

    assert pages.text == "0123456789"
    assert len(pages.opened) == 1
    await stage.spoke.close()


async def test_a_final_that_comes_again_while_it_is_written_is_not_written_again() -> None:
    stage = await a_stage()
    await stage.tell(update("All"))
    stage.paper.may_edit.clear()
    for _ in range(3):
        await stage.tell(final())

    stage.paper.may_edit.set()
    await idle()

    assert stage.paper.texts == ["All", "All of it."]
    assert len(stage.finals()) == 1
    await stage.spoke.close()


async def test_a_final_that_names_another_message_while_it_is_written_is_written_there() -> None:
    stage = await a_stage()
    await stage.tell(update("All"))
    stage.paper.may_edit.clear()
    await stage.tell(final())
    await stage.tell(final(mid="another", epoch=2))

    stage.paper.may_edit.set()
    await idle()

    assert stage.paper.edits[-1][0] == "another"
    assert [one.message_id for one in stage.finals()] == ["another"]
    await stage.spoke.close()


# A platform that wants silence


@pytest.mark.parametrize("at_first", [True, False])
async def test_where_the_platform_wants_silence_text_gathers_and_the_newest_is_written(at_first: bool) -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(1.0))
    stage = await a_stage(screen=pages, pace=pace)
    if not at_first:
        await stage.tell(update("x", events=0))
        await pass_time(5)
    pages.errors = [NotNow(20)]
    await stage.tell(update("0"))
    await pass_time(5)
    was_silent = pace.is_silent("chat")
    before = len(pages.opened) + len(pages.edited)
    for number in range(1, 9):
        await stage.tell(update(f"{number}", base=number, events=number + 1))
    await pass_time(10)
    meanwhile = len(pages.opened) + len(pages.edited)
    await stage.tell(final("012345678."))
    await pass_time(30)

    assert was_silent
    assert meanwhile == before
    assert [text for _, text in pages.edited][-1] == "012345678."
    assert len(pages.edited) == (1 if at_first else 2)
    assert len(stage.finals()) == 1
    await stage.spoke.close()


async def test_where_one_place_is_silent_another_is_written_to() -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(0.0))
    stage = await a_stage(screen=pages, pace=pace)
    pages.errors = [NotNow(1_000)]
    await stage.tell(final("here"))

    await stage.tell(final("there", turn="u", address=ELSEWHERE))

    assert list(pages.stands.values()) == ["there"]
    assert [one.turn for one in stage.finals()] == ["u"]
    await stage.spoke.close()


async def test_a_place_may_hold_several_scopes() -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(10.0))
    bus_stage = Stage(screen=pages, pace=pace)
    await bus_stage.open()
    spoke = Spoke(bus_stage.bus.join("paper-desk"), "paper", "desk", pages, pace=pace, place=lambda address: "house")
    await spoke.start()

    await bus_stage.tell(final("here"))
    await bus_stage.tell(final("there", turn="u", address=ELSEWHERE))
    at_once = len(pages.opened) + len(pages.edited)
    await pass_time(40)

    assert at_once == 1
    assert sorted(pages.stands.values()) == ["here", "there"]
    await spoke.close()


async def test_a_final_comes_through_however_often_the_platform_wants_silence() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages, pace=Pace(lambda place: Rhythm(0.0)))
    pages.errors = [NotNow(7) for _ in range(50)]

    await stage.tell(final(LONG))
    await pass_time(400)

    assert pages.text == LONG
    assert len(stage.finals()) == 1
    await stage.spoke.close()


async def test_a_spoke_without_a_pace_waits_as_long_as_it_is_told_to() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages)
    pages.errors = [NotNow(20)]
    await stage.tell(final("Yes."))
    await pass_time(19)
    assert pages.opened == []

    await pass_time(2)

    assert pages.text == "Yes."
    await stage.spoke.close()


async def test_whole_answers_and_new_bubbles_are_written_before_what_grows() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages, pace=Pace(lambda place: Rhythm(0.0), between=1.0))
    places = {name: ADDRESS.model_copy(update={"scope_id": name}) for name in ("a", "b", "c", "d")}

    def growing(name: str, text: str, events: int) -> Update:
        return update(text, events=events).model_copy(update={"turn": name, "address": places[name]})

    for name in ("a", "b", "c"):
        await stage.tell(growing(name, "x", 1))
    await pass_time(30)
    before = len(pages.edited)
    for name in ("a", "b"):
        await stage.tell(growing(name, f"{name} grows", 2))
    await stage.tell(final("c is whole", turn="c", address=places["c"]))
    await stage.tell(growing("d", "d is new", 1))
    await pass_time(30)

    assert [text for _, text in pages.edited[before:]][:2] == ["a grows", "c is whole"]
    assert [text for _, text in pages.edited[before:]][-1] in ("b grows", "d is new")
    await stage.spoke.close()


# A message that somebody deleted


async def test_a_deleted_bubble_is_opened_again_and_the_hub_that_names_it_is_not_believed() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages)
    await stage.tell(update("0123"))
    del pages.stands["p1"]

    await stage.tell(update("012345", events=2, mid="p1"))
    await stage.tell(update("0123456", events=3, mid="p1"))
    for _ in range(3):
        await stage.tell(final("01234567", mid="p1"))

    assert pages.stands == {"p2": "01234567"}
    assert pages.misses == 1
    assert [one.message_id for one in stage.finals()] == ["p2"] * 3
    await stage.spoke.close()


async def test_a_reply_goes_on_from_its_deleted_part() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages)
    await stage.tell(update(LONG))
    del pages.stands["p2"]

    for _ in range(2):
        await stage.tell(final(LONG.swapcase(), mid="p1", further=("p2", "p3")))

    assert pages.parts == ("p1", "p4", "p5")
    assert pages.text == LONG.swapcase()
    assert pages.misses == 1
    assert [one.message_id for one in stage.finals()] == ["p1", "p1"]
    await stage.spoke.close()


async def test_a_spoke_that_starts_anew_finds_by_its_notes_what_it_opened_again(tmp_path: Path) -> None:
    pages = Pages()
    stage = await a_stage(tmp_path / "notes", screen=pages)
    await stage.tell(update(LONG))
    del pages.stands["p1"]
    await stage.tell(update(LONG.upper(), events=2, mid="p1", further=("p2", "p3")))
    opened = len(pages.opened)

    await stage.restart(tmp_path / "notes")
    await stage.tell(final(LONG.swapcase(), mid="p1", further=("p2", "p3")))

    assert opened == 6
    assert len(pages.opened) == opened
    assert pages.parts == ("p4", "p5", "p6")
    assert pages.text == LONG.swapcase()
    await stage.spoke.close()


async def test_an_answer_whose_messages_are_deleted_again_and_again_is_given_up() -> None:
    class Shredder(Pages):
        async def edit(self, message_id: str, reply: Reply) -> Left | None:
            raise Gone(0)

    pages = Shredder()
    stage = await a_stage(screen=pages)

    await stage.tell(final())

    (receipt,) = stage.finals()
    assert receipt.undeliverable is not None
    assert "deleted" in receipt.undeliverable
    assert len(pages.opened) == MOST_LOSSES + 1
    await stage.spoke.close()


# Drafts


async def test_what_grows_is_a_draft_without_a_message_and_the_final_opens_whole_in_one_send() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, drafts=pages)
    await stage.tell(update("0123"))
    await stage.tell(update("4567", base=4, events=2))
    assert (pages.opened, parts_told(stage)) == ([], [])

    await stage.tell(final("0123456789"))

    assert pages.drafts == ["0123", "01234567"]
    assert pages.opened == [("p1", "0123456789")]
    assert pages.edited == []
    assert stage.receipts() == [("shown", "p1"), ("final", "p1")]
    await stage.spoke.close()


async def test_a_long_answer_that_was_drafted_opens_whole_and_goes_on_in_further_messages() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, drafts=pages)
    await stage.tell(update(LONG))

    await stage.tell(final(LONG))

    assert [text for _, text in pages.opened] == [LONG, "…", "…"]
    assert pages.text == LONG
    await stage.spoke.close()


async def test_a_question_is_no_draft_and_what_follows_it_grows_in_its_message() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, drafts=pages)
    await stage.tell(update("0123"))

    await stage.tell(update("4", base=4, events=2, question=QUESTION))
    await stage.tell(update("5", base=5, events=3))
    await stage.tell(final("0123456"))

    assert pages.drafts == ["0123"]
    assert [text for _, text in pages.opened] == ["…"]
    assert [text for _, text in pages.edited] == ["01234", "012345", "0123456"]
    await stage.spoke.close()


async def test_a_question_that_comes_while_a_draft_waits_for_leave_is_written_as_a_message() -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(0.0))
    pages.has_drafts = True
    stage = await a_stage(screen=pages, pace=pace, drafts=pages)
    await stage.tell(update("0"))
    pace.silence("chat", 10)
    await stage.tell(update("01", events=2))

    await stage.tell(update("01", events=2, question=QUESTION))
    await pass_time(20)

    assert pages.drafts == ["0"]
    assert pages.text == "01"
    await stage.spoke.close()


async def test_where_there_are_no_drafts_a_bubble_opens_with_a_few_words() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages, drafts=pages)

    await stage.tell(update("A b c d e"))

    assert pages.opened == [("p1", "A b")]
    assert pages.text == "A b c d e"
    await stage.spoke.close()


async def test_a_draft_that_is_refused_in_the_middle_becomes_a_bubble_with_a_few_words() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, drafts=pages)
    await stage.tell(update("A b c "))

    pages.has_drafts = False
    await stage.tell(update("d e", base=6, events=2))
    await stage.tell(final("A b c d e!"))

    assert pages.opened == [("p1", "A b")]
    assert pages.text == "A b c d e!"
    await stage.spoke.close()


async def test_an_answer_that_was_never_drafted_opens_with_a_few_words_also_where_there_are_drafts() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, drafts=pages)

    await stage.tell(final("A b c d e!"))

    assert pages.opened == [("p1", "A b")]
    assert pages.text == "A b c d e!"
    await stage.spoke.close()


async def test_a_final_that_comes_while_a_draft_waits_for_leave_is_written_at_once_as_a_message() -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(0.0))
    pages.has_drafts = True
    stage = await a_stage(screen=pages, pace=pace, drafts=pages)
    await stage.tell(update("0"))
    pace.silence("chat", 10)
    await stage.tell(update("1", base=1, events=2))

    await stage.tell(final("012"))
    await pass_time(11)

    assert pages.drafts == ["0"]
    assert pages.opened == [("p1", "012")]
    assert len(stage.finals()) == 1
    await stage.spoke.close()


async def test_silence_for_a_draft_is_silence_for_the_place_and_the_newest_is_drafted_afterwards() -> None:
    pages, pace = Pages(), Pace(lambda place: Rhythm(0.0))
    pages.has_drafts = True
    pages.errors = [NotNow(10)]
    stage = await a_stage(screen=pages, pace=pace, drafts=pages)
    await stage.tell(update("0"))
    await stage.tell(update("1", base=1, events=2))
    assert pace.is_silent("chat")

    await pass_time(11)

    assert pages.drafts == ["01"]
    await stage.spoke.close()


async def test_a_growing_draft_lets_whole_answers_go_first() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, pace=Pace(lambda place: Rhythm(0.0), between=1.0), drafts=pages)
    places = [ADDRESS.model_copy(update={"scope_id": f"chat {number}"}) for number in range(4)]
    for turn, address in enumerate(places):
        await stage.tell(update("x").model_copy(update={"turn": f"{turn}", "address": address}))
    await pass_time(10)
    for turn, address in enumerate(places[:3]):
        await stage.tell(update("more", events=2).model_copy(update={"turn": f"{turn}", "address": address}))

    await stage.tell(final("All.", turn="3", address=places[3]))
    await pass_time(1)

    assert pages.stands == {"p1": "All."}
    assert pages.drafts.count("more") == 1
    await stage.spoke.close()


async def test_a_drafted_answer_whose_message_is_deleted_opens_whole_again() -> None:
    pages = Pages()
    pages.has_drafts = True
    stage = await a_stage(screen=pages, drafts=pages)
    await stage.tell(update("0123"))
    stage.answer = lambda asked: None
    await stage.tell(final("0123456"))
    del pages.stands["p1"]

    stage.answer = stage.agree
    await until(lambda: bool(stage.finals()))

    assert pages.stands == {"p2": "0123456"}
    await stage.spoke.close()


# Whatever goes wrong


class Storm(Pages):
    """A platform on which anything may go wrong at any write, but not for ever."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._luck = 40
        self._losses = MOST_LOSSES // 2
        self.lost: set[str] = set()

    async def send(self, reply: Reply) -> str:
        await self._weather()
        return await super().send(reply)

    async def edit(self, message_id: str, reply: Reply) -> Left | None:
        await self._weather()
        parts = (message_id, *reply.parts[1:])
        if self._losses and self._random.random() < 0.05:
            self._losses -= 1
            self.stands.pop(self._random.choice(parts), None)
        try:
            return await super().edit(message_id, reply)
        except Gone as gone:
            self.lost |= set(parts[gone.part :])
            raise

    async def draft(self, reply: Reply) -> bool:
        await self._weather()
        self.has_drafts = self._random.random() < 0.8
        return await super().draft(reply)

    async def _weather(self) -> None:
        await asyncio.sleep(self._random.choice((0.0, 0.1, 1.0)))
        if self._luck and self._random.random() < 0.3:
            self._luck -= 1
            raise self._random.choice((NotNow(self._random.uniform(0.1, 30)), OSError("no route"), NotNow(0.0)))


@pytest.mark.parametrize("has_pace", [True, False])
@pytest.mark.parametrize("seed", range(40))
async def test_whatever_goes_wrong_the_final_is_receipted_and_stands_there_in_full(
    tmp_path: Path, seed: int, has_pace: bool
) -> None:
    random = Random(seed)
    storm = Storm(random)
    pace = Pace(lambda place: Rhythm(random.choice((0.0, 1.0))), between=0.05) if has_pace else None
    stage = await a_stage(tmp_path / "notes", screen=storm, pace=pace, drafts=storm if seed % 2 else None)
    text = "".join(random.choice("abc def ") for _ in range(random.randrange(60)))
    is_done = asyncio.Event()

    def named() -> tuple[str | None, tuple[str, ...] | None]:
        opened = stage.opened.get("t", [])
        return (opened[0] if opened else None), (tuple(opened[1:]) or None)

    def answer(asked: FromSpoke) -> ToSpoke | None:
        if not isinstance(asked, Hello) and random.random() < 0.2:
            # Whether what was asked is done or not, the spoke does not hear of it.
            return None if random.random() < 0.5 else (stage.agree(asked), None)[1]
        if isinstance(asked, FinalReceipt):
            is_done.set()
        return stage.agree(asked)

    stage.answer = answer
    for events in range(1, 15):
        mid, further = named()
        attempt, at = 1 + events // 9, min(len(text), events * 4)
        base = random.choice((0, max(0, at - 4), at))
        await stage.tell(update(text[base:at], base=base, events=events, attempt=attempt, mid=mid, further=further))
        await pass_time(random.choice((0.0, 0.5, 5.0)))
        if random.random() < 0.1:
            await stage.restart(tmp_path / "notes")
    async with asyncio.timeout(2_000):
        while not is_done.is_set():
            mid, further = named()
            await stage.tell(final(text, mid=mid, further=further))
            await asyncio.sleep(random.choice((1, 2, 4, 8, 30)))
            if random.random() < 0.1:
                await stage.restart(tmp_path / "notes")

    assert storm.text == text
    assert stage.finals()[-1].undeliverable is None
    assert stage.finals()[-1].message_id == storm.parts[0]
    assert set(storm.stands) <= {*storm.parts, *storm.lost}
    await stage.spoke.close()


# What a spoke asks besides


async def test_whether_a_message_would_be_heard_is_asked_without_submitting_it() -> None:
    stage = await a_stage()
    refused = Refused(reason="too fast", text="Later.")
    stage.answer = lambda asked: refused if isinstance(asked, Submit) else stage.agree(asked)
    no = await stage.spoke.would_take(message())
    stage.answer = lambda asked: Noted(epoch=1)
    yes = await stage.spoke.would_take(message())

    assert (no, yes) == (refused, None)
    assert [one.only_asks for one in stage.asked if isinstance(one, Submit)] == [True, True]
    await stage.spoke.close()


async def test_a_pressed_button_is_told_until_the_hub_has_heard_it() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: None
    pressing = asyncio.create_task(stage.spoke.stop("chat", "t", "ann"))
    await pass_time(5)
    stage.answer = lambda asked: Noted(epoch=1)
    stopped = await pressing
    stage.answer = lambda asked: Refused(reason="not allowed", text="No.")

    refused = await stage.spoke.stop("chat", "t", "ben")

    assert (stopped, refused) == (None, Refused(reason="not allowed", text="No."))
    told = StopPressed(platform="paper", bot_id="desk", scope_id="chat", turn="t", user_id="ann")
    pressed = [one for one in stage.asked if isinstance(one, StopPressed)]
    assert pressed[0] == told
    assert pressed[-1].user_id == "ben"
    await stage.spoke.close()


async def test_an_answer_to_a_question_is_told_until_the_hub_has_heard_it() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: None
    pressing = asyncio.create_task(stage.spoke.decide("chat", "t", QUESTION.code, "ann", approved=True))
    await pass_time(5)
    stage.answer = lambda asked: Noted(epoch=1)
    decided = await pressing
    stage.answer = lambda asked: Refused(reason="not allowed", text="No.")

    refused = await stage.spoke.decide("chat", "t", QUESTION.code, "ben", approved=False)

    assert (decided, refused) == (None, Refused(reason="not allowed", text="No."))
    told = [one for one in stage.asked if isinstance(one, Decision)]
    yes = Decision(
        platform="paper", bot_id="desk", scope_id="chat", turn="t", code=QUESTION.code, user_id="ann", approved=True
    )
    assert told[0] == told[1] == yes
    assert told[-1] == yes.model_copy(update={"user_id": "ben", "approved": False})
    await stage.spoke.close()


async def test_a_question_is_shown_with_the_same_words_and_gone_with_the_same_words() -> None:
    stage = await a_stage()
    await stage.tell(update("One"))
    await stage.tell(update("One", question=QUESTION))

    await stage.tell(update("One"))

    assert stage.paper.texts == ["One"] * 3
    assert stage.paper.questions == [None, QUESTION, None]
    await stage.spoke.close()


async def test_a_question_that_an_answer_begins_with_opens_its_bubble() -> None:
    stage = await a_stage()

    await stage.tell(update("", events=0, question=QUESTION))

    assert stage.paper.sent == ["…"]
    assert stage.paper.questions == [QUESTION]
    await stage.spoke.close()


async def test_the_end_of_an_answer_takes_its_question_away() -> None:
    stage = await a_stage()
    await stage.tell(update("One", question=QUESTION))

    await stage.tell(final())

    assert stage.paper.questions == [QUESTION, None]
    await stage.spoke.close()


async def test_a_question_that_comes_and_goes_while_the_place_is_silent_is_not_shown() -> None:
    pace = Pace(lambda place: Rhythm(10.0))
    stage = await a_stage(pace=pace)
    await stage.tell(update("One"))
    await pass_time(20)
    pace.silence("chat", 60)

    await stage.tell(update("One", question=QUESTION))
    await stage.tell(update("One, two", events=2))
    await pass_time(70)

    assert stage.paper.questions == [None, None]
    assert stage.paper.texts == ["One", "One, two"]
    await stage.spoke.close()


async def test_a_question_that_comes_while_the_place_is_silent_is_shown_when_that_is_over() -> None:
    pace = Pace(lambda place: Rhythm(10.0))
    stage = await a_stage(pace=pace)
    await stage.tell(update("One"))
    await pass_time(20)
    pace.silence("chat", 60)

    await stage.tell(update("One", question=QUESTION))
    await stage.tell(update(", two", base=3, events=2, question=QUESTION))
    await pass_time(70)

    assert stage.paper.questions == [None, QUESTION]
    assert stage.paper.texts == ["One", "One, two"]
    await stage.spoke.close()


async def test_a_question_is_written_before_what_grows() -> None:
    pages = Pages()
    stage = await a_stage(screen=pages, pace=Pace(lambda place: Rhythm(0.0), between=1.0))
    places = {name: ADDRESS.model_copy(update={"scope_id": name}) for name in "abcd"}

    def growing(name: str, text: str, question: Question | None = None) -> Update:
        told = update(text, events=len(text), question=question)
        return told.model_copy(update={"turn": name, "address": places[name]})

    for name in places:
        await stage.tell(growing(name, "x"))
    await pass_time(30)
    before = len(pages.edited)
    for name in "abc":
        await stage.tell(growing(name, f"{name} grows"))
    await stage.tell(growing("d", "d asks", QUESTION))
    await pass_time(30)

    assert [text for _, text in pages.edited[before:]][:2] == ["a grows", "d asks"]
    await stage.spoke.close()


async def test_a_question_does_not_wait_for_words_that_were_lost() -> None:
    stage = await a_stage()
    await stage.tell(update("One "))

    await stage.tell(update("four", base=12, events=4, question=QUESTION))
    await stage.tell(update(" five", base=16, events=5))
    await stage.tell(update("One two three four five", events=5))

    assert stage.paper.texts == ["One ", "One ", "One ", "One two three four five"]
    assert stage.paper.questions == [None, QUESTION, None, None]
    await stage.spoke.close()


async def test_a_question_takes_nothing_back_that_an_earlier_process_showed() -> None:
    stage = await a_stage()
    await stage.tell(update("four", base=12, events=4, mid="of an earlier life", question=QUESTION))
    assert stage.paper.edits == []

    await stage.tell(update("One two three four", events=4, mid="of an earlier life", question=QUESTION))

    assert stage.paper.sent == []
    assert [(where, reply.question) for where, reply in stage.paper.edits] == [("of an earlier life", QUESTION)]
    await stage.spoke.close()


async def test_a_question_of_a_hub_that_was_replaced_is_not_shown() -> None:
    stage = await a_stage()
    await stage.tell(update("One", epoch=2))

    await stage.tell(update("One", epoch=1, question=QUESTION))

    assert stage.paper.questions == [None]
    await stage.spoke.close()


async def test_a_conversation_has_moved_when_the_hub_says_so() -> None:
    stage = await a_stage()
    stage.answer = lambda asked: None
    moving = asyncio.create_task(stage.spoke.move("old", "new"))
    await pass_time(60)
    assert not moving.done()

    stage.answer = lambda asked: Noted(epoch=1)
    await moving

    assert stage.asked[-1] == Moved(platform="paper", bot_id="desk", scope_id="new", old_scope="old")
    await stage.spoke.close()


async def test_a_file_of_an_answer_is_read_as_soon_as_the_bus_is_back() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)
    kept = await stage.spoke.keep("chat", "image", "cat.png", "image/png", b"data")
    assert kept is not None
    stage.bus.stop()
    reading = asyncio.create_task(stage.spoke.read(kept))
    await pass_time(10)
    assert not reading.done()

    stage.bus.start()

    assert await reading == b"data"
    await stage.spoke.close()


@pytest.mark.parametrize("name", ["nothing", "no name at all!"])
async def test_a_file_that_is_not_there_is_none(name: str) -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)
    kept = await stage.spoke.keep("chat", "image", "cat.png", "image/png", b"data")
    assert kept is not None

    assert await stage.spoke.read(kept.model_copy(update={"blob": name})) is None
    await stage.spoke.close()


async def held() -> tuple[Stage, Lease, asyncio.Task[None]]:
    """A stage whose spoke speaks by a lease, for as long as it has it."""
    stage = Stage(has_lease=True)
    await stage.open()
    lease = stage.lease
    assert lease is not None
    await lease.win()

    async def work() -> None:
        await stage.spoke.start()
        await asyncio.Event().wait()

    working = asyncio.create_task(lease.during(work))
    await until(lambda: any(isinstance(asked, Hello) for asked in stage.asked))
    return stage, lease, working


async def test_who_speaks_by_a_lease_names_its_generation() -> None:
    stage, _, working = await held()

    await stage.spoke.submit(message())

    assert {asked.generation for asked in stage.asked if not isinstance(asked, Claim)} == {7}
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await stage.spoke.close()


async def test_nothing_is_written_while_the_lease_may_be_anothers_and_nothing_is_lost_when_it_is_not() -> None:
    stage, lease, working = await held()
    stage.answer = lambda asked: None if isinstance(asked, Claim) else stage.agree(asked)
    await pass_time(GOOD_FOR + 0.1)
    assert not lease.is_good

    await stage.tell(final())
    await pass_time(5)
    assert stage.paper.sent == []

    stage.answer = stage.agree
    await until(lambda: bool(stage.finals()))

    assert len(stage.paper.sent) == 1
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await stage.spoke.close()


async def test_who_is_told_that_another_speaks_writes_nothing_more() -> None:
    stage, lease, working = await held()
    stage.answer = lambda asked: StandBy(generation=8)
    submitting = asyncio.create_task(stage.spoke.submit(message()))

    await working
    await stage.tell(final())
    await pass_time(5)

    assert not lease.is_good
    assert stage.paper.sent == []
    submitting.cancel()
    await asyncio.gather(submitting, return_exceptions=True)
    await stage.spoke.close()


async def test_what_an_older_hub_does_not_understand_is_said_to_it_in_the_first_version() -> None:
    stage = await a_stage()
    told: list[FromSpoke] = []

    def refuse_once(asked: FromSpoke) -> ToSpoke | None:
        told.append(asked)
        if isinstance(asked, Hello):
            return Welcome(epoch=1, understands=SCHEMA_VERSION + 1)
        return Refused(reason="newer version") if len(told) == 2 else stage.agree(asked)

    stage.answer = refuse_once
    await stage.spoke.hello("chat")

    answer = await stage.spoke.submit(message())

    assert isinstance(answer, Accepted)
    assert [type(one) for one in told] == [Hello, Submit, Submit]
    await stage.spoke.close()
