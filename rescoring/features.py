"""More columns for the lists: language model scores, word counts, scores from files."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FeatureError, NonFiniteFeatureError, shorten
from rescoring.formats.external_scores import open_scores
from rescoring.nbest import NbestLists
from rescoring.scorer import Scorer
from rescoring.text import DEFAULT_PIPELINE, get_pipeline, words

WORD_COUNT = "word_count"


def oov_name(scorer_name: str) -> str:
    """The feature that counts a scorer's out-of-vocabulary words."""
    return f"{scorer_name}.oov"


def add_scores(lists: NbestLists, scorers: Sequence[Scorer], text: str = DEFAULT_PIPELINE) -> NbestLists:
    """These lists with, for each scorer, `name` (natural log-probability) and `name.oov` (OOV words).

    `word_count` (words, without ``</s>``) is added once, unless it is there. Texts go through the pipeline
    `text`; each distinct one is scored once. Raises FeatureError for a name that is taken or a score that
    is not finite.
    """
    prepared = get_pipeline(text)(lists.texts)
    distinct = {one: k for k, one in enumerate(dict.fromkeys(prepared))}
    at = np.array([distinct[one] for one in prepared], dtype=np.int64)  # (N,) place among the U distinct
    for name in (name for scorer in scorers for name in (scorer.name, oov_name(scorer.name))):
        check_name(lists, name)
    columns: dict[str, NDArray[np.float64]] = {}
    for scorer in scorers:
        scores = scorer.score(list(distinct))
        columns[scorer.name] = _checked(scores.nat_log_probs, len(distinct), scorer.name)[at]
        columns[oov_name(scorer.name)] = _checked(scores.oov_counts, len(distinct), scorer.name)[at]
    if len(columns) != 2 * len(scorers):
        raise FeatureError(
            "two scorers of the same name", expected="distinct names", got=str([one.name for one in scorers])
        )
    if all(feature.name != WORD_COUNT for feature in lists.schema):
        columns[WORD_COUNT] = np.array([len(words(one)) for one in lists.texts], dtype=np.float64)
    for name, values in columns.items():
        lists = lists.with_feature(name, values)
    return lists


def add_external(lists: NbestLists, name: str, path: str | os.PathLike[str]) -> NbestLists:
    """These lists with feature `name` from elsewhere: `external_scores` says what `path` may be.

    Raises FeatureError for a name that is taken, and what the scores raise that do not fit the lists.
    """
    check_name(lists, name)
    scores = open_scores(name, path)
    values = scores.take(lists)
    scores.finish()
    return lists.with_feature(name, values)


def parse_external(argument: str) -> tuple[str, Path]:
    """The two sides of ``NAME=FILE``; raises ConfigError for anything else."""
    name, equals, path = argument.partition("=")
    if not (name and equals and path):
        raise ConfigError("not a name and a file", expected="NAME=FILE", got=shorten(argument))
    return name, Path(path)


def check_name(lists: NbestLists, name: str) -> None:
    """Raises FeatureError for what is no feature's name, or is one of these lists."""
    if not name or set(name) & set(" \t\n|=:/"):
        raise FeatureError(
            "not a feature name",
            expected="a name without white space and '|', '=', ':', '/'",
            got=shorten(name),
        )
    if any(feature.name == name for feature in lists.schema):
        raise FeatureError(
            f"feature {name} is there already",
            where=lists.source,
            expected="a new name",
            got=", ".join(feature.name for feature in lists.schema),
        )


def _checked(values: NDArray[np.float64] | NDArray[np.int64], count: int, name: str) -> NDArray[np.float64]:
    """The scorer's numbers: as many as texts were sent, and finite."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (count,):
        raise FeatureError(
            f"scorer {name} gave another number of scores than texts",
            expected=f"({count},)",
            got=str(numbers.shape),
        )
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise NonFiniteFeatureError(
            f"scorer {name} gave a score that is not finite",
            where=f"text {int(bad[0])}",
            expected="a finite number",
            got=str(numbers[bad[0]]),
        )
    return numbers
