"""Who may do what: a fold of what was granted, taken back, blocked and linked, and the one function that decides.

An identity is "platform:user", and a bot "platform:bot". A person is all identities that were linked, and is named by
the first of them. What a person was granted on a bot counts as long as whoever gave it may still give it. That is
worked out from the roots after every act: whom the configuration names, who sits at the terminal, and whom the home's
own code let in. So nobody stands above who let them in, whatever was done in whatever order.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from factory_contracts.messages import InboundMessage
from factory_contracts.records import (
    Act,
    Blocked,
    Given,
    Granted,
    Invited,
    Linked,
    Owner,
    Revoked,
    Trust,
    Unblocked,
    Unlinked,
)

Level = Literal["blocked", "public", "trusted", "owner"]
Action = Literal[
    "speak",
    "look",
    "new",
    "undo",
    "retry",
    "compact",
    "expand",
    "fork",
    "agent",
    "model",
    "stop",
    "steer",
    "interrupt",
    "forget",
    "approve",
    "people",
    "invite",
    "grant",
    "revoke",
    "block",
    "unblock",
    "link",
]
# Whoever may speak; who asked, or an owner; at least so much; never in a group, where everybody reads along.
Need = Literal["speaker", "asker", "trusted", "owner", "privacy"]

MOST_LINKED = 16
HOME = "this home itself"
RANK: Mapping[Level, int] = MappingProxyType({"blocked": 0, "public": 1, "trusted": 2, "owner": 3})

# What each action takes, in private and in a group. In a group a word changes what all others see.
NEEDS: Mapping[Action, tuple[Need, Need]] = MappingProxyType(
    {
        "speak": ("speaker", "speaker"),
        "look": ("speaker", "speaker"),
        "new": ("speaker", "trusted"),
        "undo": ("speaker", "trusted"),
        "retry": ("speaker", "trusted"),
        "compact": ("speaker", "trusted"),
        "expand": ("speaker", "trusted"),
        "fork": ("speaker", "trusted"),
        # Another agent has other tools, and another model another price.
        "agent": ("trusted", "trusted"),
        "model": ("trusted", "trusted"),
        "stop": ("asker", "asker"),
        "steer": ("asker", "asker"),
        "interrupt": ("asker", "asker"),
        "forget": ("speaker", "owner"),
        "approve": ("owner", "owner"),
        "people": ("owner", "privacy"),
        "invite": ("owner", "privacy"),
        "grant": ("owner", "owner"),
        "revoke": ("owner", "owner"),
        "block": ("owner", "owner"),
        "unblock": ("owner", "owner"),
        "link": ("speaker", "privacy"),
    }
)

NOT_SET_UP = "This bot is not set up yet: its owner has to name it in the configuration."
NO_OWNER = 'This bot has no owner yet. Whoever runs it becomes one by the link that "factory init {platform}" prints.'
NOT_LET_IN = "This bot answers its owners and whom they let in."
NOT_TRUSTED = "That takes somebody whom an owner of this bot trusts."
NOT_TRUSTED_HERE = "In a group that takes somebody whom an owner of this bot trusts."
NOT_OWNER = "Only an owner of this bot may do that."
NOT_YOURS = "Only who asked for it, or an owner of this bot, may do that."
NOT_ALLOWED = "You may not do that here."
NOT_HERE = "That is done in private: here everybody would read the answer."
ROOTED = "{who} is an owner by the configuration or by sitting at the terminal: no word in a chat takes that away."


@dataclass(frozen=True, slots=True)
class BotPolicy:
    """What the configuration says of a bot: who may speak to it, how much and how fast."""

    platform: str
    bot_id: str
    access: Literal["owners", "public"] = "owners"
    owners: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    max_text: int = 20_000
    rate_per_minute: int = 20
    rate_per_scope_minute: int = 60
    turns_at_once: int = 8
    answers_unaddressed: bool = False
    everyone_owns: bool = False

    @property
    def bot(self) -> str:
        """The bot's name among those of all platforms."""
        return name_of(self.platform, self.bot_id)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is done, and by whom the turn was asked for that it is done to, if it is done to one."""

    in_group: bool = False
    asker: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person is on a bot, and why."""

    level: Level
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether somebody may do something, what they are there, and why; where they may not, the words are for them."""

    allowed: bool
    level: Level
    why: tuple[str, ...]
    words: str = ""

    @property
    def trust(self) -> Trust:
        """What a turn of theirs is trusted; who is blocked has none."""
        return "public" if self.level == "blocked" else self.level


PRIVATE = Place()


def name_of(platform: str, name: str) -> str:
    """An identity or a bot, among those of all platforms: a platform's name holds no colon."""
    return f"{platform}:{name}"


