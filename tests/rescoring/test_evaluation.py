import math
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from nbest.errors import ConfigError, FormatError, NotFoundError, ReferenceMismatchError
from rescoring.evaluation import evaluate, read_pairs
from rescoring.metrics import get_metric


def test_bleu_with_everything_that_belongs_to_it() -> None:
    found = evaluate(["a b c d e", "a b x"], [["a b c d e"], ["a b c d"]], get_metric("bleu"), samples=50)
    assert (found.metric, found.segments) == ("bleu", 2)
    assert found.counts == {
        "hypothesis_length": 8,
        "reference_length": 9,
        **{"matches_1": 7, "matches_2": 5, "matches_3": 3, "matches_4": 2},
        **{"ngrams_1": 8, "ngrams_2": 6, "ngrams_3": 4, "ngrams_4": 2},
    }
    brevity, precisions = math.exp(1 - 9 / 8), (7 / 8, 5 / 6, 3 / 4, 2 / 2)
    assert found.score == pytest.approx(100 * brevity * math.prod(precisions) ** 0.25)
    assert found.low <= found.score <= found.high
    assert (found.interval.samples, found.interval.seed, found.interval.confidence) == (50, 12345, 0.95)
    assert found.signature == f"nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:{version('sacrebleu')}"


def test_wer() -> None:
    found = evaluate(["he added t t", ""], [["he added tea"], ["yes"]], get_metric("wer"), samples=20)
    assert found.score == 75.0
    assert found.counts == {"substitutions": 1, "deletions": 1, "insertions": 1, "reference_words": 4}
    assert "jiwer" in found.signature


def test_several_references_change_the_signature() -> None:
    found = evaluate(["a b c d"], [["x", "a b c d"]], get_metric("bleu"), samples=2)
    assert found.score == pytest.approx(100.0)
    assert found.signature.startswith("nrefs:2|")


def test_numbers_that_differ_are_both_named() -> None:
    with pytest.raises(ReferenceMismatchError, match="expected 2 hypotheses, as there are references; got 1"):
        evaluate(["a"], [["a"], ["b"]], get_metric("bleu"))


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def hyp(tmp_path: Path) -> Path:
    return write(tmp_path / "hyp", "a b\n\nc\u2028d x\n")


def test_lines_by_line(tmp_path: Path, hyp: Path) -> None:
    """An empty line is a segment; a line ends at a newline only."""
    refs = [write(tmp_path / "r1", "a\nb\nc"), write(tmp_path / "r2", "1\n2\n3\n")]
    pairs = read_pairs(hyp, refs)
    assert pairs.hypotheses == ("a b", "", "c\u2028d x")
    assert pairs.references == (("a", "1"), ("b", "2"), ("c", "3"))
    assert pairs.style == "lines"


def test_lines_of_another_number(tmp_path: Path, hyp: Path) -> None:
    ref = write(tmp_path / "ref", "a\nb\n")
    with pytest.raises(ReferenceMismatchError) as caught:
        read_pairs(hyp, ref)
    assert str(caught.value) == (
        f"{ref}: hypotheses and references differ in number; expected 3 lines, as in {hyp}; got 2 lines"
    )


def test_by_utterance(tmp_path: Path) -> None:
    """Kaldi's text: an id first, a space or a TAB, any order; the id is not a word of the text."""
    hyp = write(tmp_path / "hyp", "utt-2 no\nutt-10\nutt-1 yes it  is\n")
    ref = write(tmp_path / "ref", "utt-1\tyes it was\nutt-10 uh\nutt-2 no\n")
    pairs = read_pairs(hyp, ref)
    assert pairs.style == "kaldi"
    assert pairs.hypotheses == ("no", "", "yes it  is")
    assert pairs.references == (("no",), ("uh",), ("yes it was",))
    found = evaluate(pairs.hypotheses, pairs.references, get_metric("wer"), samples=5)
    assert found.counts == {"substitutions": 1, "deletions": 1, "insertions": 0, "reference_words": 5}


