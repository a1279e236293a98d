import numpy as np
import pytest

from nbest.errors import FeatureError, FormatError, NonFiniteFeatureError
from rescoring.nbest import Feature, NbestLists


def make(**changes: object) -> NbestLists:
    """Two lists of two and one hypotheses, a feature of one value and one of two."""
    fields: dict[str, object] = {
        "ids": ("a", "b"),
        "offsets": np.array([0, 2, 3]),
        "texts": ("x", "y", "z"),
        "schema": (Feature("lm"), Feature("tm", 2)),
        "features": np.arange(9, dtype=np.float64).reshape(3, 3),
        "lines": (1, 2, 5),
        "records": ("r0", "r1", "r2"),
        "references": (("ra",), ("rb",)),
        "source": "f",
    }
    return NbestLists(**{**fields, **changes})  # type: ignore[arg-type]


def test_columns_have_names() -> None:
    lists = make()
    assert len(lists) == 2
    assert lists.column_names == ("lm", "tm[0]", "tm[1]")
    assert lists.columns("tm") == slice(1, 3)
    assert lists.feature("tm").tolist() == [[1, 2], [4, 5], [7, 8]]
    assert lists.feature("lm").tolist() == [[0], [3], [6]]
    with pytest.raises(FeatureError) as caught:
        lists.columns("LM")
    assert str(caught.value) == "f: unknown feature 'LM'; expected one of lm, tm"


def test_rows_of_each_list() -> None:
    lists = make()
    assert [list(rows) for rows in lists] == [[0, 1], [2]]
    assert list(lists.rows(1)) == [2]
    assert lists.segments.tolist() == [0, 0, 1]


def test_where_a_hypothesis_stands() -> None:
    assert make().where(2) == "f:5"
    assert make(lines=()).where(2) == "f, hypothesis 2"


def test_one_more_feature() -> None:
    lists = make()
    more = lists.with_feature("small", np.array([-1, -2, -3])).with_feature("v", np.ones((3, 2)))
    assert more.column_names == ("lm", "tm[0]", "tm[1]", "small", "v[0]", "v[1]")
    assert more.features[1].tolist() == [3, 4, 5, -2, 1, 1]
    assert more.features.dtype == np.float64
    assert lists.features.shape == (3, 3)
    with pytest.raises(FeatureError) as caught:
        lists.with_feature("lm", np.zeros(3))
    assert str(caught.value) == "f: duplicate feature name ['lm']"


def test_some_lists_in_another_order() -> None:
    part = make().select([1, 0])
    assert (part.ids, part.texts, part.lines) == (("b", "a"), ("z", "x", "y"), (5, 1, 2))
    assert part.offsets.tolist() == [0, 1, 3]
    assert part.features[:, 0].tolist() == [6, 0, 3]
    assert part.records == ("r2", "r0", "r1")
    assert part.references == (("rb",), ("ra",))
    none = make().select([])
    assert (len(none), none.offsets.tolist(), none.features.shape) == (0, [0], (0, 3))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        FormatError, match=r"feature matrix does not fit; expected shape \(3, 3\); got \(3, 2\)"
    ):
        make(features=np.zeros((3, 2)))
    with pytest.raises(FormatError, match="offsets do not fit; expected 3 offsets up to 3; got 2 up to 3"):
        make(offsets=np.array([0, 3]))
    with pytest.raises(FormatError, match="offsets do not fit; expected 3 offsets up to 3; got 3 up to 2"):
        make(offsets=np.array([0, 1, 2]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_are_finite(value: float) -> None:
    features = np.zeros((3, 3))
    features[2, 1] = value
    with pytest.raises(NonFiniteFeatureError) as caught:
        make(features=features)
    assert str(caught.value) == f"f:5: feature tm[0] is not finite; expected a finite number; got {value}"


def test_feature_names_can_be_written() -> None:
    with pytest.raises(FeatureError, match=r"x: feature name is not UTF-8; got 'a\\udcff'"):
        NbestLists((), np.zeros(1, dtype=np.int64), (), (Feature("a\udcff"),), np.zeros((0, 1)), source="x")
