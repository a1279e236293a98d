"""What a model's card says was measured, measured and written into its card.json.

    python benchmarks/card.py small --data ../shared/data --held-out english.held-out.txt.gz
    python benchmarks/card.py small --data ../shared/data --speed        # on an idle machine

Perplexities and OOV rates on the held-out text and on WikiText-2's test text, bytes, and for models trained
with NCE how far from constant ln Z is and how many 1-bests of real lists change without the normaliser: with
the model alone, and with weights tuned with exact scores on the other half of the lists. `--speed` measures
words a second alone. The figures of an earlier run stay where they are not measured again.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray
from real_lists import Task, recognition, translation, without

from models import catalog, checkpoint
from models.measuring import is_noise_contrastive, measured_card
from nbest.files import read_lines
from rescoring import loglinear
from rescoring.pipeline import assemble
from rescoring.tuning.mert import tune

WIKITEXT = "text/wikitext-2/test.txt.gz"
TASKS: dict[str, Callable[[Path], Task]] = {"translation lists": translation, "speech lists": recognition}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a directory, or a shipped model's name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, help="text that the model has not seen, a sentence a line")
    parser.add_argument("--no-wikitext", action="store_true")
    parser.add_argument("--speed", action="store_true", help="words a second, and nothing else")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load-limit", type=float, default=0.3, help="running processes, a minute's mean")
    parser.add_argument("--force", action="store_true", help="--speed whatever the load")
    arguments = parser.parse_args()
    path = catalog.resolve(arguments.model)
    loaded = checkpoint.load(path)
    if arguments.speed:
        harness.begin(arguments)
        texts = speech_texts(arguments.data)
        figure = words_per_second(str(path), texts, arguments.rounds, arguments.threads)
        of = f"words/s, 100-best lists, {arguments.threads} of {harness.machine()}"
        card = loaded.card.model_copy(update={"measured": loaded.card.measured | {of: figure}})
    else:
        card = measured_card(loaded, texts_to_measure(arguments))
        if is_noise_contrastive(card):
            changed = {
                f"1-bests that change self-normalized, {name}, {how}": share
                for name, make in TASKS.items()
                for how, share in changed_1_bests(str(path), make(arguments.data)).items()
            }
            card = card.model_copy(update={"measured": card.measured | changed})
    checkpoint.replace_card(path, card)
    for name, values in (("perplexity", card.perplexity), ("OOV", card.oov_rate), ("", card.measured)):
        for of, value in values.items():
            print(f"{name} {of}: {value:.6g}".strip())


def texts_to_measure(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Lines by the name of the text."""
    files = {} if arguments.held_out is None else {"held-out": arguments.held_out}
    if not arguments.no_wikitext:
        files["WikiText-2 test"] = arguments.data / WIKITEXT
    return {name: [line for _, line in read_lines(path)] for name, path in files.items()}


def speech_texts(data: Path) -> list[str]:
    """Hypotheses of real 100-best lists."""
    return list(recognition(data).test.lists.texts)


def words_per_second(model: str, texts: Sequence[str], rounds: int, threads: int) -> float:
    """Words of hypotheses scored a second, ends counted; the median round."""
    contenders = {"model": harness.Contender(_scoring, (model, list(texts)))}
    found = harness.side_by_side(contenders, None, rounds=rounds, threads=threads)["model"]
    return float(statistics.median(one.result / one.seconds for one in found))


def _scoring(model: str, texts: list[str]) -> Callable[[Any], int]:
    scorer = catalog.open_scorer(model)
    return lambda _order: int(scorer.score(texts).token_counts.sum())


def changed_1_bests(model: str, task: Task) -> dict[str, float]:
    """Share of the test lists whose best changes: by the model alone, by all features with tuned weights."""
    exact, short = (catalog.open_scorer(model, name="lm", self_normalized=short) for short in (False, True))
    by_exact, by_short = (scorer.score(task.test.lists.texts).nat_log_probs for scorer in (exact, short))
    alone = changed_share(by_exact, by_short, task.test.lists.offsets)
    dev = assemble(without(task.dev.lists, task.extra), [exact])
    counts = task.metric.counts(task.dev.lists.texts, task.dev.lists.segments, task.dev.references)
    weights = tune(dev, counts, task.metric, restarts=5, seed=1).vector
    by_exact, by_short = (
        loglinear.totals(assemble(without(task.test.lists, task.extra), [scorer]), weights)
        for scorer in (exact, short)
    )
    return {
        "the model alone": alone,
        "tuned weights": changed_share(by_exact, by_short, task.test.lists.offsets),
    }


def changed_share(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], offsets: NDArray[np.int64]
) -> float:
    """Share of the lists [offsets[k], offsets[k+1]) whose best, the first of equal ones, is another."""
    pairs = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    return float(np.mean([mine[a:b].argmax() != theirs[a:b].argmax() for a, b in pairs]))


if __name__ == "__main__":
    main()
