import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import FormatError, InputError, NotFoundError, WeightsError
from rescoring.nbest import Feature, NbestLists
from rescoring.weights import (
    Model,
    Tuning,
    WeightSet,
    dump_weights,
    parse_weights,
    read_weights,
    write_weights,
)

TUNING = Tuning("bleu", "tok:none", 40.9, "ab" * 32, "cd" * 32, "mert", 20, 1)
SET = WeightSet(
    features={"LM0": (0.5,), "TM0": (0.1, -0.2), "small": (1.2,)},
    models=(Model("small", "sha256:ab12"),),
    text="lower.1",
    tuning=TUNING,
)
FILE = """{
 "format": "nbest-weights/1",
 "features": {
  "LM0": 0.5,
  "TM0": [
   0.1,
   -0.2
  ],
  "small": 1.2
 },
 "models": [
  {
   "name": "small",
   "digest": "sha256:ab12"
  }
 ],
 "text": "lower.1",
 "tuned": true,
 "tuning": {
  "metric": "bleu",
  "signature": "tok:none",
  "score": 40.9,
  "lists_sha256": "%s",
  "references_sha256": "%s",
  "optimizer": "mert",
  "restarts": 20,
  "seed": 1
 }
}
""" % ("ab" * 32, "cd" * 32)  # noqa: UP031 - braces


class Scorer:
    """A scorer that only has a name and a digest."""

    def __init__(self, name: str, digest: str) -> None:
        self.name = name
        self.digest = digest

    def score(self, texts: Any) -> Any:
        raise AssertionError("weights do not score")


def lists(*schema: Feature) -> NbestLists:
    width = sum(feature.width for feature in schema)
    return NbestLists(("a",), np.array([0, 1]), ("x",), schema, np.ones((1, width)), source="dev.nbest")


FITTING = lists(Feature("small"), Feature("TM0", 2), Feature("LM0"))


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    write_weights(SET, path)
    assert path.read_text() == FILE
    assert read_weights(path) == SET
    assert SET.tuned


def test_a_file_by_hand_needs_little() -> None:
    weights = parse_weights('{"format": "nbest-weights/1", "features": {"lm": 1, "tm": [2.5]}}')
    assert weights == WeightSet({"lm": (1.0,), "tm": (2.5,)})
    assert (weights.models, weights.text, weights.tuning, weights.tuned) == ((), "raw", None, False)


number = st.floats(allow_nan=False, allow_infinity=False)
features = st.dictionaries(
    st.text(min_size=1), st.lists(number, min_size=1, max_size=3).map(tuple), min_size=1
)


@given(features, st.booleans())
def test_what_is_written_reads_back(weights: dict[str, tuple[float, ...]], tuned: bool) -> None:
    models = tuple(Model(name, "sha256:0") for name in list(weights)[:1])
    first = WeightSet(weights, models, "raw", TUNING if tuned else None)
    again = parse_weights(dump_weights(first))
    assert again == first
    assert list(again.features) == list(first.features)  # the order is kept


