from collections.abc import Callable
from dataclasses import replace

import pytest

from nbest.errors import FeatureError, FormatError
from rescoring.nbest import Feature, NbestLists
from rescoring.tuning.merged import merged

Make = Callable[..., NbestLists]


def test_each_hypothesis_once_the_earlier_run_first(make_lists: Make) -> None:
    first = make_lists([["a", "b"], ["c"]], [[1.0], [2.0], [3.0]])
    second = replace(make_lists([["d", "c"], ["b", "a", "e"]], [[4], [3], [5], [1], [0]]), ids=("1", "0"))
    both = merged([first, second])
    assert both.ids == ("0", "1")
    assert both.texts == ("a", "b", "b", "e", "c", "d")
    assert both.features.ravel().tolist() == [1, 2, 5, 0, 3, 4]
    assert both.offsets.tolist() == [0, 4, 6]
    assert merged([first]).texts == first.texts
    assert merged([first, first]).texts == first.texts
    zeros = [make_lists([["a"]], [[zero]]) for zero in (0.0, -0.0)]
    assert merged(zeros).texts == ("a",)


def test_runs_that_do_not_belong_together(make_lists: Make) -> None:
    first = make_lists([["a"], ["b"]], [[1.0], [2.0]])
    with pytest.raises(FormatError, match="different segments, such as '1'; expected the 2 segments"):
        merged([first, make_lists([["a"]], [[1.0]])])
    with pytest.raises(FeatureError, match="runs have different features; expected f0; got g"):
        merged([first, replace(first, schema=(Feature("g"),))])
    with pytest.raises(FormatError, match="no lists to merge"):
        merged([])
