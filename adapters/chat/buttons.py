"""The buttons under an answer: what they say, and what a press brings, also long after and to another process."""

import re

from adapters.spoke import Reply, Spoke
from factory_contracts.messages import Accepted, Address, InboundMessage, Refused

# What is shown, and what a press brings.
Button = tuple[str, str]

STOP_LABEL = "⏹ Stop"
STOP = "s:"
CHOICE = "c:"
ALLOW_LABEL, DENY_LABEL = "Allow", "Deny"
ALLOW, DENY = "y:", "n:"
FOR_ANOTHER = "This question is for somebody else."
ANSWERED = "This was answered already."

_DECISION = re.compile(r"[yn]:([^:]+):([0-9a-f]{16})")


def below(reply: Reply, most_bytes: int) -> tuple[Button, ...]:
    """What stands under an answer: while it grows what ends it, then what who asked may say next, as far as it fits.

    Above what ends it stand the two answers to a question.
    """
    if not reply.is_final:
        stop = (STOP_LABEL, f"{STOP}{reply.turn}")
        if reply.question is None:
            return (stop,)
        which = f"{reply.turn}:{reply.question.code}"
        return (ALLOW_LABEL, ALLOW + which), (DENY_LABEL, DENY + which), stop
    offered = ((choice, f"{CHOICE}{reply.asker}:{choice}") for choice in dict.fromkeys(reply.choices))
    return tuple((choice, data) for choice, data in offered if len(data.encode()) <= most_bytes)


async def press(spoke: Spoke, data: str, pressed: InboundMessage) -> Accepted | str:
    """Do what a button means; what began by it, or words for who pressed it.

    `pressed` is who pressed it and where; what is said is the choice.
    """
    if data.startswith(STOP) and data != STOP:
        refused = await spoke.stop(pressed.address.scope_id, data.removeprefix(STOP), pressed.user_id)
        return refused.text if refused is not None else ""
    if decision := _DECISION.fullmatch(data):
        turn, code = decision.groups()
        is_allowed = data.startswith(ALLOW)
        refused = await spoke.decide(pressed.address.scope_id, turn, code, pressed.user_id, approved=is_allowed)
        return refused.text if refused is not None else ""
    if not data.startswith(CHOICE):
        return ""
    asker, choice = chosen(data)
    if pressed.user_id != asker or not choice:
        return FOR_ANOTHER
    told = await spoke.submit(pressed.model_copy(update={"text": choice}))
    match told:
        case Accepted():
            return told
        case Refused(text=words):
            return words
        case _:
            return ANSWERED


def presser(message_id: str, user_id: str, user_name: str, in_group: bool, address: Address) -> InboundMessage:
    """Who pressed a button under a message: pressed again, also on another day, it is the message that was sent."""
    return InboundMessage(
        message_id=f"choice.{message_id}",
        user_id=user_id,
        user_name=user_name,
        text="",
        in_group=in_group,
        address=address,
    )


def chosen(data: str) -> tuple[str, str]:
    """Who was asked, and the choice that a press made."""
    asker, _, choice = data.removeprefix(CHOICE).partition(":")
    return asker, choice
