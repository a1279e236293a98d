"""The process that tunes for the service: a task on standard input, what becomes of it on standard output.

What is told comes as pickles, each behind its length: mappings for how far it is, then a Result or an
NbestError.

    {"stage": "counting", "hypotheses": 4000}                          against their references
    {"stage": "counted", "before": 12.9, "oracle": 7.1, "oracle_exact": true}
    {"stage": "choosing", "done": 3, "of": 30}                         tunings on folds
    {"stage": "tuning", "done": 3, "of": 20, "score": 11.6, "best": 11.4}

It gives way to everything else on the machine, knows nothing of models, and ends with whoever began it.
"""

import os
import pickle
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nbest.errors import NbestError
from rescoring.loglinear import one_best, totals
from rescoring.metrics import Metric, get_metric
from rescoring.metrics.base import References
from rescoring.nbest import NbestLists
from rescoring.oracle import oracle
from rescoring.significance import difference_interval, paired_test
from rescoring.tuning.mira import EPOCHS
from rescoring.tuning.result import Tuned
from service.tuning import Found, Plan, Watch, search

Tell = Callable[[Mapping[str, Any]], None]
Ints = NDArray[np.int64]
NICE = 15  # of 19: behind all that somebody waits for
LENGTH_BYTES = 8  # before each pickle, little end first


@dataclass(frozen=True)
class Task:
    """What is tuned.

    lists       with every feature that takes part
    references  S tuples of texts
    first       (F,) where to start
    held_out    so many of the last lists are not tuned on
    """

    lists: NbestLists
    references: References
    metric: str
    tokenize: str
    lowercase: bool
    first: NDArray[np.float64]
    plan: Plan
    held_out: int = 0


@dataclass(frozen=True)
class HeldOut:
    """What the weights do on lists that they were not tuned on.

    interval  95% of the change, bootstrap
    p_value   of the change, two-sided, by approximate randomisation
    """

    lists: int
    before: float
    after: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Result:
    """What came of a task.

    before      score of the lists as they stand
    candidates  of `choose`: the scores on held-out folds
    """

    found: Found
    before: float
    oracle: float
    oracle_exact: bool
    candidates: Mapping[str, float]
    held_out: HeldOut | None


def work(task: Task, tell: Tell) -> Result:
    """Counts, tunes, and looks at what was held out; raises what counting and tuning raise."""
    lists, cut = task.lists, len(task.lists) - task.held_out
    metric = get_metric(task.metric, task.tokenize, task.lowercase)
    tell({"stage": "counting", "hypotheses": len(lists.texts)})
    counts = metric.counts(lists.texts, lists.segments, task.references)  # (N, K)
    rows = int(lists.offsets[cut])
    tuned_on, of_them = lists.select(range(cut)), counts[:rows]
    before = _score(metric, of_them[tuned_on.offsets[:-1]])
    bound = oracle(of_them, tuned_on.offsets, metric)
    tell({"stage": "counted", "before": before, "oracle": bound.score, "oracle_exact": bound.exact})
    candidates: dict[str, float] = {}
    found = search(tuned_on, of_them, task.first, metric, task.plan, _watch(task.plan, tell, candidates))
    held_out = None
    if task.held_out:
        others = lists.select(range(cut, len(lists)))
        held_out = _held_out(others, counts[rows:], metric, found.vector)
    return Result(found, before, bound.score, bound.exact, candidates, held_out)


def _watch(plan: Plan, tell: Tell, candidates: dict[str, float]) -> Watch:
    def step(done: int, so_far: Tuned) -> None:
        now = {"score": so_far.descents[-1].score} if so_far.descents else {}
        of = plan.settings.restarts if so_far.descents else EPOCHS
        tell({"stage": "tuning", "done": done, "of": of, **now, "best": so_far.score})

    def part(done: int, of: int) -> None:
        tell({"stage": "choosing", "done": done, "of": of})

    return Watch(step, part, candidates.update)


def _held_out(lists: NbestLists, counts: Ints, metric: Metric, vector: NDArray[np.float64]) -> HeldOut:
    first, second = counts[lists.offsets[:-1]], counts[one_best(lists, totals(lists, vector))]
    interval = difference_interval(first, second, metric)
    return HeldOut(
        len(lists),
        _score(metric, first),
        _score(metric, second),
        (interval.low, interval.high),
        paired_test(first, second, metric),
    )


def _score(metric: Metric, counts: Ints) -> float:
    return float(metric.score(counts.sum(axis=0)))


def main() -> None:
    """Reads a task, works, tells; for a fresh process of its own."""
    os.nice(NICE)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whoever prints does not come in between
    task = pickle.load(sys.stdin.buffer)  # of the service that began this process
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()

    def tell(what: object) -> None:
        packed = pickle.dumps(what)
        out.write(len(packed).to_bytes(LENGTH_BYTES, "little") + packed)
        out.flush()

    try:
        tell(work(task, tell))
    except NbestError as error:
        tell(error)


def _end_with(stream: BinaryIO) -> None:
    """Whoever began this process has gone: nobody wants what it does."""
    stream.read()
    os._exit(1)
