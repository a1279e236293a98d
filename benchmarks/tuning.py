"""Tuning on real lists: user seconds and the score reached, seed by seed; beside what the peers need for it.

    OMP_NUM_THREADS=1 python benchmarks/tuning.py --data ../shared/data --out benchmarks/results

counts   reading the Moses dev list and counting BLEU, in a process of its own (Moses: `extractor`)
mert     1 and 20 restarts on the same list, counts included, one processor (Moses: `mert`)
asr      the recogniser's lists with both language models: exact line searches, and Kaldi's grid
choice   the way of tuning that does best on folds of dev, and its BLEU on test, once
check    with --check: every count of every metric on all real lists against sacrebleu and jiwer (long)

The peers' figures were measured on these lists and this kind of machine; they stand in the data's README.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
import jiwer
import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from nbest.files import write_whole
from rescoring.features import WORD_COUNT
from rescoring.formats import read_nbest
from rescoring.formats.references import read_references
from rescoring.loglinear import one_best, totals
from rescoring.metrics import METRICS, get_metric
from rescoring.nbest import NbestLists
from rescoring.text import words
from rescoring.tuning import grid, mert

PARTS = ("counts", "mert", "asr", "choice")
PEERS = {  # ../shared/data/README.md: user seconds on one core, dev BLEU or WER
    "counts": {"Moses extractor": {"seconds": 3.0}},
    "mert, 20 restarts": {
        "Moses mert": {"seconds": [66, 76], "dev": [40.82, 40.96]},
        "Z-MERT, 20 starting points": {"seconds": 134, "dev": 40.88},
    },
    "mert, 1 restart": {"Moses mert": {"seconds": 6.8, "dev": 40.78}},
    "asr": {"by hand": {"dev": 35.41}, "SRILM nbest-optimize": {"dev": 35.16}},
}
Data = tuple[NbestLists, tuple[tuple[str, ...], ...]]


def main() -> None:
    """Measure the parts asked for and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that has mt/ and asr/")
    parser.add_argument("--part", action="append", choices=PARTS, help="may repeat; all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="hold all counts against the libraries")
    harness.add_options(parser, rounds=5)
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit("user seconds are of one processor: run with OMP_NUM_THREADS=1")
    path = arguments.out / "tuning.json"
    results: dict[str, Any] = json.loads(path.read_text())["results"] if path.exists() else {}
    made = harness.begin(arguments)
    run = {"counts": counts, "mert": descents, "asr": recognition, "choice": choice}
    for part in arguments.part or PARTS:
        results |= run[part](arguments)
        keep(path, made, results)
    if arguments.check:
        results |= check(arguments)
        keep(path, made, results)


def keep(path: Path, made: dict[str, Any], results: dict[str, Any]) -> None:
    """What is known so far, with the peers' figures."""
    with write_whole(path) as stream:
        content = {"made": made, "peers": PEERS, "results": results}
        stream.write((json.dumps(content, indent=1) + "\n").encode())


def translation(arguments: argparse.Namespace, side: str) -> Data:
    """Moses' lists and their references."""
    folder = arguments.data / "mt"
    lists = read_nbest(folder / f"{side}.distinct.nbest.gz")
    return lists, read_references([folder / f"{side}.ref.en"], lists)


def speech(arguments: argparse.Namespace, side: str) -> Data:
    """The recogniser's lists, with a word count, and their references."""
    folder = arguments.data / "asr" / side
    lists = read_nbest(folder / "kaldi_nbest", columns=["ac", "nolm", "lmonly", "rnn"])
    numbers = np.array([len(words(text)) for text in lists.texts], dtype=np.float64)
    return lists.with_feature(WORD_COUNT, numbers), read_references([folder / "text"], lists)


def counts(arguments: argparse.Namespace) -> dict[str, Any]:
    """User seconds of a process that imports, reads and counts."""
    program = (
        "import sys\n"
        "from rescoring.formats import read_nbest\n"
        "from rescoring.formats.references import read_references\n"
        "from rescoring.metrics import get_metric\n"
        "lists = read_nbest(sys.argv[1])\n"
        "references = read_references([sys.argv[2]], lists)\n"
        "print(get_metric('bleu').counts(lists.texts, lists.segments, references).sum())\n"
    )
    folder = arguments.data / "mt"
    found = []
    for _ in range(arguments.rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run(
            [sys.executable, "-c", program, folder / "dev.distinct.nbest.gz", folder / "dev.ref.en"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    return {"counts": said("counts", {"seconds": found})}


def descents(arguments: argparse.Namespace) -> dict[str, Any]:
    """Each seed's user seconds, counts included, and dev BLEU."""
    lists, references = translation(arguments, "dev")
    metric = get_metric("bleu")
    found: dict[str, Any] = {}
    for restarts in (1, 20):
        seconds, scores = [], []
        for seed in range(1, arguments.seeds + 1):
            begun = user_seconds()
            counted = metric.counts(lists.texts, lists.segments, references)
            tuned = mert.tune(lists, counted, metric, restarts=restarts, seed=seed)
            seconds.append(user_seconds() - begun)
            scores.append(tuned.score)
        name = f"mert, {restarts} restart{'s' if restarts > 1 else ''}"
        found[name] = said(name, {"seconds": seconds, "dev": scores})
    return found


def recognition(arguments: argparse.Namespace) -> dict[str, Any]:
    """Dev WER with both language models' columns."""
    lists, references = speech(arguments, "dev")
    metric = get_metric("wer")
    seconds, scores = [], []
    for seed in range(1, arguments.seeds + 1):
        begun = user_seconds()
        counted = metric.counts(lists.texts, lists.segments, references)
        scores.append(mert.tune(lists, counted, metric, seed=seed).score)
        seconds.append(user_seconds() - begun)
    found = {"asr": said("asr", {"seconds": seconds, "dev": scores})}
    roles = grid.Roles("ac", WORD_COUNT, {"nolm": 1.0, "lmonly": 1.0, "rnn": 0.0})
    begun = user_seconds()
    penalties = [step / 2 for step in range(-1, 6)]
    points = grid.search(
        lists, counted, metric, roles, range(7, 18), penalties, grid.mixtures("lmonly", "rnn")
    )
    best = grid.best_point(points, metric)
    print(grid.table(points, metric))
    result = {"seconds": [user_seconds() - begun], "dev": [best.score]}
    settings = {"lmwt": best.lmwt, "wip": best.penalty, "shares": dict(best.shares)}
    return found | {"asr, Kaldi's grid": said("asr, Kaldi's grid", result) | settings}


def choice(arguments: argparse.Namespace) -> dict[str, Any]:
    """The way that `nbest tune --optimizer choose` takes, tuned on all of dev, applied to test once."""
    from rescoring.tuning.constraints import Constraints, constrained
    from service.optimizers import Settings, choose, optimize

    lists, references = translation(arguments, "dev")
    metric = get_metric("bleu")
    counted = metric.counts(lists.texts, lists.segments, references)
    problem = constrained(lists, np.ones(lists.features.shape[1]), Constraints())
    settings, held_out = choose(problem, counted, metric, Settings("choose", 5, 1, None, 1), 5)
    tuned = optimize(problem, counted, metric, settings)
    held, wanted = translation(arguments, "test")
    rows = one_best(held, totals(held, tuned.vector))
    score = metric.report([held.texts[row] for row in rows], wanted).score
    print(f"held out: {held_out}; {settings.optimizer}, l2 {settings.l2}: test {score:.2f}")
    result = {"held_out": dict(held_out), "optimizer": settings.optimizer, "l2": settings.l2}
    return {"choice": result | {"dev": tuned.score, "test": score}}


def check(arguments: argparse.Namespace) -> dict[str, Any]:
    """How many counts were held against the libraries; ends with an error at the first that differs."""
    checked: dict[str, int] = {}
    for load, sides in ((translation, ("dev", "test")), (speech, ("dev", "test"))):
        for side in sides:
            lists, references = load(arguments, side)
            for name in METRICS:
                found = get_metric(name).counts(lists.texts, lists.segments, references)
                seen: dict[tuple[int, str], list[int]] = {}
                for row, (segment, text) in enumerate(zip(lists.segments.tolist(), lists.texts, strict=True)):
                    if (segment, text) not in seen:
                        seen[segment, text] = by_library(name, text, references[segment][0])
                    if found[row].tolist() != seen[segment, text]:
                        sys.exit(
                            f"{name}: {lists.where(row)}: {found[row].tolist()}, not {seen[segment, text]}"
                        )
                checked[f"{load.__name__} {side} {name}"] = len(found)
                print(f"{load.__name__} {side} {name}: {len(found)} hypotheses agree", flush=True)
    return {"check": checked}


def by_library(name: str, text: str, reference: str) -> list[int]:
    """What sacrebleu or jiwer counts for one text."""
    if name in ("wer", "cer"):
        align = jiwer.process_words if name == "wer" else jiwer.process_characters
        output = align(reference, text)
        edits = [output.substitutions, output.deletions, output.insertions]
        return [*edits, output.hits + output.substitutions + output.deletions]
    scorer = {"bleu": BLEU(tokenize="none", force=True), "chrf": CHRF(), "ter": TER()}[name]
    found = scorer._extract_corpus_statistics([text], [[reference]])[0]
    return [int(one) for one in found]


def said(name: str, result: dict[str, list[float]]) -> dict[str, Any]:
    """The result with its medians, after it was printed."""
    medians = {f"median_{what}": round(statistics.median(values), 3) for what, values in result.items()}
    ranges = "; ".join(
        f"{what} {medians[f'median_{what}']:.2f} ({min(values):.2f} to {max(values):.2f})"
        for what, values in result.items()
    )
    print(f"{name}: {ranges}; peers {PEERS.get(name, 'none')}", flush=True)
    return {what: [round(one, 3) for one in values] for what, values in result.items()} | medians


def user_seconds() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


if __name__ == "__main__":
    main()