@pytest.mark.parametrize(
    ("hyp", "ref"),
    [
        ("the cat\na dog\n", "the cat\na dog\n"),  # no ids: words without digit, hyphen or underscore
        ("u-1 a\nu-1 b\n", "u-1 a\nu-1 b\n"),  # twice
        ("u-1 a\n", "u-2 a\n"),  # other ones
    ],
)
def test_what_is_not_taken_for_ids(tmp_path: Path, hyp: str, ref: str) -> None:
    assert read_pairs(write(tmp_path / "hyp", hyp), write(tmp_path / "ref", ref)).style == "lines"


@pytest.mark.parametrize("blank", ["", "\n \n"])
def test_references_without_a_word_are_refused(tmp_path: Path, blank: str) -> None:
    hyp, ref = write(tmp_path / "hyp", blank), write(tmp_path / "ref", blank)
    with pytest.raises(ReferenceMismatchError, match=f"^{ref}: no word in the references; expected"):
        read_pairs(hyp, ref)


def test_a_style_that_is_asked_for(tmp_path: Path) -> None:
    hyp, ref = write(tmp_path / "hyp", "a x\nb y\n"), write(tmp_path / "ref", "b y\na z\n")
    assert read_pairs(hyp, ref, "kaldi").references == (("z",), ("y",))
    assert read_pairs(hyp, ref, "lines").references == (("b y",), ("a z",))
    with pytest.raises(ConfigError, match="unknown style of text; expected lines or kaldi; got 'stm'"):
        read_pairs(hyp, ref, "stm")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hyp", "ref", "error", "message"),
    [
        ("a x\na y\n", "a x\n", FormatError, "hyp:2: utterance 'a' stands there twice"),
        ("a x\n\n", "a x\n", FormatError, "hyp:2: line without an id"),
        (
            "a x\nb y\nc z\n",
            "a x\nd y\n",
            ReferenceMismatchError,
            "ref: other utterances: 2 lack a reference ('b', 'c'), 1 lack a hypothesis ('d'); "
            "expected the 3 utterances of ",
        ),
    ],
)
def test_utterances_that_do_not_belong_together(
    tmp_path: Path, hyp: str, ref: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        read_pairs(write(tmp_path / "hyp", hyp), write(tmp_path / "ref", ref), "kaldi")


def test_utterances_that_some_files_lack_are_named(tmp_path: Path) -> None:
    """Text that begins with ids, most of them the same, is no plain text because one is missing."""
    hyp, ref = write(tmp_path / "hyp", "u-1 a\nu-3 b\n"), write(tmp_path / "ref", "u-1 a\nu-2 b\nu-3 c\n")
    with pytest.raises(ReferenceMismatchError, match=re.escape("1 lack a hypothesis ('u-2')")):
        read_pairs(hyp, ref)


def test_ids_in_some_files_only_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hyp, ref = write(tmp_path / "hyp", "a\nb\n"), write(tmp_path / "ref", "u-1 a\nu-2 b\n")
    assert read_pairs(hyp, ref).references == (("u-1 a",), ("u-2 b",))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the lines of {ref} begin with ids and those of {hyp} do not: all are read as plain text"
    )
    caplog.clear()
    read_pairs(write(tmp_path / "hyp", "a cat\n"), write(tmp_path / "ref", "co-pilot\n"))  # a single word
    assert not caplog.records


def test_files_that_are_missing(tmp_path: Path, hyp: Path) -> None:
    with pytest.raises(NotFoundError):
        read_pairs(hyp, tmp_path / "none")
    with pytest.raises(ReferenceMismatchError, match="no references"):
        read_pairs(hyp, [])


def test_real_output(mt_dev: Any) -> None:
    """The decoder's 1-best: 39.05 (the data's README)."""
    found = evaluate(mt_dev.first, mt_dev.references, get_metric("bleu"), samples=200)
    assert round(found.score, 2) == 39.05
    assert 37.0 < found.low < 38.8
    assert 39.3 < found.high < 41.0
