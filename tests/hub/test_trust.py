"""No sequence of pairing, linking, granting and revoking raises anyone above their granter, through the whole hub.

What people say goes in as messages, and what the hub makes of everybody is compared with a model that works the other
way round: it asks of each person whether a chain of grants leads from them to somebody who needs none.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from copy import deepcopy
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from factory_contracts.messages import Accepted, Final, Refused
from factory_contracts.records import TurnReceived
from hub.kernel.access import RANK, BotPolicy, Level
from hub.kernel.guards import Pairing, digest_of
from hub.kernel.routing import Binding, Bindings, RoutingKey
from hub.people import INVITED_FOR, LINKING_FOR
from tests.fakes import VirtualLoop, until
from tests.hub.world import ALICE, MUCH, World

T = TypeVar("T")

# Few people and few bots, so that what one of them does concerns the others.
DESK, MILL, TERMINAL = "paper:desk", "stone:mill", "cli:main"
OWNERS, BLOCKED = {(DESK, "paper:olga")}, {(MILL, "stone:eve")}
LEVELS: tuple[Literal["trusted", "owner"], ...] = ("trusted", "owner")
PEOPLE = ("paper:olga", "paper:ann", "paper:ben", "stone:ann", "stone:eve", "cli:ivy")
CODE = re.compile("[0-9a-f]{24}")
FORGED = "f" * 24

# What is drawn one by one is drawn too much alike: nearly all would own everything, or nobody anything.
chances = st.randoms(use_true_random=True)


def policies() -> tuple[BotPolicy, ...]:
    found = (
        BotPolicy("paper", "desk", owners=frozenset({"olga"})),
        BotPolicy("stone", "mill", access="public", blocked=frozenset({"eve"})),
        BotPolicy("cli", "main", access="public", everyone_owns=True),
    )
    return tuple(replace(one, rate_per_minute=MUCH, rate_per_scope_minute=MUCH, turns_at_once=MUCH) for one in found)


@dataclass
class Code:
    """A code that somebody was shown."""

    code: str
    kind: Literal["home", "invitation", "link", "second"]
    expires_at: float
    bot: str = ""
    level: Level = "owner"
    by: str | None = None
    one: str = ""
    other: str | None = None
    used_by: str | None = None
    is_dead: bool = False


@dataclass
class Model:
    """Who was let in by whom, as one would tell it."""

    grants: list[tuple[str, str, Level, str | None]] = field(default_factory=list)
    blocks: set[tuple[str, str]] = field(default_factory=lambda: set(BLOCKED))
    linked: list[frozenset[str]] = field(default_factory=list)

    def person(self, who: str) -> frozenset[str]:
        return next((person for person in self.linked if who in person), frozenset({who}))

    def is_blocked(self, bot: str, who: str) -> bool:
        return any((bot, one) in self.blocks for one in self.person(who))

    def is_rooted(self, bot: str, who: str) -> bool:
        return any(one.startswith("cli:") or (bot, one) in OWNERS for one in self.person(who))

    def holds(self, bot: str, who: str, least: Level, asked: frozenset[str] = frozenset()) -> bool:
        """Whether a chain of grants, each of which its giver could give, leads to somebody who needs none."""
        if self.is_blocked(bot, who) or who in asked:
            return False
        asked |= self.person(who)
        return self.is_rooted(bot, who) or any(
            by is None or self.holds(bot, by, "owner", asked)
            for where, to, level, by in self.grants
            if where == bot and to in self.person(who) and RANK[level] >= RANK[least]
        )

    def level(self, bot: str, who: str) -> Level:
        if self.is_blocked(bot, who):
            return "blocked"
        found: tuple[Level, ...] = ("owner", "trusted")
        return next((level for level in found if self.holds(bot, who, level)), "public")

    def may_speak(self, bot: str, who: str) -> bool:
        return RANK[self.level(bot, who)] >= RANK["public" if bot in (MILL, TERMINAL) else "trusted"]

    def may_link(self, one: str, other: str) -> bool:
        is_blocked = any(self.is_blocked(bot, who) for bot in (DESK, MILL, TERMINAL) for who in (one, other))
        return other not in self.person(one) and not is_blocked

    def link(self, one: str, other: str) -> None:
        both = self.person(one) | self.person(other)
        self.linked = [*(person for person in self.linked if not person & both), both]

    def unlink(self, who: str) -> None:
        rest = self.person(who) - {who}
        self.linked = [*(person for person in self.linked if who not in person), *([rest] if len(rest) > 1 else [])]


class Trust(RuleBasedStateMachine):
    """People who say what they like, in any order, while the hub dies now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.model = Model()
        self.codes: list[Code] = []
        self.world = World(policy=policies()[0], others=policies()[1:])
        self.world.bindings = Bindings({"alice": ALICE}, (Binding("alice"),))
        self.run(self.world.reign())

    @initialize(chance=chances)
    def let_somebody_in(self, chance: Random) -> None:
        """Nothing much happens among people who own nothing."""
        bot, (first, second) = chance.choice((DESK, MILL)), chance.sample(PEOPLE, 2)
        for who, whom in (("cli:ivy", first), (first, second)):
            if is_done(self.say(who, bot, f"/grant {whom} owner")):
                self.model.grants.append((bot, whom, "owner", who))

    def teardown(self) -> None:
        said = [logged.record.model_dump_json() for _, logged in self.world.stream.all()]
        said += [act.decode() for act in self.world.stream.acts]
        self.run(self.world.kill())
        self.loop.close()
        assert not [code for code in self.codes if any(code.code in text for text in said)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @property
    def now(self) -> float:
        async def look() -> float:
            return self.world.clock()

        return self.run(look())

    def say(self, who: str, bot: str, text: str) -> Final | Refused:
        """Say something to the hub in private: at the bot, at the terminal, or else at one of their own."""
        platform, user = who.split(":")
        there = self.place(who, bot)
        message = self.world.message(
            text if there == bot else f"{text} {bot}",
            scope=user,
            user=user,
            platform=platform,
            bot=there.partition(":")[2],
        )

        async def ask() -> Final | Refused:
            answer = await self.world.submit(message)
            if isinstance(answer, Refused):
                return answer
            assert isinstance(answer, Accepted)
            await until(lambda: answer.turn in self.world.screen.finals)
            return self.world.screen.finals[answer.turn]

        return self.run(ask())

    def place(self, who: str, bot: str) -> str:
        """Where somebody speaks about a bot."""
        platform = who.partition(":")[0]
        return bot if bot.startswith(f"{platform}:") else {"cli": TERMINAL, "paper": DESK, "stone": MILL}[platform]

    def may_rule(self, who: str, bot: str) -> bool:
        """Whether somebody may say who else may do what there."""
        there = self.place(who, bot)
        may_name = there in (bot, TERMINAL)
        return may_name and self.model.may_speak(there, who) and self.model.level(bot, who) == "owner"

    def somebody(self, chance: Random, likely: list[str]) -> str:
        """Mostly one with whom something happens, and now and then anybody."""
        return chance.choice(likely if likely and chance.random() < 0.8 else PEOPLE)

    def ruler(self, chance: Random, bot: str) -> str:
        """Mostly one who may say who else may do what."""
        return self.somebody(chance, [who for who in PEOPLE if self.may_rule(who, bot)])

    def shown(self, told: Final | Refused, code: Code) -> None:
        """Know the code that somebody was shown."""
        found = CODE.findall(told.text)
        assert len(set(found)) == 1
        code.code = found[0]
        self.codes.append(code)

    def opens(self, code: Code, who: str, bot: str) -> bool:
        """Whether a code lets somebody in there."""
        if code.used_by is not None:
            return (code.used_by, code.bot) == (who, bot) and self.model.may_speak(bot, who)
        is_good = code.kind in ("home", "invitation") and not code.is_dead and self.now < code.expires_at
        return is_good and code.bot == bot and (code.by is None or self.model.holds(bot, code.by, "owner"))

    @rule(chance=chances)
    def offer(self, chance: Random) -> None:
        """The home makes a code; the one before it is good no longer."""
        bot = chance.choice((DESK, MILL))
        for code in self.codes:
            code.is_dead = code.is_dead or (code.kind, code.bot) == ("home", bot)
        made = Code(f"{len(self.codes):024x}", "home", self.now + INVITED_FOR, bot)
        platform, _, bot_id = bot.partition(":")
        self.world.offers[platform, bot_id] = Pairing(digest_of(made.code), made.expires_at)
        self.codes.append(made)

    @rule(chance=chances)
    def invite(self, chance: Random) -> None:
        bot, level = chance.choice((DESK, MILL)), chance.choice(LEVELS)
        who = self.ruler(chance, bot)
        told = self.say(who, bot, f"/invite {level}")

        assert is_done(told) == self.may_rule(who, bot)
        if is_done(told):
            self.shown(told, Code("", "invitation", self.now + INVITED_FOR, bot, level, who))

    @rule(chance=chances)
    def send_a_code(self, chance: Random) -> None:
        """Whatever code, known, used, old or made up, to whatever end, by whoever."""
        fresh = [code for code in self.codes if code.used_by is None and not code.is_dead]
        forged = Code(FORGED, "home", self.now, is_dead=True)
        code = chance.choice(fresh if fresh and chance.random() < 0.6 else [*self.codes, forged])
        word = "/link" if code.one and chance.random() < 0.9 else "/start"
        bot = code.bot if code.bot and chance.random() < 0.8 else chance.choice((DESK, MILL))
        who = chance.choice([one for one in PEOPLE if self.place(one, bot) == bot])
        if self.model.is_blocked(bot, who):
            return
        told = self.say(who, bot, f"{word} {code.code}")

        if word == "/link":
            self.answered(who, code, told)
            return
        assert isinstance(told, Final) == self.opens(code, who, bot)
        if isinstance(told, Final) and code.used_by is None:
            code.used_by = who
            self.model.grants.append((bot, who, code.level, code.by))

    @rule(chance=chances)
    def grant(self, chance: Random) -> None:
        bot, whom, level = chance.choice((DESK, MILL)), chance.choice(PEOPLE), chance.choice(LEVELS)
        who = self.ruler(chance, bot)
        told = self.say(who, bot, f"/grant {whom} {level}")

        held = self.model.level(bot, whom)
        assert is_done(told) == (self.may_rule(who, bot) and held != "blocked" and RANK[held] < RANK[level])
        if is_done(told):
            self.model.grants.append((bot, whom, level, who))

    @rule(chance=chances)
    def put(self, chance: Random) -> None:
        bot, word = chance.choice((DESK, MILL)), chance.choice(("/revoke", "/revoke", "/block", "/unblock", "/unblock"))
        granted = [to for where, to, _, _ in self.model.grants if where == bot]
        likely = [who for where, who in sorted(self.model.blocks) if where == bot] if word == "/unblock" else granted
        who, whom = self.ruler(chance, bot), self.somebody(chance, likely)
        told = self.say(who, bot, f"{word} {whom}")

        model, person = deepcopy(self.model), self.model.person(whom)
        if word == "/revoke":
            model.grants = [one for one in model.grants if one[0] != bot or one[1] not in person]
            is_something = len(model.grants) < len(self.model.grants)
        elif word == "/block":
            model.blocks |= {(bot, one) for one in person}
            is_something = who not in person
        else:
            model.blocks -= {(bot, one) for one in person} - BLOCKED
            is_something = self.model.is_blocked(bot, whom) and not model.is_blocked(bot, whom)
        is_kept = word == "/unblock" or not self.model.is_rooted(bot, whom)
        sits_firm = who in person or model.level(bot, who) == "owner"
        assert is_done(told) == (self.may_rule(who, bot) and is_something and is_kept and sits_firm)
        if is_done(told):
            self.model = model

    @rule(chance=chances)
    def link(self, chance: Random) -> None:
        """All three steps, or only the first two; to whatever bot the other account is at."""
        # Were all one person with who owns everything, nothing could happen any more.
        low = [who for who in PEOPLE if not who.startswith("cli:")]
        one, other = chance.choice(low if chance.random() < 0.8 else PEOPLE), chance.choice(low)
        own, there = self.place(one, DESK), self.place(other, DESK)
        told = self.say(one, own, "/link")
        assert is_done(told) == self.model.may_speak(own, one)
        if not is_done(told) or self.model.is_blocked(there, other):
            return
        for code in self.codes:
            code.is_dead = code.is_dead or (code.kind, code.one) == ("link", one)
        code = Code("", "link", self.now + LINKING_FOR, one=one)
        self.shown(told, code)
        self.answered(other, code, self.say(other, there, f"/link {code.code}"))
        if chance.random() < 0.7 and self.codes[-1].kind == "second":
            second = self.codes[-1]
            self.answered(other, second, self.say(other, there, f"/link {second.code}"))
            assert second.used_by == other

    def answered(self, who: str, code: Code, told: Final | Refused) -> None:
        """Somebody sent a code of the linking kind, or one that is none, and was told this."""
        is_good = not code.is_dead and self.now < code.expires_at
        if code.kind == "link" and is_good and code.other in (None, who):
            assert isinstance(told, Final)
            if code.one != who and code.other is None and self.model.may_link(code.one, who):
                code.other = who
                self.shown(told, Code("", "second", code.expires_at, one=code.one, other=who))
            return
        if code.kind == "second" and code.used_by is None and is_good:
            if code.other == who:
                assert isinstance(told, Final)
                code.used_by, code.is_dead = who, True
                if self.model.may_link(code.one, who):
                    self.model.link(code.one, who)
                return
            code.is_dead = True
        is_again = code.kind == "second" and code.used_by == who and code.one in self.model.person(who)
        assert isinstance(told, Final) == is_again

    @rule(chance=chances)
    def unlink(self, chance: Random) -> None:
        who = self.somebody(chance, [one for person in self.model.linked for one in sorted(person)])
        whom = self.somebody(chance, sorted(self.model.person(who)))
        there = self.place(who, DESK)
        told = self.say(who, there, f"/unlink {whom}")

        person = self.model.person(who)
        assert is_done(told) == (self.model.may_speak(there, who) and whom in person and len(person) > 1)
        if is_done(told):
            self.model.unlink(whom)

    def speak(self, who: str, bot: str) -> None:
        there = self.place(who, bot)
        told = self.say(who, there, "/help")

        assert isinstance(told, Final) == self.model.may_speak(there, who)
        if isinstance(told, Final):
            platform, _, bot_id = there.partition(":")
            key = RoutingKey(platform, bot_id, who.partition(":")[2])
            received = [one.record for one in self.world.stream.of(key) if isinstance(one.record, TurnReceived)]
            assert received[-1].trust == self.model.level(there, who)

    @rule(chance=chances)
    def go_on(self, chance: Random) -> None:
        """Something happens that changes nobody's power by itself."""
        match chance.randrange(4):
            case 0:
                self.world.clock.forward(chance.choice((LINKING_FOR / 2, INVITED_FOR)))
            case 1:
                self.die()
            case _:
                self.speak(chance.choice(PEOPLE), chance.choice((DESK, MILL)))

    def die(self) -> None:
        """The hub is killed, and the next knows what the log says; accounts that were being linked begin again."""
        self.run(self.world.restart())
        for code in self.codes:
            code.is_dead = code.is_dead or code.kind in ("link", "second")

    @invariant()
    def everybody_is_what_a_chain_of_grants_makes_them(self) -> None:
        access = self.world.people.access
        for bot in (DESK, MILL):
            for who in PEOPLE:
                assert access.standing(bot, who).level == self.model.level(bot, who), (bot, who)

    @invariant()
    def nobody_stands_above_who_let_them_in(self) -> None:
        access = self.world.people.access
        for bot in (DESK, MILL):
            for who in PEOPLE:
                level = access.standing(bot, who).level
                if RANK[level] <= RANK["public"] or self.model.is_rooted(bot, who):
                    continue
                own = [one for one in self.model.grants if one[0] == bot and one[1] in self.model.person(who)]
                givers = [by for _, _, given, by in own if given == level]
                assert any(by is None or access.standing(bot, by).level == "owner" for by in givers), (bot, who)


def is_done(told: Final | Refused) -> bool:
    return isinstance(told, Final) and told.outcome == "complete"


# Without the phase that explains a failure line by line: it takes minutes.
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
Trust.TestCase.settings = settings(max_examples=30, stateful_step_count=50, deadline=None, phases=PHASES)
test_nobody_is_raised_above_their_granter = Trust.TestCase
