"""Pictures: codes, cards and charts that are drawn here, and others that a server paints."""

import json
from collections import Counter
from io import BytesIO

import pytest
from PIL import Image
from pydantic import ValidationError

from factory_contracts.worker import Made, Unable
from tests.providers.media import KEY, MediaServer
from workers.endpoint import Endpoint, NoAnswer
from workers.image.canvas import COLOURS, HEIGHT, WIDTH, unwritten
from workers.image.card import Card, draw_card
from workers.image.chart import Chart, Series, draw_chart, number, scale
from workers.image.code import Code, draw_code
from workers.image.composition import ImageSettings, compose
from workers.image.painting import Scene, painting
from workers.image.settings import Painter


def opened(made: Made | Unable) -> Image.Image:
    assert isinstance(made, Made)
    (file,) = made.files
    return Image.open(BytesIO(file.data)).convert("RGB")


def colours(image: Image.Image) -> dict[str, int]:
    """How many points have each of the colours that mean something."""
    data = image.tobytes()
    found = Counter(data[at : at + 3].hex() for at in range(0, len(data), 3))
    return {colour: found[colour[1:]] for colour in COLOURS if colour[1:] in found}


def test_a_code_has_its_quiet_border_and_its_three_marks() -> None:
    image = opened(draw_code(Code(text="https://example.org")))

    assert image.width == image.height
    assert image.getpixel((39, 39)) == (255, 255, 255)
    far = image.width - 41
    assert [image.getpixel(at) for at in ((40, 40), (far, 40), (40, far))] == [(0, 0, 0)] * 3


def test_a_code_may_be_a_drawing_and_holds_no_more_than_codes_hold() -> None:
    made = draw_code(Code(text="grün", format="svg"))

    assert isinstance(made, Made)
    assert b"<svg" in made.files[0].data
    assert isinstance(draw_code(Code(text="ü" * 4000)), Unable)


def test_a_card_has_its_words_within_its_edges() -> None:
    long = Card(text="word " * 40, more="x" * 1000, footer="y" * 100, colour="#00ff00")

    image = opened(draw_card(long))

    assert image.size == (WIDTH, HEIGHT)
    assert image.getpixel((5, 5)) == (0, 255, 0)
    edges = [image.getpixel((x, y)) for y in range(HEIGHT) for x in range(WIDTH - 40, WIDTH)]
    assert set(edges) == {(255, 255, 255)}


def test_letters_that_the_font_lacks_are_told_to_whoever_asked() -> None:
    card = draw_card(Card(text="Gruss 🜲 🜲", more="\n\t"))
    chart = draw_chart(Chart(labels=["a 🜲"], series=[Series(values=[1])]))

    assert [made.text for made in (card, chart) if isinstance(made, Made)] == [
        "The card is drawn. The font here lacks: 🜲",
        "The chart is drawn. The font here lacks: 🜲",
    ]
    assert unwritten("Hello, world… 100 %") == ""


@pytest.mark.parametrize("kind", ["bar", "line"])
def test_a_chart_has_a_colour_for_each_series(kind: str) -> None:
    chart = {"kind": kind, "labels": ["a", "b"], "series": [{"values": [3, -5]}, {"name": "x", "values": [1, 2]}]}

    image = opened(draw_chart(Chart.model_validate(chart)))

    assert set(colours(image)) == set(COLOURS[:2])


def test_bars_are_as_high_as_their_numbers() -> None:
    points = [
        colours(opened(draw_chart(Chart(series=[Series(values=[value, 10])]))))[COLOURS[0]] for value in (0, 5, 10)
    ]

    nothing, half, whole = points
    assert half / nothing == pytest.approx(1.5, rel=0.02)
    assert whole / nothing == pytest.approx(2, rel=0.02)


def test_the_pieces_of_a_pie_are_as_large_as_their_numbers() -> None:
    first, second = colours(opened(draw_chart(Chart(kind="pie", series=[Series(values=[1, 3])])))).values()

    assert second / first == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    "chart",
    [
        Chart(series=[Series(values=[1]), Series(values=[1, 2])]),
        Chart(labels=["a"], series=[Series(values=[1, 2])]),
        Chart(kind="pie", series=[Series(values=[1, -2])]),
        Chart(kind="pie", series=[Series(values=[0])]),
        Chart(kind="pie", series=[Series(values=[1] * 9)]),
        Chart(kind="pie", series=[Series(values=[1]), Series(values=[1])]),
    ],
)
def test_a_chart_that_cannot_be_drawn_is_told(chart: Chart) -> None:
    assert isinstance(draw_chart(chart), Unable)


def test_no_number_that_is_none_is_drawn() -> None:
    with pytest.raises(ValidationError):
        Chart.model_validate_json('{"series": [{"values": [NaN]}]}')


@pytest.mark.parametrize(
    ("least", "most", "marks"),
    [
        (1, 9.5, [0, 2, 4, 6, 8, 10]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1e-9, 2e-9, [0, 0.5e-9, 1e-9, 1.5e-9, 2e-9]),
    ],
)
def test_a_scale_is_round_and_holds_everything(least: float, most: float, marks: list[float]) -> None:
    assert scale(least, most) == pytest.approx(marks)


def test_numbers_are_written_as_people_write_them() -> None:
    assert [number(value) for value in (0, 1234.0, 0.25, 2.5e6, -1e12)] == ["0", "1,234", "0.25", "2.5M", "-1T"]


async def test_a_server_paints_what_is_described() -> None:
    async with MediaServer() as server:
        paint = painting(Painter(server.url, "gpt-image-1"), Endpoint(server.url, KEY))
        made = await paint(Scene(text="a heron", size="1024x1024"))

        assert (made.name, made.data) == ("picture.png", b"\x89PNG\r\n\x1a\na heron")
        expected = {"model": "gpt-image-1", "prompt": "a heron", "n": 1, "size": "1024x1024"}
        assert server.asked == [("/v1/images/generations", expected)]


async def test_what_is_no_picture_is_not_sent() -> None:
    async with MediaServer(paint=lambda scene: b"<html>") as server:
        with pytest.raises(NoAnswer, match="no picture"):
            await painting(Painter(server.url, "m"), Endpoint(server.url, KEY))(Scene(text="a heron"))


def test_the_worker_serves_what_it_has_the_means_for() -> None:
    offline = compose(ImageSettings(""))
    painted = compose(ImageSettings("", Painter("http://127.0.0.1:1/v1", "m")))

    assert set(offline) == {"image.qr", "image.card", "image.chart"}
    assert set(painted) - set(offline) == {"image"}
    assert json.loads(painted["image"].describe())["effect"] == "write"
