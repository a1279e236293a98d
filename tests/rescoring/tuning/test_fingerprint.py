from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rescoring.nbest import Feature, NbestLists
from rescoring.tuning.fingerprint import lists_sha256, references_sha256, tuned_on
from rescoring.weights import Tuning, WeightSet

REFERENCES = (("a b", "a"), ("c",))


@pytest.fixture
def lists(make_lists: Callable[..., NbestLists]) -> NbestLists:
    return make_lists([["a b", "b"], ["c"]], [[1.0], [0.0], [3.0]])


def test_golden(lists: NbestLists) -> None:
    """The same data has the same hash on every machine and in every version."""
    assert lists_sha256(lists) == "427c50beaae5c21a69f243abc1c86593c238a6fd1dd319e65f11f691507e62be"
    assert references_sha256(REFERENCES) == "d84f0e15be4ef5d94fa0c7ec6f7a8455fe810cde94c091ebab69393aad1b9966"


def test_names_and_signs_of_zero_do_not_matter(lists: NbestLists) -> None:
    other = replace(
        lists, ids=("x", "y"), source="other", lines=(1, 2, 3), features=lists.features * [[1], [-1], [1]]
    )
    assert lists_sha256(other) == lists_sha256(lists)
    assert references_sha256([["a b", "a"], ["c"]]) == references_sha256(REFERENCES)


def test_content_matters(lists: NbestLists) -> None:
    others = [
        replace(lists, offsets=np.array([0, 1, 3])),
        replace(lists, texts=("a", "b b", "c")),
        replace(lists, schema=(Feature("g"),)),
        replace(lists, features=lists.features * (1 + 1e-15)),
        lists.select([1, 0]),
        lists.with_feature("lm", np.zeros(3)),
    ]
    assert len({lists_sha256(one) for one in [lists, *others]}) == 7
    references = [
        REFERENCES,
        (("a b",), ("a", "c")),
        (("a b", "a", "c"),),
        (("a ba", ""), ("c",)),
        REFERENCES[::-1],
    ]
    assert len({references_sha256(one) for one in references}) == 5


def test_evaluating_on_tuning_data_is_seen(lists: NbestLists) -> None:
    tuning = Tuning("wer", "s", 1.0, lists_sha256(lists), references_sha256(REFERENCES), "mert", 1, 1)
    weights = WeightSet({"f0": (1.0,)}, tuning=tuning)
    other = lists.select([0])
    assert tuned_on(weights, lists, None)
    assert tuned_on(weights, other, REFERENCES)  # other features or other lists, the same references
    assert not tuned_on(weights, other, REFERENCES[:1])
    assert not tuned_on(weights, None, None)
    assert not tuned_on(WeightSet({"f0": (1.0,)}), lists, REFERENCES)
