"""Words to ids and back to disk; what an unknown word costs."""

import json
import math

import pytest

from models.vocabulary import SPECIAL, Vocabulary, build_vocabulary, words_of
from nbest.errors import ConfigError, ModelFileError

LINES = ["b a a", "a c\u00a0d  b", "e <unk> </s>"]


def test_words_split_on_ascii_space_only() -> None:
    assert words_of(" a  b\u00a0c\td ") == ["a", "b\u00a0c\td"]


def test_most_frequent_first_ties_in_code_point_order() -> None:
    built = build_vocabulary(LINES)
    assert built.words == (*SPECIAL, "a", "b", "c\u00a0d", "e")
    assert built.unseen_types == 2  # nothing left out: types seen once


def test_limits_and_what_they_leave_out() -> None:
    by_count = build_vocabulary(LINES, min_count=2)
    assert by_count.words == (*SPECIAL, "a", "b")
    assert by_count.unseen_types == 2
    by_size = build_vocabulary(LINES, max_size=4)
    assert by_size.words == (*SPECIAL, "a")
    assert by_size.unseen_types == 3
    assert build_vocabulary(LINES, max_size=4, unseen_types=50).unseen_types == 50


def test_unknown_words_are_counted_and_charged() -> None:
    vocabulary = build_vocabulary(LINES, max_size=4, lowercase=True, unseen_types=100)
    assert vocabulary.encode("A zzz a") == ([3, 1, 3], 1)
    assert vocabulary.nat_oov_charge == -math.log(100)


def test_special_words_in_a_text_are_unknown_words() -> None:
    vocabulary = build_vocabulary(LINES)
    assert vocabulary.encode("<s> a </s> <unk>") == ([1, 3, 1, 1], 3)


def test_case_is_folded_only_where_said() -> None:
    assert build_vocabulary(["a A"]).encode("A")[0] == [3]
    assert build_vocabulary(["a A"], lowercase=True).words == (*SPECIAL, "a")


def test_disk_and_back() -> None:
    built = build_vocabulary(LINES, lowercase=True)
    assert Vocabulary.from_json(built.to_json(), "x") == built


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "v.json: not a vocabulary"),
        ('{"words": [], "unseen_types": 1}', "v.json: not a vocabulary .KeyError"),
        ('{"words": [1], "unseen_types": 1, "lowercase": true}', "expected a list of strings at /words"),
        ('{"words": ["a"], "unseen_types": 1, "lowercase": true}', "vocabulary without its special words"),
        (json.dumps({"words": [*SPECIAL, "a"], "unseen_types": 0, "lowercase": True}), "a number from 1 up"),
        (
            json.dumps({"words": [*SPECIAL, "a", "a"], "unseen_types": 1, "lowercase": True}),
            "words twice, 'a'",
        ),
    ],
)
def test_broken_files_are_named(document: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        Vocabulary.from_json(document, "v.json")


def test_no_word_left() -> None:
    with pytest.raises(ConfigError, match="no word left for the vocabulary; got 2 types"):
        build_vocabulary(["a b"], min_count=5)
