"""nbest report and compare --html: the numbers on the page, hostile texts, and the page in a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rescoring import loglinear
from rescoring.formats import read_nbest
from rescoring.metrics import get_metric
from rescoring.tuning.fingerprint import lists_sha256, references_sha256
from tests.browser import Seen, see

HOSTILE = [
    "</span></dd><script>window.broken = true</script>",
    '<img src=x onerror="window.broken=true">',
    "<!-- --> ]]> &lt;b&gt; \u202eright to left\u2028and a line",
    "<svg/onload=window.broken=true> '\" `${window.broken=true}`",
    "x" * 3000,
]


class Page(HTMLParser):
    """Elements, and whether they are closed in their order."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data


def write_lists(path: Path, texts: list[list[str]]) -> None:
    """JSON Lines of lists with two features, the second in favour of later hypotheses."""
    documents = [
        {
            "id": f"speaker{place % 3}_{place}<b>",
            "hypotheses": [
                {
                    "text": text,
                    "features": {"ac": -float(rank), "lm": 0.4 * rank + 0.1 * (place % 2), "c": 1.0},
                }
                for rank, text in enumerate(several)
            ],
        }
        for place, several in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))


@pytest.fixture
def world_of_lists(tmp_path: Path) -> Path:
    texts = []
    references = []
    for place in range(30):
        reference = f"a man is riding horse {place % 4} home"
        wrong = reference.replace("riding", "writing")
        texts.append(
            [wrong, reference, wrong + " x"] if place % 3 else [reference, wrong, HOSTILE[place // 3 % 5]]
        )
        references.append(reference)
    write_lists(tmp_path / "lists.jsonl", texts)
    (tmp_path / "refs").write_text("".join(f"{one}\n" for one in references))
    (tmp_path / "w.json").write_text(
        '{"format": "nbest-weights/1", "features": {"ac": 1, "lm": 3, "c": 1, "word_count": -2}}'
    )
    return tmp_path


def report(run: Any, folder: Path, *more: object, metric: str = "wer") -> Any:
    return run(
        "report", folder / "lists.jsonl", "--ref", folder / "refs", "--metric", metric, "--weights",
        folder / "w.json", "--html", folder / "report.html", "--samples", 100, *more,
    )  # fmt: skip


def test_the_numbers(run: Any, world_of_lists: Path) -> None:
    result = report(run, world_of_lists, "--by", "speaker=prefix:_", "--cluster", "prefix:_", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    lists = read_nbest(world_of_lists / "lists.jsonl")
    refs = [[line] for line in (world_of_lists / "refs").read_text().split("\n")[:-1]]
    metric = get_metric("wer")
    totals = lists.feature("ac")[:, 0] + 3 * lists.feature("lm")[:, 0] + 1
    totals -= [2 * len(text.split(" ")) for text in lists.texts]
    best = loglinear.one_best(lists, totals)
    score = metric.report([lists.texts[row] for row in best], refs).score
    assert found["b"]["mean"] == pytest.approx(score)
    first = metric.report([lists.texts[row] for row in lists.offsets[:-1]], refs).score
    assert found["a"]["mean"] == first
    assert found["depths"][0] == {"depth": 1, "best": first, "oracle": first, "exact": True}
    assert found["depths"][-1]["best"] == pytest.approx(score)
    assert found["depths"][-1]["oracle"] == 0.0
    assert {one["column"] for one in found["weights"]} == {"ac", "lm", "word_count"}
    assert found["constant_columns"] == ["c"]
    for curve in found["weights"]:
        assert curve["score"] == pytest.approx(score)
        assert len(curve["values"]) == len(curve["scores"]) == 121
    assert found["resampled_units"] == 3
    assert [group["label"] for group in found["breakdowns"][0]["groups"]] == [
        "speaker0",
        "speaker1",
        "speaker2",
    ]
    assert len(found["gains"]) == 30
    assert all(found["gains"][place] > 0 for place in found["improved"])
    assert all(found["gains"][place] < 0 for place in found["harmed"])
    page = Page((world_of_lists / "report.html").read_text())
    for number in (f"{score:.2f}", f"{first:.2f}"):
        assert number in page.text
    assert found["signature"] in page.text
    assert "|clusters:3|" in found["signature"]
    assert "a bound that no ranking of these lists can pass, chosen with the references" in page.text


def test_what_is_printed(run: Any, world_of_lists: Path) -> None:
    result = report(run, world_of_lists, "--by", "length", metric="bleu")
    lines = result.stdout.split("\n")
    assert re.match(r"bleu \d+\.\d\d  lists' order \d+\.\d\d  difference [+-]\d+\.\d\d  95% \[", lines[0])
    assert lines[1].startswith("oracle 100.00 (a bound that no ranking")
    assert any(line.startswith("length  segments  lists' order  these weights") for line in lines)


def test_no_text_breaks_out(run: Any, world_of_lists: Path) -> None:
    assert report(run, world_of_lists, "--by", "speaker=prefix:_").exit_code == 0
    text = (world_of_lists / "report.html").read_text()
    page = Page(text)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "img", "iframe", "link", "object", "b>"}
    for _, attributes in page.elements:
        assert not any(key.startswith("on") or key in ("src", "href", "style") for key in attributes)
    assert HOSTILE[0].split(" ")[0] in page.text  # it is shown, as text
    assert "speaker0_0<b>" in page.text
    assert "default-src 'none'" in text
    assert re.findall(r"https?://", text) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(run: Any, world_of_lists: Path, tmp_path: Path, width: int, dark: bool) -> None:
    report(run, world_of_lists, "--by", "speaker=prefix:_", "--by", "length")
    fits(see(world_of_lists / "report.html", tmp_path, width, dark=dark), width, dark)


def fits(seen: Seen, width: int, dark: bool) -> None:
    assert 0 < width - seen.width <= 20  # a scroll bar
    assert (seen.scroll, seen.outside) == (seen.width, [])
    assert (seen.scripts, seen.images, seen.broken, seen.dark) == (0, 0, False, dark)
    paper, ink = (sum(map(int, re.findall(r"\d+", colour))) for colour in (seen.background, seen.ink))
    assert (paper < ink) == dark
    assert all(200 < plot < width for plot in seen.plots)


def test_every_plot_has_words_and_numbers(run: Any, world_of_lists: Path) -> None:
    report(run, world_of_lists)
    page = Page((world_of_lists / "report.html").read_text())
    plots = [attributes for name, attributes in page.elements if name == "svg" and "role" in attributes]
    assert len(plots) == 4
    assert all(attributes["aria-label"] for attributes in plots)
    assert any("wer against the weight of lm: " in str(attributes["aria-label"]) for attributes in plots)
    headings = [name for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    assert sum(name == "table" for name, _ in page.elements) >= 4


@pytest.mark.parametrize("same", ["lists", "references"])
def test_data_of_the_tuning_are_named(run: Any, world_of_lists: Path, same: str) -> None:
    lists = read_nbest(world_of_lists / "lists.jsonl")
    document = json.loads((world_of_lists / "w.json").read_text())
    refs = [(line,) for line in (world_of_lists / "refs").read_text().split("\n")[:-1]]
    lists, refs = (lists, refs[:-1]) if same == "lists" else (lists.select([0]), refs)
    document["tuned"] = True
    document["tuning"] = {
        "metric": "wer", "signature": "s", "score": 1.0, "lists_sha256": lists_sha256(lists),
        "references_sha256": references_sha256(refs), "optimizer": "mert", "restarts": 1, "seed": 1,
    }  # fmt: skip
    (world_of_lists / "w.json").write_text(json.dumps(document))
    result = report(run, world_of_lists)
    assert "nbest: warning: The weights were tuned on these lists" in result.stderr
    assert "|data:tuned-on|" in result.stdout
    assert "optimistic" in Page((world_of_lists / "report.html").read_text()).text


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ('{"ac": NaN, "lm": 1, "c": 1}', "w.json: a number is not finite"),
        ('{"ac": 1e999, "lm": 1, "c": 1}', "/features/ac"),
        ('{"ac": 1}', "features without a weight: 'lm', 'c'"),
        ('{"ac": 1e308, "lm": 1e308, "c": 1e308}', "weighted sum is not finite"),
    ],
)
def test_weights_that_do_not_do(run: Any, world_of_lists: Path, weights: str, message: str) -> None:
    (world_of_lists / "w.json").write_text(f'{{"format": "nbest-weights/1", "features": {weights}}}')
    result = report(run, world_of_lists)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (world_of_lists / "report.html").exists()


def test_references_that_do_not_do(run: Any, world_of_lists: Path) -> None:
    references = (world_of_lists / "refs").read_text()
    for text, message in (("a\n", "expected 30 lines"), ("\n" * 30, "no word in the references")):
        (world_of_lists / "refs").write_text(text)
        result = report(run, world_of_lists)
        assert result.exit_code == 2
        assert message in result.stderr
    (world_of_lists / "refs").write_text(references)
    result = run(
        "report", world_of_lists / "lists.jsonl", "--ref", world_of_lists / "refs", "--metric", "wer",
        "--weights", world_of_lists / "w.json", "--html", world_of_lists / "none" / "report.html",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "none" in result.stderr


def test_a_single_list_of_one(run: Any, tmp_path: Path) -> None:
    write_lists(tmp_path / "lists.jsonl", [["a b c d"]])
    (tmp_path / "refs").write_text("a b c d\n")
    (tmp_path / "w.json").write_text('{"format": "nbest-weights/1", "features": {"ac": 1, "lm": 1, "c": 0}}')
    result = report(run, tmp_path, metric="bleu")
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "report.html").read_text())
    assert "No column changes a ranking." in page.text
    assert "Most improved of 0" in page.text


