"""What a model is worth before anything is tuned: rules for its weight beside the decoder's total.

    python benchmarks/untuned.py --data ../shared/data --lm small --lm base \\
        --out benchmarks/results/untuned.json

Rules, each with five scales: a `fixed` weight; the spread of each `list` (what the product does); of all
lists `together`; and that of each list with a `words` bonus that takes back what a model gives to short
texts. Every score is of dev and of test. The scale of the product's rule is chosen on dev: that whose gain,
as a share of the best scale's, is the largest for the model and task where it is the smallest.
"""

import argparse
import gzip
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_lists import Remembered, Task, recognition, translation

from nbest.files import write_whole
from nbest.signature import signature
from rescoring import loglinear
from rescoring.metrics import Metric
from rescoring.nbest import NbestLists
from rescoring.pipeline import assemble, with_decoder_total
from rescoring.significance import difference_interval, interval
from rescoring.untuned import spread_ratios

Floats = NDArray[np.float64]
FIXED = (0.03, 0.1, 0.3, 1.0, 3.0)
SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)
RULES: Mapping[str, Sequence[float]] = {
    "fixed": FIXED,
    "list": SCALES,
    "together": SCALES,
    "words": SCALES,
}


@dataclass(frozen=True)
class Side:
    """Lists with the decoder's total, and the counts (N, K) of every hypothesis."""

    lists: NbestLists
    total: Floats
    counts: NDArray[np.int64]


def sides(task: Task, data: Path) -> dict[str, Side]:
    """Dev and test of a task."""
    found = {}
    for name, side in (("dev", task.dev), ("test", task.test)):
        lists = side.lists
        if task.name == "mt":
            lists = with_decoder_total(lists)
            total = lists.feature("decoder_total")[:, 0]
        else:
            total = recogniser_totals(lists, data / "asr" / name / "nbest.jsonl.gz")
        counts = task.metric.counts(lists.texts, lists.segments, side.references)
        found[name] = Side(lists, total, counts)
    return found


def recogniser_totals(lists: NbestLists, path: Path) -> Floats:
    """(N,) of the recogniser's own account of these lists; of a text that stands twice the better one."""
    best: dict[tuple[str, str], float] = {}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            one = json.loads(line)
            for hypothesis in one["nbest"]:
                key = (one["utt"], hypothesis["text"])
                best[key] = max(best.get(key, -np.inf), hypothesis["total"])
    return np.array([best[lists.ids[s], text] for s, text in zip(lists.segments, lists.texts, strict=True)])


def totals(rule: str, scale: float, side: Side, log_probs: Floats, words: Floats) -> Floats:
    """(N,) what a rule ranks by."""
    offsets, segments = side.lists.offsets, side.lists.segments
    if rule == "fixed":
        return side.total + scale * log_probs
    if rule == "together":
        spreads: list[Floats] = [
            np.sqrt(_variances(values, offsets, segments)) for values in (side.total, log_probs)
        ]
        return side.total + scale * spreads[0] / spreads[1] * log_probs
    if rule == "words":
        rates = np.add.reduceat(log_probs, offsets[:-1]) / np.maximum(1, np.add.reduceat(words, offsets[:-1]))
        log_probs = log_probs - rates[segments] * words
    ratios = spread_ratios(side.total, log_probs, offsets)[segments]
    return np.asarray(side.total + scale * ratios * log_probs)


def _variances(values: Floats, offsets: NDArray[np.int64], segments: NDArray[np.int64]) -> float:
    """The mean variance within a list, over all hypotheses."""
    means = np.add.reduceat(values, offsets[:-1]) / np.diff(offsets)
    return float(((values - means[segments]) ** 2).mean())


def measured(task: Task, found: Mapping[str, Side], scorer: Remembered) -> dict[str, Any]:
    """Every rule and scale of one model: scores, and what is needed to choose."""
    chosen: dict[str, dict[str, dict[str, NDArray[np.int64]]]] = {rule: {} for rule in RULES}
    for name, side in found.items():
        full = assemble(replace(side.lists, records=()), [scorer])
        log_probs, words = full.feature(scorer.name)[:, 0], full.feature("word_count")[:, 0]
        for rule, scales in RULES.items():
            for scale in scales:
                rows = loglinear.one_best(side.lists, totals(rule, scale, side, log_probs, words))
                chosen[rule].setdefault(str(scale), {})[name] = side.counts[rows]
    before = {name: side.counts[side.lists.offsets[:-1]] for name, side in found.items()}
    rules = {
        rule: {scale: scored(task.metric, counts, before) for scale, counts in by_scale.items()}
        for rule, by_scale in chosen.items()
    }
    return {"digest": scorer.digest, "rules": rules}


def scored(
    metric: Metric, counts: Mapping[str, NDArray[np.int64]], before: Mapping[str, NDArray[np.int64]]
) -> dict[str, Any]:
    """Scores of dev and test, and the 95% interval of the difference that the model makes on test."""
    change = difference_interval(before["test"], counts["test"], metric)
    found: dict[str, Any] = {
        name: round(float(metric.score(one.sum(axis=0))), 2) for name, one in counts.items()
    }
    return found | {"change": [round(change.low, 2), round(change.high, 2)]}


def choice(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """The scale of the product's rule whose least share of the best gain on dev is the largest."""
    shares: dict[str, float] = {}
    for scale in map(str, SCALES):
        each = []
        for task in tasks.values():
            sign = 1 if task["larger is better"] else -1
            start = task["decoder"]["dev"]["score"]
            for model in task["models"].values():
                gains = {one: sign * (row["dev"] - start) for one, row in model["rules"]["list"].items()}
                each.append(gains[scale] / max(gains.values()))
        shares[scale] = round(min(each), 3)
    return {"scale": float(max(shares, key=lambda scale: shares[scale])), "least shares of the gain": shares}


def main() -> None:
    """Measure every task and model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lm", action="append", required=True)
    parser.add_argument("--cache", type=Path, default=Path(".bench-cache"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tasks: dict[str, Any] = {}
    for make in (translation, recognition):
        task = make(arguments.data)
        found = sides(task, arguments.data)
        decoder = {}
        for name, side in found.items():
            counts = side.counts[side.lists.offsets[:-1]]
            bounds = interval(counts, task.metric)
            score = round(float(task.metric.score(counts.sum(axis=0))), 2)
            decoder[name] = {"score": score, "low": round(bounds.low, 2), "high": round(bounds.high, 2)}
        tasks[task.name] = {
            "metric": task.metric.name,
            "larger is better": task.metric.larger_is_better,
            "decoder": decoder,
            "models": {
                Path(lm).name: measured(task, found, Remembered(lm, arguments.cache)) for lm in arguments.lm
            },
        }
        print(f"{task.name} done", flush=True)
    made = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "signature": signature({"scales": ",".join(map(str, SCALES))}),
    }
    content = {"made": made, "choice": choice(tasks), "tasks": tasks}
    with write_whole(arguments.out) as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())
    print(content["choice"])


if __name__ == "__main__":
    main()
