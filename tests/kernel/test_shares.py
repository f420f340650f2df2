"""How hubs share the partitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.kernel.shares import share

NAMES = st.lists(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=1, max_size=9, unique=True)


@given(NAMES, st.integers(1, 64))
def test_every_partition_is_one_hubs_and_nobody_has_two_more_than_another(names: list[str], partitions: int) -> None:
    shares = share(names, partitions)

    assert sorted(part for parts in shares.values() for part in parts) == list(range(partitions))
    sizes = [len(parts) for parts in shares.values()]
    assert max(sizes) - min(sizes) <= 1


@given(NAMES)
def test_it_does_not_matter_in_which_order_they_are_known(names: list[str]) -> None:
    assert share(names, 64) == share(reversed(names), 64)


@given(NAMES)
def test_few_partitions_change_hands_when_a_hub_comes(names: list[str]) -> None:
    before, after = share(names, 64), share([*names, "another one"], 64)

    moved = sum(len(parts - after[name]) for name, parts in before.items())
    assert moved <= 2 * 64 // (len(names) + 1) + len(names)


def test_two_hubs_have_half_each() -> None:
    assert {len(parts) for parts in share(("one", "two"), 64).values()} == {32}
