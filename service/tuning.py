"""A search for weights, whoever asks: counted lists in, the best weights and how they were found out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, WeightsError, shorten
from rescoring.metrics import Metric
from rescoring.metrics.base import References
from rescoring.nbest import Feature, NbestLists
from rescoring.tuning import fingerprint
from rescoring.tuning.constraints import Constraints, constrained
from rescoring.tuning.result import Tuned
from rescoring.weights import Tuning, WeightSet
from service.optimizers import Grid, Settings, choose, optimize, search_grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """How to search.

    runs  tunings, each with the next seed, of which the best is kept
    grid  of the optimizer `grid`
    """

    settings: Settings
    rules: Constraints
    grid: Grid
    folds: int = 5
    runs: int = 1


@dataclass(frozen=True)
class Watch:
    """Who is told how far a search is.

    step    descents or epochs that are done, and the best so far
    part    tunings of `choose` that are done, and of how many
    chosen  the candidates of `choose` by their scores on held-out folds
    """

    step: Callable[[int, Tuned], None] | None = None
    part: Callable[[int, int], None] | None = None
    chosen: Callable[[Mapping[str, float]], None] = lambda _: None


@dataclass(frozen=True)
class Found:
    """What a search found.

    vector         (F,) weights of the lists' columns
    score          of the 1-bests under them
    initial_score  of those under the initial weights
    constant       columns that are the same throughout every list
    settings       what ran: of `choose` the candidate that it took; the seed is that of the best run
    scores         of all runs
    table          what the grid has to say
    """

    vector: Floats
    score: float
    initial_score: float
    constant: tuple[str, ...]
    settings: Settings
    scores: tuple[float, ...]
    table: str = ""


def search(
    lists: NbestLists, counts: Ints, first: Floats, metric: Metric, plan: Plan, watch: Watch | None = None
) -> Found:
    """The weights of `lists` from `first` (F,), by `counts` (N, K) of `metric`.

    The lists have all features that take part. Raises what the optimizers and the constraints raise.
    """
    watch = watch or Watch()
    settings = plan.settings
    if settings.optimizer == "grid":
        tuned, table = search_grid(lists, counts, metric, plan.grid)
        return _found(tuned, tuned.vector, settings, [tuned], table)
    problem = constrained(lists, first, plan.rules)
    if settings.optimizer == "choose":
        settings, held_out = choose(problem, counts, metric, settings, plan.folds, watch.part)
        watch.chosen(held_out)
    runs = [
        optimize(problem, counts, metric, replace(settings, seed=settings.seed + number), watch.step)
        for number in range(plan.runs)
    ]
    tuned = (max if metric.larger_is_better else min)(runs, key=lambda run: run.score)
    return _found(tuned, problem.vector(tuned.vector), settings, runs)


def _found(tuned: Tuned, vector: Floats, settings: Settings, runs: Sequence[Tuned], table: str = "") -> Found:
    scores = tuple(run.score for run in runs)
    ran = replace(settings, seed=settings.seed + scores.index(tuned.score))
    return Found(vector, tuned.score, tuned.initial_score, tuned.constant, ran, scores, table)


def record(found: Found, metric: str, signature: str, lists: NbestLists, references: References) -> Tuning:
    """How the weights were tuned, to stand in their file; `lists` as they came, without what was added."""
    settings = found.settings
    return Tuning(
        metric=metric,
        signature=signature,
        score=found.score,
        lists_sha256=fingerprint.lists_sha256(lists),
        references_sha256=fingerprint.references_sha256(references),
        optimizer=settings.optimizer if settings.l2 is None else f"{settings.optimizer}, l2 {settings.l2:g}",
        restarts=settings.restarts if settings.optimizer == "mert" else 1,
        seed=settings.seed,
        runs=found.scores if len(found.scores) > 1 else (),
    )


def columns_only(schema: Sequence[Feature], source: str) -> NbestLists:
    """Lists with these features, and nothing in them: wrong names can be said before anything is scored."""
    nothing = np.zeros((0, sum(feature.width for feature in schema)))
    return NbestLists((), np.zeros(1, dtype=np.int64), (), tuple(schema), nothing, source=source)


def start(weights: WeightSet | None, schema: Sequence[Feature], source: str) -> Floats:
    """(F,) where to start: ones, or `weights` and 0 for a feature that they do not name.

    Raises FeatureError for an unknown name, WeightsError for another number of weights.
    """
    given = weights.features if weights is not None else {}
    widths = {feature.name: feature.width for feature in schema}
    for name, values in given.items():
        if name not in widths:
            raise FeatureError(
                f"unknown feature {shorten(name)}", where=source, expected=f"one of {', '.join(widths)}"
            )
        if len(values) != widths[name]:
            raise WeightsError(
                f"initial weights of {name} do not fit",
                where=source,
                expected=f"{widths[name]} weights",
                got=f"{len(values)}",
            )
    default = 1.0 if weights is None else 0.0
    first = [given.get(name, (default,) * width) for name, width in widths.items()]
    return np.array([weight for values in first for weight in values])
