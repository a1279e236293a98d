"""The picture of a log is well-formed, shows every curve, and its heights follow the numbers."""

import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from models.training.log_plot import plot_log

SVG = "{http://www.w3.org/2000/svg}"


def _rows(epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "rate": 20 * 0.5 ** (epoch // 4),
            "training_perplexity": 60 + 600 * math.exp(-epoch / 3),
            "validation_perplexity": 100 + 500 * math.exp(-epoch / 3),
        }
        for epoch in range(1, epochs + 1)
    ]


def _points(document: str) -> list[list[tuple[float, float]]]:
    lines = ElementTree.fromstring(document).findall(f"{SVG}polyline")
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in lines
    ]


def _texts(document: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(document).iter(f"{SVG}text")]


def test_heights_are_logarithms() -> None:
    rows = _rows(12)
    training, validation, rate = _points(plot_log(rows, "run"))
    for points, key in ((training, "training_perplexity"), (validation, "validation_perplexity")):
        logs = [math.log(row[key]) for row in rows]
        slopes = [
            (y2 - y1) / (b - a)
            for ((_, y1), (_, y2)), (a, b) in zip(pairwise(points[:5]), pairwise(logs[:5]), strict=True)
        ]
        assert max(slopes) == pytest.approx(min(slopes), rel=0.02)
        assert max(slopes) < 0  # larger numbers stand higher
    assert [x for x, _ in training] == [x for x, _ in rate]
    assert [x for x, _ in training] == sorted(x for x, _ in training)
    assert max(y for _, y in training + validation) < min(y for _, y in rate)  # the rate is below


def test_names_and_best_values_are_said() -> None:
    texts = _texts(plot_log(_rows(12), "run"))
    assert "validation perplexity, lowest 109.16" in texts
    assert {"learning rate", "epoch"} <= set(texts)


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 200])
def test_any_number_of_epochs(epochs: int) -> None:
    document = plot_log(_rows(epochs), "<a & b>")
    root = ElementTree.fromstring(document)
    assert root.find(f"{SVG}title").text == "<a & b>"
    assert len(_points(document)) == (3 if epochs > 1 else 0)
    assert len(root.findall(f"{SVG}circle")) == (3 if epochs == 1 else 0)
    numbers = [float(n) for n in re.findall(r'(?:x|y|cx|cy)="([-0-9.]+)"', document)]
    assert all(0 <= number <= 640 for number in numbers)


def test_losses_that_are_no_perplexities_are_left_out() -> None:
    rows = [row | {"training_NCE_loss": 3.0} for row in _rows(5)]
    for row in rows:
        del row["training_perplexity"]
    assert len(_points(plot_log(rows, "run"))) == 2


def test_a_flat_or_infinite_curve() -> None:
    rows = _rows(3)
    for row in rows:
        row["validation_perplexity"] = row["training_perplexity"] = 50.0
    rows[1]["validation_perplexity"] = math.inf
    assert len(_points(plot_log(rows, "run"))[1]) == 2


def test_averaging_is_marked() -> None:
    rows = [row | {"averaged": row["epoch"] > 3} for row in _rows(6)]
    assert "averaged" in _texts(plot_log(rows, "run"))
    assert "averaged" not in _texts(plot_log(rows[:3], "run"))