def changed(**changes: Any) -> str:
    content = json.loads(FILE)
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "w.json:/: not an object"),
        (changed(format="nbest-weights/9"), "w.json:/format: not a weight set that is known here; expected"),
        (changed(features=None), "w.json:/: 'features' is missing"),
        (changed(weights={}), "w.json:/weights: unknown key; expected one of features, format, models"),
        (changed(features={}, models=[]), "w.json: no weights; expected at least one feature"),
        (changed(features={"LM0": []}), "w.json: feature 'LM0' has no weight"),
        (changed(features={"LM0": "1"}), "w.json:/features/LM0: not a number"),
        (changed(features={"a/b": [1, True]}), "w.json:/features/a~1b/1: not a number"),
        (FILE.replace("0.5", "1e999"), "w.json:/features/LM0: not a finite number"),
        (FILE.replace("0.5", "NaN"), "w.json: a number is not finite"),
        (
            FILE.replace('"TM0"', '"LM0"'),
            "w.json: a key stands twice in one object; expected each key once; got 'LM0'",
        ),
        (changed(models=[{"name": "small"}]), "w.json:/models/0: 'digest' is missing"),
        (
            changed(models=[{"name": "big", "digest": "d"}]),
            "w.json: models without a weight: 'big'; expected",
        ),
        (changed(models=[{"name": "small", "digest": "d"}] * 2), "w.json: a model is named twice"),
        (changed(tuned=False), "w.json:/tuned: tuned weights say how"),
        (changed(tuning=None), "w.json:/tuned: tuned weights say how"),
        (changed(tuning={}), "w.json:/tuning: 'lists_sha256' is missing"),
        (changed(text=1), "w.json:/text: not a string"),
    ],
)
def test_wrong_files(text: str, message: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(message)):
        parse_weights(text, "w.json")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_weights(tmp_path / "none.json")
    (tmp_path / "bad.json").write_bytes(b"\xff")
    with pytest.raises(FormatError, match=r"bad.json:1: invalid UTF-8"):
        read_weights(tmp_path / "bad.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.json"
    write_weights(SET, path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(InputError, match=f"{path}: cannot be written: disk full"):
        write_weights(WeightSet({"lm": (1.0,)}), path)
    assert [one.name for one in tmp_path.iterdir()] == ["w.json"]
    assert path.read_text() == FILE


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_are_finite(value: float) -> None:
    with pytest.raises(WeightsError, match="weight of 'lm' is not finite"):
        WeightSet({"lm": (1.0, value)})


def test_vector_follows_the_lists_order() -> None:
    assert SET.vector(FITTING.schema).tolist() == [1.2, 0.1, -0.2, 0.5]
    again = WeightSet.from_vector(
        SET.vector(FITTING.schema), FITTING.schema, SET.models, SET.text, SET.tuning
    )
    assert again == replace(SET, features=again.features)
    assert dict(again.features) == dict(SET.features)
    assert list(again.features) == ["small", "TM0", "LM0"]


def test_a_vector_of_another_length() -> None:
    with pytest.raises(
        WeightsError, match=r"does not fit the features; expected 4 weights; got shape \(3,\)"
    ):
        WeightSet.from_vector(np.ones(3), FITTING.schema)


def test_check_passes_what_fits() -> None:
    SET.check(FITTING, [Scorer("small", "sha256:ab12")], "lower.1")
    WeightSet({"lm": (1.0,)}).check(lists(Feature("lm")), [Scorer("lm", "sha256:any")])  # bound to no model


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: SET.check(FITTING, [Scorer("small", "sha256:ab12")], "raw"),
            "another text pipeline; expected 'lower.1'; got 'raw'",
        ),
        (
            lambda: SET.check(FITTING, [Scorer("small", "sha256:ff")], "lower.1"),
            "weights are for another version of the language model small; "
            "expected sha256:ab12; got sha256:ff",
        ),
        (
            lambda: SET.check(FITTING, [Scorer("small", "sha256:ab12+int8")], "lower.1"),
            "weights are for scores of the language model small that were computed otherwise "
            "(exact then, int8 now); expected sha256:ab12; got sha256:ab12+int8",
        ),
        (
            lambda: SET.check(FITTING, [], "lower.1"),
            "weights are for other language models; expected the models 'small'; got none",
        ),
        (
            lambda: SET.vector(lists(Feature("LM0"), Feature("small"), Feature("TM0", 3)).schema),
            "feature 'TM0' has another width; expected 2 values, as there are weights; got 3 in the lists",
        ),
        (
            lambda: SET.check_features(lists(Feature("LM0"), Feature("new"), Feature("TM0", 2))),
            "dev.nbest: weights and lists have different features: "
            "the lists lack 'small'; the weights lack 'new'; "
            "expected 'LM0', 'TM0', 'small'; got 'LM0', 'new', 'TM0'",
        ),
    ],
)
def test_check_names_both_sides(check: Callable[[], object], message: str) -> None:
    with pytest.raises(WeightsError) as caught:
        check()
    assert str(caught.value) == message


def test_sparse_features_may_be_absent_and_dense_ones_not() -> None:
    schema = (Feature("LM0"), Feature("WT_a~b", sparse=True), Feature("WT_c~d", sparse=True))
    weights = WeightSet.from_vector(np.array([1.0, 2.0, 3.0]), schema)
    assert weights.sparse == ("WT_a~b", "WT_c~d")
    assert parse_weights(dump_weights(weights)) == weights
    assert weights.vector([Feature("LM0"), Feature("WT_c~d")]).tolist() == [1.0, 3.0]
    with pytest.raises(WeightsError, match="the lists lack 'LM0'"):
        weights.vector([Feature("WT_c~d")])
    with pytest.raises(WeightsError, match="feature 'WT_c~d' has another width"):
        weights.vector([Feature("LM0"), Feature("WT_c~d", 2)])
    with pytest.raises(WeightsError, match="sparse features without a weight: 'x'"):
        parse_weights(dump_weights(weights).replace('  "WT_a~b",\n', '  "x",\n'))
