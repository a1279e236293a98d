"""What a language model is worth on real lists: tuned on dev, applied once to test, several tunings a row.

    python benchmarks/real_lists.py --data ../shared/data --lm captions-lstm --lm small \\
        --out benchmarks/results

Rows: the decoder's 1-best; its own features re-tuned; those and each language model; the oracle. Every row is
tuned by the same tuner with the same restarts and seeds. The results go to a JSON file a task as they
come, a model's scores to a cache, so that a run can be taken up again; `python benchmarks/tables.py` makes
the tables of docs/results.md from the file.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nbest.files import write_whole
from nbest.signature import signature
from rescoring import loglinear
from rescoring.evaluation import evaluate
from rescoring.formats import read_nbest
from rescoring.formats.references import read_references
from rescoring.metrics import Metric, get_metric
from rescoring.nbest import NbestLists
from rescoring.oracle import oracle_rows
from rescoring.pipeline import assemble
from rescoring.scorer import ScoreArrays
from rescoring.significance import paired_test
from rescoring.tuning.mert import tune


@dataclass(frozen=True)
class Side:
    """Lists with their references."""

    lists: NbestLists
    references: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Task:
    """A tuning side, a test side, and what is measured."""

    name: str
    metric: Metric
    dev: Side
    test: Side
    extra: tuple[str, ...] = ()  # columns of the lists that only some rows use


class Remembered:
    """A scorer whose numbers are kept in a file, by model and texts."""

    def __init__(self, name: str, cache: Path) -> None:
        from service.cli.loading import open_scorer

        self.asked = name
        self._scorer = open_scorer(name)
        self._cache = cache
        self.seconds = 0.0

    @property
    def name(self) -> str:
        """The model's."""
        return self._scorer.name

    @property
    def digest(self) -> str:
        """The model's."""
        return self._scorer.digest

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """As the model's, from the file where it was scored before."""
        from nbest.signature import sha256_hex

        key = sha256_hex(self.digest.encode(), "\n".join(texts).encode())[:24]
        path = self._cache / f"{self.name}-{key}.npz"
        if not path.exists():
            begun = time.monotonic()
            scores = self._scorer.score(texts)
            self.seconds += time.monotonic() - begun
            self._cache.mkdir(parents=True, exist_ok=True)
            with write_whole(path) as stream:
                np.savez(stream, p=scores.nat_log_probs, t=scores.token_counts, o=scores.oov_counts)
        with np.load(path) as held:
            return ScoreArrays(held["p"], held["t"], held["o"])


def translation(data: Path) -> Task:
    """Real Moses output, German to English, 14 decoder features."""
    folder = data / "mt"

    def side(name: str) -> Side:
        lists = read_nbest(folder / f"{name}.distinct.nbest.gz")
        return Side(lists, read_references([folder / f"{name}.ref.en"], lists))

    return Task("mt", get_metric("bleu"), side("dev"), side("test"))


def recognition(data: Path) -> Task:
    """Real recogniser output: acoustic, pronunciation and language model costs, and a second n-gram model."""
    folder = data / "asr"

    def side(name: str) -> Side:
        lists = read_nbest(folder / name / "kaldi_nbest", columns=["ac", "nolm", "lmonly", "rnn"])
        return Side(lists, read_references([folder / name / "text"], lists))

    return Task("asr", get_metric("wer"), side("dev"), side("test"), extra=("rnn",))


def without(lists: NbestLists, names: Sequence[str]) -> NbestLists:
    """The lists without these features."""
    from dataclasses import replace

    keep = [feature for feature in lists.schema if feature.name not in names]
    columns = np.concatenate([np.arange(lists.features.shape[1])[lists.columns(f.name)] for f in keep])
    return replace(lists, schema=tuple(keep), features=lists.features[:, columns])


def texts_of(lists: NbestLists, rows: Any) -> list[str]:
    """The texts of these rows."""
    return [lists.texts[row] for row in rows]


def measured(task: Task, side: Side, rows: Any) -> dict[str, float]:
    """Score and 95% interval of one hypothesis a list."""
    found = evaluate(texts_of(side.lists, rows), side.references, task.metric)
    return {"score": found.score, "low": found.low, "high": found.high}


