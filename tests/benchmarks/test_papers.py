"""The papers' rows: how a model was made, what was tuned, when a row counts as worse."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from models.training.recipe import Recipe, make_recipe

Load = Callable[[str], ModuleType]
FIRST, SECOND = ("first", 100.0, "40 MB", "a"), ("second", 104.0, "2 MB", "b")


@pytest.fixture
def papers(load_benchmark: Load) -> ModuleType:
    return load_benchmark("papers")


def _trial(rate: float = 20.0, seed: int = 1, init: str | None = None, validation: float = 90.0) -> Any:
    return {
        "learning_rate": rate,
        "dropout": 0.5,
        "seed": seed,
        "init": init,
        "validation_perplexity": validation,
    }


def _result(perplexity: float, trials: list[Any], **recipe: Any) -> Any:
    return {
        "perplexity": {"test, stream state": {"perplexity": perplexity}},
        "training": {"recipe": recipe},
        "paper_bytes": 1_550_000.0,
        "weights_bytes": 1_600_123,
        "trials": trials,
    }


@pytest.mark.parametrize(
    ("changes", "more", "expected"),
    [
        ({}, {}, "`ptb-slim-300`"),
        ({"options": {"ratio": 0.05}}, {}, "`ptb-slim-300`, ratio 0.05"),
        ({"dropout": 0.4, "seed": 3}, {}, "`ptb-slim-300`, dropout 0.4, seed 3"),
        (
            {"system": "projected", "options": {"rank": 37}},
            {},
            "`ptb-slim-300`, system projected, rank 37",
        ),
        (
            {},
            {"init": {"name": "m"}, "teacher": {"name": "t"}},
            "`ptb-slim-300`, from `m`, taught by `t`",
        ),
        (
            {},
            {"compression": [{"method": "prune", "share": 0.9}, {"method": "int8"}]},
            "`ptb-slim-300`, then prune 90%, then int8",
        ),
    ],
)
def test_how_a_model_was_made(
    papers: ModuleType, changes: dict[str, Any], more: dict[str, Any], expected: str
) -> None:
    recipes = papers.shipped_recipes()
    own = recipes["ptb-slim-300"].model_dump()
    if "system" in changes:
        own["options"] = {}
    own |= {**changes, "options": own["options"] | changes.get("options", {})}
    assert papers.how_made({"recipe": own, **more}, recipes) == expected


def test_a_recipe_older_than_a_value_is_still_itself(papers: ModuleType) -> None:
    recipes = papers.shipped_recipes()
    old = recipes["ptb-lstm-500"].model_dump(exclude={"segmenter", "averaging"})
    assert papers.how_made({"recipe": old}, recipes) == "`ptb-lstm-500`"


def test_every_shipped_recipe_is_read(papers: ModuleType) -> None:
    files = Path(papers.RECIPES).glob("*.toml")
    assert set(papers.shipped_recipes()) == {path.stem for path in files}


def test_an_option_that_is_gone_is_named(papers: ModuleType) -> None:
    recipe = make_recipe({"system": "slim", "options": {"ratio": 0.1, "parts": 4}})
    own = Recipe(system="slim", options={"parts": 5})
    assert papers.changed(recipe, own) == {"parts": 5, "ratio": "as the system has it"}


def test_tuning_names_what_varied(papers: ModuleType) -> None:
    trials = [_trial(validation=91.04), _trial(10.0, validation=90.0), _trial(40.0, 2, "m", 93.0)]
    assert papers.tuning(trials) == (
        "3 runs; rates 10, 20, 40; seeds 1, 2; from `m`, random; validation 90, 91, 93"
    )
    assert papers.tuning([]) == "one run"


@pytest.mark.parametrize(
    ("trials", "enough"),
    [
        ([], False),
        ([_trial(), _trial(10.0), _trial(40.0)], False),
        ([_trial(), _trial(10.0), _trial(40.0), _trial(seed=2)], True),
        ([_trial(), _trial(10.0), _trial(40.0), _trial(init="m")], True),
        ([_trial(), _trial(10.0), _trial(seed=2)], False),
    ],
)
def test_three_rates_and_two_starts_are_enough(papers: ModuleType, trials: list[Any], enough: bool) -> None:
    assert papers.is_tuned(trials) is enough


@pytest.mark.parametrize(
    ("which", "value", "first", "worse"),
    [
        (0, 102.9, 102.9, False),  # the first row itself, within 3% of the paper's
        (0, 103.1, 103.1, True),
        (1, 94.4, 90.0, False),  # +4.9% where the paper has +4%
        (1, 94.6, 90.0, True),  # +5.1%
        (1, 94.6, None, False),  # nothing to hold it against yet
    ],
)
def test_when_a_row_is_worse(
    papers: ModuleType, which: int, value: float, first: float | None, worse: bool
) -> None:
    rows = [papers.Row(*FIRST), papers.Row(*SECOND)]
    assert papers.is_worse(rows[which], rows[0], value, first) is worse
    assert papers.is_worse(papers.Row("ours alone", None, "", "b"), rows[0], 1e9, 1.0) is False


def test_runs_that_differ_in_the_seed_alone_widen_what_is_as_good(papers: ModuleType) -> None:
    trials = [
        _trial(validation=90.0),
        _trial(seed=2, validation=92.0),
        _trial(10.0, validation=120.0),
        _trial(init="m", validation=95.0),
    ]
    deviation = papers.seed_deviation(trials)
    assert deviation == pytest.approx(2**0.5 / 91)
    assert papers.seed_deviation(trials[:1]) == papers.seed_deviation([]) == 0
    rows = [papers.Row(*FIRST), papers.Row(*SECOND)]
    assert papers.is_worse(rows[1], rows[0], 96.3, 90.0)  # +7%: 3 points above the paper's +4%
    assert not papers.is_worse(rows[1], rows[0], 96.3, 90.0, deviation)  # within 3.1


def test_a_table(papers: ModuleType) -> None:
    rows = [papers.Row(*FIRST), papers.Row(*SECOND), papers.Row("third", None, "", "c")]
    enough = [_trial(10.0), _trial(20.0), _trial(40.0), _trial(seed=2)]
    recipe = papers.shipped_recipes()["ptb-200"].model_dump()
    results = {"a": _result(98.0, [], **recipe), "b": _result(107.8, [], **recipe)}
    lines = papers.table(rows, results).split("\n")[2:]
    assert lines == [
        "| first | `ptb-200` | 100.0 |  | 98.0 |  | 40 MB | 1.6 MB | 1,600,123 | one run |",
        "| second | `ptb-200` | 104.0 | +4.0% | 107.8 | +10.0% | 2 MB | 1.6 MB | 1,600,123 | "
        "one run; not tuned enough to be called worse |",
        "| third | |  |  | not trained yet | |  | | | |",
    ]
    results["b"] = _result(107.8, enough, **recipe)
    assert "not tuned enough" not in papers.table(rows, results)
    results["b"] = _result(107.8, [], **recipe)
    results["b"]["training"]["compression"] = [{"method": "int8"}]
    assert papers.table(rows, results).split("\n")[3].endswith("| not trained again |")
