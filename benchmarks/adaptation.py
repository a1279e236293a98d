"""What a shipped model gains by reading a user's text: perplexity there and elsewhere, BLEU on real lists.

    python benchmarks/adaptation.py --data ../shared/data --held-out english.held-out.txt.gz \\
        --model small --model captions-small-20k --model captions-small --model captions-bllm \\
        --out benchmarks/results/adaptation.json

Perplexities charge unknown words (P(<unk>) spread over unseen types): models of other words can be compared.
BLEU is of the first hypotheses of each list, untuned and tuned on dev, several tunings a row.
"""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from real_lists import Remembered, Side, Task, measured, model_facts, translation

from models import catalog, checkpoint
from models.measuring import runnable
from models.training.corpus import Corpus
from models.training.evaluation import perplexity
from nbest.files import read_lines, write_whole
from nbest.signature import signature
from rescoring import loglinear, pipeline
from rescoring.nbest import NbestLists
from rescoring.tuning.mert import tune

LINES = 2_000  # of each text: some 30,000 words
DEPTH = 30  # hypotheses of each list
TUNINGS, RESTARTS = 3, 5


def shallow(lists: NbestLists, depth: int) -> NbestLists:
    """The first hypotheses of each list, the decoder's total a feature."""
    lists = pipeline.with_decoder_total(lists)
    places = np.arange(len(lists.texts)) - lists.offsets[:-1][lists.segments]
    rows = np.flatnonzero(places < depth)
    sizes = np.bincount(lists.segments[rows], minlength=len(lists))
    return replace(
        lists,
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        texts=tuple(lists.texts[row] for row in rows),
        features=lists.features[rows],
        lines=(),
        records=(),
    )


def perplexities(name: str, texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Of each text, from the start state at each line: perplexity with unknown words charged, their share."""
    loaded = checkpoint.load(catalog.resolve(name))
    model = runnable(loaded.model)
    found: dict[str, Any] = {}
    for text, lines in texts.items():
        result = perplexity(model, loaded.vocabulary, Corpus.from_lines(loaded.vocabulary, lines), "sentence")
        found[text] = {
            "perplexity": round(result.oov_spread, 2),
            "oov_rate": round(result.oov / result.predictions, 5),
        }
    return found


def bleu(task: Task, scorers: Sequence[Remembered]) -> dict[str, Any]:
    """Untuned scores of dev and test, and those of several tunings."""
    sides = {"dev": task.dev, "test": task.test}
    untuned = {}
    for name, side in sides.items():
        ranked = pipeline.rescore(side.lists, scorers, None)
        untuned[name] = measured(task, side, ranked.best)
    full = {name: pipeline.tunable(pipeline.assemble(side.lists, scorers)) for name, side in sides.items()}
    counts = task.metric.counts(task.dev.lists.texts, task.dev.lists.segments, task.dev.references)
    tunings = []
    for seed in range(1, TUNINGS + 1):
        vector = tune(full["dev"], counts, task.metric, restarts=RESTARTS, seed=seed).vector
        rows = {name: loglinear.one_best(one, loglinear.totals(one, vector)) for name, one in full.items()}
        tunings.append({name: measured(task, side, rows[name])["score"] for name, side in sides.items()})
    return {"untuned": untuned, "tunings": tunings}


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True, help="general English")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--cache", type=Path, default=Path(".bench-cache"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    paths = {"captions": arguments.data / "text/captions/valid.txt.gz", "general": arguments.held_out}
    texts = {name: [line for _, line in read_lines(path)][:LINES] for name, path in paths.items()}
    whole = translation(arguments.data)
    dev, test = (Side(shallow(side.lists, DEPTH), side.references) for side in (whole.dev, whole.test))
    task = Task(whole.name, whole.metric, dev, test)
    models: dict[str, Any] = {}
    decoder = bleu(task, [])
    print("decoder", decoder, flush=True)
    for name in arguments.model:
        scorer = Remembered(name, arguments.cache)
        training = checkpoint.load(catalog.resolve(name)).card.training
        models[scorer.name] = {
            "digest": scorer.digest,
            "weights_bytes": model_facts(scorer)["weights_bytes"],
            "sentences": training.get("sentences"),
            "hours": training.get("hours"),
            "texts": perplexities(name, texts),
            "bleu": bleu(task, [scorer]),
        }
        print(scorer.name, json.dumps(models[scorer.name]), flush=True)
    made = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "signature": signature({"lines": LINES, "depth": DEPTH, "tunings": TUNINGS, "restarts": RESTARTS}),
    }
    content = {"made": made, "decoder": decoder, "models": models}
    with write_whole(arguments.out) as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
