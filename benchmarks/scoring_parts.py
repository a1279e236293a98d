"""Microseconds that a prefix costs by part, exact and int8, on one thread and on more.

    python benchmarks/scoring_parts.py --data ../shared/data --model lstm-512-10k --out benchmarks/results

The step reads 512 prefixes, the normaliser 2,048 outputs of texts that the model makes up; the whole is
translation lists (without --data, made-up ones) from text to score. The best of several runs counts: what
else the machine does is left out as far as can be. Beside them, what more threads do for torch's own product
of 512 by 512 by 2,048.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import harness
import numpy as np
import scoring
import torch

from models import catalog, checkpoint
from models.language_model import LanguageModel
from models.scoring.engine import Precision
from models.scoring.native_engine import NativeEngine
from models.scoring.scorer import LanguageModelScorer
from models.scoring.sketch import talk
from nbest.files import write_whole

PREFIXES, OUTPUTS = 512, 2048
WHOLE_ROUNDS = 9  # at most: lists take thousands of times as long as a step


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--most-threads", type=int, default=2)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lists", type=int, default=30, help="of the whole")
    harness.add_options(parser, rounds=20)
    arguments = parser.parse_args()
    counts = sorted({1, arguments.most_threads})
    document: dict[str, Any] = {"made": harness.begin(arguments), "threads": counts, "models": {}}
    document["product_of_torch"] = by_threads(counts, arguments.rounds, product(), 1)
    (lists,) = scoring.workloads(arguments.data, ["mt"], arguments.lists)
    document["whole"] = {"lists": arguments.lists, "texts": len(lists.texts), "kind": lists.name}
    for name in arguments.model:
        loaded = checkpoint.load(catalog.resolve(name))
        rows = document["models"][Path(name).name] = {}
        for precision in ("fp32", "int8"):
            rows[precision] = parts(loaded.model, precision, counts, arguments.rounds)
            rows[precision]["whole"] = whole(loaded, precision, lists.texts, counts, arguments.rounds)
            print(Path(name).name, precision, json.dumps(rows[precision]))
    print("product of torch", document["product_of_torch"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "scoring_parts.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


def parts(model: LanguageModel, precision: Precision, counts: list[int], rounds: int) -> dict[str, Any]:
    """Microseconds by part and threads."""
    engine = NativeEngine(model, precision=precision)
    random = np.random.default_rng(1)
    words = random.integers(3, model.config.vocabulary_size, PREFIXES)
    above, states = np.arange(PREFIXES), model.start_state(2 * PREFIXES)
    for state in (*states.hidden, *states.cell):
        state.uniform_(-0.5, 0.5)
    walk = engine.walk()

    def step() -> torch.Tensor:
        walk.threads = torch.get_num_threads()
        return walk.step(words, above, above + PREFIXES, states)

    with torch.inference_mode():
        found: dict[str, Any] = {"step": by_threads(counts, rounds, step, PREFIXES)}
        said = torch.cat(talk(model, OUTPUTS))
        hidden = said.repeat(-(-OUTPUTS // len(said)), 1)[:OUTPUTS]
        following = random.integers(3, model.config.vocabulary_size, OUTPUTS)

        def outputs() -> None:
            walk.threads = torch.get_num_threads()
            walk.log_probs(hidden, np.arange(OUTPUTS), following)

        found["output"] = by_threads(counts, rounds, outputs, OUTPUTS)
    size = getattr(engine.output, "size", None)
    return found | ({} if size is None else {"columns_of_the_sketch": size})


def whole(
    loaded: checkpoint.Checkpoint, precision: Precision, texts: list[str], counts: list[int], rounds: int
) -> list[float]:
    """Microseconds a prefix by threads, of texts to their scores."""
    scorer = LanguageModelScorer(loaded, "m", precision=precision)
    prefixes = scorer.score(texts).unique_tokens
    return by_threads(counts, min(rounds, WHOLE_ROUNDS), lambda: scorer.score(texts), prefixes)


def product() -> Any:
    """A run of torch's own product."""
    x, w, out = torch.randn(512, 512), torch.randn(512, 2048), torch.empty(512, 2048)
    return lambda: torch.mm(x, w, out=out)


def by_threads(counts: list[int], rounds: int, work: Any, prefixes: int) -> list[float]:
    """Microseconds a prefix of the quickest run with each number of threads, run in turn."""
    best = [np.inf] * len(counts)
    for _ in range(rounds + 1):
        for number, count in enumerate(counts):
            torch.set_num_threads(count)
            begun = perf_counter()
            work()
            best[number] = min(best[number], perf_counter() - begun)
    return [round(1e6 * seconds / prefixes, 2) for seconds in best]


if __name__ == "__main__":
    main()
