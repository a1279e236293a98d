"""The papers' rows beside ours: their figures, ours from the committed results, how each was made and tuned.

The first row of a table is what the others are held against. A row whose model is not trained yet says so,
and so does one that is worse than the paper's before enough was tried.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.recipe import Recipe, make_recipe, read_recipe

RECIPES = Path(__file__).resolve().parents[1] / "models" / "training" / "recipes"
PERPLEXITY = "test, stream state"  # over running text, </s> counted
FIRST_WITHIN = 1.03  # of the paper's, for the row that others are held against
OTHERS_WITHIN = 0.01  # above the paper's change against its first row, or two standard deviations over seeds
RATES, STARTS = 3, 2  # to be tried before a row counts as worse than the paper's


@dataclass(frozen=True)
class Row:
    """A paper's figures, and our result by the name of its file; `size` is in the paper's own counting."""

    label: str
    perplexity: float | None
    size: str
    result: str


PAPERS: Mapping[str, tuple[Row, ...]] = {
    "ptb-500": (  # Table 2 of "Binarized LSTM Language Model", 500 units
        Row("LSTM", 91.8, "48.0 MB", "ptb-lstm-500"),
        Row("BELM", 88.0, "11.3 MB", "ptb-belm-500"),
        Row("BLLM", 95.2, "1.6 MB", "ptb-bllm-500"),
    ),
    "ptb-200": (  # Table 1 of "Neural Networks Compression for Language Modeling"
        Row("LSTM 200-200", 117.659, "18.6 MB", "ptb-200"),
        Row("one byte a number", 118.232, "4.7 MB", "ptb-200-int8"),
        Row("output, 90% pruned", 149.310, "5.5 MB", "ptb-200-pruned-output"),
        Row("the same, trained further", 121.123, "5.5 MB", "ptb-200-pruned-output-retrained"),
        Row("every matrix, 90% pruned", 149.310, "5.5 MB", "ptb-200-pruned-all"),
        Row("the same, trained further", 121.123, "5.5 MB", "ptb-200-pruned-all-retrained"),
    ),
    "ptb-slim": (  # Table 2 of "Slim Embedding Layers for Recurrent Neural Language Models", best of each
        Row("LSTM 300-300", 88.33, "embedding 100%", "ptb-slim-300-dense"),
        Row("slim embedding", 88.37, "embedding 10%", "ptb-slim-300"),
        Row("slim embedding", 89.54, "embedding 5%", "ptb-slim-300-5"),
        Row("slim embedding and output, 1/8", None, "", "ptb-slim-300-both"),
        Row("smaller LSTM of those bytes", None, "", "ptb-slim-300-smaller"),
        Row("projected embedding of those bytes", None, "", "ptb-slim-300-projected"),
    ),
    "ptb-low-rank": (  # Table 2 of "Neural Networks Compression for Language Modeling"
        Row("LSTM 200-200", 117.659, "18.6 MB", "ptb-200"),
        Row("LR LSTM 650-650", 92.885, "16.8 MB", "ptb-low-rank-650"),
    ),
    "ptb-sparse": (  # Table 1 of "Predefined Sparseness in Recurrent Sequence Models", without finetuning
        Row("dense LSTM", 58.8, "24 M numbers", "ptb-dense-400"),
        Row("sparse LSTM of as many numbers", 57.9, "24 M numbers", "ptb-sparse-600"),
    ),
}


def table(rows: Sequence[Row], results: Mapping[str, Mapping[str, Any]]) -> str:
    """A paper's rows beside ours."""
    recipes = shipped_recipes()
    lines = [
        "| model | recipe | paper: perplexity | against the first | ours: perplexity | against the first "
        "| paper: size | ours, counted so | ours: file, bytes | tuning |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    first: float | None = None
    for row in rows:
        paper = "" if row.perplexity is None else f"{row.perplexity:.1f}"
        theirs = f"{paper} | {_change(row.perplexity, rows[0].perplexity)}"
        if row.result not in results:
            lines.append(f"| {row.label} | | {theirs} | not trained yet | | {row.size} | | | |")
            continue
        found = results[row.result]
        value = found["perplexity"][PERPLEXITY]["perplexity"]
        if row is rows[0]:
            first = value
        ours = f"{value:.1f} | {_change(value, first)}"
        size = f"{row.size} | {found['paper_bytes'] / 1e6:.1f} MB | {found['weights_bytes']:,}"
        how = how_made(found["training"], recipes)
        trials = found.get("trials", [])
        is_trained = "compression" not in found["training"]
        tried = tuning(trials) if is_trained else "not trained again"
        worse = is_worse(row, rows[0], value, first, seed_deviation(trials))
        if is_trained and worse and not is_tuned(trials):
            tried += "; not tuned enough to be called worse"
        lines.append(f"| {row.label} | {how} | {theirs} | {ours} | {size} | {tried} |")
    return "\n".join(lines)


def _change(value: float | None, first: float | None) -> str:
    return "" if value is None or first is None or value == first else f"{100 * (value / first - 1):+.1f}%"


def is_worse(row: Row, first_row: Row, value: float, first: float | None, deviation: float = 0.0) -> bool:
    """Whether ours is worse than the paper's: the first row itself, of any other the change against it.

    deviation  over seeds, relative
    """
    if row.perplexity is None or first_row.perplexity is None or first is None:
        return False
    if row is first_row:
        return value > FIRST_WITHIN * row.perplexity
    return value / first > row.perplexity / first_row.perplexity + max(OTHERS_WITHIN, 2 * deviation)


def seed_deviation(trials: Sequence[Mapping[str, Any]]) -> float:
    """Relative standard deviation on validation of the best run and those that differ in the seed alone."""
    if not trials:
        return 0.0
    best = min(trials, key=lambda trial: trial["validation_perplexity"])

    def apart_from_seed(trial: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in trial.items() if k not in ("name", "seed", "validation_perplexity")}

    alike = [
        trial["validation_perplexity"] for trial in trials if apart_from_seed(trial) == apart_from_seed(best)
    ]
    return statistics.stdev(alike) / statistics.fmean(alike) if len(alike) > 1 else 0.0


def is_tuned(trials: Sequence[Mapping[str, Any]]) -> bool:
    """Whether as many learning rates and starts were tried as a worse row needs."""
    rates = {trial["learning_rate"] for trial in trials}
    starts = {(trial["seed"], trial["init"]) for trial in trials}
    return len(rates) >= RATES and len(starts) >= STARTS


def shipped_recipes() -> dict[str, Recipe]:
    """By name."""
    return {path.stem: read_recipe(path, {}) for path in sorted(RECIPES.glob("*.toml"))}


def how_made(training: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> str:
    """The shipped recipe that a model's own differs least from, and in what; what it came from and became."""
    own = make_recipe(training["recipe"])
    name, changes = min(
        ((name, changed(recipe, own)) for name, recipe in recipes.items()),
        key=lambda pair: (len(pair[1]), recipes[pair[0]].system != "lstm"),  # of equally far ones the dense
    )
    parts = [f"`{name}`", *(f"{key} {value}" for key, value in changes.items())]
    for role, word in (("init", "from"), ("teacher", "taught by")):
        if role in training:
            parts.append(f"{word} `{training[role]['name']}`")
    for done in training.get("compression", []):
        share = f" {done['share']:.0%}" if "share" in done else ""
        parts.append(f"then {done['method']}{share}")
    return ", ".join(parts)


def changed(recipe: Recipe, own: Recipe) -> dict[str, Any]:
    """Values of `own` that are not the recipe's; options of a system that is another one's do not count."""
    theirs, mine = recipe.model_dump(), own.model_dump()
    options, their_options = mine.pop("options"), theirs.pop("options")
    different = {key: value for key, value in mine.items() if value != theirs[key]}
    keys = options.keys() if "system" in different else options.keys() | their_options.keys()
    missing = object()
    for key in sorted(keys):
        if options.get(key, missing) != their_options.get(key, missing):
            different[key] = options.get(key, "as the system has it")
    return different


def tuning(trials: Sequence[Mapping[str, Any]]) -> str:
    """What was tried: the values of each thing that varied, and the validation perplexities."""
    if not trials:
        return "one run"
    found = [f"{len(trials)} runs"]
    for key, name in (
        ("learning_rate", "rates"),
        ("dropout", "dropout"),
        ("seed", "seeds"),
        ("init", "from"),
    ):
        values = _values(trial[key] for trial in trials)
        if len(values) > 1:
            found.append(f"{name} {', '.join(values)}")
    found.append(f"validation {', '.join(_values(round(t['validation_perplexity'], 1) for t in trials))}")
    return "; ".join(found)


def _values(given: Iterable[Any]) -> list[str]:
    """Different values in order, as text."""
    values = set(given)
    return [f"{value:g}" for value in sorted(v for v in values if isinstance(v, int | float))] + sorted(
        "random" if value is None else f"`{value}`" for value in values if not isinstance(value, int | float)
    )
