from collections.abc import Callable

import numpy as np
import pytest

from nbest.errors import ConfigError
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists
from rescoring.tuning import folds
from rescoring.tuning.folds import choose

Make = Callable[..., NbestLists]
WER = get_metric("wer")


@pytest.fixture
def lists(make_lists: Make) -> tuple[NbestLists, np.ndarray]:
    """Ten lists of two: feature f0 prefers the right one in the first eight."""
    made = make_lists([["x", "y"]] * 10, [[1.0], [0.0]] * 8 + [[0.0], [1.0]] * 2)
    return made, np.array([[0, 0, 0, 1], [1, 0, 0, 1]] * 10)


def test_every_list_is_held_out_once(lists: tuple[NbestLists, np.ndarray]) -> None:
    seen: list[tuple[str, ...]] = []

    def up(part: NbestLists, counts: np.ndarray) -> np.ndarray:
        assert len(part.texts) == len(counts)
        seen.append(part.ids)
        return np.array([1.0])

    def down(part: NbestLists, counts: np.ndarray) -> np.ndarray:
        return np.array([-1.0])

    choice = choose(*lists, WER, {"down": down, "up": up}, folds=4)
    assert choice.scores == {"down": 80.0, "up": 20.0}
    assert choice.best == "up"
    held = [set(lists[0].ids) - set(ids) for ids in seen]
    assert sorted(map(len, held)) == [2, 2, 3, 3]
    assert set.union(*held) == set(lists[0].ids)


def test_larger_may_be_better(make_lists: Make) -> None:
    bleu = get_metric("bleu")
    made = make_lists([["a b c d", "a b c e"]] * 4, [[1.0], [0.0]] * 4)
    counts = bleu.counts(made.texts, made.segments, [["a b c d"]] * 4)
    ways = {name: (lambda _lists, _counts, w=w: np.array([w])) for name, w in (("bad", -1.0), ("good", 1.0))}
    assert choose(made, counts, bleu, ways, folds=2).best == "good"


def test_no_folds(lists: tuple[NbestLists, np.ndarray]) -> None:
    assert folds.FOLDS == 5
    for number in (1, 11):
        with pytest.raises(ConfigError, match=f"expected 2 to 10 folds.*; got {number} folds, 1 ways"):
            choose(*lists, WER, {"one": lambda *_: np.ones(1)}, folds=number)
