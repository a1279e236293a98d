"""The tables of docs/results.md, from the committed results: `python benchmarks/tables.py` writes them in.

`--check` changes nothing and fails where the document says something else; the tests do that.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "results.md"
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
        perplexity = f"{model['perplexity']['validation, sentence state']:.1f}" if model else ""
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


def rendered(text: str) -> str:
    """The document with its tables made anew."""
    for task, larger_is_better in (("mt", True), ("asr", False)):
        marks = (f"<!-- {task} -->", f"<!-- end of {task} -->")
        if any(mark not in text for mark in marks):
            raise SystemExit(f"{DOCUMENT.name} lacks the marks {marks}")
        results = json.loads((RESULTS / f"{task}.json").read_text(encoding="utf-8"))
        made = f"{marks[0]}\n{table(results['rows'], larger_is_better)}\n{marks[1]}"
        text = re.sub(f"{marks[0]}.*?{marks[1]}", lambda _match, made=made: made, text, flags=re.DOTALL)
    return text


def main() -> int:
    """Write the tables, or check them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    made = rendered(text)
    if "--check" in sys.argv[1:]:
        print("docs/results.md is current" if made == text else "docs/results.md differs from the results")
        return int(made != text)
    DOCUMENT.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
