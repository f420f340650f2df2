"""A subject is one of ours or an error that names the token; what one side spells the other reads."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factory_contracts import subjects
from factory_contracts.subjects import BadToken, Permissions
from factory_nats.subject import answers_prefix, is_filter, is_literal, matches, overlap

BAD_NAMES = [
    "",
    ".",
    "a.b",
    "*",
    ">",
    "a b",
    " a",
    "a ",
    "a\n",
    "\t",
    "A",
    "é",
    "日本",
    "a/b",
    "a%20",
    "$JS",
    "\0",
    "٣",
]
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=32).filter(
    lambda name: name not in ("request", "heartbeat")
)
WORKERS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=64)
SCOPES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=28).filter(
    lambda scope: len(scope.encode()) <= 85
)
PARTITIONS = st.integers(0, subjects.PARTITIONS - 1)


@pytest.mark.parametrize("bad", [*BAD_NAMES, "a" * 33, "request", "heartbeat"])
@pytest.mark.parametrize(
    "spell",
    [
        subjects.platform_token,
        subjects.bot_token,
        lambda bad: subjects.inbound(bad, "b", 0),
        lambda bad: subjects.inbound("p", bad, 0),
        lambda bad: subjects.outbound(bad, "b"),
        lambda bad: subjects.outbound("p", bad),
        lambda bad: subjects.turns(bad, "b", "s"),
        lambda bad: subjects.turns("p", bad, "s"),
        lambda bad: subjects.turns_of_bot("p", bad),
        lambda bad: subjects.owners(bad, "b"),
        lambda bad: subjects.owners("p", bad),
        lambda bad: subjects.typing("p", bad),
        lambda bad: subjects.spoke_permissions("p", bad),
    ],
)
def test_a_bad_platform_or_bot_never_becomes_a_subject(spell: Callable[[str], object], bad: str) -> None:
    with pytest.raises(BadToken):
        spell(bad)


@pytest.mark.parametrize("bad", [*BAD_NAMES, "a" * 65])
@pytest.mark.parametrize(
    "spell",
    [
        subjects.worker_token,
        subjects.clipool_command,
        subjects.clipool_events,
        subjects.clipool_record,
        subjects.clipool_permissions,
        lambda bad: subjects.heartbeat("image", bad),
        lambda bad: subjects.request("image", bad),
        lambda bad: subjects.worker_permissions("image", bad),
    ],
)
def test_a_bad_worker_never_becomes_a_subject(spell: Callable[[str], object], bad: str) -> None:
    with pytest.raises(BadToken):
        spell(bad)


def test_the_error_names_the_token_and_its_rule() -> None:
    with pytest.raises(BadToken, match=r"bot id 'my\.bot': must be 1 to 32 of a-z, 0-9, '_' and '-'"):
        subjects.outbound("telegram", "my.bot")


@pytest.mark.parametrize(
    "bad",
    [
        *(bad for bad in BAD_NAMES if bad != "a.b"),
        *("a.b.c", ".a", "a.", "a" * 33, "outbound", "turns.x", "clipool.cmd", "voice.request", "voice.heartbeat"),
    ],
)
def test_a_capability_is_one_or_two_tokens_of_its_own(bad: str) -> None:
    with pytest.raises(BadToken):
        subjects.heartbeats(bad)


def test_no_heartbeat_or_request_is_read_as_another_plane() -> None:
    planes = ("inbound", "outbound", "turns", "typing", "commands", "events", "record")

    for capability in ("image", "voice.tts", subjects.CLIPOOL, subjects.HUB):
        for subject in (subjects.heartbeat(capability, "w"), subjects.request(capability, "w")):
            assert not any(matches(pattern, subject) for name in planes for pattern in subjects.plane(name))


@pytest.mark.parametrize("bad", ["", "a" * 256, "é" * 43, "\ud800", "a\0b"])
def test_a_scope_that_cannot_be_encoded_is_refused(bad: str) -> None:
    with pytest.raises(BadToken):
        subjects.turns("p", "b", bad)


@given(SCOPES)
def test_a_scope_is_one_token_and_comes_back(scope: str) -> None:
    subject = subjects.turns("p", "b", scope)

    assert is_literal(subject) and subject.count(".") == 4
    assert subjects.read_turns(subject) == ("p", "b", scope)


@given(SCOPES, SCOPES)
def test_two_scopes_have_two_logs(one: str, other: str) -> None:
    assert (subjects.scope_token(one) == subjects.scope_token(other)) == (one == other)


@given(NAMES, NAMES, PARTITIONS)
def test_an_inbound_subject_comes_back(platform: str, bot_id: str, part: int) -> None:
    assert subjects.read_inbound(subjects.inbound(platform, bot_id, part)) == (platform, bot_id, part)


@given(WORKERS)
def test_a_worker_comes_back(worker: str) -> None:
    for subject in (subjects.clipool_command(worker), subjects.clipool_events(worker), subjects.clipool_record(worker)):
        assert subjects.read_worker(subject) == worker


@pytest.mark.parametrize(
    "tail",
    ["inbound.p.b", "inbound.p.b.1.2", "outbound.p.b.1", "inbound.P.b.1", "inbound.p.b.64"]
    + [f"inbound.p.b.{part}" for part in ("", "-1", "01", "²", "٣", "x", "1 ")],
)
def test_what_is_no_inbound_subject_is_refused(tail: str) -> None:
    with pytest.raises(BadToken):
        subjects.read_inbound(f"{subjects.ROOT}.{tail}")


@pytest.mark.parametrize(
    "subject",
    [
        *(subjects.epoch(3), subjects.mark(0), subjects.seal(0), subjects.owners("p", "b"), subjects.access()),
        *(subjects.outbound("p", "b"), "", "a.b.c.d.e"),
    ],
)
def test_what_is_no_scopes_log_is_none(subject: str) -> None:
    assert subjects.read_turns(subject) is None


@pytest.mark.parametrize("part", [-1, subjects.PARTITIONS, 1_000])
def test_a_partition_beyond_the_last_is_refused(part: int) -> None:
    for spell in (subjects.epoch, subjects.mark, subjects.seal):
        with pytest.raises(BadToken):
            spell(part)


def test_a_scopes_partition_never_changes() -> None:
    assert [subjects.partition(scope) for scope in ("home", "chat-7", "日本")] == [16, 17, 12]


def test_each_subject_lies_in_its_plane_alone() -> None:
    spelled = {
        "inbound": subjects.inbound("p", "b", 1),
        "outbound": subjects.outbound("p", "b"),
        "scopes": subjects.turns("p", "b", "s"),
        "epochs": subjects.epoch(1),
        "seals": subjects.seal(1),
        "money": subjects.money(1),
        "owners": subjects.owners("p", "b"),
        "access": subjects.access(),
        "typing": subjects.typing("p", "b"),
        "heartbeat": subjects.heartbeat("voice.tts", "w"),
        "commands": subjects.clipool_command("w"),
        "events": subjects.clipool_events("w"),
        "record": subjects.clipool_record("w"),
        "request": subjects.request("image", "w"),
    }

    for plane in spelled:
        inside = {name for name, subject in spelled.items() if _allows(subjects.plane(plane), subject)}
        assert inside == {plane}
        assert all(is_filter(pattern) for pattern in subjects.plane(plane))
    assert _allows(subjects.plane("turns"), spelled["scopes"]) and _allows(subjects.plane("turns"), subjects.mark(1))


def test_a_spoke_may_do_what_it_does_and_nothing_to_another_bot() -> None:
    own = subjects.spoke_permissions("p", "b")

    assert all(_allows(own.publish, subjects.inbound("p", "b", part)) for part in range(subjects.PARTITIONS))
    assert _allows(own.subscribe, subjects.outbound("p", "b"))
    for forbidden in (subjects.inbound("p", "c", 0), subjects.turns("p", "b", "s"), subjects.outbound("p", "b")):
        assert not _allows(own.publish, forbidden)
    assert not _allows(own.subscribe, subjects.outbound("p", "c"))


def test_files_are_written_and_read_in_the_stores_that_are_given_only() -> None:
    given, other = subjects.blobs("p", "b"), subjects.blobs("p", "c")
    own = subjects.store_permissions(given)

    for allowed in (*_writing(given), *_reading(given)):
        assert _allows(own.publish, allowed)
    for forbidden in (*_writing(other), *_reading(other), f"$JS.API.STREAM.INFO.OBJ_{given}", f"$O.{given}.X.y"):
        assert not _allows(own.publish, forbidden)
    assert own.subscribe == ()


def test_a_clipool_worker_may_do_what_it_does_and_speaks_for_no_other() -> None:
    own = subjects.clipool_permissions("w1")

    said = (subjects.clipool_events("w1"), subjects.clipool_record("w1"), subjects.heartbeat(subjects.CLIPOOL, "w1"))
    assert all(_allows(own.publish, subject) for subject in said)
    assert _allows(own.publish, f"{answers_prefix(subjects.HUB, 'w1')}.c1.commands.x")
    assert _allows(own.subscribe, subjects.clipool_command("w1")) and _allows(own.subscribe, subjects.clipool_hello())
    for forbidden in (
        subjects.clipool_events("w2"),
        subjects.turns("p", "b", "s"),
        subjects.clipool_hello(),
        subjects.heartbeat(subjects.CLIPOOL, "w2"),
        f"{answers_prefix(subjects.HUB, 'w2')}.c1.commands.x",
        f"{answers_prefix('w2', 'w1')}.c1._.1",
    ):
        assert not _allows(own.publish, forbidden)
    assert not _allows(own.subscribe, subjects.clipool_command("w2"))


@pytest.mark.parametrize("capability", ["image", "voice.tts"])
def test_a_clipool_worker_hears_and_asks_the_workers_it_is_told_of_and_answers_for_none(capability: str) -> None:
    own = subjects.clipool_permissions("w1", (capability, "w2"))

    assert _allows(own.publish, subjects.request(capability, "w2"))
    assert _allows(own.subscribe, subjects.heartbeat(capability, "w2"))
    for other in (subjects.request(capability, "w3"), subjects.request("video", "w2")):
        assert not _allows(own.publish, other)
    assert not _allows(own.publish, subjects.heartbeat(capability, "w2"))
    assert not _allows(own.subscribe, subjects.heartbeat("video", "w2"))
    assert not _allows(own.subscribe, subjects.request(capability, "w2"))


@given(NAMES, NAMES)
@example("p", "request")
@example("request", "b")
@example("p", "heartbeat")
def test_what_may_be_asked_of_workers_reaches_no_other_plane(one: str, other: str) -> None:
    own = subjects.clipool_permissions("w1", ("image", "w2"), ("voice.tts", "w3"))
    try:
        spelled = (
            subjects.inbound(one, other, 0),
            subjects.outbound(one, other),
            subjects.turns(one, other, "heartbeat"),
            subjects.typing(one, other),
        )
    except BadToken:
        assert {one, other} & {"request", "heartbeat"}
        return

    for forbidden in (*spelled, subjects.epoch(0), subjects.mark(0)):
        assert not _allows(own.publish, forbidden)
        assert not _allows(own.subscribe, forbidden)


def test_a_worker_answers_its_own_requests_only() -> None:
    own = subjects.worker_permissions("voice.tts", "w1", subjects.CLIPOOL, "clipool-2")

    assert _allows(own.publish, subjects.heartbeat("voice.tts", "w1"))
    assert own.subscribe == (subjects.request("voice.tts", "w1"),)
    for asker in (subjects.CLIPOOL, "clipool-2"):
        assert _allows(own.publish, f"{answers_prefix(asker, 'w1')}.c1._.7")
        assert not _allows(own.publish, f"{answers_prefix(asker, 'w2')}.c1._.7")
    for forbidden in (
        f"{answers_prefix('cli-main', 'w1')}.c1._.7",
        f"{answers_prefix(subjects.HUB, 'w1')}.c1._.7",
        subjects.request("image", "w2"),
        subjects.heartbeat("image", "w1"),
        subjects.heartbeat("voice.tts", "w2"),
    ):
        assert not _allows(own.publish, forbidden)


def test_the_hub_answers_those_who_ask_it_and_nobody_else() -> None:
    own = subjects.hub_permissions("p-b", "w1")

    for asker in ("p-b", "w1"):
        assert _allows(own.publish, f"{answers_prefix(asker, subjects.HUB)}.c1._.7")
        assert not _allows(own.publish, f"{answers_prefix(asker, 'w1')}.c1._.7")
    assert not _allows(own.publish, f"{answers_prefix('p-c', subjects.HUB)}.c1._.7")


BUS = [
    subjects.hub_permissions("p-b", "w"),
    subjects.spoke_permissions("p", "b"),
    subjects.clipool_permissions("w", ("image", "w2")),
    subjects.worker_permissions("image", "w2"),
]
APART = [subjects.store_permissions(subjects.blobs("p", "b")), subjects.reader_permissions(subjects.blobs("p", "b"))]
KEEPERS = [
    subjects.hub_store_permissions(subjects.blobs("p", "b")),
    subjects.eraser_permissions(subjects.blobs("p", "b")),
]


@pytest.mark.parametrize("own", BUS)
def test_whoever_talks_on_the_bus_asks_the_server_nothing(own: Permissions) -> None:
    assert own.place == "bus"
    assert not any(subject.startswith(("$", "*", ">")) for subject in (*own.publish, *own.subscribe))
    assert not any(overlap(subject, pattern) for subject in own.publish for pattern in subjects.plane("turns"))


@pytest.mark.parametrize("own", APART)
def test_whoever_is_apart_manages_no_stream_and_writes_no_log(own: Permissions) -> None:
    assert own.place == "apart"
    for subject in own.publish:
        assert subject.startswith(("$JS.API.DIRECT.GET.", "$O."))
    assert not any(overlap(one, pattern) for one in own.publish for pattern in (*subjects.plane("turns"), "$KV.>"))


def test_the_hub_alone_writes_the_log_and_makes_streams_which_nobody_deletes() -> None:
    writing, erasing = KEEPERS

    assert all(one.place == "streams" for one in KEEPERS)
    assert _allows(writing.publish, subjects.turns("p", "b", "s"))
    assert _allows(writing.publish, f"$JS.API.STREAM.CREATE.{subjects.STREAM}")
    assert _allows(erasing.publish, f"$JS.API.STREAM.MSG.DELETE.{subjects.STREAM}")
    assert not _allows(writing.publish, f"$JS.API.STREAM.MSG.DELETE.{subjects.STREAM}")
    assert not _allows(erasing.publish, subjects.turns("p", "b", "s"))
    for own in (*BUS, *APART, *KEEPERS):
        for stream in (subjects.STREAM, f"OBJ_{subjects.blobs('p', 'b')}", "X"):
            for call in (
                "STREAM.DELETE",
                "STREAM.PURGE",
                "STREAM.RESTORE",
                "CONSUMER.CREATE",
                "CONSUMER.DURABLE.CREATE",
            ):
                assert not any(overlap(f"$JS.API.{call}.{stream}.>", one) for one in own.publish)
                assert not _allows(own.publish, f"$JS.API.{call}.{stream}")


def _reading(store: str) -> tuple[str, ...]:
    return f"$JS.API.DIRECT.GET.OBJ_{store}", f"$JS.API.DIRECT.GET.OBJ_{store}.$O.{store}.M.bmFtZQ=="


def _writing(store: str) -> tuple[str, ...]:
    return f"$O.{store}.C.nuid", f"$O.{store}.M.bmFtZQ=="


def _allows(patterns: tuple[str, ...], subject: str) -> bool:
    return any(matches(pattern, subject) for pattern in patterns)


def test_no_two_bots_share_a_store() -> None:
    assert subjects.blobs("a_b", "c") != subjects.blobs("a", "b_c")


@pytest.mark.parametrize(("one", "other"), [("a.b", "a_b"), ("a_b.c", "a.b_c"), ("a", "a.a")])
def test_no_two_capabilities_share_a_store_and_none_with_a_bot(one: str, other: str) -> None:
    assert subjects.store(one) != subjects.store(other)
    assert subjects.store(one) not in (subjects.blobs("work", one[0]), subjects.blobs("a", "b"))


def test_no_two_bots_share_their_owners() -> None:
    assert subjects.owners("a_b", "c") != subjects.owners("a", "b_c")
