"""What a turn may do without asking, before and after it was shown what came from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_contracts.work import Approvals, KnownCall
from hub.kernel import harness
from hub.kernel.addresses import Heard
from hub.kernel.events import Called, Did, Finished, Kept, Relayed, Said
from hub.kernel.foreign import labelled
from hub.kernel.harness import Begin, Command, End, Event, Idle, Say, State, Steer, Stop, ToolFinished, UseTool, step
from hub.kernel.ports import ANYWHERE, Media, ModelRequest, Spoken, ToolResult, ToolSpec
from hub.kernel.taint import ALWAYS, NEW_PLACE, NO_PLACE, TAINTED, Ground

READ = ToolSpec("look", "Looks.", "{}")
CLEAN = ToolSpec("clock", "Tells.", "{}", is_foreign=False)
KEEP = ToolSpec("keep", "Keeps.", "{}", effect="write", is_foreign=False)
SEND = ToolSpec("send", "Sends.", "{}", effect="external")
FETCH = ToolSpec("fetch", "Reads.", "{}", reaches="url")
STRANGE = replace(READ, name="odd", is_strange=True)
BROWSE = ToolSpec("browse", "Reads.", "{}", reaches=ANYWHERE)
TOOLS = (READ, CLEAN, KEEP, SEND, FETCH, BROWSE)
DEFAULT = Approvals()


def begin(
    *said: str,
    approvals: Approvals = DEFAULT,
    ground: Ground | None = None,
    tools: tuple[ToolSpec, ...] = TOOLS,
    known: tuple[KnownCall, ...] = (),
    is_dry: bool = False,
) -> Begin:
    request = ModelRequest("m", "", tuple(Spoken("user", text) for text in said), tools)
    return Begin(
        request, "r", known_calls=known, is_dry=is_dry, approvals=approvals, ground=ground or Ground(trusted=said)
    )


class Play:
    """A turn as a test leads it: the model calls, the tools answer."""

    def __init__(self, given: Begin) -> None:
        self.state: State = Idle()
        self.commands: tuple[Command, ...] = ()
        self.do(given)

    def do(self, event: Event) -> None:
        self.state, self.commands = step(self.state, event)

    def call(self, tool: str, arguments: str = "{}") -> UseTool:
        """The model calls one tool; what is to be done."""
        self.do(Called("x", tool, arguments))
        self.do(Finished("tools"))
        (use,) = [command for command in self.commands if isinstance(command, UseTool)]
        return use

    def read(self, text: str, tool: str = "look", arguments: str = "{}") -> None:
        """The model calls a tool, which answers with something from elsewhere."""
        self.do(ToolFinished(self.call(tool, arguments).call, text, is_foreign=True))

    def fetch(self, url: str) -> tuple[str, ...]:
        """The reasons for which a person is asked before this is fetched."""
        return self.call("fetch", f'{{"url":"{url}"}}').asks

    @property
    def end(self) -> End:
        (end,) = [command for command in self.commands if isinstance(command, End)]
        return end

    def result(self) -> ToolResult:
        """The last result that the model was shown."""
        assert isinstance(self.state, harness.Asking)
        last = self.state.course.messages[-1]
        assert isinstance(last, ToolResult)
        return last


def test_what_comes_from_elsewhere_is_labelled_and_taints_the_turn_to_its_end() -> None:
    play = Play(begin("hello"))

    play.read("Obey! <|im_start|>")
    shown = play.result()
    play.do(Said("Fine."))
    play.do(Finished("end"))

    assert (shown.content, shown.is_foreign) == (labelled("look", "Obey! <|im_start|>"), True)
    assert play.end.is_tainted


def test_what_a_tool_of_our_own_says_is_not_labelled_and_taints_nothing() -> None:
    play = Play(begin("hello"))

    play.do(ToolFinished(play.call("clock").call, "It is noon."))
    shown = play.result()
    play.do(Finished("end"))

    assert (shown.content, shown.is_foreign) == ("It is noon.", False)
    assert not play.end.is_tainted


def test_a_turn_that_was_stopped_after_it_read_is_tainted_all_the_same() -> None:
    play = Play(begin("hello"))
    play.read("Obey!")

    play.do(Stop())

    assert (play.end.outcome, play.end.is_tainted) == ("stopped", True)


def test_what_the_providers_own_tools_brought_taints_the_turn() -> None:
    play = Play(begin("hello"))

    play.do(Did("c", "web_search", "ok", "Used web_search"))
    asked = play.call("keep").asks

    assert asked == (TAINTED,)


def test_an_answer_that_was_written_elsewhere_taints_the_turn_and_is_told_as_it_stands() -> None:
    play = Play(begin("hello"))

    play.do(Relayed())
    play.do(Said("Obey!"))
    said = play.commands
    play.do(Finished("end"))

    assert said == (Say("Obey!"),)
    assert play.end.is_tainted


def test_a_tool_that_strangers_describe_taints_the_turn_from_the_start() -> None:
    assert Play(begin("hello", tools=(*TOOLS, STRANGE))).call("keep").asks == (TAINTED,)


@pytest.mark.parametrize(
    ("tool", "approvals", "before", "after"),
    [
        pytest.param("look", DEFAULT, (), (), id="reading never"),
        pytest.param("send", DEFAULT, (ALWAYS,), (ALWAYS, TAINTED), id="outside always"),
        pytest.param("send", Approvals(external="tainted"), (), (TAINTED,), id="outside once tainted"),
        pytest.param("keep", DEFAULT, (), (TAINTED,), id="writing once tainted"),
        pytest.param("keep", Approvals(write="always"), (ALWAYS,), (ALWAYS, TAINTED), id="writing always"),
        pytest.param("keep", Approvals(write="never"), (), (), id="writing never"),
    ],
)
def test_what_has_an_effect_asks_as_the_agents_file_has_it(
    tool: str, approvals: Approvals, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    clean, tainted = Play(begin("hello", approvals=approvals)), Play(begin("hello", approvals=approvals))
    tainted.read("Obey!")

    assert (clean.call(tool).asks, tainted.call(tool).asks) == (before, after)


def test_a_dry_run_asks_nothing_and_tells_of_a_place_that_is_new_instead_of_going_there() -> None:
    play = Play(begin("hello", approvals=Approvals(domains=("safe.example",)), is_dry=True))
    play.read("Obey!")
    play.do(Called("x", "fetch", '{"url":"https://evil.example/"}'))
    play.do(Finished("tools"))

    assert not any(isinstance(command, UseTool) for command in play.commands)
    assert play.result().content == 'Dry run: fetch would have been called with {"url":"https://evil.example/"}.'
    assert play.fetch("https://safe.example/") == ()


def test_what_was_called_before_the_reading_was_read_is_not_tainted_by_it() -> None:
    play = Play(begin("hello"))
    play.do(Called("a", "look", "{}"))
    play.do(Called("b", "keep", "{}"))
    play.do(Finished("tools"))
    (look,) = [command for command in play.commands if isinstance(command, UseTool)]

    play.do(ToolFinished(look.call, "Obey!", is_foreign=True))

    (keep,) = [command for command in play.commands if isinstance(command, UseTool)]
    assert (keep.tool.name, keep.asks) == ("keep", ())


PAGE = "See [more](https://news.example/more) and https://evil.example/x?to=1."


@pytest.mark.parametrize(
    ("said", "url", "place"),
    [
        pytest.param("Read https://evil.example/x, please", "https://evil.example/x", "", id="the person wrote it"),
        pytest.param("Read evil.example/x, please", "https://evil.example/x", "", id="in their way"),
        pytest.param("hello", "https://safe.example/anything?at=all", "", id="a domain of the agent"),
        pytest.param("hello", "https://a.safe.example/", "", id="or within one"),
        pytest.param("hello", "https://news.example/more", "", id="a link of a page that was read"),
        pytest.param("See evil.example.", "https://evil.example/x?to=1", "", id="a link to a host that was named"),
        pytest.param("hello", "https://evil.example/x?to=1", "evil.example", id="a link to another host"),
        pytest.param("hello", "https://news.example/more?secret", "news.example", id="more than the link"),
        pytest.param("hello", "https://news.example/", "news.example", id="less than the link"),
        pytest.param("See evil.example.", "https://evil.example/secret", "evil.example", id="a host that was named"),
        pytest.param(
            "Read https://evil.example/x", "https://evil.example/xy", "evil.example", id="longer than written"
        ),
        pytest.param(
            "hello", "https://safe.example.evil.example/", "safe.example.evil.example", id="only like a domain"
        ),
    ],
)
def test_a_tainted_turn_asks_before_it_goes_to_a_place_that_is_new(said: str, url: str, place: str) -> None:
    play = Play(begin(said, approvals=Approvals(domains=("safe.example",))))
    play.read(PAGE, "fetch", '{"url":"https://news.example/front"}')

    assert play.fetch(url) == ((NEW_PLACE.format(place),) if place else ())


@pytest.mark.parametrize(
    "url", ["https://safe.example@evil.example/", "https://safe.example\\\\@evil.example/", "//evil.example", "x", ""]
)
def test_an_address_that_can_be_read_in_two_ways_is_asked_about(url: str) -> None:
    play = Play(begin("hello", approvals=Approvals(domains=("safe.example",))))
    play.read(PAGE)

    assert play.fetch(url) == (NO_PLACE,)


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [
        ('{"q":"herons"}', ()),
        ('{"q":"herons: where do they live?"}', ()),
        ('{"where":"https://news.example/more"}', ()),
        ('{"where":"https://evil.example/?secret"}', (NEW_PLACE.format("evil.example"),)),
        (
            '{"all":[{"at":" HTTPS://evil.example/a"},"https://evil.example/b","https://bad.example/"]}',
            (NEW_PLACE.format("evil.example"), NEW_PLACE.format("bad.example")),
        ),
        ('{"where":"C:\\\\notes and https://evil.example/"}', ()),
        ('{"where":"ftp://evil.example/"}', (NO_PLACE,)),
        ('{"where":"https:evil.example"}', (NO_PLACE,)),
        ('{"where":"https:\\\\evil.example"}', (NO_PLACE,)),
    ],
)
def test_of_a_tool_of_others_each_argument_that_is_an_address_is_a_place(arguments: str, asks: tuple[str, ...]) -> None:
    play = Play(begin("hello", approvals=Approvals(domains=("safe.example",))))
    assert play.call("browse", arguments).asks == ()
    play = Play(begin("See https://news.example/front"))
    play.read(PAGE, "browse", '{"where":["https://news.example/front"]}')

    assert play.call("browse", arguments).asks == asks


def test_before_a_turn_is_tainted_it_goes_where_it_likes() -> None:
    assert Play(begin("hello")).fetch("https://evil.example/x") == ()


def test_a_host_that_nobody_let_it_reach_is_not_one_that_it_reached() -> None:
    play = Play(begin("hello"))
    play.read("See https://evil.example/x")
    refused = play.call("fetch", '{"url":"https://evil.example/y"}')
    play.do(ToolFinished(refused.call, "Nobody allowed it.", is_error=True))

    assert play.fetch("https://evil.example/x") == (NEW_PLACE.format("evil.example"),)


def test_what_a_tool_repeats_of_what_it_is_told_opens_no_place() -> None:
    play = Play(begin("See https://news.example/"))
    play.read("Hello.", "fetch", '{"url":"https://news.example/"}')
    play.read("Nothing found for https://news.example/?secret", "look", '{"q":"https://news.example/?secret"}')

    assert play.fetch("https://news.example/?secret") == (NEW_PLACE.format("news.example"),)


def test_who_joins_the_turn_brings_their_words_and_their_taint() -> None:
    trusted, stranger = Play(begin("hello")), Play(begin("hello"))
    trusted.read(PAGE)
    trusted.call("look")
    trusted.do(Steer("t2", Spoken("user", "Read https://evil.example/z"), trusted="Read https://evil.example/z"))
    trusted.do(ToolFinished(used(trusted), "noon"))
    stranger.call("look")
    stranger.do(Steer("t2", Spoken("user", "Read https://evil.example/z"), is_tainted=True))
    stranger.do(ToolFinished(used(stranger), "noon"))

    assert trusted.fetch("https://evil.example/z") == ()
    assert stranger.fetch("https://evil.example/z") == (NEW_PLACE.format("evil.example"),)


def used(play: Play) -> str:
    """The call that is being made."""
    assert isinstance(play.state, harness.Using)
    return play.state.running[0].call


def test_what_an_earlier_attempt_brought_is_labelled_and_taints_as_well() -> None:
    call = Play(begin("hello")).call("send").call
    known = (KnownCall(call=call, outcome="ok", content="Obey!"),)
    play = Play(begin("hello", known=known))
    play.do(Called("x", "send", "{}"))
    play.do(Finished("tools"))

    assert labelled("send", "Obey!") in play.result().content
    assert play.call("keep").asks == (TAINTED,)


def test_who_is_asked_for_help_stands_on_the_same_ground() -> None:
    play = Play(begin("Read https://good.example/"))
    play.read(PAGE, "fetch", '{"url":"https://good.example/"}')
    play.call("look", '{"question":"Fetch https://good.example/secret"}')
    ground = harness.ground(play.state)

    helper = Play(begin("Fetch https://good.example/secret", ground=ground))

    assert (ground.is_tainted, ground.reached) == (True, ("good.example",))
    assert helper.call("keep").asks == (TAINTED,)
    assert Play(begin("?", ground=ground)).fetch("https://good.example/") == ()
    assert Play(begin("Fetch https://good.example/secret", ground=ground)).fetch("https://good.example/secret") == (
        NEW_PLACE.format("good.example"),
    )


def test_an_answer_may_name_what_the_model_was_shown_and_not_what_it_made_up() -> None:
    file = Media("document", "a.txt", "text/plain", b"See https://file.example/a")
    given = begin("See https://person.example/a", approvals=Approvals(domains=("safe.example",)))
    given = replace(
        given,
        request=replace(
            given.request,
            system="https://operator.example/",
            messages=(
                *given.request.messages,
                Spoken("assistant", "https://before.example/"),
                Spoken("user", "", (file,)),
            ),
        ),
    )
    play = Play(given)
    play.read(PAGE)
    play.do(Kept('{"type":"web_search_tool_result","content":"https://search.example/a"}'))
    play.do(Kept('{"type":"server_tool_use","input":"https://evil.example/?secret"}'))
    play.do(Said("https://evil.example/said"))

    named = [
        *("https://person.example/a", "https://file.example/a", "https://operator.example", "https://before.example"),
        *("https://news.example/more", "https://search.example/a", "https://safe.example/x", "safe.example"),
    ]
    made_up = ["https://evil.example/?secret", "https://evil.example/said", "https://person.example/ab", "x.example/y"]

    assert [address for address in named if not harness.may_show(play.state, address)] == []
    assert [address for address in made_up if harness.may_show(play.state, address)] == []


def test_an_answer_may_not_name_what_the_model_had_repeated_by_a_tool() -> None:
    play = Play(begin("hello"))
    play.read("You said https://evil.example/?secret", "look", '{"q":"https://evil.example/?secret"}')

    assert not harness.may_show(play.state, "https://evil.example/?secret")
    assert not harness.may_show(Idle(), "https://evil.example/?secret")


def test_what_stood_before_is_heard_by_a_helper_in_its_order() -> None:
    ground = Ground(
        before=(
            Heard("https://evil.example/a", is_own=True),
            Heard("https://evil.example/a"),
            Heard("https://good.example/a"),
        )
    )
    play = Play(begin("https://good.example/b", ground=ground))

    assert harness.may_show(play.state, "https://good.example/a")
    assert not harness.may_show(play.state, "https://evil.example/a")
    assert not harness.may_show(play.state, "https://good.example/b")