def speaker(message: InboundMessage) -> str:
    """The identity of who says this."""
    return name_of(message.address.platform, message.user_id)


class Access:
    """Who was let in where, who is shut out, and who is one person with whom, after the acts applied so far."""

    def __init__(self, policies: Iterable[BotPolicy] = ()) -> None:
        self.policies: Mapping[str, BotPolicy] = MappingProxyType({policy.bot: policy for policy in policies})
        self._named = {bot: _names(policy, policy.owners) for bot, policy in self.policies.items()}
        self._barred = {bot: _names(policy, policy.blocked) for bot, policy in self.policies.items()}
        self._terminals = [policy for policy in self.policies.values() if policy.everyone_owns]
        self._acts: dict[str, Act] = {}
        self._invitations: dict[str, Invited] = {}
        self._spent: dict[str, Granted | Linked] = {}
        self._grants: dict[str, tuple[Granted, ...]] = {}
        self._blocks: dict[str, dict[str, Blocked]] = {}
        self._persons: dict[str, tuple[str, ...]] = {}
        # Asked of every message, and changed by an act alone.
        self._counted: dict[str, Mapping[str, Granted]] = {}

    def apply(self, act: Act) -> None:
        """Take one act, in the log's order; one that is known already changes nothing."""
        if self.knows(act.id):
            return
        self._acts[act.id] = act
        self._counted.clear()
        match act:
            case Invited(code=code):
                self._invitations[code] = act
            case Granted():
                self._grant(act)
            case Revoked(bot=bot, who=who):
                person = self.person(who)
                self._grants[bot] = tuple(one for one in self.grants(bot) if one.to not in person)
            case Blocked(bot=bot, who=who):
                # All that they are now, so that who parts from a blocked identity is not let in by that.
                self._blocks.setdefault(bot, {}).update(dict.fromkeys(self.person(who), act))
            case Unblocked(bot=bot, who=who):
                for one in self.person(who):
                    self._blocks.get(bot, {}).pop(one, None)
            case Linked(one=one, other=other, code=code):
                self._spent[code] = act
                person = tuple(dict.fromkeys((*self.person(one), *self.person(other))))
                self._persons.update(dict.fromkeys(person, person))
            case Unlinked(who=who):
                rest = tuple(one for one in self.person(who) if one != who)
                self._persons.pop(who, None)
                self._persons.update(dict.fromkeys(rest, rest))

    def apply_owners(self, platform: str, bot_id: str, owners: Iterable[Owner]) -> None:
        """Take those who became owners of a bot by the home's code before there were acts."""
        for owner in owners:
            who, bot = name_of(platform, owner.user_id), name_of(platform, bot_id)
            self.apply(paired(None, who, bot, "owner", owner.code, owner.at))

    def knows(self, id: str) -> bool:
        """Whether the act of this id was applied."""
        return id in self._acts

    def after(self, act: Act) -> "Access":
        """What it would be with one act more."""
        other = Access(self.policies.values())
        for one in (*self._acts.values(), act):
            other.apply(one)
        return other

    def person(self, who: str) -> tuple[str, ...]:
        """All that is one person with an identity, the first of which names the person."""
        return self._persons.get(who) or (who,)

    def name(self, who: str) -> str:
        """The name of the person: for who is linked with nobody their identity."""
        return self.person(who)[0]

    def account(self, bot: str, word: str) -> str:
        """The identity that somebody means: with its platform, or else on the bot's own."""
        platform, colon, _ = word.partition(":")
        is_whole = colon and any(policy.platform == platform for policy in self.policies.values())
        return word if is_whole else name_of(bot.partition(":")[0], word)

    def standing(self, bot: str, who: str) -> Standing:
        """What a person is on a bot: blocked beats all, then counts the most of what their identities hold."""
        person = self.person(who)
        one = (f"{' and '.join(person)} are one person.",) if len(person) > 1 else ()
        if words := self._shut_out(bot, person):
            return Standing("blocked", (*one, words))
        if words := self._rooted(bot, person):
            return Standing("owner", (*one, words))
        grant = self._counting(bot).get(person[0])
        if grant is not None:
            return Standing(grant.level, (*one, spell(grant)))
        return Standing("public", (*one, f"Nobody who may has let {who} in on {bot}."))

    def is_rooted(self, bot: str, who: str) -> bool:
        """Whether the person is an owner whatever is on the log."""
        return bool(self._rooted(bot, self.person(who)))

    def has_owner(self, bot: str) -> bool:
        """Whether anybody is the bot's owner but who sits at the terminal."""
        grants = self._counting(bot).values()
        return bool(self.policies[bot].owners) or any(grant.level == "owner" for grant in grants)

    def is_shut_out_anywhere(self, who: str) -> bool:
        """Whether any bot blocks the person."""
        return any(self._shut_out(bot, self.person(who)) for bot in (*self.policies, *self._blocks))

    def grants(self, bot: str) -> tuple[Granted, ...]:
        """What was granted on a bot and not taken back, oldest first."""
        return self._grants.get(bot, ())

    def counts(self, grant: Granted) -> bool:
        """Whether who gave it may still give it, and who has it is not shut out."""
        may = self._may_give(grant.bot, grant.by, self._counting(grant.bot))
        return may and not self._shut_out(grant.bot, self.person(grant.to))

    def shut_out(self, bot: str) -> tuple[str, ...]:
        """The identities that a bot blocks."""
        return tuple(dict.fromkeys((*sorted(self._barred.get(bot, ())), *self._blocks.get(bot, {}))))

    def invitation(self, code: str) -> Invited | None:
        """The invitation by the code of this digest, while it is not used up."""
        return None if code in self._spent else self._invitations.get(code)

    def spent_on(self, code: str) -> Granted | Linked | None:
        """What the code of this digest was used for."""
        return self._spent.get(code)

    def is_code(self, digest: str) -> bool:
        """Whether there is or was a code of this digest."""
        return digest in self._invitations or digest in self._spent

    def _grant(self, act: Granted) -> None:
        if act.code is not None:
            invited = self.invitation(act.code)
            # Whoever came second with a code came too late, and nobody brings more out of one than was put in.
            if act.code in self._spent or (act.by is not None and (invited is None or not _as_invited(act, invited))):
                return
            self._spent[act.code] = act
        self._grants[act.bot] = (*self.grants(act.bot), act)

    def _counting(self, bot: str) -> Mapping[str, Granted]:
        """The best grant that counts, by the person's name: the least that follows from the roots."""
        if bot not in self._counted:
            counting: dict[str, Granted] = {}
            left, waiting = -1, self.grants(bot)
            # Whom somebody let in may have let in others; who only let in each other are never reached.
            while left != len(waiting):
                left = len(waiting)
                waiting = tuple(self._count(counting, waiting))
            self._counted[bot] = counting
        return self._counted[bot]

    def _count(self, counting: dict[str, Granted], grants: Iterable[Granted]) -> Iterator[Granted]:
        """Add what counts to the rest that does; what does not count yet is given back."""
        for grant in grants:
            if not self._may_give(grant.bot, grant.by, counting):
                yield grant
                continue
            name = self.name(grant.to)
            if name not in counting or RANK[grant.level] > RANK[counting[name].level]:
                counting[name] = grant

    def _may_give(self, bot: str, by: str | None, counting: Mapping[str, Granted]) -> bool:
        if by is None:
            return True
        person = self.person(by)
        if self._shut_out(bot, person):
            return False
        own = counting.get(person[0])
        return (own is not None and own.level == "owner") or bool(self._rooted(bot, person))

    def _shut_out(self, bot: str, person: Iterable[str]) -> str:
        """Why the bot does not hear the person; empty where it does."""
        barred, blocks = self._barred.get(bot, ()), self._blocks.get(bot, {})
        for one in person:
            if one in barred:
                return f"The configuration blocks {one} on {bot}."
            if one in blocks:
                return f"{blocks[one].by or HOME} blocked {one} on {bot} on {_day(blocks[one].at)}."
        return ""

    def _rooted(self, bot: str, person: Iterable[str]) -> str:
        """Why the person is an owner whatever is on the log; empty where they are not."""
        named = self._named.get(bot, ())
        for one in person:
            if one in named:
                return f"The configuration names {one} as an owner of {bot}."
            for terminal in self._terminals:
                if one.startswith(f"{terminal.platform}:") and not self._shut_out(terminal.bot, (one,)):
                    return f"{one} sits at the terminal of this home, and owns every bot of it."
        return ""


