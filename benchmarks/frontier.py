"""How long a few hypotheses take beside much other work of the same model: a long text, thousands of lists.

    python benchmarks/frontier.py --model small --data ../shared/data --out benchmarks/results

Ten hypotheses join a frontier in which the other work is on its way; their seconds over those they take alone
round by round. The other work is one text of 10,000 words, or all texts of the translation dev lists.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import harness
import torch

from models import catalog
from models.checkpoint import load
from models.scoring.scorer import LanguageModelScorer
from nbest.files import write_whole
from rescoring.formats import read_nbest

LONG = 10_000  # words
STEPS = 30  # of the other work before the few join


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder that has mt/")
    harness.add_options(parser, rounds=15)
    arguments = parser.parse_args()
    document: dict[str, Any] = {"made": harness.begin(arguments), "model": Path(arguments.model).name}
    torch.set_num_threads(arguments.threads)
    scorer = LanguageModelScorer(load(catalog.resolve(arguments.model)), "model")
    texts = read_nbest(arguments.data / "mt" / "dev.distinct.nbest.gz").texts
    few = texts[:10]
    others = {
        "a text of 10,000 words": [" ".join(" ".join(texts[:3000]).split(" ")[:LONG])],
        f"{len(texts) - 10:,} hypotheses": texts[10:],
    }
    seconds(scorer, few, [])
    for name, other in others.items():
        alone, beside = [], []
        for _ in range(arguments.rounds):
            alone.append(seconds(scorer, few, []))
            beside.append(seconds(scorer, few, other))
        document[name] = {
            "seconds_alone": round(statistics.median(alone), 4),
            "seconds_beside": round(statistics.median(beside), 4),
            "times_as_long": round(harness.median_ratio(beside, alone), 2),
            "most_times_as_long": round(max(b / a for a, b in zip(alone, beside, strict=True)), 2),
        }
        print(f"ten hypotheses beside {name}: {document[name]}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "frontier.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


def seconds(scorer: LanguageModelScorer, few: Sequence[str], other: Sequence[str]) -> float:
    """From when the few join the other texts until they have their scores."""
    frontier = scorer.frontier()
    if other:
        task = scorer.score_task(other)
        frontier.add(task.groups(), task.keep)
        for _ in range(STEPS):
            frontier.step()
    begun = perf_counter()
    task = scorer.score_task(few)
    work = frontier.add(task.groups(), task.keep)
    while work not in frontier.step():
        pass
    task.result()
    return perf_counter() - begun


if __name__ == "__main__":
    main()
