"""The workers as the hub hears them, over a bus that loses things and workers that die."""

from __future__ import annotations

import asyncio

import pytest

from adapters.nats.clipool import ERASED_WITHIN, GRACE, MOST_AT_ONCE, SILENCE, YOUNG, Keeper, NatsCliPool, NatsRun
from factory_contracts import subjects
from factory_contracts.messages import Outcome
from factory_contracts.records import MoneyReserved, ToolStarted
from factory_contracts.work import (
    COMMAND,
    COMMAND_REPLY,
    EVENTS,
    RECORD_REPLY,
    RECORD_REQUEST,
    WORKER_HEARTBEAT,
    AgentSpec,
    Command,
    Done,
    Ended,
    Erase,
    Events,
    Forget,
    KeptTurn,
    KnownCall,
    Line,
    LlmEvent,
    NotRecorded,
    Recorded,
    RecordReply,
    RecordRequest,
    Resume,
    Run,
    SaidText,
    Stale,
    Steer,
    Stop,
    ToolEvent,
    Unknown,
    WorkerHeartbeat,
)
from factory_nats.result import Err, Ok
from factory_nats.testing import FakeBus
from factory_nats.transport import Delivery
from hub.kernel.ports import Assignment, Chosen, Fenced, Lost, Report
from hub.kernel.routing import RoutingKey
from tests.fakes import idle, pass_time, until

pytestmark = pytest.mark.asyncio(loop_scope="function")

KEY = RoutingKey("paper", "desk", "chat")
KNOWN = KnownCall(call="c", outcome="ok", content="done")
AGENT = AgentSpec(name="alice", hash="h", model="scripted", namespace="alice")


class Worker:
    """A worker whose every word a test says."""

    def __init__(self, bus: FakeBus, name: str) -> None:
        self.name = name
        self.instance = "i1"
        self.transport = bus.join(name)
        self.heard: list[tuple[Command, str]] = []
        self.kept: dict[str, KeptTurn] = {}
        self._beating: asyncio.Task[None] | None = None

    async def join(self) -> None:
        listening = await self.transport.subscribe(subjects.clipool_command(self.name), self._on_command)
        assert isinstance(listening, Ok)
        self._beating = asyncio.create_task(self._beat())

    def _on_command(self, delivery: Delivery) -> None:
        self.heard.append((COMMAND.decode(delivery.data), delivery.reply))

    async def _beat(self) -> None:
        while True:
            await self.beat()
            await pass_time(0.5)

    async def beat(self) -> None:
        heartbeat = WorkerHeartbeat(
            worker=self.name, instance=self.instance, turns=dict(self.kept), models=("scripted",)
        )
        await self.transport.publish(
            subjects.heartbeat(subjects.CLIPOOL, self.name), WORKER_HEARTBEAT.encode(heartbeat)
        )

    async def tell(
        self,
        turn: str,
        first: int,
        *events: LlmEvent,
        attempt: int = 1,
        instance: str | None = None,
        done: int | None = None,
    ) -> None:
        payload = EVENTS.encode(
            Events(
                turn=turn, attempt=attempt, instance=instance or self.instance, first=first, events=events, done=done
            )
        )
        await self.transport.publish(subjects.clipool_events(self.name, KEY.partition), payload)
        await idle()

    async def reply(self, number: int, answer: Done | Unknown | Stale) -> None:
        await self.transport.publish(self.heard[number][1], COMMAND_REPLY.encode(answer))
        await idle()

    def commands(self, kind: type[Command]) -> list[Command]:
        return [command for command, _ in self.heard if isinstance(command, kind)]

    async def silent(self) -> None:
        assert self._beating is not None
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)

    async def leave(self) -> None:
        if self._beating is not None:
            await self.silent()
        await self.transport.close()


