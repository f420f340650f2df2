"""The front door for agents of others, over a bus in memory and in virtual time."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.agents.door import Door
from adapters.agents.presence import Session
from adapters.agents.settings import AgentsSettings, BotSettings, Visitor
from factory_contracts import subjects
from factory_contracts.messages import (
    Accepted,
    AlreadyAccepted,
    FromSpoke,
    Question,
    RefusalReason,
    Refused,
    Submit,
    ToSpoke,
)
from factory_nats.connect import Identity
from factory_nats.result import Ok
from factory_nats.testing import FakeBus, FakeTransport
from factory_nats.transport import Delivery
from tests.fakes import idle, until
from tests.spokes import Hub

PROMPT = "agents.prompt.scout.ci.main"
OLGAS = "agents.prompt.scout.olga.main"
QUESTION = Question(code="0123456789abcdef", text="Ring the bell?", expires_at=1e12)


@dataclass(slots=True)
class Caller:
    """Somebody outside, as the door meets them: the server has made up where answers go."""

    bus: FakeBus
    outside: FakeTransport
    heard: dict[str, list[Delivery]] = field(default_factory=dict)

    async def ask(self, reply: str, text: str | bytes = "hello", *, to: str = PROMPT, id: str = "") -> None:
        """Send a prompt whose answer goes there."""
        data = text if isinstance(text, bytes) else text.encode()
        headers = {"Nats-Msg-Id": id} if id else None
        self.heard.setdefault(reply, [])
        self.bus.carry(self.outside, to, data, reply, headers)

    def take(self, delivery: Delivery) -> None:
        self.heard.setdefault(delivery.subject, []).append(delivery)

    def chunks(self, reply: str) -> list[tuple[str, object]]:
        """What came there, signs of life left out."""
        found = [json.loads(one.data) for one in self.heard[reply] if one.data and not one.headers]
        return [(one["type"], one["data"]) for one in found if one["data"] != "working"]

    def text(self, reply: str) -> str:
        """The words that came there."""
        return "".join(str(said) for kind, said in self.chunks(reply) if kind == "response")

    def has_ended(self, reply: str) -> bool:
        """Whether the end came, as the last thing."""
        ends = [at for at, one in enumerate(self.heard[reply]) if not one.data and not one.headers]
        assert ends in ([], [len(self.heard[reply]) - 1])
        return bool(ends)

    def error(self, reply: str) -> str:
        """By which number it ended, if by one."""
        codes = [one.headers["Nats-Service-Error-Code"] for one in self.heard[reply] if one.headers]
        assert len(codes) <= 1
        return codes[0] if codes else ""


@dataclass(slots=True)
class Porch:
    """A door before a hub that a test plays."""

    bus: FakeBus
    hub: Hub
    caller: Caller
    folder: Path
    stack: AsyncExitStack

    async def asked(self, reply: str, text: str = "hello", *, to: str = PROMPT, id: str = "") -> str:
        """Ask, and the turn that it becomes."""
        before = len(self.hub.accepted)
        await self.caller.ask(reply, text, to=to, id=id)
        await until(lambda: len(self.hub.accepted) > before)
        await idle()
        return list(self.hub.accepted)[-1]

    async def open(self) -> None:
        """A door in the place of the last."""
        doors: list[Door] = []

        def note_lost() -> None:
            for one in doors:
                one.note_lost()

        transport = self.bus.join("agents-scout", on_disconnect=note_lost)
        visitors = (Visitor("ci", ("main",)), Visitor("olga", ("main",)))
        bot = BotSettings("scout", Identity("agents-scout"), visitors, self.folder / "notes")
        doors.append(Door(AgentsSettings("", (bot,)), bot, transport, clock=lambda: 0.0))
        running = asyncio.create_task(doors[0].run())

        async def close() -> None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await transport.close()

        self.stack.push_async_callback(close)
        await idle()


@pytest.fixture
async def porch(tmp_path: Path) -> AsyncIterator[Porch]:
    bus = FakeBus()
    hub = Hub(bus, "agents", "scout")
    await hub.open()
    caller = Caller(bus, bus.join("outside"))
    assert isinstance(await bus.join("ear").subscribe("_R_.>", caller.take), Ok)
    assert isinstance(await bus.join("ear").subscribe("agents.hb.>", caller.take), Ok)
    async with AsyncExitStack() as stack:
        made = Porch(bus, hub, caller, tmp_path, stack)
        await made.open()
        yield made


async def test_a_prompt_becomes_a_message_of_who_may_use_the_subject(porch: Porch) -> None:
    await porch.asked("_R_.a.1", '{"prompt": "hello", "user": "root", "session": "other"}')

    (message,) = porch.hub.messages
    assert (message.user_id, message.text, message.trust) == ("ci", "hello", "public")
    address = message.address
    assert (address.platform, address.bot_id, address.scope_id) == ("agents", "scout", "ci/main")


async def test_nothing_is_acknowledged_before_it_is_on_the_log(porch: Porch) -> None:
    porch.hub.answers = lambda asked: None if isinstance(asked, Submit) else porch.hub.agree(asked)
    await porch.caller.ask("_R_.a.1")
    await asyncio.sleep(5)
    before = porch.caller.chunks("_R_.a.1")

    porch.hub.answers = porch.hub.agree
    await until(lambda: bool(porch.caller.heard["_R_.a.1"]))

    assert before == []
    assert porch.caller.chunks("_R_.a.1") == [("status", "ack")]


async def test_an_answer_grows_in_pieces_and_ends(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1")
    await porch.hub.grow(turn, "One, ", events=1)
    await until(lambda: porch.caller.text("_R_.a.1") == "One, ")
    await porch.hub.grow(turn, "One, two", events=2)
    await porch.hub.answer(turn, "One, two.")
    await until(lambda: porch.caller.has_ended("_R_.a.1"))

    assert porch.caller.chunks("_R_.a.1")[0] == ("status", "ack")
    assert porch.caller.text("_R_.a.1") == "One, two."
    assert porch.caller.error("_R_.a.1") == ""


async def test_an_answer_begun_anew_goes_on_where_it_says_the_same(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1")
    await porch.hub.grow(turn, "One, two", events=2)
    await until(lambda: porch.caller.text("_R_.a.1") == "One, two")
    await porch.hub.grow(turn, "One", attempt=2)
    await idle()
    await porch.hub.answer(turn, "One, two, three.")
    await until(lambda: porch.caller.has_ended("_R_.a.1"))

    assert porch.caller.text("_R_.a.1") == "One, two, three."
    assert porch.caller.error("_R_.a.1") == ""


async def test_an_answer_begun_anew_with_other_words_ends_in_an_error_and_is_told_whole_to_who_asks_again(
    porch: Porch,
) -> None:
    turn = await porch.asked("_R_.a.1", id="x")
    await porch.hub.grow(turn, "One, two", events=2)
    await until(lambda: porch.caller.text("_R_.a.1") == "One, two")
    await porch.hub.grow(turn, "Uno", attempt=2)
    await until(lambda: porch.caller.has_ended("_R_.a.1"))
    await porch.caller.ask("_R_.a.2", id="x")
    await until(lambda: porch.caller.chunks("_R_.a.2") == [("status", "ack")])
    await porch.hub.answer(turn, "Uno, due.")
    await until(lambda: porch.caller.has_ended("_R_.a.2"))

    assert porch.caller.error("_R_.a.1") == "500"
    assert porch.caller.text("_R_.a.1") == "One, two"
    assert (porch.caller.text("_R_.a.2"), porch.caller.error("_R_.a.2")) == ("Uno, due.", "")
    assert len(porch.hub.accepted) == 1


async def test_who_was_told_while_the_connection_broke_is_not_left_with_a_gap(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1")
    await porch.hub.grow(turn, "One, ", events=1)
    await until(lambda: porch.caller.text("_R_.a.1") == "One, ")
    porch.bus.stop()
    await idle()
    porch.bus.start()
    await until(lambda: porch.caller.has_ended("_R_.a.1"), seconds=60)

    assert porch.caller.error("_R_.a.1") == "500"


async def test_a_door_that_comes_after_another_tells_those_who_waited_there(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1", id="x")
    await porch.hub.grow(turn, "One, ", events=1)
    await until(lambda: porch.caller.text("_R_.a.1") == "One, ")
    await porch.stack.aclose()
    await porch.open()
    await porch.caller.ask("_R_.a.2", id="x")
    await porch.hub.answer(turn, "One, two.")
    await until(lambda: porch.caller.has_ended("_R_.a.2") and porch.caller.has_ended("_R_.a.1"))

    assert (porch.caller.text("_R_.a.1"), porch.caller.error("_R_.a.1")) == ("One, ", "500")
    assert (porch.caller.text("_R_.a.2"), porch.caller.error("_R_.a.2")) == ("One, two.", "")
    await porch.stack.aclose()


async def test_who_waits_long_hears_that_it_is_not_in_vain(porch: Porch) -> None:
    await porch.asked("_R_.a.1")
    await asyncio.sleep(61)

    assert sum(b'"working"' in one.data for one in porch.caller.heard["_R_.a.1"]) == 4


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("blocked", "403"),
        ("no owner", "403"),
        ("not allowed", "403"),
        ("too fast", "429"),
        ("queue full", "429"),
        ("too large", "400"),
        ("no agent", "500"),
        ("unavailable", "500"),
    ],
)
async def test_a_refusal_is_told_by_a_number_of_the_protocols(porch: Porch, reason: RefusalReason, code: str) -> None:
    def refuse(asked: FromSpoke) -> ToSpoke | None:
        return Refused(reason=reason, text="No.") if isinstance(asked, Submit) else porch.hub.agree(asked)

    porch.hub.answers = refuse
    await porch.caller.ask("_R_.a.1")
    await until(lambda: porch.caller.has_ended("_R_.a.1"))

    assert porch.caller.error("_R_.a.1") == code
    assert porch.caller.chunks("_R_.a.1") == []


async def test_what_joins_a_running_answer_is_told_that_answer(porch: Porch) -> None:
    first = await porch.asked("_R_.a.1")
    second = await porch.asked("_R_.a.2")
    await porch.hub.answer(first, "For both.", joined=(second,))
    await until(lambda: porch.caller.has_ended("_R_.a.1") and porch.caller.has_ended("_R_.a.2"))

    assert [porch.caller.text(reply) for reply in ("_R_.a.1", "_R_.a.2")] == ["For both."] * 2


async def test_a_question_is_asked_once_and_taken_back_when_it_is_decided_elsewhere(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1")
    await porch.hub.grow(turn, "Hm.", events=1, question=QUESTION)
    await porch.hub.grow(turn, "Hm. ", events=2, question=QUESTION)
    await until(lambda: porch.caller.text("_R_.a.1") == "Hm. ")
    await porch.hub.grow(turn, "Hm. Done", events=3)
    await until(lambda: porch.caller.text("_R_.a.1") == "Hm. Done")
    (query,) = [said for kind, said in porch.caller.chunks("_R_.a.1") if kind == "query"]
    assert isinstance(query, dict)
    await porch.caller.ask("", b"yes", to=query["reply_subject"])
    await idle()

    assert query["prompt"] == "Ring the bell?\n\nAnswer yes or no."
    assert not [one for one in porch.hub.asked if one.kind == "decision"]


async def test_an_answer_to_a_question_counts_once_and_from_its_own_session_alone(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1")
    await porch.hub.grow(turn, "Hm.", question=QUESTION)
    await until(lambda: len(porch.caller.chunks("_R_.a.1")) == 3)
    query = porch.caller.chunks("_R_.a.1")[-1][1]
    assert isinstance(query, dict)
    where = query["reply_subject"]
    await porch.caller.ask("", b"yes", to=where.replace(".main.", ".nightly."))
    await idle()
    before = [one for one in porch.hub.asked if one.kind == "decision"]
    for _ in range(2):
        await porch.caller.ask("", b"yes", to=where)
    await idle()

    (decision,) = [one for one in porch.hub.asked if one.kind == "decision"]
    assert before == []
    assert (decision.kind, decision.scope_id, decision.code, decision.user_id, decision.approved) == (
        *("decision", "ci/main", QUESTION.code, "ci"),
        True,
    )


@pytest.mark.parametrize(
    "reply", [subjects.turns("agents", "scout", "x"), "$JS.API.STREAM.DELETE.TURNS", "_INBOX.agents.x", "_R_", ""]
)
async def test_where_the_server_does_not_lead_nothing_is_told(porch: Porch, reply: str) -> None:
    told: list[Delivery] = []
    assert isinstance(await porch.bus.join("ear").subscribe(">", told.append), Ok)

    await porch.caller.ask(reply)
    await porch.caller.ask(reply, to="agents.status.scout.ci.main")
    await porch.caller.ask(reply, to="agents.find.ci.INFO")
    await idle()

    assert porch.hub.messages == []
    assert {one.subject for one in told} <= {PROMPT, "agents.status.scout.ci.main", "agents.find.ci.INFO"}


@pytest.mark.parametrize("subject", ["agents.prompt.scout.eve.main", "agents.find.eve.INFO", "agents.status.scout.e.x"])
async def test_who_is_not_named_is_passed_over(porch: Porch, subject: str) -> None:
    await porch.caller.ask("_R_.a.1", to=subject)
    await idle()

    assert porch.hub.messages == []
    assert porch.caller.heard["_R_.a.1"] == []


async def test_prompts_of_one_session_reach_the_hub_in_their_order(porch: Porch) -> None:
    for number in range(20):
        await porch.caller.ask(f"_R_.a.{number}", str(number))
    await until(lambda: len(porch.hub.messages) == 20)

    assert [one.text for one in porch.hub.messages] == [str(number) for number in range(20)]


async def test_who_asks_again_for_what_nobody_hears_of_any_more_is_told_so(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.1", id="x")
    await porch.hub.answer(turn, "Done.")
    await until(lambda: porch.caller.has_ended("_R_.a.1"))
    await porch.hub.erase("ci/main")
    await porch.caller.ask("_R_.a.2", id="x")
    await asyncio.sleep(100)
    before = porch.caller.has_ended("_R_.a.2")
    await asyncio.sleep(50)

    assert not before
    assert (porch.caller.text("_R_.a.2"), porch.caller.error("_R_.a.2")) == ("", "409")


async def test_an_id_that_is_no_id_is_refused(porch: Porch) -> None:
    await porch.caller.ask("_R_.a.1", id="x" * 201)
    await until(lambda: porch.caller.has_ended("_R_.a.1"))

    assert porch.caller.error("_R_.a.1") == "400"
    assert porch.hub.messages == []


@pytest.fixture
async def known(porch: Porch) -> Porch:
    """A porch where ci has asked everything before, and nothing is heard of any of it."""

    def answer(asked: FromSpoke) -> ToSpoke | None:
        if isinstance(asked, Submit) and asked.message.user_id == "ci":
            return AlreadyAccepted(turn="t", covers=asked.message.ids, epoch=1)
        return porch.hub.agree(asked)

    porch.hub.answers = answer
    return porch


async def test_whoever_asks_much_leaves_the_others_their_place(known: Porch) -> None:
    for number in range(1_100):
        await known.caller.ask(f"_R_.a.{number}", id=f"old-{number}")
    await idle()
    await asyncio.sleep(5)
    for number in range(1_100, 2_200):
        await known.caller.ask(f"_R_.a.{number}", id=f"old-{number}")
    turn = await known.asked("_R_.b.1", to=OLGAS)
    await known.hub.answer(turn, "Yours.")
    await until(lambda: known.caller.has_ended("_R_.b.1"))

    assert (known.caller.text("_R_.b.1"), known.caller.error("_R_.b.1")) == ("Yours.", "")
    assert known.caller.error("_R_.a.2199") == "429"


async def test_of_who_was_told_that_nothing_is_heard_nothing_is_kept(known: Porch) -> None:
    for number in range(50):
        await known.caller.ask(f"_R_.a.{number}", id=f"old-{number}")
    await asyncio.sleep(150)
    gc.collect()

    assert {known.caller.error(f"_R_.a.{number}") for number in range(50)} == {"409"}
    # What a task of the door looked at last it holds until it goes on.
    assert sum(isinstance(one, Session) for one in gc.get_objects()) < 5


async def test_of_those_who_ask_the_same_the_last_few_are_answered(porch: Porch) -> None:
    turn = await porch.asked("_R_.a.0", id="x")
    for number in range(1, 10):
        await porch.caller.ask(f"_R_.a.{number}", id="x")
    await until(lambda: porch.caller.has_ended("_R_.a.5"))
    ended = [porch.caller.error(f"_R_.a.{number}") for number in range(10)]
    await porch.hub.answer(turn, "Done.")
    await until(lambda: porch.caller.has_ended("_R_.a.9"))

    assert ended == ["409"] * 6 + [""] * 4
    assert [porch.caller.text(f"_R_.a.{number}") for number in range(6, 10)] == ["Done."] * 4


async def test_who_is_being_answered_is_not_broken_off_by_another_who_asks_much(
    porch: Porch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.agents.door.HEARD_KEPT", 20)
    known = await porch.asked("_R_.a.1", id="x")
    await porch.hub.answer(known, "Done.")
    slow = await porch.asked("_R_.b.1", to=OLGAS)
    for number in range(2, 30):
        await porch.caller.ask(f"_R_.a.{number}", id="x")
    await until(lambda: porch.caller.has_ended("_R_.a.29"))
    await porch.hub.answer(slow, "Yours.")
    await until(lambda: porch.caller.has_ended("_R_.b.1"))

    assert (porch.caller.text("_R_.b.1"), porch.caller.error("_R_.b.1")) == ("Yours.", "")


async def test_more_than_can_wait_of_one_caller_is_refused(porch: Porch) -> None:
    porch.hub.answers = lambda asked: None if isinstance(asked, Submit) else Accepted(turn="t", epoch=1)
    for number in range(203):
        await porch.caller.ask(f"_R_.a.{number}", to=f"agents.prompt.scout.ci.s{number}")
    await idle()

    assert [porch.caller.error(f"_R_.a.{number}") for number in range(203)].count("429") == 3
