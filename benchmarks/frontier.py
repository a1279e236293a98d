"""How long a few hypotheses take beside much other work of the same model: a long text, thousands of lists.

    python benchmarks/frontier.py --model small --data ../shared/data --out benchmarks/results

Ten hypotheses join a frontier in which the other work is on its way; their seconds over those they take alone
round by round. The other work is one text of 10,000 words, or all texts of the translation dev lists.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import harness
import numpy as np
import torch

from models import catalog
from models.checkpoint import load
from models.scoring.climb import Group, GroupScores
from models.scoring.frontier import Frontier
from models.scoring.scorer import LanguageModelScorer
from nbest.files import write_whole
from rescoring.formats import read_nbest

WORDS_A_GROUP = 20_000
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
    run = Runs(catalog.resolve(arguments.model))
    texts = read_nbest(arguments.data / "mt" / "dev.distinct.nbest.gz").texts
    few = texts[:10]
    others = {
        "a text of 10,000 words": [" ".join(" ".join(texts[:3000]).split(" ")[:LONG])],
        f"{len(texts) - 10:,} hypotheses": texts[10:],
    }
    run.seconds(few, [])
    for name, other in others.items():
        alone, beside = [], []
        for _ in range(arguments.rounds):
            alone.append(run.seconds(few, []))
            beside.append(run.seconds(few, other))
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


class Runs:
    """Works of one model."""

    def __init__(self, path: Path) -> None:
        self.checkpoint = load(path)
        self.scorer = LanguageModelScorer(self.checkpoint, "model")

    def seconds(self, few: Sequence[str], other: Sequence[str]) -> float:
        """From when the few join until they have their scores."""
        vocabulary = self.checkpoint.vocabulary
        frontier = Frontier(
            self.scorer.engine,
            start_id=vocabulary.start_id,
            end_id=vocabulary.end_id,
            most_rows=self.scorer.state_rows,
        )
        if other:
            frontier.add(iter(self.groups(other)), lambda _: None)
            for _ in range(STEPS):
                frontier.step()
        done: list[GroupScores] = []
        begun = perf_counter()
        frontier.add(iter(self.groups(few)), keep(done))
        while not done:
            frontier.step()
        return perf_counter() - begun

    def groups(self, texts: Sequence[str]) -> list[Group]:
        """The first groups of the texts; more than the few will ever see."""
        found, first, words = [], 0, 0
        for number, text in enumerate(texts):
            words += text.count(" ") + 2
            if words >= WORDS_A_GROUP or number == len(texts) - 1:
                encoded = [self.checkpoint.vocabulary.encode(one)[0] for one in texts[first : number + 1]]
                found.append(Group(np.arange(first, number + 1), encoded))
                first, words = number + 1, 0
                if len(found) == 20:
                    break
        return found


def keep(done: list[GroupScores]) -> Callable[[GroupScores], None]:
    """What puts scores there."""
    return done.append


if __name__ == "__main__":
    main()
