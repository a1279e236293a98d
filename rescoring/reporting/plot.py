"""Line plots as SVG: the page's own colours, so that they are light or dark as the reader's system is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rescoring.reporting.markup import Markup, joined, tag

WIDTH, HEIGHT = 340, 200  # units of the view box; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 24
DIGIT = 6.5  # the width of one, about
MOST_TICKS = 5


@dataclass(frozen=True)
class Line:
    """A line through points (x, y); `style` is its class in the style sheet, `dots` mark every point."""

    points: Sequence[tuple[float, float]]
    style: str
    dots: bool = False


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with labels (place, text)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


def scale(low: float, high: float) -> Axis:
    """An axis with round ticks, a little wider than its values."""
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.02
    low, high = low - room, high + room
    step = _step((high - low) / MOST_TICKS)
    first = math.ceil(low / step)
    digits = max(0, -math.floor(math.log10(step)))
    ticks = [step * k for k in range(first, math.floor(high / step) + 1)]
    return Axis(low, high, [(tick, f"{tick:.{digits}f}") for tick in ticks])


def plot(
    x: Axis, y: Axis, lines: Sequence[Line], *, title: str, mark: tuple[float, float] | None = None
) -> Markup:
    """The lines over their axes; `mark` is a point that stands out, `title` is what is read aloud."""

    def across(value: float) -> float:
        return LEFT + (value - x.low) / (x.high - x.low) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y.low) / (y.high - y.low) * (HEIGHT - TOP - BOTTOM)

    parts: list[str] = []
    for place, label in y.ticks:
        height = f"{down(place):.1f}"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=height, y2=height, class_="grid"))
        parts.append(tag("text", label, x=LEFT - 6, y=f"{down(place) + 3.5:.1f}", class_="tick end"))
    for place, label in x.ticks:
        at = across(place)
        half = DIGIT * len(label) / 2
        anchor = "start" if at - half < LEFT - RIGHT else "end" if at + half > WIDTH else "middle"
        parts.append(tag("text", label, x=f"{at:.1f}", y=HEIGHT - 7, class_=f"tick {anchor}"))
    if mark is not None:
        here = f"{across(mark[0]):.1f}"
        parts.append(tag("line", x1=here, x2=here, y1=TOP, y2=HEIGHT - BOTTOM, class_="here"))
    for line in lines:
        places = [(across(one), down(other)) for one, other in line.points]
        path = " ".join(f"{one:.1f},{other:.1f}" for one, other in places)
        parts.append(tag("polyline", points=path, class_=f"line {line.style}"))
        if line.dots:
            parts += (_dot(*place, f"dot {line.style}", 3.0) for place in places)
    if mark is not None:
        parts.append(_dot(across(mark[0]), down(mark[1]), "dot mark", 4.0))
    return tag(
        "svg",
        joined(*parts, between=""),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
        class_="plot",
    )


def _dot(x: float, y: float, style: str, radius: float) -> Markup:
    return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=radius, class_=style)


def _step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that is no smaller than `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))