def decide(access: Access, bot: str, who: str, action: Action, place: Place = PRIVATE) -> Decision:
    """Whether somebody may do something to a bot in a place: all that asks this asks here."""
    policy = access.policies.get(bot)
    if policy is None:
        return Decision(False, "public", (f"The configuration names no bot {bot}.",), NOT_SET_UP)
    standing = access.standing(bot, who)
    level, need = standing.level, NEEDS[action][place.in_group]
    if level == "blocked":
        return Decision(False, level, (*standing.why, "Who is blocked may do nothing."))
    match need:
        case "speaker":
            least: Level = "public" if policy.access == "public" else "trusted"
            said = f'The access of {bot} is "{policy.access}": to speak there takes the level {least}.'
            words = NOT_LET_IN if access.has_owner(bot) else NO_OWNER.format(platform=policy.platform)
        case "asker":
            is_own = place.asker is None or place.asker in access.person(who)
            least = "public" if is_own else "owner"
            said = "Who asked for an answer may do that to it, and an owner to every answer."
            words = NOT_YOURS
        case "trusted" | "owner":
            least, words = need, NOT_OWNER
            said = f"In {'a group' if place.in_group else 'private'} this takes the level {least}."
            if need == "trusted":
                words = NOT_TRUSTED_HERE if NEEDS[action][False] == "speaker" else NOT_TRUSTED
        case "privacy":
            return Decision(False, level, (*standing.why, "This is done in private alone."), NOT_HERE)
    allowed = RANK[level] >= RANK[least]
    return Decision(allowed, level, (*standing.why, said), "" if allowed else words)


