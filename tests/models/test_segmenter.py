"""Words cut into pieces: nothing is lost, nothing is unknown but characters never seen."""

import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.segmenter import BEGIN, Segmenter, train_segmenter
from models.vocabulary import SPECIAL, Vocabulary, build_piece_vocabulary
from nbest.errors import ConfigError, ModelFileError

LINES = [
    "the walking dog walks",
    "a walker walked the dogs",
    "talk talks talked talking",
    "dogs talk the talk",
]
COUNTS = Counter(word for line in LINES for word in line.split(" "))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return train_segmenter(COUNTS, 40, SPECIAL)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return build_piece_vocabulary(LINES, size=40)


def test_pieces_join_to_their_word(segmenter: Segmenter) -> None:
    for word in (*COUNTS, "walkings", "dogtalk", "k"):
        assert "".join(segmenter.pieces(word)) == BEGIN + word
        assert all(map(segmenter.knows, segmenter.pieces(word)))
    assert segmenter.pieces("dogs") == ("▁dog", "s")
    assert segmenter.pieces("dogtalk") == ("▁dog", "t", "a", "l", "k")
    assert {"▁dog", "▁talk", "▁walk", "s", "k", BEGIN} <= set(segmenter.all_pieces())


@given(word=st.text(st.characters(exclude_characters=" ▁", codec="utf-8"), min_size=1, max_size=12))
def test_any_word_begins_and_keeps_its_characters(segmenter: Segmenter, word: str) -> None:
    pieces = segmenter.pieces(word)
    assert "".join(pieces) == BEGIN + word
    assert pieces[0].startswith(BEGIN)
    assert not any(" " in piece or piece in SPECIAL for piece in pieces) or word in SPECIAL
    unknown = [piece for piece in pieces if not segmenter.knows(piece)]
    assert word in SPECIAL or all(len(piece) == 1 for piece in unknown)  # one by one


def test_what_only_looks_like_a_piece(segmenter: Segmenter) -> None:
    """The library takes ▁ for a space, and <s> in a text must not become a start."""
    assert segmenter.pieces("▁") == (BEGIN, "\ufffd")
    assert segmenter.pieces("▁the") == (BEGIN, "\ufffd", "t", "h", "e")
    for special in SPECIAL:
        assert segmenter.pieces(special) == (BEGIN, special)


def test_the_same_words_give_the_same_pieces(segmenter: Segmenter) -> None:
    again = train_segmenter(dict(reversed(COUNTS.items())), 40, SPECIAL)
    assert again == segmenter
    assert again.digest == segmenter.digest
    assert train_segmenter(COUNTS, 20, SPECIAL) != segmenter


def test_too_few_pieces_for_the_characters() -> None:
    with pytest.raises(
        ConfigError, match=r"no pieces can be had of the training text \(Vocabulary size is small"
    ):
        train_segmenter(COUNTS, 5, SPECIAL)


def test_bytes_that_are_no_model() -> None:
    with pytest.raises(ModelFileError, match="not a SentencePiece model"):
        Segmenter(b"nothing", SPECIAL)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(
        ConfigError, match=r"needs SentencePiece; expected pip install 'nbest\[sentencepiece\]'"
    ):
        Segmenter(segmenter.model, SPECIAL)


# As a vocabulary


def test_the_vocabulary_is_of_pieces(vocabulary: Vocabulary) -> None:
    assert vocabulary.words[:3] == SPECIAL
    assert BEGIN in vocabulary.words
    assert len(vocabulary) <= 40
    counts = Counter(
        piece for word, count in COUNTS.items() for piece in vocabulary.pieces_by_word(word)[0] * count
    )
    assert set(counts) < set(vocabulary.words)  # pieces of words never seen are there too
    assert [counts[word] for word in vocabulary.words[3:]] == sorted(counts.values(), reverse=True) + [0] * (
        len(vocabulary) - 3 - len(counts)
    )


def test_words_never_seen_are_known(vocabulary: Vocabulary) -> None:
    ids, unknown = vocabulary.encode("the dogtalk")
    assert unknown == 0
    assert "".join(vocabulary.words[number] for number in ids) == "▁the▁dogtalk"


def test_characters_never_seen_are_unknown_one_by_one(vocabulary: Vocabulary) -> None:
    ids, unknown = vocabulary.encode("the 中文dog")
    assert unknown == 2
    assert [vocabulary.words[number] for number in ids] == [
        "▁t",
        "h",
        "e",
        BEGIN,
        "<unk>",
        "<unk>",
        "d",
        "o",
        "g",
    ]
    assert vocabulary.encode("<unk> </s>")[1] == 2  # as words


def test_pieces_of_many_texts_at_once(vocabulary: Vocabulary) -> None:
    texts = ["the 中文dog", "", "walks the"]
    encoded = vocabulary.encode_all(texts)
    assert list(zip(encoded.ids.tolist(), encoded.oov_counts, strict=True)) == [
        vocabulary.encode(text) for text in texts
    ]


def test_the_charge_is_for_characters_left_out() -> None:
    lines = [*(["the dog walks"] * 3000), "日 本 語"]
    built = build_piece_vocabulary(lines, size=60)
    assert built.unseen_types == 3
    assert build_piece_vocabulary(lines, size=60, unseen_types=50).unseen_types == 50
    assert built.encode("日本")[1] == 2
    assert build_piece_vocabulary(LINES, size=40).unseen_types == 1


def test_first_pieces_and_the_end_count_as_words(vocabulary: Vocabulary) -> None:
    begins = vocabulary.begins_word()
    ids, _ = vocabulary.encode("the dogtalk 中 <unk> walks")
    assert int(begins[ids].sum()) == 5
    assert begins[vocabulary.end_id]
    assert Vocabulary((*SPECIAL, "a")).begins_word().all()


def test_case_is_folded_first() -> None:
    assert build_piece_vocabulary(["The THE the"], size=20, lowercase=True).encode("THE")[1] == 0


def test_no_text() -> None:
    with pytest.raises(ConfigError, match="no word left for the vocabulary"):
        build_piece_vocabulary(["", " "], size=20)
