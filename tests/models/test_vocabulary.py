"""Words to ids and back to disk; what an unknown word costs."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    st.lists(st.lists(st.sampled_from(["a", "B", "", "zzz", "<s>", "ΟΔΟΣ", "\n", "c\u00a0d"])).map(" ".join)),
    st.booleans(),
)
def test_many_texts_at_once_are_as_one_by_one(texts: list[str], lowercase: bool) -> None:
    vocabulary = build_vocabulary([*LINES, "οδος ΟΔΟΣ"], lowercase=lowercase)
    encoded = vocabulary.encode_all(texts)
    assert encoded.ids.lengths.sum() == len(encoded.ids.flat)
    assert list(zip(encoded.ids.tolist(), encoded.oov_counts, strict=True)) == [
        vocabulary.encode(text) for text in texts
    ]
    tokens, offsets = vocabulary.encode_corpus(texts)
    assert tokens.tolist() == encoded.ids.flat.tolist()
    assert offsets.tolist() == [0, *np.cumsum(encoded.ids.lengths)]


def test_a_line_break_is_a_word_as_others_are() -> None:
    vocabulary = Vocabulary((*SPECIAL, "a", "\n"))
    assert vocabulary.encode_all(["a \n a", "\n"]).ids.tolist() == [[3, 4, 3], [4]]


def test_an_empty_type_is_never_looked_up() -> None:
    vocabulary = Vocabulary((*SPECIAL, "a", ""))
    assert vocabulary.encode_all(["a  a", ""]).ids.tolist() == [[3, 3], []]


def test_case_is_folded_only_where_said() -> None:
    assert build_vocabulary(["a A"]).encode("A")[0] == [3]
    assert build_vocabulary(["a A"], lowercase=True).words == (*SPECIAL, "a")


def test_disk_and_back() -> None:
    built = build_vocabulary(LINES, lowercase=True)
    assert Vocabulary.from_json(built.to_json(), "x") == built


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": 3}, "v.json:/words: not a list"),
        ({"words": ["</s>", 1]}, "v.json:/words/1: not a string; expected a string; got '1'"),
        ({"words": ["a"]}, "v.json:/words: vocabulary without its special words; expected "),
        ({"words": [*SPECIAL, "a", "a"]}, "v.json:/words: vocabulary holds 1 words twice, 'a'"),
        ({"words": [*SPECIAL, "\ud800"]}, "v.json: a lone surrogate in a string"),
        (
            {"unseen_types": 0},
            "v.json:/unseen_types: no number of types; expected an integer from 1 to 2147483648",
        ),
        (
            {"unseen_types": 10**400},
            "v.json:/unseen_types: no number of types; expected an integer from 1 to ",
        ),
        ({"unseen_types": True}, "v.json:/unseen_types: not an integer; expected an integer; got 'True'"),
        ({"unseen_types": 1.0}, "v.json:/unseen_types: not an integer; expected an integer; got '1.0'"),
        ({"lowercase": 1}, "v.json:/lowercase: neither true nor false; expected true or false; got '1'"),
        ({"new": 1}, "v.json:/new: unknown key"),
    ],
)
def test_broken_files_are_named(changes: dict[str, object], message: str) -> None:
    document = json.loads(build_vocabulary(LINES).to_json()) | changes
    with pytest.raises(ModelFileError, match=re.escape(message)):
        Vocabulary.from_json(json.dumps(document), "v.json")


def test_no_word_left() -> None:
    with pytest.raises(ConfigError, match="no word left for the vocabulary; got 2 types"):
        build_vocabulary(["a b"], min_count=5)
