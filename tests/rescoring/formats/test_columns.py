import logging

import numpy as np
import pytest

from nbest.errors import FeatureError, LimitError
from rescoring.formats import columns
from rescoring.formats.columns import Piece, assemble
from rescoring.nbest import Feature


def piece(values: list[list[float]], *features: tuple[str, int]) -> Piece:
    return Piece(tuple(Feature(*feature) for feature in features), np.array(values))


def test_lines_alike_stay_as_they_are() -> None:
    schema, matrix = assemble(
        [piece([[1, 2], [3, 4]], ("a", 1), ("b", 1)), piece([[5, 6]], ("a", 1), ("b", 1))], [1, 2, 3], "f"
    )
    assert schema == (Feature("a"), Feature("b"))
    assert matrix.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_sparse_features_are_zero_where_absent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        schema, matrix = assemble(
            [
                piece([[1, 2, 9]], ("v", 2), ("s", 1)),
                piece([[7, 3, 4]], ("t", 1), ("v", 2)),
                piece([[5, 6]], ("v", 2)),
            ],
            [1, 2, 3],
            "f",
        )
    assert schema == (Feature("v", 2), Feature("s"), Feature("t"))
    assert matrix.tolist() == [[1, 2, 9, 0], [3, 4, 0, 7], [5, 6, 0, 0]]
    assert caplog.messages == ["f: 2 features are absent on some lines and counted as 0 there (s, t)"]


def test_one_sparse_feature_is_said_in_the_singular(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assemble([piece([[1, 2]], ("a", 1), ("s", 1)), piece([[5]], ("a", 1))], [1, 2], "f")
    assert caplog.messages == ["f: 1 feature is absent on some lines and counted as 0 there (s)"]


def test_a_vector_may_not_be_absent() -> None:
    pieces = [piece([[1, 2, 9]], ("v", 2), ("s", 1)), piece([[9.0]], ("s", 1))]
    with pytest.raises(FeatureError) as caught:
        assemble(pieces, [10, 12], "f")
    assert str(caught.value) == "f:12: feature v is missing; expected 2 values as on other lines; got none"


def test_a_width_may_not_change() -> None:
    with pytest.raises(FeatureError) as caught:
        assemble([piece([[1, 2]], ("v", 2)), piece([[1.0]], ("v", 1))], [10, 12], "f")
    assert str(caught.value) == "f:12: feature v has another number of values than before; expected 2; got 1"


def test_too_many_sparse_features() -> None:
    pieces = [piece([[0.5, 1.0]], ("d", 1), (f"s_{k}", 1)) for k in range(2001)]
    with pytest.raises(LimitError) as caught:
        assemble(pieces, list(range(1, 2002)), "f")
    assert str(caught.value) == (
        "f:2001: too many distinct sparse features; expected at most 2000 features that are absent on some"
        " line; got 2001 so far"
    )
    schema, _ = assemble(pieces[:2000], list(range(1, 2001)), "f")
    assert len(schema) == 2001


def test_too_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_CELLS", 5)
    with pytest.raises(LimitError, match=r"f: too many lines .* sparse features; .* 2 lines x 3 col"):
        assemble([piece([[1, 1]], ("a", 1), ("b", 1)), piece([[1, 1]], ("a", 1), ("c", 1))], [1, 2], "f")
