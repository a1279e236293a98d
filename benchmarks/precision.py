"""What int8 changes on real lists: scores, and how many 1-bests at tuned weights.

    python benchmarks/precision.py --data ../shared/data --model captions-lstm --model base \
        --out benchmarks/results

Every model is scored exactly and with int8 on the lists of both tasks. Weights are those of its tuned rows in
the folder of results (made by benchmarks/real_lists.py with exact scores); a model without one is tuned
here, on dev, in the same way. Each tuning chooses among the exact features and among those with int8.
Where the best two exact totals are nearer to each other than 32-bit scores are to 64-bit ones, either may be
called the best: such changes are counted like all others, and once more beside them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from numpy.typing import NDArray
from real_lists import Remembered, Side, Task, measured, recognition, translation, without

from models import catalog
from models.scoring.engine import Precision
from nbest.files import write_whole
from rescoring import loglinear
from rescoring.nbest import NbestLists
from rescoring.pipeline import assemble
from rescoring.scorer import Scorer
from rescoring.tuning.mert import tune

TASKS = {"mt": translation, "asr": recognition}
TEXTS_BY_TOKEN = 3_000  # of those whose tokens are compared one by one
TUNINGS, RESTARTS = 5, 10  # as benchmarks/real_lists.py has them
NOISE = 1e-4  # nats: what two exact engines differ by in a text of a dozen words at most


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--task", action="append", choices=TASKS, help="both unless given")
    parser.add_argument("--side", action="append", choices=("dev", "test"), help="test unless given")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--cache", type=Path, default=Path(".bench-cache"), help="of exact scores")
    harness.add_options(parser, rounds=1)
    arguments = parser.parse_args()
    arguments.force = True  # nothing is timed
    made = harness.begin(arguments)
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.task or TASKS:
        task = TASKS[name](arguments.data)
        tuned = json.loads((arguments.results / f"{name}.json").read_text())["rows"]
        for model in arguments.model:
            exact = Remembered(model, arguments.cache)
            row = tuned.get(f"+ {Path(model).name}")
            weights = tunings(task, exact) if row is None else [one["weights"] for one in row["tunings"]]
            for side in arguments.side or ["test"]:
                rows.append({"task": name, "side": side} | compare(task, side, model, exact, weights))
                print(json.dumps(rows[-1]), flush=True)
                with write_whole(arguments.out / "precision.json") as stream:
                    document = {"made": made, "rows": rows, "all": together(rows)}
                    stream.write((json.dumps(document, indent=1) + "\n").encode())
    print(json.dumps(document["all"]))


def tunings(task: Task, exact: Scorer) -> list[dict[str, float]]:
    """Weights of some tunings on dev."""
    lists = features(task, task.dev, exact)
    counts = task.metric.counts(lists.texts, lists.segments, task.dev.references)
    found = []
    for seed in range(1, TUNINGS + 1):
        tuned = tune(lists, counts, task.metric, restarts=RESTARTS, seed=seed)
        found.append(dict(zip(lists.column_names, tuned.vector.tolist(), strict=True)))
    return found


def compare(
    task: Task, side_name: str, model: str, exact: Remembered, tuned: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """One model on one side of a task."""
    side: Side = getattr(task, side_name)
    in_bytes = catalog.open_scorer(model, precision="int8")
    lists, near = features(task, side, exact), features(task, side, in_bytes)
    changed, ties, scores = [], [], []
    for named in tuned:
        weights = np.asarray([named[name] for name in lists.column_names])
        totals = loglinear.totals(lists, weights)
        first, second = (
            loglinear.one_best(lists, totals),
            loglinear.one_best(near, loglinear.totals(near, weights)),
        )
        changed.append(int((first != second).sum()))
        tie = np.abs(totals[first] - totals[second]) < NOISE * abs(named[exact.name])
        ties.append(int((tie & (first != second)).sum()))
        scores.append([measured(task, side, rows)["score"] for rows in (first, second)])
    off = off_by_token(model, list(dict.fromkeys(lists.texts)))
    return {
        "model": Path(model).name,
        "digest": exact.digest,
        "lists": len(lists),
        "changed_1_bests": changed,
        "of_these_within_noise": ties,
        "share_changed": float(f"{np.mean(changed) / len(lists):.3g}"),
        "scores_exact_and_int8": scores,
        "nats_a_token": {
            "tokens": len(off),
            "mean": float(f"{off.mean():.3g}"),
            "percentile_99_9": float(f"{np.quantile(off, 0.999):.3g}"),
            "most": float(f"{off.max():.3g}"),
        },
    }


def together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all lists, all tunings, all models."""
    chosen = sum(row["lists"] * len(row["changed_1_bests"]) for row in rows)
    changed = sum(sum(row["changed_1_bests"]) for row in rows)
    ties = sum(sum(row["of_these_within_noise"]) for row in rows)
    return {
        "1_bests": chosen,
        "changed": changed,
        "of_these_within_noise": ties,
        "share_changed": float(f"{changed / chosen:.3g}"),
    }


def features(task: Task, side: Side, scorer: Scorer) -> NbestLists:
    """The lists with a model's scores."""
    return assemble(without(side.lists, task.extra), [scorer])


def off_by_token(model: str, texts: list[str]) -> NDArray[np.float64]:
    """(tokens,) of some of the texts: differences of int8 from exact scores."""
    some = texts[:: max(1, len(texts) // TEXTS_BY_TOKEN)]

    def tokens(precision: Precision) -> list[float]:
        scored = catalog.open_scorer(model, precision=precision).score_tokens(some)
        return [token.nat_log_prob for text in scored for token in text]

    return np.abs(np.subtract(tokens("fp32"), tokens("int8")))


if __name__ == "__main__":
    main()
