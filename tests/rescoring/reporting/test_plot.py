import re

import pytest

from rescoring.reporting.plot import HEIGHT, WIDTH, Axis, Line, plot, scale


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (38.4, 42.7, ["39", "40", "41", "42"]),
        (0.0, 1.0, ["0.0", "0.5", "1.0"]),
        (25.0, 25.0, ["24.6", "24.8", "25.0", "25.2", "25.4"]),
        (0.0, 0.0, ["-0.02", "-0.01", "0.00", "0.01", "0.02"]),
        (-2500.0, 900.0, ["-2000", "-1000", "0", "1000"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    axis = scale(low, high)
    assert axis.low < low <= high < axis.high
    assert [label for _, label in axis.ticks] == labels


def test_points_are_where_they_belong() -> None:
    x, y = Axis(0.0, 10.0, [(0.0, "0")]), Axis(0.0, 1.0, [])
    drawn = plot(
        x, y, [Line([(0.0, 0.0), (10.0, 1.0)], "mine", dots=True)], title="a <title>", mark=(5.0, 0.5)
    )
    assert 'aria-label="a &lt;title&gt;"' in drawn
    assert 'role="img"' in drawn
    (points,) = re.findall('points="([^"]+)"', drawn)
    (left, bottom), (right, top) = ([float(n) for n in point.split(",")] for point in points.split(" "))
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    marks = re.findall('<circle cx="([^"]+)" cy="([^"]+)" r="([^"]+)"', drawn)
    assert len(marks) == 3
    assert [float(n) for n in marks[-1][:2]] == pytest.approx([(left + right) / 2, (top + bottom) / 2])


def test_labels_stay_inside() -> None:
    ticks = [(0.0, "-0.0000123"), (5.0, "5"), (10.0, "0.0000123")]
    drawn = plot(Axis(0.0, 10.0, ticks), Axis(0.0, 1.0, []), [], title="t")
    assert re.findall('class="tick ([a-z]+)"', drawn) == ["start", "middle", "end"]
