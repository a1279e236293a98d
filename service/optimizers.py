"""The ways to tune, by name: what `nbest tune --optimizer NAME` and `POST /v1/tune` run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nbest.errors import ConfigError

if TYPE_CHECKING:
    from rescoring.loglinear import Floats
    from rescoring.metrics import Metric
    from rescoring.nbest import NbestLists
    from rescoring.tuning.constraints import Problem
    from rescoring.tuning.result import Ints, Tuned

OPTIMIZERS = ("mert", "risk", "mira", "grid", "choose")
CANDIDATES = {  # what --optimizer choose compares: name -> optimizer, l2
    "mert": ("mert", 0.0),
    "mert, l2 1": ("mert", 1.0),
    "risk, l2 0.001": ("risk", 0.001),
    "risk, l2 0.01": ("risk", 0.01),
    "risk, l2 0.1": ("risk", 0.1),
    "mira": ("mira", None),
}


@dataclass(frozen=True)
class Settings:
    """How to tune; `l2` None is the optimizer's own."""

    optimizer: str
    restarts: int
    seed: int
    l2: float | None
    jobs: int


@dataclass(frozen=True)
class Grid:
    """The grid of `--optimizer grid`: the acoustic feature, the values to try, two language models to mix."""

    acoustic: str
    lmwt: tuple[float, ...]
    penalties: tuple[float, ...]
    mix: tuple[str, str] | None


def optimize(
    problem: "Problem",
    counts: "Ints",
    metric: "Metric",
    settings: Settings,
    progress: "Callable[[int, Tuned], None] | None" = None,
) -> "Tuned":
    """The weights of the problem's columns, by any optimizer but the grid and the choice.

    `progress` is told how many descents (mert) or epochs (mira) are done, and the best so far.
    """
    from rescoring.tuning import mert, mira, risk

    arguments = (problem.lists, counts, metric, problem.initial)
    if settings.optimizer == "mert":
        return mert.tune(
            *arguments,
            restarts=settings.restarts,
            seed=settings.seed,
            ranges=problem.ranges,
            l2=settings.l2 or 0.0,
            jobs=settings.jobs,
            progress=progress,
        )
    if settings.optimizer == "mira":
        if settings.l2 is not None:
            raise ConfigError("batch MIRA knows no penalty", where="--l2", expected="mert or risk")
        return mira.tune(*arguments, seed=settings.seed, ranges=problem.ranges, progress=progress)
    l2 = risk.PENALTY if settings.l2 is None else settings.l2
    return risk.tune(*arguments, l2=l2, ranges=problem.ranges)


def choose(
    problem: "Problem",
    counts: "Ints",
    metric: "Metric",
    settings: Settings,
    folds: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Settings, Mapping[str, float]]:
    """The candidate that does best on held-out folds, and all candidates' scores there.

    `progress` is told how many tunings of how many are done.
    """
    from rescoring.tuning import folds as by_folds

    done = 0

    def way(settings: Settings, lists: "NbestLists", part: "Ints") -> "Floats":
        nonlocal done
        vector = optimize(replace(problem, lists=lists), part, metric, settings).vector
        done += 1
        if progress is not None:
            progress(done, folds * len(CANDIDATES))
        return vector

    candidates = {
        name: replace(settings, optimizer=optimizer, l2=l2) for name, (optimizer, l2) in CANDIDATES.items()
    }
    ways = {name: partial(way, candidate) for name, candidate in candidates.items()}
    choice = by_folds.choose(problem.lists, counts, metric, ways, folds, settings.seed)
    return candidates[choice.best], choice.scores


def search_grid(lists: "NbestLists", counts: "Ints", metric: "Metric", asked: Grid) -> "tuple[Tuned, str]":
    """The grid's best point, and what to say: its settings in Kaldi's terms, and the table."""
    from rescoring.features import WORD_COUNT
    from rescoring.tuning import grid
    from rescoring.tuning.result import Tuned

    shares_of = {  # unknown words are counted, not scored: Kaldi's sum has no place for them
        one.name: 0.0 if one.name.endswith(".oov") else 1.0
        for one in lists.schema
        if one.name not in (asked.acoustic, WORD_COUNT)
    }
    roles = grid.Roles(asked.acoustic, WORD_COUNT, shares_of)
    shares = grid.mixtures(*asked.mix) if asked.mix else ({},)
    points = grid.search(lists, counts, metric, roles, asked.lmwt, asked.penalties, shares)
    best = grid.best_point(points, metric)
    said = f"LMWT {best.lmwt:g}  word insertion penalty {best.penalty:g}"
    if asked.mix:
        said += "".join(f"  {best.shares[name]:.2f} {name}" for name in asked.mix)
    first = points[0].score
    return Tuned(best.vector, best.score, first, (), ()), f"{grid.table(points, metric)}\n{said}"
