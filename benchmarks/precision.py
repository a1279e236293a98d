"""What int8 changes on real lists: scores, and how many 1-bests at tuned weights.

    python benchmarks/precision.py --data ../shared/data --model captions-lstm --model base \
        --out benchmarks/results

Every model is scored exactly and with int8 on the test lists of the tasks in which it has a tuned row in the
folder of results (made by benchmarks/real_lists.py with exact scores); each tuning's weights choose among the
exact features and among those with int8.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from real_lists import Task, measured, recognition, translation, without

from models import catalog
from models.scoring.engine import Precision
from nbest.files import write_whole
from rescoring import loglinear
from rescoring.nbest import NbestLists
from rescoring.pipeline import assemble

TASKS = {"mt": translation, "asr": recognition}
TEXTS_BY_TOKEN = 3_000  # of those whose tokens are compared one by one


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    harness.add_options(parser, rounds=1)
    arguments = parser.parse_args()
    arguments.force = True  # nothing is timed
    document: dict[str, Any] = {"made": harness.begin(arguments), "rows": []}
    torch.set_num_threads(arguments.threads)
    for name, make in TASKS.items():
        path = arguments.results / f"{name}.json"
        rows = json.loads(path.read_text())["rows"]
        task: Task | None = None
        for model in arguments.model:
            row = rows.get(f"+ {Path(model).name}")
            if row is not None:
                task = task or make(arguments.data)
                document["rows"].append(compare(task, model, row))
                print(json.dumps(document["rows"][-1], indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "precision.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


def compare(task: Task, model: str, row: dict[str, Any]) -> dict[str, Any]:
    """One model on one task's test lists."""
    exact, near = (features(task, model, precision) for precision in ("fp32", "int8"))
    changed, scores = [], []
    for tuning in row["tunings"]:
        weights = np.asarray([tuning["weights"][name] for name in exact.column_names])
        first, second = (loglinear.one_best(one, loglinear.totals(one, weights)) for one in (exact, near))
        changed.append(int((first != second).sum()))
        scores.append([measured(task, task.test, rows)["score"] for rows in (first, second)])
    texts = list(dict.fromkeys(task.test.lists.texts))[
        :: max(1, len(task.test.lists.texts) // TEXTS_BY_TOKEN)
    ]
    off = np.abs(np.subtract(*(tokens(model, texts, precision) for precision in ("fp32", "int8"))))
    return {
        "task": task.name,
        "model": Path(model).name,
        "digest": row["model"]["digest"],
        "lists": len(task.test.lists),
        "changed_1_bests": changed,
        "share_changed": float(np.mean(changed) / len(task.test.lists)),
        "scores_exact_and_int8": scores,
        "nats_a_token": {
            "tokens": len(off),
            "mean": float(f"{off.mean():.3g}"),
            "percentile_99_9": float(f"{np.quantile(off, 0.999):.3g}"),
            "most": float(f"{off.max():.3g}"),
        },
    }


def features(task: Task, model: str, precision: Precision) -> NbestLists:
    """The test lists with the model's scores."""
    scorer = catalog.open_scorer(model, precision=precision)
    return assemble(without(task.test.lists, task.extra), [scorer])


def tokens(model: str, texts: list[str], precision: Precision) -> np.ndarray:
    """(tokens,) of all texts."""
    scored = catalog.open_scorer(model, precision=precision).score_tokens(texts)
    return np.asarray([token.nat_log_prob for text in scored for token in text])


if __name__ == "__main__":
    main()