_ACTIONS: Mapping[str, Action] = MappingProxyType(
    {"invited": "invite", "granted": "grant", "revoked": "revoke", "blocked": "block", "unblocked": "unblock"}
)


def objection(access: Access, act: Act) -> str:
    """Why an act may not be done, in words for who wants to do it; empty where it may."""
    if access.knows(act.id) or act.by is None:
        return ""
    match act:
        case Linked(one=one, other=other):
            return _unlinkable(access, one, other)
        case Unlinked(who=who):
            person = access.person(act.by)
            return "" if who in person and len(person) > 1 else f"{who} is one person with nobody."
    decision = decide(access, act.bot, act.by, _ACTIONS[act.kind])
    if not decision.allowed:
        return decision.words or NOT_OWNER
    match act:
        case Invited(level=level) | Granted(level=level) if RANK[level] > RANK[decision.level]:
            return NOT_OWNER
        case Granted(to=to, level=level, code=None) if RANK[access.standing(act.bot, to).level] >= RANK[level]:
            return f"{to} is that already."
        case Granted(to=to) if access.standing(act.bot, to).level == "blocked":
            return f"{to} is blocked on {act.bot}. `/unblock` comes first."
        case Revoked() | Blocked():
            return _irremovable(access, act, act.by)
        case Unblocked(who=who) if access.standing(act.bot, who).level != "blocked":
            return f"{who} is not blocked on {act.bot}."
        case Unblocked(who=who) if access.after(act).standing(act.bot, who).level == "blocked":
            return f"The configuration blocks {who} on {act.bot}, and only there that is changed."
    return ""


def _unlinkable(access: Access, one: str, other: str) -> str:
    if other in access.person(one):
        return f"{one} and {other} are one person already."
    # Who is blocked would take their block to the other, or leave it behind.
    if access.is_shut_out_anywhere(one) or access.is_shut_out_anywhere(other):
        return "One of these two is blocked by a bot of this home, so they cannot be linked."
    if len(access.person(one)) + len(access.person(other)) > MOST_LINKED:
        return f"A person is at most {MOST_LINKED} accounts."
    return ""


def _irremovable(access: Access, act: Revoked | Blocked, by: str) -> str:
    """Why somebody may not be put out by somebody else."""
    who, person = act.who, access.person(act.who)
    if access.is_rooted(act.bot, who):
        return ROOTED.format(who=who)
    if by in person and isinstance(act, Blocked):
        return "Who blocks themself could not take it back."
    if isinstance(act, Revoked) and not any(grant.to in person for grant in access.grants(act.bot)):
        return f"{who} holds nothing on {act.bot}."
    # Nobody saws off the branch that they sit on, nor turns what they were given against who gave it.
    if by not in person and access.after(act).standing(act.bot, by).level != "owner":
        return f"What you may on {act.bot} rests on what {who} may there."
    return ""


def paired(by: str | None, to: str, bot: str, level: Given, code: str, at: float) -> Granted:
    """The one act that a code can come to."""
    return Granted(id=f"granted.{code}", at=at, by=by, to=to, bot=bot, level=level, code=code)


def spell(grant: Granted) -> str:
    """How somebody came to what they hold, in words."""
    how = " by a code" if grant.code is not None else ""
    return f"{grant.by or HOME} made {grant.to} {grant.level} on {grant.bot}{how} on {_day(grant.at)}."


def _names(policy: BotPolicy, users: Iterable[str]) -> frozenset[str]:
    return frozenset(name_of(policy.platform, user) for user in users)


def _as_invited(act: Granted, invited: Invited) -> bool:
    return (act.by, act.bot) == (invited.by, invited.bot) and RANK[act.level] <= RANK[invited.level]


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
