"""Who may do what as a command sees it: the bots of the configuration, and what was done about people on the log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from factory_cli import config, log
from factory_cli.config import Configuration
from factory_cli.console import Failed
from factory_contracts import subjects
from factory_contracts.envelope import Malformed
from factory_contracts.messages import InboundMessage
from factory_contracts.records import ACT, OWNERS
from factory_nats.result import Err
from factory_nats.transport import Stored, Transport
from hub.kernel.access import (
    NEEDS,
    Access,
    Action,
    BotPolicy,
    Decision,
    Level,
    Place,
    decide,
    speaker,
)
from hub.kernel.routing import RoutingKey
from hub.kernel.session import fold

PAGE = 1_000
NO_ANSWER = "Who may not speak here has no answer of their own, and this is done to one."


def policies(configuration: Configuration) -> tuple[BotPolicy, ...]:
    """Every bot's policy, as the hub is told it."""
    return tuple(
        BotPolicy(
            platform=bot.platform,
            bot_id=bot.bot_id,
            access=bot.access,
            owners=bot.owners,
            blocked=bot.blocked,
            max_text=bot.max_text,
            rate_per_minute=bot.rate_per_minute,
            rate_per_scope_minute=bot.rate_per_scope_minute,
            turns_at_once=bot.turns_at_once,
            answers_unaddressed=bot.answers_unaddressed,
            everyone_owns=bot.platform == config.LOCAL_PLATFORM,
        )
        for bot in config.bots_of(configuration)
    )


@dataclass(frozen=True, slots=True)
class Explained:
    """What somebody may do on a bot, by the action."""

    bot: str
    who: str
    person: tuple[str, ...]
    decisions: Mapping[Action, Decision]

    @property
    def level(self) -> Level:
        """What they are there."""
        return next(iter(self.decisions.values())).level

    @property
    def standing(self) -> tuple[str, ...]:
        """What makes them that, a sentence each."""
        *standing, _ = next(iter(self.decisions.values())).why
        return tuple(standing)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Each action, whether they may, and the rule."""
        for action, decision in self.decisions.items():
            yield action, "yes" if decision.allowed else "no", decision.why[-1]

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "bot": self.bot,
            "user": self.who,
            "person": self.person,
            "level": self.level,
            "why": self.standing,
            "actions": [
                {"action": action, "allowed": said.allowed, "why": said.why[-1], "words": said.words}
                for action, said in self.decisions.items()
            ],
        }


async def explain(
    transport: Transport,
    configuration: Configuration,
    bot: str,
    user: str,
    *,
    action: str | None = None,
    in_group: bool = False,
    scope: str | None = None,
) -> Explained:
    """What somebody may do, to the answer that is written in a scope if one is named. Raises `Failed`."""
    access = await known(transport, configuration)
    policy = access.policies.get(bot)
    if policy is None:
        raise Failed(f"no bot {bot!r} is configured; there are: {', '.join(access.policies)}")
    actions = [one for one in NEEDS if action in (None, one)]
    if not actions:
        raise Failed(f"nobody does {action!r}; there are: {', '.join(NEEDS)}")
    who = access.account(bot, user)
    asked = None if scope is None else await _asked(transport, RoutingKey(policy.platform, policy.bot_id, scope))
    place = Place(in_group or (asked is not None and asked.in_group), None if asked is None else speaker(asked))
    decisions = {one: decide(access, bot, who, one, place) for one in actions}
    speaks = decide(access, bot, who, "speak", place)
    if asked is None and not speaks.allowed:
        # Which answer is meant nobody said, so that one of their own is meant.
        nothing = Decision(False, speaks.level, (*speaks.why[:-1], NO_ANSWER), speaks.words)
        owns = [one for one in actions if NEEDS[one][place.in_group] == "asker"]
        decisions |= dict.fromkeys(owns, nothing)
    return Explained(bot, who, access.person(who), decisions)


async def known(transport: Transport, configuration: Configuration) -> Access:
    """What a hub that began now would make of everybody. Raises `Failed` where the log cannot be read."""
    access = Access(policies(configuration))
    for stored in await _page(transport, subjects.plane("owners")[0], 1):
        owners = OWNERS.decode(stored.data)
        access.apply_owners(owners.platform, owners.bot_id, owners.owners)
    start = 1
    while page := await _page(transport, subjects.plane("access")[0], start):
        try:
            for stored in page:
                access.apply(ACT.decode(stored.data))
        except Malformed as error:
            raise Failed(f"what was done about people cannot be read: {error}") from None
        start = page[-1].sequence + 1
    return access


async def _asked(transport: Transport, key: RoutingKey) -> InboundMessage | None:
    """The message that is being answered in a conversation; None where nothing runs."""
    records = [(at, record) async for _, at, record in log.records(transport, key.subject)]
    running = fold(key.platform, key.bot_id, key.scope_id, records).next_turn()
    return None if running is None else running.message


async def _page(transport: Transport, subject: str, start: int) -> tuple[Stored, ...]:
    page = await transport.read(subjects.STREAM, subject, start=start, limit=PAGE)
    if isinstance(page, Err):
        if page.reason in ("no responders", "not found"):
            return ()
        raise Failed(f"the log cannot be read: {page.detail}")
    return page.value
