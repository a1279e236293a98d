"""What a trained model weighs and how well it predicts a corpus: one JSON file a model.

    python benchmarks/model_results.py --data ../shared/data --corpus ptb ptb-lstm-500 ptb-bllm-500 \\
        --out benchmarks/results/models
    python benchmarks/model_results.py --data ../shared/data --corpus ptb ptb-belm-500 ptb-belm-500-* \\
        --best-as ptb-belm-500 --out benchmarks/results/models

Of the second only the model is measured that is best on the validation text of its training; what was tried
stands in its file, so that a reader sees how much tuning a figure took. Perplexities are exact, on validation
and test text, from the start state at every sentence and, of running text, over that too;
`python benchmarks/tables.py` makes the tables and pictures of docs/models.md from the files.
"""

import argparse
import csv
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models import checkpoint
from models.info import describe
from models.measuring import runnable
from models.training.corpus import Corpus, StateReset
from models.training.evaluation import perplexity
from models.training.recipe import make_recipe
from nbest.files import read_lines, write_whole
from nbest.signature import signature

STATES: dict[str, tuple[StateReset, ...]] = {"captions": ("sentence",)}  # of the others both
CORPORA = {
    "ptb": {"validation": "text/ptb/ptb.valid.txt", "test": "text/ptb/ptb.test.txt"},
    "wikitext-2": {"validation": "text/wikitext-2/valid.txt.gz", "test": "text/wikitext-2/test.txt.gz"},
    "captions": {"validation": "text/captions/valid.txt.gz"},
}


TUNED = ("learning_rate", "schedule", "epochs", "dropout", "input_dropout", "seed")  # what a trial varies


def trial(model: Path) -> dict[str, Any]:
    """What of a run's recipe is tuned, what it started and learned from, and how well it validated."""
    card = checkpoint.load(model).card
    recipe = make_recipe(card.training["recipe"])
    return {
        "name": card.name,
        **{name: getattr(recipe, name) for name in TUNED},
        "init": card.training.get("init", {}).get("name"),
        "teacher": card.training.get("teacher", {}).get("name"),
        "validation_perplexity": card.perplexity[f"validation, {recipe.state} state"],
    }


def measure(model: Path, data: Path, corpus: str, trials: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Sizes, recipe, training log and perplexities of a model directory; `trials` it is the best of."""
    loaded = checkpoint.load(model)
    found = describe(loaded)
    runs = runnable(loaded.model)
    measured: dict[str, dict[str, float]] = {}
    for part, name in CORPORA[corpus].items():
        text = Corpus.from_lines(loaded.vocabulary, (line for _, line in read_lines(data / name)))
        for state in STATES.get(corpus, ("stream", "sentence")):
            result = perplexity(runs, loaded.vocabulary, text, state)
            measured[f"{part}, {state} state"] = {
                "perplexity": result.value,
                "known_words": result.known,
                "oov_spread": result.oov_spread,
                "oov_rate": result.oov / result.predictions,
            }
    log = model / "log.csv"
    return {
        "made": {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "signature": signature({"corpus": corpus, "model": loaded.digest}),
        },
        "corpus": corpus,
        "system": found.config.system,
        "kinds": sorted({slot.spec.name for slot in found.config.slots()}),
        "parameters": found.parameters,
        "paper_bytes": found.paper_bytes,
        "weights_bytes": found.weights_bytes,
        "resident_bytes": found.resident_bytes,
        "training": loaded.card.training,
        "trials": list(trials),
        "log": list(csv.DictReader(log.open(encoding="utf-8"))) if log.exists() else [],
        "perplexity": measured,
    }


def main() -> None:
    """Write one file a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", choices=CORPORA, required=True)
    parser.add_argument("--best-as", metavar="NAME", help="of all these one, the best on validation")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = {model.resolve().name: model for model in arguments.models}
    trials: list[dict[str, Any]] = []
    if arguments.best_as:
        trials = [trial(model) for model in arguments.models]
        by_validation = [one["validation_perplexity"] for one in trials]
        wanted = {arguments.best_as: arguments.models[by_validation.index(min(by_validation))]}
    for name, model in wanted.items():
        result = measure(model, arguments.data, arguments.corpus, trials)
        with write_whole(arguments.out / f"{name}.json") as stream:
            stream.write((json.dumps(result, indent=1) + "\n").encode())
        of, values = next(reversed(result["perplexity"].items()))
        print(f"{model}: {of}: perplexity {values['perplexity']:.2f}, {result['weights_bytes']:,} bytes")


if __name__ == "__main__":
    main()
