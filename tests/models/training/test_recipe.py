"""Recipes are files; every one that ships builds its model; what cannot go together is named."""

import math
from pathlib import Path
from typing import Any

import pytest

from models.architectures import architecture
from models.config import LanguageModelConfig
from models.training.recipe import Recipe, make_recipe, read_recipe
from nbest.errors import ConfigError

RECIPES = sorted((Path(__file__).parents[3] / "models" / "training" / "recipes").glob("*.toml"))


def _shape(recipe: Recipe) -> LanguageModelConfig:
    words = recipe.vocabulary_size or 10_000
    return architecture(recipe.system, words, recipe.hidden_size, recipe.layers, **recipe.options)


def _numbers(config: LanguageModelConfig) -> int:
    """Of the slots' shapes, as if each were dense."""
    return sum(slot.out_features * slot.in_features for slot in config.slots())


def test_recipes_are_files(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('system = "slim"\nhidden_size = 40\n[options]\nparts = 4\n')
    assert read_recipe(path, {"epochs": 2}) == Recipe(
        system="slim", hidden_size=40, options={"parts": 4}, epochs=2
    )
    with pytest.raises(ConfigError, match=r"r\.toml: epochs: Input should be greater than or equal to 1"):
        read_recipe(path, {"epochs": 0})
    for values in ({"seed": -1}, {"seed": 1 << 70}, {"hidden_size": 100_000_000}, {"layers": 0}):
        with pytest.raises(ConfigError, match=rf"{next(iter(values))}: Input should be"):
            read_recipe(path, values)
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.toml", {})
    path.write_text("= 3")
    with pytest.raises(ConfigError, match="not a TOML file"):
        read_recipe(path, {})


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"options": {"ratio": 0.1}}, {"parts": 4, "ratio": 0.1}),
        ({"options": {"parts": 5}}, {"parts": 5}),
        ({"system": "hashnet", "options": {"ratio": 0.1}}, {"ratio": 0.1}),
        ({"system": "lstm", "options": {}}, {}),
        ({}, {"parts": 4}),
    ],
)
def test_options_are_changed_one_by_one(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    path = tmp_path / "r.toml"
    path.write_text('system = "slim"\n[options]\nparts = 4\n')
    assert read_recipe(path, changes).options == options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"momentum": 0.5, "optimizer": "adam"}, "momentum is sgd's, the optimizer is adam"),
        ({"variable_steps": True}, "variable_steps: windows vary in the stream state only"),
        ({"precision": "fp16"}, "precision: Input should be 'fp32' or 'bf16'; got 'fp16'"),
        ({"decay": 0}, "decay: Input should be greater than 0; got 0"),
        ({"teacher_weight": 0.0}, "teacher_weight: Input should be greater than 0"),
        ({"weight_drop": 1.0}, "weight_drop: Input should be less than 1"),
        ({"ar_alpha": math.nan}, "ar_alpha: "),
        (
            {"segmenter": "sentencepiece"},
            "segmenter: pieces need vocabulary_size, how many there may be",
        ),
        ({"vocabulary_size": 9, "min_count": 2, "segmenter": "sentencepiece"}, "pieces are limited by"),
        ({"hidden_size": [7] * 1000}, r"Input should be a valid integer; got \[7, 7, .{70,80}… \(3000 char"),
        ({"system": "x" * 1000, "epochs": "y" * 500}, r"as an integer; got 'y{80}… \(500 characters\)$"),
        ({"optimiser": "sgd"}, "optimiser: Extra inputs are not permitted"),
    ],
)
def test_what_does_not_go_together(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(values, "here")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_ships_builds_its_model(path: Path) -> None:
    recipe = read_recipe(path, {})
    assert _shape(recipe).system == recipe.system


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("ptb-lstm-500", 2 * 10_000 * 500 + 8 * 500**2),  # Table 1: (8VH + 32H^2) / 4
        ("ptb-200", 2 * 10_000 * 200 + 16 * 200**2),  # 4.64 M with its biases
        ("ptb-low-rank-650", 2 * 10_000 * 128 + 2 * (2 * 4 * 650 * 128 + 650 * 128)),  # 4.2 M
        ("awd-ptb", 10_000 * 400 + 4 * (1150 * 1550 + 1150 * 2300 + 400 * 1550)),
    ],
)
def test_sizes_of_the_papers(name: str, numbers: int) -> None:
    recipe = next(path for path in RECIPES if path.stem == name)
    assert _numbers(_shape(read_recipe(recipe, {}))) == numbers


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("english-small", 2.6e6),
        ("english-tiny", 1.3e6),  # with some 0.1 MB of words, under 1.5
        ("english-pieces", 2.6e6),  # 0.2 MB less than of english-small: its pieces' file
    ],
)
def test_english_models_have_their_size(name: str, most: float) -> None:
    """Bits at an eighth of a byte; no vectors."""
    config = _shape(read_recipe(next(path for path in RECIPES if path.stem == name), {}))
    assert 0.8 * most < _numbers(config) / 8 < most


def test_awd_lstm_has_24_million_parameters() -> None:
    """24.22 M in Table 4 of "Predefined Sparseness in Recurrent Sequence Models"."""
    config = _shape(read_recipe(next(path for path in RECIPES if path.stem == "awd-ptb"), {}))
    biases = 2 * 4 * (1150 + 1150 + 400) + 10_000
    assert _numbers(config) + biases == pytest.approx(24.22e6, rel=1e-3)


def test_old_recipes_mean_the_same() -> None:
    """Values that came later change nothing where they are not named."""
    recipe = make_recipe({"dropout": 0.3, "learning_rate": 5.0})
    assert recipe.output_dropout is None
    later = {"momentum", "weight_decay", "word_dropout", "weight_drop", "ar_alpha", "tar_beta"}
    assert {getattr(recipe, name) for name in later} == {0.0}
    assert (recipe.averaging, recipe.variable_steps, recipe.variational_dropout) == ("none", False, False)
