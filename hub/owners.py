"""Who owns each bot: whom its configuration names, and who sent a code that was made for that."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from factory_contracts.messages import InboundMessage
from factory_contracts.records import Owner
from hub.kernel.guards import BotPolicy, Pairing, code_in

Offers = Callable[[str, str], Pairing | None]


class OwnersLog(Protocol):
    """The part of the log that tells a new hub who became an owner."""

    async def owners(self) -> dict[tuple[str, str], tuple[Owner, ...]]:
        """Who became an owner of which bot by a code, by platform and bot."""
        ...

    async def note_owners(self, platform: str, bot_id: str, owners: tuple[Owner, ...]) -> None:
        """On return these are the bot's owners by a code. Waits out a lost bus.

        Raises `Fenced`, `Full` or `Unwritable`.
        """
        ...


class Ownership:
    """Every bot's policy, with the owners that it has by now; `restore` brings back those of earlier hubs."""

    def __init__(
        self, log: OwnersLog, policies: Iterable[BotPolicy], offers: Offers = lambda platform, bot_id: None
    ) -> None:
        self._log = log
        self._configured = {(policy.platform, policy.bot_id): policy for policy in policies}
        self._policies = dict(self._configured)
        self._offers = offers
        self._owners: dict[tuple[str, str], tuple[Owner, ...]] = {}
        self._adding = asyncio.Lock()

    async def restore(self) -> None:
        """Know those who became owners under an earlier hub."""
        for bot, owners in (await self._log.owners()).items():
            self._know(bot, owners)

    def policy(self, platform: str, bot_id: str) -> BotPolicy | None:
        """Who may speak to the bot; None where nobody configured it."""
        return self._policies.get((platform, bot_id))

    def offer(self, message: InboundMessage) -> Pairing | None:
        """The code that this message may hold: the one on offer for its bot, unless it is used up."""
        if code_in(message) is None:
            return None
        bot = (message.address.platform, message.address.bot_id)
        offered = self._offers(*bot)
        if offered is None or any(owner.code == offered.digest for owner in self._owners.get(bot, ())):
            return None
        return offered

    async def add(self, message: InboundMessage, code: str, now: float) -> bool:
        """Put on the log that the sender is an owner by the code of this digest; false where another was quicker.

        Raises as the log does.
        """
        bot = (message.address.platform, message.address.bot_id)
        # A message holds all owners: of two that are written at once the later one would forget the earlier.
        async with self._adding:
            owners = self._owners.get(bot, ())
            for owner in owners:
                if owner.code == code:
                    return owner.user_id == message.user_id
            owners = (*owners, Owner(user_id=message.user_id, code=code, at=now))
            await self._log.note_owners(*bot, owners)
            self._know(bot, owners)
            return True

    def _know(self, bot: tuple[str, str], owners: tuple[Owner, ...]) -> None:
        self._owners[bot] = owners
        if bot in self._configured:
            policy = self._configured[bot]
            self._policies[bot] = replace(policy, owners=policy.owners | {owner.user_id for owner in owners})
