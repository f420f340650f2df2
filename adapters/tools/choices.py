"""A tool that offers the person things to say next, to be chosen instead of typed."""

from hub.kernel.ports import Observation, ToolFailed
from hub.kernel.schema import equip

MOST = 8
LONGEST = 40


async def choices(options: list[str]) -> Observation:
    """Offers the person a few things to say next, each one press away beneath your answer. Use it when you end with a
    question that has a few sensible answers, such as yes or no, or which of three; write each as the person would say
    it. Another call in the same answer replaces the offer, and the person may always say something else.

    options: up to 8 different ones, in their order, each 1 to 40 characters on one line
    """
    offered = tuple(option.strip() for option in options)
    if not 1 <= len(offered) <= MOST:
        raise ToolFailed(f"options: there are {len(offered)}, and it must be 1 to {MOST}")
    for option in offered:
        if not 1 <= len(option) <= LONGEST:
            raise ToolFailed(f"options: {option!r} has {len(option)} characters, and it must be 1 to {LONGEST}")
        if not option.isprintable():
            raise ToolFailed(f"options: {option!r} must be a single line of characters that can be seen")
        if offered.count(option) > 1:
            raise ToolFailed(f"options: {option!r} stands there more than once")
    told = ", ".join(map(repr, offered))
    return Observation(
        f"The person is offered {told} beneath your answer. End it now with your question.", choices=offered
    )


CHOICES = equip(choices, is_foreign=False)
