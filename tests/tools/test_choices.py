"""What a model may offer a person to say next."""

from json import dumps

import pytest

from adapters.tools.choices import CHOICES, LONGEST, MOST
from hub.kernel.ports import Observation, ToolFailed
from tests.fakes import ANYBODY


async def offer(*options: str) -> Observation:
    said = await CHOICES.tool.run(dumps({"options": options}), ANYBODY)
    assert isinstance(said, Observation)
    return said


async def test_what_is_offered_is_for_the_person_in_its_order_and_told_to_the_model() -> None:
    said = await offer("Yes", " No ", "Später")

    assert said.choices == ("Yes", "No", "Später")
    assert "'Yes', 'No', 'Später'" in said.content
    assert (CHOICES.spec.name, CHOICES.spec.effect) == ("choices", "read")


async def test_as_much_may_be_offered_as_is_said() -> None:
    most = [f"{number}".ljust(LONGEST, "x") for number in range(MOST)]

    assert (await offer(*most)).choices == tuple(most)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "there are 0, and it must be 1 to 8"),
        (tuple("abcdefghi"), "there are 9, and it must be 1 to 8"),
        (("Yes", "x" * 41), "has 41 characters, and it must be 1 to 40"),
        (("Yes", "  "), "has 0 characters, and it must be 1 to 40"),
        (("Yes\nNo",), "must be a single line of characters that can be seen"),
        (("Yes\x1b[2J",), "must be a single line of characters that can be seen"),
        (("Yes\ud83d",), "must be a single line of characters that can be seen"),
        (("Yes", "No", "Yes "), "'Yes' stands there more than once"),
    ],
)
async def test_a_model_is_told_what_is_wrong_with_its_offer(options: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ToolFailed) as failed:
        await offer(*options)

    assert complaint in str(failed.value)
    failed.value.args[0].encode()
