"""Every key against every subject, on a real server and without our own client in between."""

from factory_contracts import subjects
from factory_nats.subject import answers_prefix
from tests.bus.raw import SHUT, Raw
from tests.bus.town import (
    BOTS,
    BROAD,
    CALLERS,
    CLIPOOLS,
    CONSUMER_VERBS,
    GRANTS,
    MEMBERS,
    OWNERS,
    SPOKES,
    STORES,
    STREAMS,
    VERBS,
    WORKERS,
    Town,
    catalogue,
    may_publish,
    may_subscribe,
)


async def test_every_key_may_send_what_the_table_says_and_nothing_else(common: Town) -> None:
    places = tuple(catalogue())

    for key in GRANTS:
        thief = await common.thief(key)
        for subject in places:
            thief.publish(subject)
        said = await thief.barrier()

        assert (said.complaints, said.is_closed) == ([], False)
        assert said.may_not_publish == {one for one in places if not may_publish(key, one)}, key


async def test_every_key_may_hear_what_the_table_says_and_nothing_else(common: Town) -> None:
    places = (*catalogue(), *BROAD)

    for key in GRANTS:
        thief = await common.thief(key)
        for subject in places:
            thief.subscribe(subject)
        said = await thief.barrier()

        assert (said.complaints, said.is_closed) == ([], False)
        assert said.may_not_subscribe == {one for one in places if not may_subscribe(key, one)}, key


def senders(subject: str) -> set[str]:
    return {key for key in GRANTS if may_publish(key, subject)}


def listeners(subject: str) -> set[str]:
    return {key for key in GRANTS if may_subscribe(key, subject)}


def test_what_is_a_bots_only_its_spoke_and_the_hub_say_and_hear() -> None:
    for spoke, (platform, bot_id) in zip(SPOKES, BOTS, strict=True):
        for part in (0, 63):
            assert senders(subjects.inbound(platform, bot_id, part)) == {spoke}
            assert listeners(subjects.inbound(platform, bot_id, part)) == {"hub"}
        assert senders(subjects.outbound(platform, bot_id)) == {"hub"}
        assert listeners(subjects.outbound(platform, bot_id)) == {spoke}


def test_what_is_a_workers_only_it_and_the_hub_say_and_hear() -> None:
    for worker in CLIPOOLS:
        assert senders(subjects.clipool_command(worker)) == {"hub"}
        assert listeners(subjects.clipool_command(worker)) == {worker}
        for said in (subjects.clipool_events(worker), subjects.clipool_record(worker)):
            assert (senders(said), listeners(said)) == ({worker}, {"hub"})
        assert senders(subjects.heartbeat(subjects.CLIPOOL, worker)) == {worker}
    for capability, worker in WORKERS:
        assert senders(subjects.heartbeat(capability, worker)) == {worker}
        assert senders(subjects.request(capability, worker)) == {*CLIPOOLS, subjects.ASKER}
        assert listeners(subjects.request(capability, worker)) == {worker}
    assert senders(subjects.heartbeat(subjects.HUB, subjects.HUB)) == {"hub"}
    assert senders(subjects.clipool_hello()) == {"hub"}


def test_into_an_inbox_only_the_one_whose_answer_is_awaited_may_send() -> None:
    asks = {(spoke, "hub") for spoke in SPOKES}
    asks |= {("hub", worker) for worker in CLIPOOLS} | {(worker, "hub") for worker in CLIPOOLS}
    asks |= {(one, worker) for one in (*CLIPOOLS, subjects.ASKER) for _, worker in WORKERS}

    for asker in MEMBERS:
        for responder in (*MEMBERS, "$", "stranger"):
            subject = f"{answers_prefix(asker, responder)}.c0ffee._.1"
            assert senders(subject) == ({responder} if (asker, responder) in asks else set())
            assert {OWNERS[key] for key in listeners(subject)} == {asker}


def test_what_is_asked_from_outside_the_door_alone_hears_and_answers() -> None:
    for caller in CALLERS:
        key = f"caller-{caller}"
        for verb in ("prompt", "status"):
            # Each caller is alone in an account, so what it sends there is its own and nobody else's.
            assert senders(subjects.offered(verb, "scout", caller, "main")) == {key}
            assert listeners(subjects.offered(verb, "scout", caller, "main")) == {"agents-scout"}
        assert senders(subjects.asked_back("scout", caller, "main", "x")) == {key}
        assert listeners(subjects.asked_back("scout", caller, "main", "x")) == {"agents-scout"}
        assert senders(subjects.offered("hb", "scout", caller, "main")) == {"agents-scout"}
        assert (senders(f"agents.find.{caller}.INFO"), listeners(f"agents.find.{caller}.INFO")) == (
            set(),
            {"agents-scout"},
        )
        assert GRANTS[key].place == "outside"
        assert all(
            f".{caller}." in there or there.startswith(f"agents.find.{caller}.") for _, there in GRANTS[key].asks
        )
    assert senders("_R_.abc.def") == {"agents-scout"}
    assert listeners("_R_.abc.def") == set()


def test_the_log_is_the_hubs_and_what_is_stored_of_a_bot_its_spokes_and_the_workers() -> None:
    for subject in (subjects.turns("telegram", "main", "x"), subjects.epoch(0), subjects.mark(0), subjects.money(0)):
        assert (senders(subject), listeners(subject)) == ({"hub.store"}, set())
    workers = {f"{name}.store" for name in CLIPOOLS}
    for spoke, store in STORES.items():
        for subject in (f"$O.{store}.C.x", f"$O.{store}.M.x"):
            assert (senders(subject), listeners(subject)) == ({f"{spoke}.store", *workers}, set())
        assert senders(f"$JS.API.DIRECT.GET.OBJ_{store}") == {f"{spoke}.store", *workers, "eraser", "reader"}
    assert senders(f"$JS.API.DIRECT.GET.{subjects.STREAM}") == {"hub.store", "reader"}


def test_streams_are_made_by_the_hub_emptied_by_the_eraser_and_consumed_and_deleted_by_nobody() -> None:
    made = {"CREATE": {"hub.store"}, "UPDATE": {"hub.store"}}
    erased = {verb: {"eraser"} for verb in ("INFO", "MSG.DELETE")}
    for stream in STREAMS:
        for verb in VERBS:
            expected: set[str] = set()
            if stream != "OTHER":
                expected |= made.get(verb, set())
            if stream == subjects.STREAM or stream.startswith("OBJ_"):
                expected |= erased.get(verb, set())
            if (verb, stream) == ("INFO", subjects.STREAM):
                expected |= {"hub.store"}
            assert senders(f"$JS.API.STREAM.{verb}.{stream}") == expected
        for verb in CONSUMER_VERBS:
            assert senders(f"$JS.API.CONSUMER.{verb}.{stream}.c") == set()


def test_who_talks_on_the_bus_may_ask_the_server_for_nothing_but_themselves() -> None:
    for key, may in GRANTS.items():
        if may.place == "bus":
            assert not [one for one in may.publish if one.startswith("$")]
        if may.place == "streams":
            assert key in ("hub.store", "eraser")


async def test_who_shows_no_key_stays_outside_on_loopback_too(common: Town) -> None:
    nobody = await Raw.join(common.server)
    said = await nobody.end()

    assert common.server.host == "127.0.0.1"
    assert said.is_closed
    assert SHUT in said.complaints[0]
    await nobody.close()
