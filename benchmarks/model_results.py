"""What a trained model weighs and how well it predicts a corpus: one JSON file a model.

    python benchmarks/model_results.py --data ../shared/data --corpus ptb ptb-lstm-500 ptb-bllm-500 \\
        --out benchmarks/results/models

Perplexities are exact, on validation and test text, from the start state at every sentence and, of running
text, over that too; `python benchmarks/tables.py` makes the tables and pictures of docs/models.md
from the files.
"""

import argparse
import csv
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models import checkpoint
from models.info import describe
from models.measuring import runnable
from models.training.corpus import Corpus, StateReset
from models.training.evaluation import perplexity
from nbest.files import read_lines, write_whole
from nbest.signature import signature

STATES: dict[str, tuple[StateReset, ...]] = {"captions": ("sentence",)}  # of the others both
CORPORA = {
    "ptb": {"validation": "text/ptb/ptb.valid.txt", "test": "text/ptb/ptb.test.txt"},
    "wikitext-2": {"validation": "text/wikitext-2/valid.txt.gz", "test": "text/wikitext-2/test.txt.gz"},
    "captions": {"validation": "text/captions/valid.txt.gz"},
}


def measure(model: Path, data: Path, corpus: str) -> dict[str, Any]:
    """Sizes, recipe, training log and perplexities of a model directory."""
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
        "kinds": sorted({slot.spec.kind for slot in found.config.slots()}),
        "parameters": found.parameters,
        "paper_bytes": found.paper_bytes,
        "weights_bytes": found.weights_bytes,
        "resident_bytes": found.resident_bytes,
        "training": loaded.card.training,
        "log": list(csv.DictReader(log.open(encoding="utf-8"))) if log.exists() else [],
        "perplexity": measured,
    }


def main() -> None:
    """Write one file a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", choices=CORPORA, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        result = measure(model, arguments.data, arguments.corpus)
        with write_whole(arguments.out / f"{model.resolve().name}.json") as stream:
            stream.write((json.dumps(result, indent=1) + "\n").encode())
        of, values = next(reversed(result["perplexity"].items()))
        print(f"{model}: {of}: perplexity {values['perplexity']:.2f}, {result['weights_bytes']:,} bytes")


if __name__ == "__main__":
    main()
