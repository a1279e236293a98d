"""What `nbest tune --optimizer NAME` runs, and how the command line writes its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from nbest.errors import ConfigError, shorten

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
    """The weights of the problem's columns, by any optimizer but the grid and the choice."""
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
        return mira.tune(*arguments, seed=settings.seed, ranges=problem.ranges)
    l2 = risk.PENALTY if settings.l2 is None else settings.l2
    return risk.tune(*arguments, l2=l2, ranges=problem.ranges)


def choose(
    problem: "Problem", counts: "Ints", metric: "Metric", settings: Settings, folds: int
) -> tuple[Settings, Mapping[str, float]]:
    """The candidate that does best on held-out folds, and all candidates' scores there."""
    from rescoring.tuning import folds as by_folds

    def way(settings: Settings, lists: "NbestLists", part: "Ints") -> "Floats":
        return optimize(replace(problem, lists=lists), part, metric, settings).vector

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


def parse_named(what: str, flag: str, value: str) -> tuple[str, str]:
    """The two sides of ``NAME=VALUE``."""
    name, equals, rest = value.rpartition("=")
    if not (name and equals):
        raise ConfigError(f"not a {what}", where=flag, expected=f"NAME={what.upper()}", got=shorten(value))
    return name, rest


def parse_fixed(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """``--fix NAME=WEIGHT``."""
    from rescoring.formats.numbers import finite

    fixed: dict[str, float] = {}
    for value in values:
        name, number = parse_named("weight", "--fix", value)
        if name in fixed:
            raise ConfigError("a weight is fixed twice", where="--fix", got=shorten(name))
        fixed[name] = finite(number, f"the weight of {shorten(name)}", "--fix")
    return fixed


def parse_ranges(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """``--range NAME=LOW:HIGH``; an end left out is open."""
    from rescoring.formats.numbers import finite

    ranges: dict[str, tuple[float, float]] = {}
    for value in values:
        name, ends = parse_named("range", "--range", value)
        low, colon, high = ends.partition(":")
        if not colon or name in ranges:
            problem = "a range is given twice" if name in ranges else "not a range"
            raise ConfigError(problem, where="--range", expected="NAME=LOW:HIGH, once", got=shorten(value))
        what = f"an end of the range of {shorten(name)}"
        ranges[name] = (
            finite(low, what, "--range") if low else -float("inf"),
            finite(high, what, "--range") if high else float("inf"),
        )
    return ranges


def parse_values(_context: click.Context, option: click.Parameter, value: str) -> tuple[float, ...]:
    """``7:17`` every whole number, or ``0,0.5,1`` these."""
    from rescoring.formats.numbers import finite

    low, colon, high = value.partition(":")
    flag = max(option.opts, key=len)
    if colon and low.isdecimal() and high.isdecimal() and int(low) <= int(high) < int(low) + 1000:
        return tuple(map(float, range(int(low), int(high) + 1)))
    if colon:
        raise ConfigError(
            "not a range of whole numbers", where=flag, expected="such as 7:17", got=shorten(value)
        )
    return tuple(finite(one, "a value of the grid", flag) for one in value.split(","))
