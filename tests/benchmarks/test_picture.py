"""The picture of sizes: which models it draws, what makes the line to beat, where they stand."""

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from picture import LEFT, WIDTH, Model, models_of, picture, to_beat


def _result(size: int, perplexity: float, system: str = "lstm", kinds: tuple[str, ...] = ("dense",)) -> Any:
    return {
        "corpus": "ptb",
        "system": system,
        "kinds": list(kinds),
        "weights_bytes": size,
        "perplexity": {"test, stream state": {"perplexity": perplexity}},
    }


RESULTS = {
    "dense": _result(40_000_000, 90.0),
    "int8": _result(10_000_000, 91.0, kinds=("dense", "quantized")),
    "worse": _result(20_000_000, 95.0, "projected", ("dense", "low_rank")),
    "bllm": _result(1_600_000, 96.0, "bllm", ("binary",)),
    "slim": _result(9_000_000, 90.5, kinds=("dense", "slim")),
    "elsewhere": _result(1, 1.0) | {"corpus": "captions"},
}


def test_what_is_plain_and_what_is_of_the_corpus() -> None:
    models = models_of(RESULTS, "ptb")
    assert [model.name for model in models] == ["bllm", "slim", "int8", "worse", "dense"]
    assert [model.name for model in models if model.is_plain] == ["int8", "worse", "dense"]


def test_the_line_to_beat_has_no_model_that_a_smaller_one_equals() -> None:
    assert [model.name for model in to_beat(models_of(RESULTS, "ptb"))] == ["int8", "dense"]
    assert to_beat([Model("a", 1, 5.0, True), Model("b", 2, 5.0, True)]) == [Model("a", 1, 5.0, True)]


def test_every_model_is_drawn_with_its_numbers() -> None:
    drawn = picture(models_of(RESULTS, "ptb"), "sizes & more")
    root = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f"{space}circle")
    assert [circle.findtext(f"{space}title") for circle in circles] == [
        "bllm: 1,600,000 bytes, perplexity 96.00",
        "slim: 9,000,000 bytes, perplexity 90.50",
        "int8: 10,000,000 bytes, perplexity 91.00",
        "worse: 20,000,000 bytes, perplexity 95.00",
        "dense: 40,000,000 bytes, perplexity 90.00",
    ]
    across = [float(circle.attrib["cx"]) for circle in circles]
    assert across == sorted(across)
    assert LEFT < across[0] < across[-1] < WIDTH
    down = {
        circle.findtext(f"{space}title", "").split(":")[0]: float(circle.attrib["cy"]) for circle in circles
    }
    assert sorted(down, key=down.__getitem__) == ["bllm", "worse", "int8", "slim", "dense"]  # from the top
    names = [text.text for text in root.findall(f"{space}text")]
    assert {"bllm", "slim", "int8", "worse", "dense", "10 MB"} <= set(names)


def test_names_do_not_cover_each_other() -> None:
    near = [Model(f"model-{n}", 1_000_000 + 5_000 * n, 90 + 0.1 * n, False) for n in range(8)]
    drawn = picture(near, "near")
    boxes: list[tuple[float, float, float]] = []
    for x, y, name in re.findall(r'<text class="own-text" x="([0-9.]+)" y="([0-9.]+)">([^<]+)', drawn):
        left, base = float(x), float(y)
        assert not any(left < b and a < left + 6 * len(name) and abs(base - c) < 11 for a, b, c in boxes), (
            name
        )
        boxes.append((left, left + 6 * len(name), base))
    assert len(boxes) == 8


def test_models_far_above_the_best_do_not_press_the_others_together() -> None:
    near = [Model("a", 10**6, 90.0, True), Model("b", 2 * 10**6, 80.0, False)]
    drawn = picture([*near, Model("awful & far", 10**6, 350.4, False)], "far")
    assert "above the picture: awful &amp; far (350)</text>" in drawn
    assert drawn.replace("above the picture: awful &amp; far (350)", "").count("awful") == 0
    circles = re.findall(r"<circle[^>]*/?>", drawn)
    assert circles == re.findall(r"<circle[^>]*/?>", picture(near, "near"))


@pytest.mark.parametrize("count", [1, 2])
def test_few_models(count: int) -> None:
    models = models_of(dict(list(RESULTS.items())[:count]), "ptb")
    assert picture(models, "few").count("<circle") == count