def test_a_model_scores_the_lists(
    run: Any, lists: Path, references: Path, weights: Path, tmp_path: Path
) -> None:
    """The same as from lists that `nbest rescore` wrote with the model's scores."""
    arguments = ["--ref", references, "--metric", "wer", "--weights", weights, "--json"]
    result = run("report", lists, "--lm", "small", *arguments, "--html", tmp_path / "one.html")
    assert result.exit_code == 0, result.output
    direct = json.loads(result.stdout)
    assert {one["column"] for one in direct["weights"]} == {"LM0", "TM0[0]", "TM0[1]", "small"}
    assert direct["constant_columns"] == []
    run("rescore", lists, "--lm", "small", "--weights", weights, "--out", tmp_path / "scored.nbest")
    arguments += ["--features", "LM0,TM0,small", "--html", tmp_path / "two.html"]
    scored = run("report", tmp_path / "scored.nbest", *arguments)
    assert scored.exit_code == 0, scored.output
    assert json.loads(scored.stdout)["b"] == direct["b"]
    assert json.loads(scored.stdout)["difference"] == 0.0  # the lists stand in that order now


def test_compare_has_a_page_too(run: Any, tmp_path: Path) -> None:
    references = [f"a man is riding horse {place} home" for place in range(25)]
    for name, share in (("a.1", 2), ("a.2", 3), ("b.1", 5)):
        texts = [HOSTILE[k % 5] if k % share == 0 else text for k, text in enumerate(references)]
        texts = [text.replace("\u2028", " ") for text in texts]
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "refs").write_text("".join(f"{one}\n" for one in references))
    result = run(
        "compare", tmp_path / "a.*", tmp_path / "b.1", "--ref", tmp_path / "refs", "--metric", "wer",
        "--by", "length", "--samples", 100, "--trials", 100, "--html", tmp_path / "page.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "page.html").read_text())
    assert not {name for name, _ in page.elements} & {"script", "img"}
    for words in (
        "A and B compared",
        "over segments and runs",
        "Segments that changed most",
        "By length",
        "Runs",
    ):
        assert words in page.text
    fits(see(tmp_path / "page.html", tmp_path, 360), 360, False)
