"""A whole hub among fakes: what it is asked, what it says, and how it is killed and follows itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from factory_contracts.messages import (
    Accepted,
    Address,
    AlreadyAccepted,
    Attachment,
    Final,
    FinalReceipt,
    Hello,
    InboundMessage,
    Noted,
    Outbound,
    Refused,
    ShownReceipt,
    Submit,
    ToSpoke,
    Update,
    turn_id,
)
from factory_contracts.records import Given, Granted
from hub.delivery import Deliveries
from hub.dispatch import Hub
from hub.forgetting import Forgetting
from hub.kernel.access import BotPolicy
from hub.kernel.agent import Agent
from hub.kernel.budget import Budget, Ledger
from hub.kernel.guards import Pairing
from hub.kernel.ports import Alone, Assignment, CliPool, Peers
from hub.kernel.routing import Binding, Bindings, RoutingKey
from hub.leases import Leases
from hub.money import Money
from hub.people import People
from hub.pool import Crew, Pool, Pools, Ports
from hub.recovery import keep_mark, recover
from hub.turn import run_turn
from tests.fakes import (
    FakeCliPool,
    FakeClock,
    FakeEraser,
    FakeLog,
    FakeOutbox,
    FakePresence,
    FakeStream,
    FakeWorkers,
    idle,
    until,
)

ALICE = Agent("alice", "scripted", description="answers first")
BOB = Agent("bob", "scripted", system="You are Bob.")
PLATFORM = "paper"
BOT = "desk"
MUCH = 1_000_000
ASKED_AGAIN = 0.5
GENEROUS = BotPolicy(
    PLATFORM, BOT, access="public", rate_per_minute=MUCH, rate_per_scope_minute=MUCH, turns_at_once=MUCH
)


def key_of(scope: str = "chat", bot: str = BOT) -> RoutingKey:
    return RoutingKey(PLATFORM, bot, scope)


class FakeScreen:
    """All spokes and platforms in one: shows what it is told and sends receipts, unless a test switches it off."""

    def __init__(self, world: World) -> None:
        self.bubbles: dict[str, list[str]] = {}
        self.texts: dict[str, str] = {}
        self.finals: dict[str, Final] = {}
        self.order: list[str] = []
        self.is_there = True
        self.sends_finals = True
        self.gone: set[str] = set()
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, event: Outbound) -> None:
        if not isinstance(event, Update | Final) or not self.is_there or event.address.scope_id in self.gone:
            return
        if isinstance(event, Update):
            kept = self.texts.get(event.turn, "")
            if event.base <= len(kept):
                self.texts[event.turn] = kept[: event.base] + event.text
        else:
            self.texts[event.turn] = event.text
            self.finals[event.turn] = event
        task = asyncio.create_task(self._receipt(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receipt(self, event: Update | Final) -> None:
        where = {"platform": event.address.platform, "bot_id": event.address.bot_id}
        scope = event.address.scope_id
        hub = self._world.hub
        if event.turn not in self.bubbles:
            self.bubbles[event.turn] = [f"bubble of {event.turn[:6]}"]
            self.order.append(event.turn)
            receipt = shown(event.turn, self.bubbles[event.turn][0], scope).model_copy(update=where)
            while await hub.answer(receipt) is None:
                await asyncio.sleep(ASKED_AGAIN)
        if isinstance(event, Final) and self.sends_finals:
            await hub.answer(final(event.turn, self.bubbles[event.turn][0], scope).model_copy(update=where))

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def shown(turn: str, message_id: str, scope: str = "chat") -> ShownReceipt:
    return ShownReceipt(platform=PLATFORM, bot_id=BOT, scope_id=scope, turn=turn, message_id=message_id)


def final(turn: str, message_id: str, scope: str = "chat", undeliverable: str | None = None) -> FinalReceipt:
    return FinalReceipt(
        platform=PLATFORM,
        bot_id=BOT,
        scope_id=scope,
        turn=turn,
        message_id=message_id if undeliverable is None else None,
        undeliverable=undeliverable,
    )


@dataclass
class World:
    """What outlives a hub, and the hub that reigns over it now."""

    max_pools: int = 1_000
    budgets: tuple[Budget, ...] = ()
    policy: BotPolicy = GENEROUS
    others: tuple[BotPolicy, ...] = ()

    def __post_init__(self) -> None:
        self.stream = FakeStream()
        self.workers = FakeWorkers("w1")
        self.outbox = FakeOutbox()
        self.clock = FakeClock()
        self.presence = FakePresence()
        self.screen = FakeScreen(self)
        self.outbox.listeners.append(self.screen.hear)
        self.bindings = Bindings({"alice": ALICE, "bob": BOB}, (Binding("alice", platform=PLATFORM),))
        self.offers: dict[tuple[str, str], Pairing] = {}
        self.points: list[str] = []
        self.is_fenced = asyncio.Event()
        self.peers: Peers = Alone()
        self._messages = 0
        self._marking: asyncio.Task[None] | None = None

    async def reign(self) -> None:
        """A hub begins, on whatever the last one left."""
        log = FakeLog(self.stream)
        self.is_fenced = asyncio.Event()
        self.deliveries = Deliveries(self.is_fenced.set, self.points.append)
        self.ledger = Ledger(self.budgets)
        policies = (self.policy, *self.others)
        self.people = People(log, policies, lambda platform, bot_id: self.offers.get((platform, bot_id)))
        self.ports = Ports(
            log,
            self.outbox,
            self.clipool(log),
            self.bindings,
            self.ledger,
            self.people,
            self.clock,
            self.points.append,
            peers=self.peers,
        )
        self.forgetting = Forgetting(self.ports, FakeEraser(self.stream))
        crew = Crew(
            run_turn,
            self.deliveries.deliver,
            self.deliveries.settle,
            lambda key, view: self.hub.begin(key, view),
            self.forgetting.forget,
            self.is_fenced.set,
        )
        self.pools = Pools(self.ports, crew, self.max_pools)
        leases = Leases(log, self.presence, self.clock)
        self.hub = Hub(self.ports, self.pools, self.forgetting, Money(self.ledger), leases)
        await log.take_over(self.clock())
        await self.people.restore()
        self.ledger.restore(await log.spent())
        await recover(log, self.pools, self.ledger, self.forgetting)
        self._marking = asyncio.create_task(keep_mark(log, self.pools, self.ledger, self._unwritten, self.clock))

    def _unwritten(self) -> tuple[int, ...]:
        return (*self.deliveries.unwritten(), *self.forgetting.unfinished())

    def clipool(self, log: FakeLog) -> CliPool:
        """The workers as the hub that begins sees them."""
        return FakeCliPool(self.workers)

    async def kill(self) -> None:
        """The hub is gone, with all it knew."""
        if self._marking is not None:
            self._marking.cancel()
            await asyncio.gather(self._marking, return_exceptions=True)
        await self.screen.close()
        await self.deliveries.close()
        await self.pools.close()
        await self.forgetting.close()

    async def serve(self, *agents: Agent) -> None:
        """The hub is started anew with these agents as well, and the first of them serves everywhere."""
        await self.kill()
        every = {**self.bindings.agents, **{agent.name: agent for agent in agents}}
        self.bindings = Bindings(every, (Binding(agents[0].name, platform=PLATFORM),))
        await self.reign()

    async def let_in(self, user: str, level: Given = "trusted") -> None:
        """The home lets somebody in."""
        who, bot = f"{PLATFORM}:{user}", key_of().bot
        act = Granted(id=f"let in {user} as {level}", at=self.clock(), to=who, bot=bot, level=level)
        assert await self.people.do(act) == ""

    async def restart(self) -> None:
        """The hub is killed, and another begins."""
        await self.kill()
        self.stream.release()
        await self.reign()

    def message(
        self,
        text: str,
        *,
        scope: str = "chat",
        user: str = "ann",
        id: str | None = None,
        covers: tuple[str, ...] = (),
        platform: str = PLATFORM,
        bot: str = BOT,
        in_group: bool = False,
        quoted: str | None = None,
        echo: bool = False,
        names_scopes: bool = False,
        attachments: tuple[Attachment, ...] = (),
    ) -> InboundMessage:
        self._messages += 1
        return InboundMessage(
            message_id=id or f"m{self._messages}",
            covers=covers,
            user_id=user,
            user_name=user.title(),
            text=text,
            attachments=attachments,
            in_group=in_group,
            quoted=quoted,
            address=Address(platform=platform, bot_id=bot, scope_id=scope, echo=echo, names_scopes=names_scopes),
        )

    async def submit(self, message: InboundMessage) -> ToSpoke | None:
        address = message.address
        asked = Submit(platform=address.platform, bot_id=address.bot_id, scope_id=address.scope_id, message=message)
        return await self.hub.answer(asked)

    async def accepted(self, text: str, *, scope: str = "chat", user: str = "ann", id: str | None = None) -> str:
        """Say something that is accepted; answers with the turn."""
        answer = await self.submit(self.message(text, scope=scope, user=user, id=id))
        assert isinstance(answer, Accepted), answer
        await idle()
        return answer.turn

    async def told(
        self,
        text: str,
        *,
        scope: str = "chat",
        user: str = "ann",
        platform: str = PLATFORM,
        bot: str = BOT,
        in_group: bool = False,
        names_scopes: bool = False,
    ) -> Final:
        """Say something that the hub itself answers; its answer."""
        message = self.message(
            text, scope=scope, user=user, platform=platform, bot=bot, in_group=in_group, names_scopes=names_scopes
        )
        answer = await self.submit(message)
        assert isinstance(answer, Accepted), answer
        await until(lambda: answer.turn in self.screen.finals)
        assert self.workers.runs_of(answer.turn) == 0
        return self.screen.finals[answer.turn]

    async def refused(
        self, text: str, *, scope: str = "chat", user: str = "ann", platform: str = PLATFORM, bot: str = BOT
    ) -> Refused:
        """Say something that is refused."""
        answer = await self.submit(self.message(text, scope=scope, user=user, platform=platform, bot=bot))
        assert isinstance(answer, Refused), answer
        return answer

    async def known(self, message: InboundMessage) -> AlreadyAccepted:
        """Say something that was accepted before."""
        answer = await self.submit(message)
        assert isinstance(answer, AlreadyAccepted), answer
        return answer

    async def hello(self, scope: str = "*") -> ToSpoke | None:
        return await self.hub.answer(Hello(platform=PLATFORM, bot_id=BOT, scope_id=scope))

    async def noted(self, asked: ShownReceipt | FinalReceipt) -> Noted:
        answer = await self.hub.answer(asked)
        assert isinstance(answer, Noted)
        return answer

    async def begun(self, turn: str, *, times: int = 1) -> Assignment:
        """Wait until a worker began the turn; answers with what it was told."""
        await until(lambda: self.workers.runs_of(turn) >= times)
        return [one for one in self.workers.started if one.turn == turn][-1]

    async def answered(self, turn: str, text: str = "Fine.") -> None:
        """Have the turn answered by its worker, and wait until the answer is on the screen."""
        await self.begun(turn)
        self.workers.say(turn, text)
        self.workers.end(turn)
        await until(lambda: turn in self.screen.finals)
        await idle()

    async def answered_unseen(self, turn: str) -> None:
        """Have the turn answered by its worker, though no screen shows it."""
        await self.begun(turn)
        self.workers.end(turn)
        await until(lambda: bool(self.finals(turn)))

    async def exchange(self, said: str, answer: str = "Fine.", *, scope: str = "chat", user: str = "ann") -> str:
        """A whole turn."""
        turn = await self.accepted(said, scope=scope, user=user)
        await self.answered(turn, answer)
        return turn

    def pool(self, scope: str = "chat") -> Pool:
        pool = self.pools.peek(key_of(scope))
        assert pool is not None
        return pool

    def turn(self, id: str, scope: str = "chat") -> str:
        return turn_id(PLATFORM, BOT, scope, id)

    def kinds(self, scope: str = "chat") -> list[str]:
        return self.stream.kinds(key_of(scope))

    def updates(self, turn: str) -> list[Update]:
        return [event for event in self.outbox.published if isinstance(event, Update) and event.turn == turn]

    def finals(self, turn: str) -> list[Final]:
        return [event for event in self.outbox.published if isinstance(event, Final) and event.turn == turn]
