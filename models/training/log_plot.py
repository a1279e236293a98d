"""The log of a run as a picture: perplexities over the epochs, the learning rate below; SVG by hand."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 640, 64, 16
PLOTS = ((34, 240), (326, 80))  # (top, height) of perplexities and of the learning rate
HEIGHT = 440
COLOURS = {"training": "#2a78b8", "validation": "#c2491d", "rate": "#4f7a28"}


@dataclass(frozen=True)
class Curve:
    """One line: (epoch, value) points, values above zero."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]


def plot_log(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """An SVG document; rows are those of log.csv. Both plots have logarithmic heights."""
    curves = [
        _curve(rows, "training perplexity", "training_perplexity", COLOURS["training"]),
        _curve(rows, "validation perplexity", "validation_perplexity", COLOURS["validation"]),
    ]
    rate = _curve(rows, "learning rate", "rate", COLOURS["rate"])
    last = max((float(row["epoch"]) for row in rows), default=1.0)
    body = [*_legend(curves), *_averaged(rows, last)]
    for (top, height), drawn in zip(PLOTS, (curves, [rate]), strict=True):
        body += _plot([curve for curve in drawn if curve.points], top, height, last)
    body.append(_text(LEFT, PLOTS[1][0] - 10, "learning rate", COLOURS["rate"]))
    body.append(_text(WIDTH / 2, HEIGHT - 6, "epoch", anchor="middle"))
    name = escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{name}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _curve(rows: Sequence[Mapping[str, Any]], name: str, key: str, colour: str) -> Curve:
    points = [(float(row["epoch"]), float(row[key])) for row in rows if key in row]
    return Curve(name, colour, tuple((x, y) for x, y in points if math.isfinite(y) and y > 0))


def _plot(curves: Sequence[Curve], top: float, height: float, last: float) -> list[str]:
    values = [y for curve in curves for _, y in curve.points]
    if not values:
        return []
    low, high = min(values), max(values)
    if high < low * 1.05:  # a flat line stands in the middle
        low, high = low / 1.1, high * 1.1
    x_of = _epoch_to_x(last)

    def y_of(value: float) -> float:
        return top + height * (1 - math.log(value / low) / math.log(high / low))

    body = []
    for value in _ticks(low, high):
        y = y_of(value)
        body.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        body.append(_text(LEFT - 6, y + 4, f"{value:g}", anchor="end"))
    below = top + height + 16
    body += [_text(x_of(epoch), below, f"{epoch}", anchor="middle") for epoch in _epochs(last)]
    for curve in curves:
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in curve.points)
        body.append(
            f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"/>'
            if len(curve.points) > 1
            else f'<circle cx="{path.split(",")[0]}" cy="{path.split(",")[1]}" r="3" fill="{curve.colour}"/>'
        )
    return body


def _epoch_to_x(last: float) -> Callable[[float], float]:
    width = WIDTH - LEFT - RIGHT
    return lambda epoch: LEFT + width * ((epoch - 1) / (last - 1) if last > 1 else 0.5)


def _ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from low to high, as finely as `most` allows."""
    for steps in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [step * 10.0**d for d in decades for step in steps if low <= step * 10.0**d <= high]
        if 2 <= len(found) <= most:
            return found
    middle = math.sqrt(low * high)
    return [float(f"{value:.3g}") for value in (low, middle, high)]


def _epochs(last: float) -> list[int]:
    step = next(s * 10**d for d in range(9) for s in (1, 2, 5) if last / (s * 10**d) <= 12)
    return list(range(step, int(last) + 1, step))


def _legend(curves: Sequence[Curve]) -> list[str]:
    body, x = [], float(LEFT)
    for curve in curves:
        if not curve.points:
            continue
        best = min(y for _, y in curve.points)
        label = f"{curve.name}, lowest {best:.2f}"
        body.append(_text(x, 20, label, curve.colour))
        x += 8.0 * len(label)
    return body


def _averaged(rows: Sequence[Mapping[str, Any]], last: float) -> list[str]:
    """A line where the averaging of the weights begins, if it does."""
    first = next((float(row["epoch"]) for row in rows if str(row.get("averaged")) == "True"), None)
    if first is None:
        return []
    x = _epoch_to_x(last)(first)
    top, height = PLOTS[0]
    return [
        f'<path d="M{x:.1f} {top}v{height}" stroke="#888888" stroke-dasharray="4 3"/>',
        _text(x + 4, top + 12, "averaged", "#666666"),
    ]


def _text(x: float, y: float, content: str, colour: str = "#333333", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(content)}</text>'
