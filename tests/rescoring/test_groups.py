import re
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import ConfigError, FormatError, NbestError, ReferenceMismatchError
from rescoring.groups import by_label, by_length, by_oov, read_labels, read_words, unknown_words

IDS = ("anna_1", "bill_1", "anna_2")


def test_by_length_of_the_first_reference() -> None:
    lengths = [0, 1, 5, 6, 10, 40, 41, 300]
    found = by_length([(" ".join(["w"] * length), "x") for length in lengths])
    assert found.labels == ("0", "1-5", "6-10", "31-40", "41+")
    assert [found.labels[k] for k in found.index] == [
        "0",
        "1-5",
        "1-5",
        "6-10",
        "6-10",
        "31-40",
        "41+",
        "41+",
    ]
    assert found.sizes.tolist() == [1, 2, 2, 1, 2]


def test_words_are_split_at_spaces_only() -> None:
    assert by_length([("a\u00a0b c",)]).labels == ("1-5",)
    assert unknown_words([("a\u00a0b c",)], {"a\u00a0b"}) == [1]


def test_by_unknown_words() -> None:
    unknown = unknown_words([("a b",), ("a x y",), ("x y z q",), ("",)], {"a", "b"})
    assert unknown == [0, 2, 4, 0]
    found = by_oov(unknown)
    assert (found.labels, found.index.tolist()) == (("0", "2", "3+"), [0, 1, 2, 0])


def test_sums_are_of_each_group() -> None:
    groups = by_label("speaker", ["anna", "bill", "anna"])
    counts = np.arange(12).reshape(2, 3, 2)
    assert groups.sums(counts[0]).tolist() == [[4, 6], [2, 3]]
    assert groups.sums(counts).tolist() == [[[4, 6], [2, 3]], [[16, 18], [8, 9]]]


def test_labels(tmp_path: Path) -> None:
    utt2spk = tmp_path / "utt2spk"
    utt2spk.write_text("anna_2 anna\nother_1 x\nbill_1\tbill\nanna_1 anna\n")  # any order, TAB or space, more
    assert read_labels(str(utt2spk), IDS) == ["anna", "bill", "anna"]
    utt2spk.write_text("x\ny\nx\n")
    assert read_labels(str(utt2spk), IDS) == ["x", "y", "x"]
    assert read_labels("prefix:_", IDS) == ["anna", "bill", "anna"]
    assert read_labels("prefix:nn", ["annx", "ann"]) == ["a", "a"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("anna_1 a\nbill_1 b\n", ReferenceMismatchError, "1 of 3 segments have no label; expected a line"),
        ("", ReferenceMismatchError, "3 of 3 segments have no label"),
        ("a\nb\n", ReferenceMismatchError, "expected 3 labels, as there are segments"),
        ("anna_1 a\nb\n", FormatError, ":2: not a segment and its label"),
        ("anna_1 a\n\nbill_1 b\n", FormatError, ":2: not a segment and its label"),
        ("anna_1 a b\n", FormatError, ":1: not a segment and its label"),
        (
            "anna_1 a\nanna_1 b\n",
            FormatError,
            ":2: two labels for the segment 'anna_1'; expected one; got 'a'",
        ),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, text: str, error: type[NbestError], message: str) -> None:
    path = tmp_path / "labels"
    path.write_text(text)
    with pytest.raises(error, match=re.escape(message)):
        read_labels(str(path), IDS)


def test_prefixes_that_are_not_there() -> None:
    with pytest.raises(ReferenceMismatchError, match="3 of 3 segments have no '-' in their id"):
        read_labels("prefix:-", IDS)
    with pytest.raises(ConfigError, match="a prefix ends somewhere"):
        read_labels("prefix:", IDS)


def test_word_lists(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("<eps> 0\na 1\nbe\t2\n\n")
    assert read_words(path) == {"<eps>", "a", "be"}
    path.write_text("\n \n")
    with pytest.raises(FormatError, match="no word in it"):
        read_words(path)
