"""What every spoke does, over a bus that loses things, before a hub that a test plays and a platform that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.spoke import OPENING, Notes, Reply, Spoke, Undeliverable
from factory_contracts import subjects
from factory_contracts.messages import (
    FROM_SPOKE,
    OUTBOUND,
    TO_SPOKE,
    Accepted,
    Address,
    Final,
    FinalReceipt,
    FromSpoke,
    Hello,
    InboundMessage,
    Noted,
    Outbound,
    Refused,
    Said,
    ShownReceipt,
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
from tests.fakes import idle, pass_time, until

pytestmark = pytest.mark.asyncio(loop_scope="function")

ADDRESS = Address(platform="paper", bot_id="desk", scope_id="chat")
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


class Stage:
    """A spoke, its platform, and a hub whose answers a test chooses."""

    def __init__(self, notes: Path | None = None) -> None:
        self.bus = FakeBus()
        self.hub = self.bus.join("hub")
        self.paper = Paper()
        self.asked: list[FromSpoke] = []
        self.answer: Callable[[FromSpoke], ToSpoke | None] = self.agree
        self.spoke = Spoke(self.bus.join("paper-desk"), "paper", "desk", self.paper, notes=notes)

    def agree(self, asked: FromSpoke) -> ToSpoke | None:
        match asked:
            case Hello():
                return Welcome(epoch=1)
            case Submit():
                return Accepted(turn="t", epoch=1)
            case ShownReceipt() | FinalReceipt():
                return Noted(message_id=asked.message_id, epoch=1)
            case _:
                return None

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


async def a_stage(notes: Path | None = None) -> Stage:
    stage = Stage(notes)
    await stage.open()
    await stage.spoke.start()
    return stage


def update(
    text: str, *, base: int = 0, events: int = 1, attempt: int = 1, epoch: int = 1, mid: str | None = None
) -> Update:
    return Update(
        turn="t", attempt=attempt, events=events, base=base, text=text, message_id=mid, epoch=epoch, address=ADDRESS
    )


def final(text: str = "All of it.", *, epoch: int = 1, mid: str | None = None) -> Final:
    return Final(turn="t", text=text, outcome="complete", message_id=mid, epoch=epoch, address=ADDRESS)


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

    kept = await stage.spoke.keep("image", "cat.png", "image/png", b"data")

    assert kept is not None
    assert (kept.kind, kept.name, kept.mime, kept.size) == ("image", "cat.png", "image/png", 4)
    assert await blobs.get(stage.hub, STORE, kept.blob) == Ok(b"data")
    await stage.spoke.close()


async def test_a_file_waits_for_the_hub_and_for_the_bus() -> None:
    stage = await a_stage()
    keeping = asyncio.create_task(stage.spoke.keep("document", "a", "text/plain", b"data"))
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

    kept = await stage.spoke.keep("document", "a", "text/plain", b"data")

    assert kept is not None
    assert await blobs.get(stage.hub, STORE, kept.blob) == Ok(b"data")
    await stage.spoke.close()


async def test_a_file_that_will_not_be_taken_is_none_at_once() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)

    too_large = await stage.spoke.keep("document", "a", "text/plain", bytes(MOST_BYTES + 1))
    stage.bus.is_full = True
    no_room = await stage.spoke.keep("document", "a", "text/plain", b"data")

    assert (too_large, no_room) == (None, None)
    await stage.spoke.close()


async def test_a_name_no_bus_could_carry_is_made_one() -> None:
    stage = await a_stage()
    await blobs.ensure(stage.hub, STORE)

    kept = await stage.spoke.keep("document", "\udce9" + "n" * 300, "x/" + "y" * 300, b"data")

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
