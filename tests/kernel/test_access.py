"""Who may do what: the fold of what was done about people, and the one function that decides."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory_contracts.records import Act, Blocked, Given, Granted, Invited, Linked, Revoked, Unblocked, Unlinked
from hub.kernel.access import (
    MOST_LINKED,
    NEEDS,
    NO_OWNER,
    NOT_LET_IN,
    NOT_OWNER,
    NOT_YOURS,
    Access,
    Action,
    BotPolicy,
    Level,
    Place,
    decide,
    objection,
)

few = settings(max_examples=50, deadline=None)

DESK, SHOP, TERMINAL = "paper:desk", "paper:shop", "cli:main"
OLGA, ANN, BEN, CID, EVE, IVY = "paper:olga", "paper:ann", "paper:ben", "paper:cid", "paper:eve", "cli:ivy"
POLICIES = (
    BotPolicy("paper", "desk", owners=frozenset({"olga"}), blocked=frozenset({"eve"})),
    BotPolicy("paper", "shop", access="public"),
    BotPolicy("cli", "main", access="public", everyone_owns=True, blocked=frozenset({"joe"})),
)
CODE = "0" * 64


class Story:
    """Acts that are told one after another."""

    def __init__(self, *policies: BotPolicy) -> None:
        self.access = Access(policies or POLICIES)
        self.acts: list[Act] = []

    def tell(self, act: Act) -> Story:
        self.acts.append(act)
        self.access.apply(act)
        return self

    @property
    def id(self) -> str:
        return f"a{len(self.acts)}"

    def grant(self, to: str, level: Given = "trusted", by: str | None = OLGA, bot: str = DESK) -> Story:
        return self.tell(Granted(id=self.id, at=0.0, by=by, to=to, bot=bot, level=level))

    def revoke(self, who: str, bot: str = DESK) -> Story:
        return self.tell(Revoked(id=self.id, at=0.0, by=OLGA, who=who, bot=bot))

    def block(self, who: str, bot: str = DESK) -> Story:
        return self.tell(Blocked(id=self.id, at=0.0, by=OLGA, who=who, bot=bot))

    def unblock(self, who: str, bot: str = DESK) -> Story:
        return self.tell(Unblocked(id=self.id, at=0.0, by=OLGA, who=who, bot=bot))

    def link(self, one: str, other: str) -> Story:
        return self.tell(Linked(id=self.id, at=0.0, by=other, one=one, other=other, code=f"{len(self.acts):064x}"))

    def unlink(self, who: str) -> Story:
        return self.tell(Unlinked(id=self.id, at=0.0, by=who, who=who))

    def levels(self, *people: str, bot: str = DESK) -> list[Level]:
        return [self.access.standing(bot, who).level for who in people]


# Standing


def test_the_configuration_and_the_terminal_make_owners_and_everybody_else_is_the_public() -> None:
    assert Story().levels(OLGA, ANN, EVE, IVY) == ["owner", "public", "blocked", "owner"]
    assert Story().levels(OLGA, ANN, EVE, IVY, "cli:joe", bot=SHOP) == ["public", "public", "public", "owner", "public"]
    assert Story().levels(OLGA, IVY, "cli:joe", bot=TERMINAL) == ["public", "owner", "blocked"]


def test_whom_an_owner_or_the_home_let_in_is_that_on_that_bot_alone() -> None:
    story = Story().grant(ANN).grant(BEN, "owner", by=None)

    assert story.levels(ANN, BEN) == ["trusted", "owner"]
    assert story.levels(ANN, BEN, bot=SHOP) == ["public", "public"]


def test_the_most_that_somebody_was_granted_counts_whenever_it_was() -> None:
    assert Story().grant(ANN, "owner").grant(ANN, "trusted").levels(ANN) == ["owner"]
    assert Story().grant(ANN, "trusted").grant(ANN, "owner").levels(ANN) == ["owner"]


@pytest.mark.parametrize("by", [EVE, CID, BEN], ids=["who is blocked", "the public", "who is trusted"])
def test_nobody_gives_who_may_not(by: str) -> None:
    assert Story().grant(BEN).grant(ANN, "trusted", by=by).levels(ANN) == ["public"]


def test_a_grant_counts_while_its_giver_may_give_it() -> None:
    story = Story().grant(ANN, "owner").grant(BEN, "owner", by=ANN).grant(CID, by=BEN)
    assert story.levels(ANN, BEN, CID) == ["owner", "owner", "trusted"]

    assert story.block(ANN).levels(ANN, BEN, CID) == ["blocked", "public", "public"]
    assert story.unblock(ANN).levels(ANN, BEN, CID) == ["owner", "owner", "trusted"]
    assert story.revoke(ANN).levels(ANN, BEN, CID) == ["public", "public", "public"]


def test_who_only_let_in_each_other_are_nothing() -> None:
    story = (
        Story().grant(ANN, "owner").grant(BEN, "owner", by=ANN).grant(CID, "owner", by=BEN).grant(ANN, "owner", by=CID)
    )

    assert story.levels(ANN, BEN, CID) == ["owner"] * 3
    assert story.revoke(ANN).levels(ANN, BEN, CID) == ["public"] * 3


def test_who_has_two_givers_keeps_what_the_other_gave() -> None:
    story = Story().grant(ANN, "owner").grant(BEN, "owner").grant(CID, "owner", by=ANN).grant(CID, "trusted", by=BEN)

    assert story.revoke(ANN).levels(CID) == ["trusted"]


def test_what_was_taken_back_does_not_come_back_by_an_older_grant() -> None:
    assert Story().grant(ANN, "owner").grant(ANN).revoke(ANN).levels(ANN) == ["public"]
    assert Story().grant(ANN).revoke(ANN).grant(ANN).levels(ANN) == ["trusted"]


def test_an_owner_whom_the_configuration_names_no_more_takes_their_grants_with_them() -> None:
    story = Story().grant(ANN, "owner").grant(BEN, by=ANN)

    without = Access(replace(policy, owners=frozenset()) for policy in POLICIES)
    for act in story.acts:
        without.apply(act)

    assert [without.standing(DESK, who).level for who in (OLGA, ANN, BEN)] == ["public"] * 3


def test_blocked_beats_everything() -> None:
    assert Story().grant(EVE, "owner", by=None).levels(EVE) == ["blocked"]
    assert Story().grant(ANN, "owner").block(ANN).grant(ANN, "owner").levels(ANN) == ["blocked"]


# Persons


def test_one_person_is_on_every_bot_the_most_that_any_of_their_accounts_is() -> None:
    story = Story().grant(ANN).link(ANN, IVY).link("stone:ann", IVY)

    assert story.levels(ANN, IVY, "stone:ann") == ["owner"] * 3
    assert story.access.person(ANN) == story.access.person(IVY) == ("stone:ann", ANN, IVY)
    assert story.access.name(IVY) == "stone:ann"


def test_who_is_linked_with_nobody_has_the_name_of_their_account() -> None:
    assert (Access().name(ANN), Access().person(ANN)) == (ANN, (ANN,))


def test_who_parts_has_what_was_given_to_them_and_the_others_what_was_given_to_those() -> None:
    story = Story().grant(ANN, "owner").grant("stone:ann").link(ANN, "stone:ann").link(ANN, CID)
    assert story.levels(ANN, "stone:ann", CID) == ["owner"] * 3

    assert story.unlink(ANN).levels(ANN, "stone:ann", CID) == ["owner", "trusted", "trusted"]
    assert story.unlink(CID).levels(ANN, "stone:ann", CID) == ["owner", "trusted", "public"]
    assert story.access.person("stone:ann") == ("stone:ann",)


def test_what_somebody_gave_as_another_counts_as_long_as_they_are_one() -> None:
    story = Story().grant(ANN, "owner").link(ANN, CID).grant(BEN, by=CID)

    assert story.levels(BEN) == ["trusted"]
    assert story.unlink(CID).levels(BEN) == ["public"]


def test_a_block_and_a_revocation_hit_all_that_a_person_is_and_parting_helps_nobody() -> None:
    blocked = Story().grant("stone:ann", "owner", by=None).link(ANN, "stone:ann").block(ANN).unlink("stone:ann")
    revoked = Story().grant("stone:ann", "owner", by=None).link(ANN, "stone:ann").revoke(ANN).unlink("stone:ann")

    assert blocked.levels(ANN, "stone:ann") == ["blocked", "blocked"]
    assert revoked.levels(ANN, "stone:ann") == ["public", "public"]
    assert blocked.unblock(ANN).levels(ANN, "stone:ann") == ["public", "blocked"]


def test_one_blocked_account_blocks_the_person() -> None:
    assert Story().link(EVE, IVY).levels(IVY) == ["blocked"]


# Codes


def invited(level: Given = "trusted", by: str = OLGA) -> Invited:
    return Invited(id="i", at=0.0, by=by, bot=DESK, level=level, code=CODE, expires_at=60.0)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(Granted(id="g", at=0.0, by=OLGA, to=ANN, bot=DESK, level="owner", code=CODE), id="more"),
        pytest.param(Granted(id="g", at=0.0, by=OLGA, to=ANN, bot=SHOP, level="trusted", code=CODE), id="elsewhere"),
        pytest.param(Granted(id="g", at=0.0, by=IVY, to=ANN, bot=DESK, level="trusted", code=CODE), id="by another"),
        pytest.param(Granted(id="g", at=0.0, by=OLGA, to=ANN, bot=DESK, level="trusted", code="1" * 64), id="no code"),
    ],
)
def test_nobody_brings_out_of_a_code_what_was_not_put_in(act: Granted) -> None:
    story = Story().tell(invited()).tell(act)

    assert (story.levels(ANN), story.levels(ANN, bot=SHOP)) == (["public"], ["public"])
    assert story.access.invitation(CODE) is not None


def test_a_code_works_once() -> None:
    story = Story().tell(invited())
    for who in (ANN, BEN):
        story.tell(Granted(id=who, at=0.0, by=OLGA, to=who, bot=DESK, level="trusted", code=CODE))

    assert story.levels(ANN, BEN) == ["trusted", "public"]
    assert story.access.invitation(CODE) is None
    assert story.access.is_code(CODE)


# The fold


PEOPLE = st.sampled_from((OLGA, ANN, BEN, "stone:ann", IVY))


@st.composite
def acts(draw: st.DrawFn) -> list[Act]:
    story = Story()
    for _ in range(draw(st.integers(0, 12))):
        who, other = draw(PEOPLE), draw(PEOPLE)
        match draw(st.integers(0, 5)):
            case 0:
                story.grant(who, draw(st.sampled_from(("trusted", "owner"))), by=other)
            case 1:
                story.revoke(who)
            case 2:
                story.block(who)
            case 3:
                story.unblock(who)
            case 4:
                story.link(who, other)
            case _:
                story.unlink(who)
    return story.acts


@few
@given(acts(), st.data())
def test_an_act_that_stands_there_twice_counts_once(told: list[Act], data: st.DataObject) -> None:
    once, often = Story(), Story()
    for index, act in enumerate(told):
        once.tell(act)
        often.tell(act)
        often.tell(told[data.draw(st.integers(0, index))])

    people = (OLGA, ANN, BEN, "stone:ann", IVY)
    assert once.levels(*people) == often.levels(*people)
    assert [once.access.person(who) for who in people] == [often.access.person(who) for who in people]


@few
@given(acts())
def test_what_would_be_after_an_act_is_what_is_after_it(told: list[Act]) -> None:
    story = Story()
    for act in told:
        after = story.access.after(act)
        story.tell(act)
        assert [after.standing(DESK, who).level for who in (ANN, BEN, IVY)] == story.levels(ANN, BEN, IVY)


# Deciding

NEEDED: dict[str, tuple[str, str]] = {
    "speak": ("speaker", "speaker"),
    "look": ("speaker", "speaker"),
    **dict.fromkeys(("new", "undo", "retry", "compact", "expand", "fork"), ("speaker", "trusted")),
    **dict.fromkeys(("agent", "model"), ("trusted", "trusted")),
    **dict.fromkeys(("stop", "steer", "interrupt"), ("asker", "asker")),
    "forget": ("speaker", "owner"),
    **dict.fromkeys(("approve", "grant", "revoke", "block", "unblock"), ("owner", "owner")),
    **dict.fromkeys(("people", "invite"), ("owner", "nobody")),
    "link": ("speaker", "nobody"),
}


@pytest.mark.parametrize("bot", [DESK, SHOP])
@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("action", get_args(Action))
def test_each_action_takes_so_much_in_private_and_in_a_group(action: Action, in_group: bool, bot: str) -> None:
    story = Story().grant(ANN, by=IVY, bot=bot).grant(BEN, "owner", by=IVY, bot=bot).block(EVE, bot)
    people = {"blocked": EVE, "public": CID, "trusted": ANN, "owner": BEN}
    need = NEEDED[action][in_group]
    speaks = "public" if bot == SHOP else "trusted"
    least = {"speaker": speaks, "trusted": "trusted", "owner": "owner", "asker": "public", "nobody": None}[need]

    decisions = {level: decide(story.access, bot, who, action, Place(in_group)) for level, who in people.items()}

    assert {level: decision.level for level, decision in decisions.items()} == {level: level for level in people}
    for level, decision in decisions.items():
        may = least is not None and level != "blocked" and list(people).index(level) >= list(people).index(least)
        assert decision.allowed == may, level
        assert decision.why
        # Who is blocked is told nothing, and everybody else why not.
        assert bool(decision.words) == (not may and level != "blocked")


def test_the_table_of_needs_knows_every_action() -> None:
    assert set(NEEDS) == set(get_args(Action)) == set(NEEDED)


@pytest.mark.parametrize(
    ("who", "asker", "allowed"),
    [
        (CID, CID, True),
        (CID, BEN, False),
        (BEN, CID, False),
        (ANN, CID, True),
        ("stone:cid", CID, True),
        (EVE, EVE, False),
    ],
    ids=["own", "another's", "trusted", "an owner", "one person with who asked", "who is blocked"],
)
@pytest.mark.parametrize("action", ["stop", "steer", "interrupt"])
def test_an_answer_is_who_asked_for_its_and_an_owners(action: Action, who: str, asker: str, allowed: bool) -> None:
    story = Story().grant(ANN, "owner").grant(BEN).link(CID, "stone:cid")

    decision = decide(story.access, DESK, who, action, Place(in_group=True, asker=asker))

    assert decision.allowed == allowed
    assert decision.words == ("" if allowed or who == EVE else NOT_YOURS)


def test_a_bot_that_nobody_configured_obeys_nobody() -> None:
    decision = decide(Story().access, "paper:other", IVY, "speak")

    assert (decision.allowed, decision.level) == (False, "public")
    assert "configuration" in decision.words


def test_a_bot_without_an_owner_says_how_it_gets_one_and_one_with_owners_whom_it_answers() -> None:
    unowned = replace(POLICIES[0], owners=frozenset())

    assert decide(Access((unowned,)), DESK, ANN, "speak").words == NO_OWNER.format(platform="paper")
    assert decide(Story(unowned).grant(BEN, "owner", by=None).access, DESK, ANN, "speak").words == NOT_LET_IN


def test_the_reasons_name_the_accounts_the_rule_and_who_gave_what_when() -> None:
    story = Story().grant(ANN, "owner", by=IVY).link(ANN, "stone:ann")

    (one, given, rule) = decide(story.access, DESK, "stone:ann", "invite").why

    assert (one, given) == (
        "paper:ann and stone:ann are one person.",
        "cli:ivy made paper:ann owner on paper:desk on 1970-01-01.",
    )
    assert "the level owner" in rule


# Acts that may not be


def refused(story: Story, act: Act) -> str:
    return objection(story.access, act)


@pytest.mark.parametrize("by", [ANN, CID, EVE], ids=["trusted", "public", "blocked"])
def test_who_is_no_owner_may_do_nothing_about_others(by: str) -> None:
    story = Story().grant(ANN)
    tried: list[Act] = [
        invited(by=by),
        Granted(id="x", at=0.0, by=by, to=BEN, bot=DESK, level="trusted"),
        Granted(id="x", at=0.0, by=by, to=by, bot=DESK, level="owner"),
        Revoked(id="x", at=0.0, by=by, who=OLGA, bot=DESK),
        Blocked(id="x", at=0.0, by=by, who=OLGA, bot=DESK),
        Unblocked(id="x", at=0.0, by=by, who=EVE, bot=DESK),
    ]

    assert [refused(story, act) for act in tried] == [NOT_OWNER] * len(tried)


def test_an_owner_of_one_bot_is_nobody_on_another() -> None:
    assert refused(Story(), Granted(id="x", at=0.0, by=OLGA, to=BEN, bot=SHOP, level="trusted")) == NOT_OWNER


@pytest.mark.parametrize(
    "act",
    [
        Revoked(id="x", at=0.0, by=ANN, who=OLGA, bot=DESK),
        Blocked(id="x", at=0.0, by=ANN, who=OLGA, bot=DESK),
        Blocked(id="x", at=0.0, by=ANN, who=IVY, bot=DESK),
        Blocked(id="x", at=0.0, by=ANN, who=ANN, bot=DESK),
        Blocked(id="x", at=0.0, by=CID, who=ANN, bot=DESK),
        Revoked(id="x", at=0.0, by=CID, who=ANN, bot=DESK),
        Revoked(id="x", at=0.0, by=ANN, who=BEN, bot=DESK),
        Unblocked(id="x", at=0.0, by=ANN, who=EVE, bot=DESK),
        Unblocked(id="x", at=0.0, by=ANN, who=BEN, bot=DESK),
        Granted(id="x", at=0.0, by=ANN, to=EVE, bot=DESK, level="trusted"),
        Granted(id="x", at=0.0, by=ANN, to=CID, bot=DESK, level="trusted"),
    ],
    ids=[
        "put out whom the configuration names",
        "block whom the configuration names",
        "block who sits at the terminal",
        "block oneself",
        "block who let one in",
        "put out who let one in",
        "take from who has nothing",
        "unblock whom the configuration blocks",
        "unblock who is not blocked",
        "let in who is blocked",
        "give less than somebody holds",
    ],
)
def test_what_not_even_an_owner_may_do_is_refused_in_words(act: Act) -> None:
    assert refused(Story().grant(ANN, "owner").grant(CID, "owner", by=ANN), act)


@pytest.mark.parametrize(
    "act",
    [
        Revoked(id="x", at=0.0, by=CID, who=BEN, bot=DESK),
        Blocked(id="x", at=0.0, by=CID, who=BEN, bot=DESK),
        Revoked(id="x", at=0.0, by=CID, who=CID, bot=DESK),
        Revoked(id="x", at=0.0, by=IVY, who=ANN, bot=DESK),
        Blocked(id="x", at=0.0, by=ANN, who=CID, bot=DESK),
        Granted(id="x", at=0.0, by=CID, to="stone:zoe", bot=DESK, level="owner"),
        invited("owner", by=CID),
    ],
    ids=[
        "put out another owner",
        "block another owner",
        "give back what one holds",
        "the terminal puts out an owner",
        "block whom one let in",
        "let in somebody of another platform",
        "invite",
    ],
)
def test_what_an_owner_may_do(act: Act) -> None:
    story = Story().grant(ANN, "owner").grant(BEN, "owner").grant(CID, "owner", by=ANN)

    assert refused(story, act) == ""


def test_who_is_blocked_anywhere_is_linked_with_nobody() -> None:
    story = Story().block(CID, SHOP)

    for one, other in ((CID, IVY), (IVY, CID), (EVE, IVY)):
        assert refused(story, Linked(id="x", at=0.0, by=other, one=one, other=other, code=CODE))


def test_a_person_is_no_crowd() -> None:
    story = Story()
    for number in range(MOST_LINKED - 1):
        act = Linked(id=f"x{number}", at=0.0, by=ANN, one=ANN, other=f"stone:{number}", code=f"{number:064x}")
        assert refused(story, act) == ""
        story.tell(act)

    assert refused(story, Linked(id="x", at=0.0, by=ANN, one=ANN, other=BEN, code=CODE))


def test_an_account_is_parted_by_the_person_it_is_and_by_nobody_else() -> None:
    story = Story().link(ANN, CID)

    assert refused(story, Unlinked(id="x", at=0.0, by=CID, who=ANN)) == ""
    assert refused(story, Unlinked(id="x", at=0.0, by=BEN, who=ANN))
    assert refused(story, Unlinked(id="x", at=0.0, by=BEN, who=BEN))


def test_what_was_done_is_done_and_nothing_is_said_against_it_again() -> None:
    story = Story().grant(ANN)

    assert refused(story, story.acts[0]) == ""