def run_row(
    task: Task,
    scorers: Sequence[Remembered],
    extra: Sequence[str],
    counts: Any,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Tunings of one set of features on dev, each applied to test."""
    drop = [name for name in task.extra if name not in extra]
    dev, test = (assemble(without(side.lists, drop), scorers) for side in (task.dev, task.test))
    tunings: list[dict[str, Any]] = []
    for seed in range(1, arguments.tunings + 1):
        begun = time.process_time()
        tuned = tune(dev, counts, task.metric, restarts=arguments.restarts, seed=seed)
        dev_rows, test_rows = (
            loglinear.one_best(lists, loglinear.totals(lists, tuned.vector)) for lists in (dev, test)
        )
        tunings.append(
            {
                "seed": seed,
                "dev": measured(task, task.dev, dev_rows),
                "test": measured(task, task.test, test_rows),
                "cpu_seconds": round(time.process_time() - begun, 1),
                "weights": dict(zip(dev.column_names, tuned.vector.tolist(), strict=True)),
                "rows": [int(row) for row in test_rows],
            }
        )
        print(
            f"  seed {seed}: dev {tunings[-1]['dev']['score']:.2f}  test {tunings[-1]['test']['score']:.2f}",
            flush=True,
        )
    row: dict[str, Any] = {"features": list(dev.column_names), "tunings": tunings}
    for scorer in scorers:
        row["model"] = {"name": scorer.name, "digest": scorer.digest} | model_facts(scorer)
        oov = test.feature(f"{scorer.name}.oov")[test.offsets[:-1]]
        row["model"]["test_oov_per_1_best"] = round(float(oov.mean()), 3)
    return row


def model_facts(scorer: Remembered) -> dict[str, Any]:
    """Bytes and perplexity of a model, from its files."""
    from models import catalog, checkpoint, info

    if scorer.asked.startswith("kenlm:"):
        size = Path(scorer.asked.partition(":")[2]).stat().st_size
        return {"system": "n-gram", "weights_bytes": size, "paper_bytes": size, "perplexity": {}}
    described = info.describe(checkpoint.load(catalog.resolve(scorer.asked)))
    return {
        "system": described.config.system,
        "weights_bytes": described.weights_bytes,
        "paper_bytes": described.paper_bytes,
        "perplexity": described.card.perplexity,
    }


def main() -> None:
    """Run every row that the results file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lm", action="append", default=[])
    parser.add_argument("--task", choices=("mt", "asr"), action="append")
    parser.add_argument("--tunings", type=int, default=5)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path(".bench-cache"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for name, make in (("mt", translation), ("asr", recognition)):
        if not arguments.task or name in arguments.task:
            run_task(make(arguments.data), arguments)


def run_task(task: Task, arguments: argparse.Namespace) -> None:
    """Every row of one task that its results file does not hold yet."""
    path = arguments.out / f"{task.name}.json"
    rows: dict[str, Any] = json.loads(path.read_text())["rows"] if path.exists() else {}

    def keep() -> None:
        made = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "signature": signature({"restarts": arguments.restarts, "tunings": arguments.tunings}),
        }
        with write_whole(path) as stream:
            stream.write((json.dumps({"made": made, "rows": rows}, indent=1) + "\n").encode())

    if "decoder" not in rows:
        sides = {"dev": task.dev, "test": task.test}
        rows["decoder"] = {
            name: measured(task, side, side.lists.offsets[:-1]) for name, side in sides.items()
        }
        rows["oracle"] = {
            name: measured(task, side, oracle_rows(side.lists, side.references, task.metric))
            for name, side in sides.items()
        }
        keep()
    counts = task.metric.counts(task.dev.lists.texts, task.dev.lists.segments, task.dev.references)
    wanted: list[tuple[str, list[str], list[str]]] = [("re-tuned", [], [])]
    wanted += [(f"re-tuned + {extra}", [], [extra]) for extra in task.extra]
    names = {lm: Path(lm).stem if ":" in lm else Path(lm).name for lm in arguments.lm}
    wanted += [(f"+ {name}", [lm], []) for lm, name in names.items()]
    for extra in task.extra:
        wanted += [(f"+ {extra} + {name}", [lm], [extra]) for lm, name in names.items()]
    for label, lms, extras in wanted:
        if label in rows:
            continue
        print(f"{task.name}: {label}", flush=True)
        scorers = [Remembered(lm, arguments.cache) for lm in lms]
        rows[label] = run_row(task, scorers, extras, counts, arguments)
        keep()
    compare(task, rows)
    order = [label for label, _, _ in wanted]
    for label in sorted(rows, key=lambda label: order.index(label) if label in order else -1):
        rows[label] = rows.pop(label)
    keep()


def compare(task: Task, rows: dict[str, Any]) -> None:
    """The p-value of each row's median tuning against the re-tuned baseline's, on test."""

    def median_rows(label: str) -> list[int]:
        ordered = sorted(rows[label]["tunings"], key=lambda tuning: tuning["dev"]["score"])
        return list(ordered[len(ordered) // 2]["rows"])

    lists, references = task.test.lists, task.test.references
    counts = {
        label: task.metric.counts(texts_of(lists, median_rows(label)), np.arange(len(lists)), references)
        for label in rows
        if "tunings" in rows[label]
    }
    for label, mine in counts.items():
        base = "re-tuned + rnn" if label.startswith("+ rnn") else "re-tuned"
        if label != base and not label.startswith("re-tuned"):
            rows[label]["p_value_against"] = {base: paired_test(counts[base], mine, task.metric)}


if __name__ == "__main__":
    main()
