"""`image.chart`: numbers as bars, lines or a pie."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from factory_contracts.worker import File, Made, Unable, capability
from workers.image.canvas import COLOURS, FAINT, HEIGHT, INK, MARGIN, RULE, WIDTH, Canvas, unwritten
from workers.image.settings import CHART

TITLE, LABEL = 40, 22
STEPS = 5
GAP = 0.25
LEFT, RIGHT = MARGIN + 90, WIDTH - MARGIN
TOP, BOTTOM = MARGIN + 96, HEIGHT - MARGIN - 40
LEGEND = MARGIN + 54
KEY = 18
RADIUS = 210
# So wide may a label be before it is cut, and so far is it from the next.
MOST_LABEL, BETWEEN = 110, 14

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Label = Annotated[str, Field(max_length=100)]


class Series(BaseModel):
    """Numbers that belong together."""

    name: Label = ""
    values: Annotated[list[Number], Field(min_length=1, max_length=200)]


class Chart(BaseModel):
    """What is to be drawn."""

    kind: Literal["bar", "line", "pie"] = "bar"
    title: Annotated[str, Field(max_length=200)] = ""
    labels: Annotated[list[Label], Field(max_length=200, description="one for each value of a series")] = []
    series: Annotated[list[Series], Field(min_length=1, max_length=len(COLOURS), description="a pie has one")]


@capability(CHART, effect="read")
def draw_chart(chart: Chart) -> Made | Unable:
    """Draw numbers as a chart of bars, lines or a pie, and send it to the person."""
    count = max(len(series.values) for series in chart.series)
    if any(len(series.values) != count for series in chart.series) or len(chart.labels) not in (0, count):
        return Unable("Each series must have as many values as the others, and there must be a label for each or none.")
    canvas = Canvas()
    canvas.say((WIDTH / 2, MARGIN), canvas.cut(chart.title, TITLE, WIDTH - 2 * MARGIN), TITLE, anchor="mt")
    if chart.kind == "pie":
        values = chart.series[0].values
        if len(chart.series) > 1 or min(values) < 0 or not sum(values):
            return Unable("A pie has one series, whose values are not below 0 and not all 0.")
        if count > len(COLOURS):
            return Unable(f"A pie has {len(COLOURS)} pieces at most; put the small ones together.")
        _pie(canvas, chart, values)
    else:
        _plot(canvas, chart, count)
    words = (chart.title, *chart.labels, *(series.name for series in chart.series))
    return Made(f"The chart is drawn.{unwritten(*words)}", (File("chart.png", canvas.png()),))


def _plot(canvas: Canvas, chart: Chart, count: int) -> None:
    """Bars or lines over a scale."""
    _legend(canvas, [series.name for series in chart.series])
    every = [value for series in chart.series for value in series.values]
    marks = scale(min(every), max(every))

    def height(value: float) -> float:
        return BOTTOM - (value - marks[0]) / (marks[-1] - marks[0]) * (BOTTOM - TOP)

    for mark in marks:
        canvas.draw.line((LEFT, height(mark), RIGHT, height(mark)), fill=FAINT if mark == 0 else RULE, width=2)
        canvas.say((LEFT - 14, height(mark)), number(mark), LABEL, FAINT, "rm")
    room = (RIGHT - LEFT) / count
    for at, label in _labels(canvas, chart.labels, room):
        canvas.say((LEFT + room * (at + 0.5), BOTTOM + 14), label, LABEL, INK, "mt")
    for order, series in enumerate(chart.series):
        colour = COLOURS[order]
        if chart.kind == "bar":
            width = room * (1 - GAP) / len(chart.series)
            for at, value in enumerate(series.values):
                left = LEFT + room * (at + GAP / 2) + width * order
                low, high = sorted((height(value), height(0)))
                canvas.draw.rectangle((left, low, left + max(1, width - 1), high), fill=colour)
        else:
            points = [(LEFT + room * (at + 0.5), height(value)) for at, value in enumerate(series.values)]
            canvas.draw.line(points, fill=colour, width=4, joint="curve")
            for x, y in points:
                canvas.draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _pie(canvas: Canvas, chart: Chart, values: list[float]) -> None:
    middle = (MARGIN + RADIUS + 60, (TOP + HEIGHT - MARGIN) / 2)
    box = (middle[0] - RADIUS, middle[1] - RADIUS, middle[0] + RADIUS, middle[1] + RADIUS)
    whole, angle = sum(values), -90.0
    left = int(box[2]) + 90
    for order, value in enumerate(values):
        after = angle + 360 * value / whole
        if value:
            canvas.draw.pieslice(box, angle, after, fill=COLOURS[order], outline="#ffffff", width=3)
        angle = after
        top = TOP + 20 + order * 50
        canvas.draw.rectangle((left, top, left + KEY, top + KEY), fill=COLOURS[order])
        words = f"{number(value)} ({100 * value / whole:.0f} %)"
        if chart.labels:
            room = WIDTH - MARGIN - left - KEY - canvas.width(f": {words}", LABEL)
            words = f"{canvas.cut(chart.labels[order], LABEL, room)}: {words}"
        canvas.say((left + KEY + 14, top + KEY / 2), words, LABEL, INK, "lm")


def _legend(canvas: Canvas, names: list[str]) -> None:
    """What each colour stands for, where it is called anything."""
    if not any(names):
        return
    room, left = (RIGHT - LEFT) / len(names), float(LEFT)
    for order, name in enumerate(names):
        canvas.draw.rectangle((left, LEGEND, left + KEY, LEGEND + KEY), fill=COLOURS[order])
        shown = canvas.cut(name, LABEL, room - KEY - 30)
        canvas.say((left + KEY + 10, LEGEND + KEY / 2), shown, LABEL, INK, "lm")
        left += KEY + 40 + canvas.width(shown, LABEL)


def _labels(canvas: Canvas, labels: list[str], room: float) -> Iterator[tuple[int, str]]:
    """As many labels as can stand beside each other, each with its place."""
    widest = min(MOST_LABEL, max((canvas.width(label, LABEL) for label in labels), default=0))
    every = max(1, math.ceil((widest + BETWEEN) / room))
    for at in range(0, len(labels), every):
        yield at, canvas.cut(labels[at], LABEL, room * every - BETWEEN)


def scale(least: float, most: float) -> list[float]:
    """Round numbers from 0 or below to above what is drawn."""
    low, high = min(0.0, least), max(0.0, most)
    if low == high:
        high = 1.0
    raw = (high - low) / STEPS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(at * step, 12) for at in range(first, last + 1)]


def number(value: float) -> str:
    """A number as a person writes it."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
