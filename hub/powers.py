"""Words about people: who is let in, put out and shut out, and who is one person with whom.

No code stands in these words, for they reach the log: a mark does, and the code takes its place on the way to a screen.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from factory_contracts.messages import Outcome
from factory_contracts.records import Blocked, Given, Granted, Revoked, Unblocked, Unlinked, record_id
from hub.kernel.access import Access, name_of, speaker, spell
from hub.kernel.guards import HIDDEN, LINK, START
from hub.kernel.session import OpenTurn
from hub.people import Joined, Proposed
from hub.pool import Pool

WRONG_CODE = (
    "That code opens nothing here: it is wrong, was used, or is too old. Ask for a fresh one where it came from; "
    'whoever runs this bot gets one by "factory init {platform}".'
)
TERMINAL_ONLY = "Other bots are named at the terminal alone."
GRANTS = "It is `/grant USER trusted` or `/grant USER owner`; people learn their number by `/whoami`."
INVITES = "`/invite` takes `trusted` or `owner`, and means `trusted` without either."
NO_CODE = f"That is no code. `{LINK}` without anything behind it makes one."
# An account's name as a subject and a record may hold it.
MOST_NAME = 255

_MEANS: Mapping[Given, str] = MappingProxyType({"trusted": "is let in and trusted", "owner": "is an owner"})


@dataclass(frozen=True, slots=True)
class Told:
    """What a person is told, and what they may say next."""

    words: str
    outcome: Outcome = "complete"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Meant:
    """Which bot is spoken of, and what else was said."""

    bot: str
    words: tuple[str, ...]


async def invite(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/invite [trusted|owner] [BOT]`: a code that lets in whoever is the first to send it."""
    match _meant(pool, rest):
        case Told() as told:
            return told
        case _Meant(bot=bot, words=()):
            level: Given = "trusted"
        case _Meant(bot=bot, words=("trusted" | "owner" as level,)):
            pass
        case _:
            return _no(INVITES)
    if bot == pool.key.bot and _is_terminal(pool):
        others = tuple(other for other in pool.ports.people.access.policies if other != bot)
        words = "Whoever sits at the terminal owns every bot. For whom of another bot is the code?"
        return Told(words, choices=tuple(f"/invite {level} {other}" for other in others))
    refused = await pool.ports.people.invite(turn.turn, speaker(turn.message), bot, level, pool.ports.clock())
    to = "me" if bot == pool.key.bot else bot
    return _done(
        refused,
        f"Whoever is the first to send {to} `{START} {HIDDEN}`, in private and within an hour, {_MEANS[level]}. "
        "The code is shown this once: pass it on to them alone.",
    )


