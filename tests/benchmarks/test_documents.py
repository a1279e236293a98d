"""Tables of docs/ that are written by hand say what the committed results say, figure by figure."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

Rows = list[Sequence[float]]


def table(document: str, head: str) -> list[str]:
    """The rows of the one table whose head begins so, without their first cell."""
    lines = document.split("\n")
    (at,) = [place for place, line in enumerate(lines) if line.startswith(head)]
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(line.split("|", 2)[2])
    return rows


def figures(row: str) -> list[tuple[float, float]]:
    """(number, half a unit of its last digit) of every number; what stands in words is none."""
    found = []
    for text in re.findall(r"(?<![\w/.])\d[\d,]*(?:\.\d+)?(?![\w/])", re.sub(r"`[^`]*`", "", row)):
        number = text.rstrip(",").replace(",", "")
        found.append((float(number), 0.5 * 10.0 ** -len(number.partition(".")[2])))
    return found


def serving(found: Any) -> Rows:
    rows: Rows = []
    for one in found["throughput"]["clients"].values():
        waits = [one[f"p{part}_ms"] / 1000 for part in (50, 95, 99)]
        rows.append([one["hypotheses_per_second"], one["share_of_engine"], *waits])
    return rows


@pytest.mark.parametrize(
    ("document", "head", "results", "rows"),
    [
        ("performance", "| clients | ", "serving", serving),
    ],
)
def test_a_table_says_what_was_measured(
    repository: Path, document: str, head: str, results: str, rows: Callable[[Any], Rows]
) -> None:
    found = json.loads((repository / f"benchmarks/results/{results}.json").read_text("utf-8"))
    expected = rows(found)
    told = table((repository / f"docs/{document}.md").read_text("utf-8"), head)
    assert len(told) >= len(expected)
    for row, numbers in zip(told, expected, strict=False):
        shown = figures(row)
        assert len(shown) == len(numbers), (row, numbers)
        for (number, half), measured in zip(shown, numbers, strict=True):
            assert number == pytest.approx(measured, abs=half * 1.02 + 1e-12), (row, numbers)


def test_the_table_of_tuning_says_what_was_measured(repository: Path) -> None:
    found = json.loads((repository / "benchmarks/results/tuning.json").read_text("utf-8"))["results"]
    told = table((repository / "docs/tuning.md").read_text("utf-8"), "| lists and method")
    names = ("counts", "mert, 1 restart", "mert, 20 restarts", "asr", "asr, Kaldi's grid")
    for row, name in zip(told, names, strict=True):
        one = found[name]
        wanted = [one["median_seconds"], min(one["seconds"]), max(one["seconds"])]
        if "dev" in one:
            wanted += [one["median_dev"], min(one["dev"]), max(one["dev"])]
        if len(one["seconds"]) == 1:
            wanted = [one["median_seconds"], one["median_dev"]]
        shown = figures("|".join(row.split("|")[:2]).replace("-", " "))
        assert len(shown) == len(wanted), row
        for (number, half), measured in zip(shown, wanted, strict=True):
            assert number == pytest.approx(measured, abs=half * 1.02), row


def test_the_prose_about_untuned_weights(repository: Path) -> None:
    """What docs/tuning.md says of the table above it."""
    text = (repository / "docs/tuning.md").read_text("utf-8")
    tasks = json.loads((repository / "benchmarks/results/untuned.json").read_text("utf-8"))["tasks"]
    tuned = json.loads((repository / "benchmarks/results/asr.json").read_text("utf-8"))["rows"]
    for model in ("small", "base"):
        asr, mt = tasks["asr"], tasks["mt"]
        own = asr["models"][model]["rules"]["list"]["1.0"]
        gain = asr["decoder"]["test"]["score"] - own["test"]
        best = fmean(one["test"]["score"] for one in tuned[f"+ {model}"]["tunings"])
        assert f"{gain:.1f} of the {asr['decoder']['test']['score'] - best:.1f} (`{model}`)" in text
        low, high = mt["models"][model]["rules"]["list"]["1.0"]["change"]
        assert low < 0 < high  # "within chance"
        fixed = mt["decoder"]["test"]["score"] - mt["models"][model]["rules"]["fixed"]["1.0"]["test"]
        assert f"{fixed:.1f}" in re.search(r"1 costs (.*?) BLEU", text)[1].split(" and ")  # type: ignore[index]


def test_figures_are_read_as_they_are_printed() -> None:
    assert figures(" 1/8 of 5,000 | 0.63%, 12 (small-512) `9` |") == [
        (5000, 0.5),
        (0.63, 0.005),
        (12, 0.5),
        (512, 0.5),
    ]


def test_the_prose_about_adaptation(repository: Path) -> None:
    """What docs/adaptation.md says of the table above it."""
    text = (repository / "docs/adaptation.md").read_text("utf-8")
    found = json.loads((repository / "benchmarks/results/adaptation.json").read_text("utf-8"))
    models = found["models"]

    def tuned(one: Any) -> float:
        return fmean(tuning["test"] for tuning in one["tunings"])

    gains = {name: tuned(one["bleu"]) - tuned(found["decoder"]) for name, one in models.items()}
    untuned = models["captions-small"]["bleu"]["untuned"]["test"]["score"]
    before = found["decoder"]["untuned"]["test"]["score"]
    said = re.search(
        r"weights (\S+) BLEU over.*?`small` has (\S+); (\S+) before.*?captions give (\S+)\.", text, re.DOTALL
    )
    assert said is not None
    wanted = [gains["captions-small"], gains["small"], untuned - before, gains["captions-small-20k"]]
    assert list(said.groups()) == [f"{gain:.1f}" for gain in wanted]
