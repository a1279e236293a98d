"""The tables and pictures of docs/, from the committed results: `python benchmarks/tables.py` writes them.

`--check` changes nothing and fails where a document or a picture says something else; the tests do that. A
table stands between `<!-- name -->` and `<!-- end of name -->`; a picture is docs/sizes-CORPUS.svg.
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import batch_tables
import papers
import scoring_tables
from picture import CORPORA, models_of, picture

HERE = Path(__file__).resolve().parent
DOCUMENTS = HERE.parent / "docs"
RESULTS = HERE / "results"


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{statistics.fmean(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def interval(side: dict[str, float]) -> str:
    """A single score with its 95% bootstrap interval."""
    return f"{side['score']:.2f} [{side['low']:.1f}, {side['high']:.1f}]"


def middle(tunings: list[dict[str, Any]]) -> dict[str, Any]:
    """The tuning that is the median on dev."""
    return sorted(tunings, key=lambda tuning: tuning["dev"]["score"])[len(tunings) // 2]


def table(rows: dict[str, Any], larger_is_better: bool) -> str:
    """One task's rows."""
    lines = [
        "| features | model bytes | perplexity | dev, mean (range) | test, mean (range) | test of the median "
        "tuning [95% interval] | gain over re-tuned, p |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, row in rows.items():
        if "tunings" not in row:
            dev, test = interval(row["dev"]), interval(row["test"])
            lines.append(f"| {label} | | | {dev} | {test} | | |")
            continue
        tunings = row["tunings"]
        model = row.get("model")
        size = f"{model['weights_bytes']:,}" if model else ""
        perplexities = model["perplexity"] if model else {}
        texts = (f"{text}, sentence state" for text in ("validation", "held-out"))
        perplexity = next((f"{perplexities[text]:.1f}" for text in texts if text in perplexities), "")
        gain = ""
        for base, p_value in row.get("p_value_against", {}).items():
            means = [
                statistics.fmean(t["test"]["score"] for t in rows[one]["tunings"]) for one in (label, base)
            ]
            difference = (means[0] - means[1]) * (1 if larger_is_better else -1)
            chance = f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"
            gain = f"{difference:+.2f}, {chance}"
        dev, test = (spread([tuning[side]["score"] for tuning in tunings]) for side in ("dev", "test"))
        median = interval(middle(tunings)["test"])
        lines.append(f"| {label} | {size} | {perplexity} | {dev} | {test} | {median} | {gain} |")
    return "\n".join(lines)


def task(name: str, larger_is_better: bool) -> str:
    """The rows of one task of `real_lists.py`."""
    results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return table(results["rows"], larger_is_better)


def sizes(corpus: str) -> str:
    """Every model of a corpus, smallest first: the picture in numbers."""
    results = model_results()
    lines = ["| model | weight file, bytes | as the papers count | perplexity |", "|---|---|---|---|"]
    for model in models_of(results, corpus):
        counted = f"{results[f'{corpus}-{model.name}']['paper_bytes'] / 1e6:.2f} MB"
        lines.append(f"| {model.name} | {model.size:,} | {counted} | {model.perplexity:.2f} |")
    return "\n".join(lines)


def rows_of_papers(name: str) -> str:
    """One of the papers' tables."""
    return papers.table(papers.PAPERS[name], model_results())


def model_results() -> dict[str, dict[str, Any]]:
    """What `model_results.py` wrote, by model."""
    files = sorted((RESULTS / "models").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def training() -> str:
    """Words a second of every system, and how many times as fast as the plain loop and as our dense model."""
    contenders = json.loads((RESULTS / "training.json").read_text(encoding="utf-8"))["contenders"]
    lines = [
        "| system | words a second | times the plain loop | times `lstm` | bf16: words a second "
        "| times the plain loop | times `lstm` |",
        "|---|---|---|---|---|---|---|",
    ]

    def over(name: str, base: str) -> str:
        pairs = zip(contenders[name]["rounds"], contenders[base]["rounds"], strict=True)
        return f"{statistics.median(one / other for one, other in pairs):.2f}"

    for name in (name for name in contenders if not name.endswith(", bf16")):
        cells = [name if name == "plain torch" else f"`{name}`"]
        for suffix in ("", ", bf16"):
            own = name + suffix
            speed = contenders[own]["words_per_second"]
            cells += [f"{speed:,.0f}", over(own, f"plain torch{suffix}"), over(own, f"lstm{suffix}")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


UNTUNED = {  # rule of `untuned.py` -> what it is called
    "list": "by the spread of the list",
    "together": "by the spread of all lists",
    "fixed": "fixed",
    "words": "by the spread of the list, with a word bonus",
}


def untuned() -> str:
    """Rules for a model's weight before anything is tuned: dev and test of each task and model."""
    results = json.loads((RESULTS / "untuned.json").read_text(encoding="utf-8"))
    columns = [(task, model) for task in results["tasks"].values() for model in task["models"]]
    heads = [f"{task['metric'].upper()}, {model}: dev / test" for task, model in columns]
    starts = [[task["decoder"][side]["score"] for side in ("dev", "test")] for task, _ in columns]
    lines = [
        f"| weight of the model | scale | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
        f"| 0: the decoder alone | | {' | '.join(f'{dev:.2f} / {test:.2f}' for dev, test in starts)} |",
    ]
    for rule, name in UNTUNED.items():
        for scale in results["tasks"]["mt"]["models"]["small"]["rules"][rule]:
            rows = [task["models"][model]["rules"][rule][scale] for task, model in columns]
            cells = [f"{row['dev']:.2f} / {row['test']:.2f}" for row in rows]
            if rule == "list" and float(scale) == results["choice"]["scale"]:
                scale = f"**{scale}**"
                low_high = [f"{low:+.2f} to {high:+.2f}" for low, high in (row["change"] for row in rows)]
                cells = [f"{cell} [{change}]" for cell, change in zip(cells, low_high, strict=True)]
            lines.append(f"| {name} | {scale} | {' | '.join(cells)} |")
    return "\n".join(lines)


def adaptation() -> str:
    """A shipped model before and after it has read a text of the domain, and one of that text alone."""
    results = json.loads((RESULTS / "adaptation.json").read_text(encoding="utf-8"))
    lines = [
        "| model | its text: sentences | bytes | captions: perplexity | unknown words | general English: "
        "perplexity | BLEU untuned: dev / test | BLEU tuned: dev / test |",
        "|---|---|---|---|---|---|---|---|",
        f"| the decoder alone | | | | | | {_both_bleus(results['decoder'])} |",
    ]
    for name, one in results["models"].items():
        captions, general = one["texts"]["captions"], one["texts"]["general"]
        cells = [
            name,
            f"{one['sentences']:,}" if one["sentences"] else "",
            f"{one['weights_bytes']:,}",
            f"{captions['perplexity']:.1f}",
            f"{100 * captions['oov_rate']:.1f}%",
            f"{general['perplexity']:.0f}",
            _both_bleus(one["bleu"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _both_bleus(found: dict[str, Any]) -> str:
    """Untuned and, as the mean of the tunings, tuned: dev / test each."""
    sides = ("dev", "test")
    untuned = " / ".join(f"{found['untuned'][side]['score']:.2f}" for side in sides)
    means = [statistics.fmean(tuning[side] for tuning in found["tunings"]) for side in sides]
    return f"{untuned} | {' / '.join(f'{mean:.2f}' for mean in means)}"


BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "adaptation.md": {"adaptation": adaptation},
    "tuning.md": {"untuned": untuned},
    "batch.md": {"batch": batch_tables.measured, "batch-machines": batch_tables.many},
    "performance.md": {
        "beside-others": scoring_tables.beside_others,
        "context": scoring_tables.context,
        "ceilings": scoring_tables.ceilings,
        "threads": scoring_tables.threads,
        "precision": scoring_tables.precision,
        "slim-outputs": scoring_tables.slim,
        "memory": scoring_tables.memory,
    },
    "results.md": {"mt": lambda: task("mt", True), "asr": lambda: task("asr", False)},
    "models.md": {
        "training": training,
        "sizes-captions": partial(sizes, "captions"),
        "sizes-ptb": partial(sizes, "ptb"),
        **{name: partial(rows_of_papers, name) for name in papers.PAPERS},
    },
}


def rendered(document: str) -> tuple[str, str]:
    """(the document as it is, the document with its tables made anew)."""
    before = text = (DOCUMENTS / document).read_text(encoding="utf-8")
    for name, make in BLOCKS[document].items():
        marks = (f"<!-- {name} -->", f"<!-- end of {name} -->")
        if any(mark not in text for mark in marks):
            raise SystemExit(f"{document} lacks the marks {marks}")
        start, end = text.index(marks[0]), text.index(marks[1])
        text = "\n".join([text[:start] + marks[0], make(), text[end:]])
    return before, text


def pictures() -> dict[str, str]:
    """Name of the file -> picture, of every corpus that there are results of."""
    results = model_results()
    found = {corpus: models_of(results, corpus) for corpus in CORPORA}
    titles = {corpus: f"Perplexity against size: {name}" for corpus, (_, name) in CORPORA.items()}
    return {f"sizes-{corpus}.svg": picture(own, titles[corpus]) for corpus, own in found.items() if own}


def main() -> int:
    """Write the tables and pictures, or check them."""
    stale = 0
    for name, made in pictures().items():
        path = DOCUMENTS / name
        if "--check" not in sys.argv[1:]:
            path.write_text(made, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != made:
            print(f"docs/{name} differs from the results: python benchmarks/tables.py")
            stale = 1
    for document in BLOCKS:
        before, made = rendered(document)
        if "--check" not in sys.argv[1:]:
            (DOCUMENTS / document).write_text(made, encoding="utf-8")
        elif made != before:
            print(f"docs/{document} differs from the results: python benchmarks/tables.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