async def people(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/people [BOT]`: who holds what, by whom and since when; at the terminal on every bot."""
    match _meant(pool, rest):
        case Told() as told:
            return told
        case _Meant(bot=bot, words=()):
            access = pool.ports.people.access
            bots = access.policies if _is_terminal(pool) and not rest else (bot,)
            lines = (line for one in bots for line in _listed(access, one))
            return Told("\n".join((*lines, "Whoever sits at the terminal owns every bot.")))
        case _:
            return _no("`/people` takes nothing but the name of a bot.")


async def grant(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/grant USER trusted|owner [BOT]`: somebody is let in without a code."""
    match _meant(pool, rest):
        case Told() as told:
            return told
        case _Meant(bot=bot, words=(user, "trusted" | "owner" as level)) if who := _user(pool, bot, user):
            id, at, by = _signed(pool, turn)
            act = Granted(id=id, at=at, by=by, to=who, bot=bot, level=level)
            return _done(await pool.ports.people.do(act), f"{who} {_MEANS[level]} on {bot} from now on.")
        case _:
            return _no(GRANTS)


async def revoke(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/revoke USER [BOT]`: what somebody was granted is taken back, and what they gave counts no more."""
    words = "{who} holds nothing on {bot} any more, and whom they let in there is out with them."
    return await _put(pool, turn, rest, Revoked, words)


async def block(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/block USER [BOT]`: somebody is not heard any more, whatever they hold."""
    words = "{bot} hears {who} no more, nor any account that is one person with it."
    return await _put(pool, turn, rest, Blocked, words)


async def unblock(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/unblock USER [BOT]`: somebody is heard again, and is what they were."""
    return await _put(pool, turn, rest, Unblocked, "{who} is blocked on {bot} no more.")


async def link(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/link`: a code by which another account of the same person says that it is one."""
    if rest:
        return _no(NO_CODE)
    # The other account may speak where another hub answers.
    await pool.ports.peers.everyone(pool.ports.people.offer_link(turn.turn, speaker(turn.message), pool.ports.clock()))
    return Told(
        f"Send `{LINK} {HIDDEN}` from your other account, in private and within ten minutes, to any bot of this home. "
        "Whoever sends it and then says yes is one person with you: what you may, they may. So show it to nobody."
    )


async def unlink(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/unlink [ACCOUNT]`: an account, or the one that says so, is a person of its own again."""
    own = speaker(turn.message)
    if rest and rest not in pool.ports.people.access.person(own):
        return _no("That is no account of yours. `/whoami` tells them.")
    id, at, by = _signed(pool, turn)
    refused = await pool.ports.people.do(Unlinked(id=id, at=at, by=by, who=rest or own))
    return _done(refused, f"{rest or own} is a person of its own from now on.")


async def whoami(pool: Pool, turn: OpenTurn, rest: str) -> Told:
    """`/whoami`: one's account, what one is here and why, and which accounts are one person."""
    who = speaker(turn.message)
    standing = pool.ports.people.access.standing(pool.key.bot, who)
    lines = (f"You are {who}, and what you are on {pool.key.bot} is **{standing.level}**.", *standing.why)
    return Told("\n".join(lines))


def proposed(who: str, opened: Proposed) -> tuple[str, str]:
    """What it means to be one person with another account, and what to send to be it."""
    choice = f"{LINK} {HIDDEN}"
    words = (
        f"You, {who}, would be one person with {opened.other}: on every bot of this home each of you may do what the "
        f"other may, you have the memory that is kept for {opened.other}, and budgets and limits are counted together. "
        f"`/unlink` parts you again.\n\nOnly if {opened.other} is you: send `{choice}`, within ten minutes. "
        "If somebody asked you to send this, do not."
    )
    return words, choice


def joined(who: str, opened: Joined) -> str:
    """That two accounts are one person, or why they are not."""
    return opened.refused or f"{opened.other} and {who} are one person from now on. `/unlink` parts them again."


async def _put(pool: Pool, turn: OpenTurn, rest: str, act: type[Revoked | Blocked | Unblocked], words: str) -> Told:
    """Do something to somebody's standing on a bot."""
    match _meant(pool, rest):
        case Told() as told:
            return told
        case _Meant(bot=bot, words=(user,)) if who := _user(pool, bot, user):
            id, at, by = _signed(pool, turn)
            refused = await pool.ports.people.do(act(id=id, at=at, by=by, who=who, bot=bot))
            return _done(refused, words.format(who=who, bot=bot))
        case _:
            return _no("That takes one account, as `/people` names it.")


def _signed(pool: Pool, turn: OpenTurn) -> tuple[str, float, str]:
    """The id, the time and the author of the act that this turn does: asked again, it is the same act."""
    word = turn.message.text.split()[0].removeprefix("/")
    return record_id(turn.turn, word), pool.ports.clock(), speaker(turn.message)


def _is_terminal(pool: Pool) -> bool:
    policy = pool.ports.people.policy(pool.key)
    return policy is not None and policy.everyone_owns


def _meant(pool: Pool, rest: str) -> _Meant | Told:
    """Take the name of a bot off the end of what was said; without one this bot is meant."""
    words = tuple(rest.split())
    if not words or words[-1] not in pool.ports.people.access.policies:
        return _Meant(pool.key.bot, words)
    # A spoke that somebody took over may say what it likes in anybody's name, but of its own bot alone.
    if words[-1] != pool.key.bot and not _is_terminal(pool):
        return _no(TERMINAL_ONLY)
    return _Meant(words[-1], words[:-1])


def _user(pool: Pool, bot: str, word: str) -> str | None:
    """The account that is meant; None where it can be nobody's."""
    who = pool.ports.people.access.account(bot, word)
    return who if 0 < len(who.partition(":")[2]) <= MOST_NAME else None


def _listed(access: Access, bot: str) -> Iterator[str]:
    policy, told = access.policies[bot], set[str]()
    yield f"**{bot}** answers {'everybody' if policy.access == 'public' else 'its owners and whom they let in'}:"
    for user in sorted(policy.owners):
        told.add(name_of(policy.platform, user))
        yield f"- {name_of(policy.platform, user)}: owner, by the configuration"
    for grant in access.grants(bot):
        told.add(grant.to)
        counts = "" if access.counts(grant) else " That does not count any more."
        yield f"- {grant.to}: {grant.level}. {spell(grant)}{counts}"
    for who in access.shut_out(bot):
        told.add(who)
        yield f"- {who}: blocked"
    for who in sorted(told):
        if access.person(who)[1:]:
            yield f"- {' and '.join(access.person(who))} are one person"
    if not told:
        yield "- nobody"


def _done(refused: str, words: str) -> Told:
    return _no(refused) if refused else Told(words)


def _no(words: str) -> Told:
    return Told(words, outcome="failed")


Word = Callable[[Pool, OpenTurn, str], Awaitable[Told]]

POWERS: Mapping[str, Word] = MappingProxyType(
    {
        "/invite": invite,
        "/people": people,
        "/grant": grant,
        "/revoke": revoke,
        "/block": block,
        "/unblock": unblock,
        LINK: link,
        "/unlink": unlink,
        "/whoami": whoami,
    }
)