class Stage:
    """A hub's view of workers over one bus."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.is_over = False
        self.transport = self.bus.join("hub")
        self.pool = NatsCliPool(self.transport, lambda part: 100 + part, self.reigns)
        self.workers: list[Worker] = []

    async def reigns(self, part: int) -> bool:
        """Whether the log still names this hub."""
        return not self.is_over

    async def worker(self, name: str = "w1") -> Worker:
        worker = Worker(self.bus, name)
        self.workers.append(worker)
        await worker.join()
        return worker

    def assignment(self, turn: str = "t", attempt: int = 1, worker: str = "w1", instance: str = "i1") -> Assignment:
        return Assignment(
            key=KEY,
            turn=turn,
            attempt=attempt,
            chosen=Chosen(worker, instance),
            user_id="ann",
            agent=AGENT,
            lines=(),
            pace_ms=0,
            known_calls=(KNOWN,),
            person="stone:max",
        )

    async def close(self) -> None:
        for worker in self.workers:
            await worker.leave()
        await self.pool.close()


async def a_stage() -> tuple[Stage, Worker]:
    """A hub and a worker on a connection that is not young."""
    stage = Stage()
    await stage.pool.open()
    await stage.pool.start()
    worker = await stage.worker()
    await pass_time(YOUNG + 1)
    await idle()
    return stage, worker


def said(text: str) -> SaidText:
    return SaidText(text=text)


def ended(outcome: Outcome = "complete") -> Ended:
    return Ended(outcome=outcome)


def texts(report: Report) -> list[str]:
    assert isinstance(report, Events), report
    return [event.text for event in report.events if isinstance(event, SaidText)]


async def why(run: NatsRun) -> str:
    """Why the attempt is lost, whatever it said before."""
    while not isinstance(report := await asyncio.wait_for(run.next(), 30), Lost):
        pass
    return report.why


async def test_events_come_in_order_and_only_once() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    await worker.tell("t", 0, said("a"), said("b"))
    await worker.tell("t", 1, said("b"), said("c"))
    await worker.tell("t", 0, said("a"))
    await worker.tell("t", 3, ended(), done=4)

    reports = [await run.next(), await run.next(), await run.next()]

    assert [texts(report) for report in reports] == [["a", "b"], ["c"], []]
    await stage.close()


async def test_a_gap_is_asked_for_and_nothing_is_skipped() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    await worker.tell("t", 0, said("a"))
    await worker.tell("t", 2, said("c"))

    asked = worker.commands(Resume)
    await worker.tell("t", 1, said("b"), said("c"))

    assert [one.start for one in asked if isinstance(one, Resume)] == [1]
    assert [texts(await run.next()), texts(await run.next())] == [["a"], ["b", "c"]]
    await stage.close()


async def test_a_lost_tail_is_found_by_the_heartbeat() -> None:
    stage, worker = await a_stage()
    await stage.pool.run(stage.assignment())
    await worker.tell("t", 0, said("a"))
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=3)

    await until(lambda: bool(worker.commands(Resume)))

    (asked,) = worker.commands(Resume)
    assert isinstance(asked, Resume)
    assert asked.start == 1
    await stage.close()


async def test_a_new_instance_means_that_the_attempt_is_lost() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())

    worker.instance = "i2"

    assert await why(run) == "the worker was started anew"
    await stage.close()


async def test_a_silent_worker_loses_its_attempts_and_is_not_picked() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=0)
    began = asyncio.get_running_loop().time()
    await worker.silent()

    assert await why(run) == "the worker fell silent"

    assert SILENCE < asyncio.get_running_loop().time() - began < SILENCE + 1
    assert stage.pool.pick() is None
    await stage.close()


async def test_a_worker_that_does_not_name_the_turn_is_asked_for_it_and_loses_it_when_it_does_not_know_it() -> None:
    stage, worker = await a_stage()
    began = asyncio.get_running_loop().time()
    run = await stage.pool.run(stage.assignment())
    await until(lambda: bool(worker.commands(Resume)))
    asked = asyncio.get_running_loop().time()

    await worker.reply(-1, Unknown(turn="t"))

    assert asked - began > GRACE
    assert await why(run) == "the worker does not know the turn"
    await stage.close()


async def test_heartbeats_that_were_sent_before_the_command_came_cost_no_attempt() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    await until(lambda: len(worker.commands(Resume)) > 2)

    await worker.tell("t", 0, said("a"))

    assert texts(await run.next()) == ["a"]
    await stage.close()


async def test_a_worker_that_says_unknown_has_lost_it_at_once() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.resume(stage.assignment())
    await idle()
    await worker.reply(0, Unknown(turn="t"))

    assert await why(run) == "the worker does not know the turn"
    await stage.close()


async def test_a_worker_that_says_unknown_is_given_nothing_until_it_says_who_it_is() -> None:
    stage, worker = await a_stage()
    await stage.pool.resume(stage.assignment())
    await idle()
    await worker.reply(0, Unknown(turn="t"))
    picked = stage.pool.pick()

    worker.instance = "i2"
    await stage.pool.wait(1)

    assert picked is None
    assert stage.pool.pick() == Chosen("w1", "i2")
    await stage.close()


async def test_a_command_names_the_life_that_it_is_meant_for() -> None:
    stage, worker = await a_stage()
    await stage.pool.run(stage.assignment())
    await idle()

    assert [command.instance for command in worker.commands(Run) if isinstance(command, Run)] == [worker.instance]
    await stage.close()


async def test_a_command_tells_who_asks_and_what_an_earlier_attempt_did() -> None:
    stage, worker = await a_stage()
    await stage.pool.run(stage.assignment())
    await idle()

    told = [(one.user_id, one.person, one.known_calls) for one in worker.commands(Run) if isinstance(one, Run)]
    assert told == [("ann", "stone:max", (KNOWN,))]
    await stage.close()


async def test_a_message_that_joins_is_told_to_the_worker_that_runs_the_turn() -> None:
    stage, worker = await a_stage()
    other = await stage.worker("w2")
    run = await stage.pool.run(stage.assignment())
    line = Line(role="user", text="and?")
    await run.steer("u", line)
    await idle()

    part = KEY.partition
    assert worker.commands(Steer) == [Steer(turn="t", epoch=100 + part, partition=part, joining="u", line=line)]
    assert other.commands(Steer) == []
    await stage.close()


async def test_a_worker_that_does_not_know_the_turn_to_be_joined_has_lost_it() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    await run.steer("u", Line(role="user", text="and?"))
    await idle()
    await worker.reply(1, Unknown(turn="t"))

    assert await why(run) == "the worker does not know the turn"
    await stage.close()


async def test_the_providers_are_those_of_workers_that_live() -> None:
    stage, worker = await a_stage()
    before = stage.pool.providers()
    await worker.silent()
    await pass_time(2 * SILENCE)

    assert (before, stage.pool.providers()) == (frozenset({"scripted"}), frozenset())
    await stage.close()


async def test_what_is_said_of_a_lost_attempt_does_not_end_the_next() -> None:
    stage, worker = await a_stage()
    other = await stage.worker("w2")
    await idle()
    first = await stage.pool.resume(stage.assignment())
    await idle()
    await first.close(forget=False)
    second = await stage.pool.run(stage.assignment(attempt=2, worker="w2"))

    await worker.reply(0, Unknown(turn="t"))
    await other.tell("t", 0, said("a"), attempt=2)

    assert texts(await second.next()) == ["a"]
    await stage.close()


async def test_only_the_worker_that_was_chosen_speaks_for_a_turn() -> None:
    stage, worker = await a_stage()
    thief = await stage.worker("w2")
    run = await stage.pool.run(stage.assignment())
    await thief.tell("t", 0, said("stolen"))
    await worker.tell("t", 0, said("old"), attempt=2)
    await worker.tell("t", 0, said("older"), instance="i0")
    await worker.tell("t", 0, said("mine"))

    assert texts(await run.next()) == ["mine"]
    await stage.close()


async def test_an_attempt_whose_events_cannot_be_read_is_lost_and_ended_there() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment(attempt=2))
    too_long = ToolEvent(call="c", tool="fetch", state="running", text="").model_copy(update={"text": "w" * 200_000})
    unreadable = Events(turn="t", attempt=2, instance="i1", first=0, events=(too_long,))
    subject = subjects.clipool_events(worker.name, KEY.partition)
    earlier = unreadable.model_copy(update={"attempt": 1})
    for payload in (b"[]", b"{", b"[" * 100_000, b'{"turn":7}', EVENTS.encode(earlier)):
        await worker.transport.publish(subject, payload)
    await worker.tell("t", 0, said("a"), attempt=2)
    assert texts(await run.next()) == ["a"]

    await worker.transport.publish(subject, EVENTS.encode(unreadable))

    assert await why(run) == "the worker says what cannot be read"
    await until(lambda: bool(worker.commands(Stop)))
    await stage.close()


async def test_nobody_there_is_a_death_on_an_old_connection() -> None:
    stage, worker = await a_stage()
    await worker.leave()
    run = await stage.pool.run(stage.assignment())

    assert await why(run) == "nobody answers at the worker"
    assert stage.pool.pick() is None
    await stage.close()


async def test_nobody_there_is_no_death_on_a_young_connection() -> None:
    stage = Stage()
    await stage.pool.open()
    await stage.pool.start()
    run = await stage.pool.resume(stage.assignment())
    await pass_time(1)
    worker = await stage.worker()
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=1)
    await until(lambda: bool(worker.commands(Resume)))
    await worker.tell("t", 0, said("a"))

    assert texts(await run.next()) == ["a"]
    await stage.close()


async def test_a_bus_that_goes_and_comes_back_costs_no_attempt() -> None:
    stage, worker = await a_stage()
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=1)
    run = await stage.pool.run(stage.assignment())
    await worker.tell("t", 0, said("a"))
    stage.bus.stop()
    await pass_time(20)

    stage.bus.start()
    await pass_time(5)
    await worker.tell("t", 1, said("b"))

    assert [texts(await run.next()), texts(await run.next())] == [["a"], ["b"]]
    await stage.close()


async def test_a_stop_that_the_bus_lost_is_said_again() -> None:
    stage, worker = await a_stage()
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=0)
    run = await stage.pool.run(stage.assignment())
    stage.bus.stop()
    await run.stop()
    assert not worker.commands(Stop)

    stage.bus.start()
    await until(lambda: bool(worker.commands(Stop)))
    await worker.tell("t", 0, ended("stopped"), done=1)

    assert isinstance(await run.next(), Events)
    await stage.close()


async def test_a_server_that_takes_nothing_for_a_while_costs_no_attempt() -> None:
    stage, worker = await a_stage()
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=1)
    run = await stage.pool.run(stage.assignment())
    await worker.tell("t", 0, said("a"))
    stage.transport.has_room = False
    await run.stop()
    assert not worker.commands(Stop)

    stage.transport.has_room = True
    await until(lambda: bool(worker.commands(Resume)) and bool(worker.commands(Stop)))
    await worker.tell("t", 1, ended("stopped"), done=2)

    assert [texts(await run.next()), texts(await run.next())] == [["a"], []]
    await stage.close()


async def test_a_worker_that_obeys_a_hub_of_another_log_loses_the_turn_and_fences_nobody() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    await idle()
    await worker.reply(0, Stale(epoch=900))

    assert isinstance(await run.next(), Lost)
    assert stage.pool.pick() is None
    await stage.close()


async def test_a_worker_that_knows_a_newer_hub_fences_this_one() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    stage.is_over = True
    await idle()
    await worker.reply(0, Stale(epoch=900))

    with pytest.raises(Fenced):
        await run.next()
    await stage.close()


def turns_of(command: Command) -> tuple[str, ...]:
    assert not isinstance(command, Erase)
    return command.turns if isinstance(command, Forget) else (command.turn,)


async def test_commands_carry_turn_attempt_and_epoch() -> None:
    stage, worker = await a_stage()
    run = await stage.pool.run(stage.assignment())
    await run.stop()
    await run.close(forget=True)
    await until(lambda: len(worker.heard) == 3)

    assert [type(command) for command, _ in worker.heard] == [Run, Stop, Forget]
    assert [turns_of(command) for command, _ in worker.heard] == [("t",), ("t",), ("t",)]
    assert {command.epoch for command, _ in worker.heard} == {100 + KEY.partition}
    await stage.close()


def asked_to_erase(worker: Worker) -> list[int]:
    """The places of the commands to erase among those that were heard."""
    return [at for at, (command, _) in enumerate(worker.heard) if isinstance(command, Erase)]


async def test_every_live_worker_is_asked_to_erase_until_it_says_that_it_did() -> None:
    stage, first = await a_stage()
    second = await stage.worker("w2")
    await pass_time(1)

    erasing = asyncio.create_task(stage.pool.erase(KEY, ("alice", "bob"), 7.5))
    await until(lambda: bool(asked_to_erase(first) and asked_to_erase(second)))
    await first.reply(0, Done())
    await pass_time(ERASED_WITHIN + 1)
    assert not erasing.done()
    await second.reply(asked_to_erase(second)[-1], Done())
    await erasing

    command, _ = first.heard[0]
    assert command == Erase(
        scope="paper:desk:chat",
        namespaces=("alice", "bob"),
        until=7.5,
        epoch=100 + KEY.partition,
        partition=KEY.partition,
    )
    assert len(asked_to_erase(first)) == 1
    assert len(asked_to_erase(second)) == 2
    await stage.close()


async def test_a_worker_that_is_gone_is_not_waited_for_but_one_must_have_answered() -> None:
    stage, only = await a_stage()
    erasing = asyncio.create_task(stage.pool.erase(KEY, (), 7.5))
    await until(lambda: bool(asked_to_erase(only)))

    await only.leave()
    await pass_time(60)
    assert not erasing.done()
    other = await stage.worker("w2")
    await until(lambda: bool(asked_to_erase(other)))
    await other.reply(0, Done())

    await erasing
    stage.workers.remove(only)
    await stage.close()


async def test_a_worker_that_refuses_is_asked_again() -> None:
    stage, worker = await a_stage()
    erasing = asyncio.create_task(stage.pool.erase(KEY, (), 7.5))
    await until(lambda: bool(asked_to_erase(worker)))

    await worker.reply(0, Stale(epoch=900))
    await until(lambda: len(asked_to_erase(worker)) == 2)
    assert not erasing.done()
    await worker.reply(1, Done())

    await erasing
    await stage.close()


async def test_a_kept_turn_is_forgotten_only_when_the_hub_knows_that_it_is_closed() -> None:
    stage, worker = await a_stage()
    scope = KEY.to_pool_id()
    worker.kept = {name: KeptTurn(scope=scope, attempt=1, events=1) for name in ("closed", "open")}
    await pass_time(2)
    assert worker.heard == []

    async def record(worker: str, request: RecordRequest) -> RecordReply:
        return Recorded()

    stage.pool.serve(Keeper(lambda scope, turn: turn == "open", record))
    await until(lambda: bool(worker.heard))

    assert {turns_of(command) for command, _ in worker.heard} == {("closed",)}
    await stage.close()


async def test_what_was_closed_here_is_not_told_any_more_once_another_hub_has_the_partition() -> None:
    stage, worker = await a_stage()
    other = KEY.partition + 1
    stage.pool.forget("w1", "lost", KEY.partition)
    stage.pool.forget("w1", "own", other)

    stage.pool.leave(KEY.partition)
    await until(lambda: bool(worker.heard))
    await pass_time(2)

    assert [turns_of(command) for command, _ in worker.heard] == [("own",)]
    await stage.close()


async def test_the_worker_with_the_fewest_turns_is_picked_and_a_draining_one_is_not() -> None:
    stage, worker = await a_stage()
    await stage.worker("w2")
    await pass_time(1)
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=1)
    await worker.beat()
    await idle()

    assert stage.pool.pick() == Chosen("w2", "i1")
    await stage.close()


async def test_a_record_is_granted_and_its_reply_goes_only_to_the_worker_itself() -> None:
    stage, worker = await a_stage()
    asked: list[str] = []

    async def record(name: str, request: RecordRequest) -> RecordReply:
        asked.append(name)
        return Recorded()

    stage.pool.serve(Keeper(lambda scope, turn: True, record))
    request = RECORD_REQUEST.encode(
        RecordRequest(
            platform="paper",
            bot_id="desk",
            scope_id="chat",
            attempt=1,
            instance="i1",
            record=ToolStarted(
                id="r", turn="t", at=0.0, attempt=1, call="c", tool="files", effect="write", arguments="d"
            ),
        )
    )

    granted = await worker.transport.request(
        subjects.clipool_record("w1", KEY.partition), request, timeout=1.0, responder=subjects.HUB
    )
    stolen = await worker.transport.request(
        subjects.clipool_record("w2", KEY.partition), request, timeout=1.0, responder=subjects.HUB
    )

    assert isinstance(granted, Ok)
    assert RECORD_REPLY.decode(granted.value) == Recorded()
    assert not isinstance(stolen, Ok)
    assert asked == ["w1"]
    await stage.close()


async def test_a_hub_that_stood_still_does_not_take_its_own_sleep_for_a_workers_silence() -> None:
    stage, worker = await a_stage()
    worker.kept["t"] = KeptTurn(scope=KEY.to_pool_id(), attempt=1, events=1)
    run = await stage.pool.run(stage.assignment())
    await worker.tell("t", 0, said("a"))
    loop = asyncio.get_running_loop()
    assert hasattr(loop, "stand_still")

    loop.stand_still(10.0)
    await pass_time(2)
    await worker.tell("t", 1, said("b"))

    assert [texts(await run.next()), texts(await run.next())] == [["a"], ["b"]]
    await stage.close()


async def test_a_worker_that_is_to_ask_again_hears_nothing() -> None:
    stage, worker = await a_stage()
    answers: list[RecordReply | None] = [None, NotRecorded(words="No money.")]

    async def record(name: str, request: RecordRequest) -> RecordReply | None:
        return answers.pop(0)

    stage.pool.serve(Keeper(lambda scope, turn: True, record))
    reserved = MoneyReserved(id="r", turn="t", at=0.0, attempt=1, call="m1", user_id="ann", agent="a", model="m")
    request = RECORD_REQUEST.encode(
        RecordRequest(platform="paper", bot_id="desk", scope_id="chat", attempt=1, instance="i1", record=reserved)
    )

    first = await worker.transport.request(
        subjects.clipool_record("w1", KEY.partition), request, timeout=1.0, responder=subjects.HUB
    )
    second = await worker.transport.request(
        subjects.clipool_record("w1", KEY.partition), request, timeout=1.0, responder=subjects.HUB
    )

    assert isinstance(first, Err)
    assert isinstance(second, Ok)
    assert RECORD_REPLY.decode(second.value) == NotRecorded(words="No money.")
    await stage.close()


async def test_more_records_than_can_be_waited_for_at_once_are_asked_for_again() -> None:
    stage, worker = await a_stage()
    asked: list[str] = []
    may_answer = asyncio.Event()

    async def record(name: str, request: RecordRequest) -> RecordReply:
        asked.append(name)
        await may_answer.wait()
        return Recorded()

    stage.pool.serve(Keeper(lambda scope, turn: True, record))
    reserved = MoneyReserved(id="r", turn="t", at=0.0, attempt=1, call="m1", user_id="ann", agent="a", model="m")
    request = RECORD_REQUEST.encode(
        RecordRequest(platform="paper", bot_id="desk", scope_id="chat", attempt=1, instance="i1", record=reserved)
    )
    subject = subjects.clipool_record("w1", KEY.partition)
    for number in range(MOST_AT_ONCE + 100):
        await worker.transport.publish(subject, request, reply=worker.transport.inbox("hub", f"records.{number}"))
    await until(lambda: len(asked) >= MOST_AT_ONCE)
    await idle()
    assert len(asked) == MOST_AT_ONCE

    may_answer.set()
    await idle()
    granted = await worker.transport.request(subject, request, timeout=1.0, responder=subjects.HUB)

    assert isinstance(granted, Ok)
    await stage.close()
