"""WER's counts against jiwer, on made-up and on real lists."""

from importlib.metadata import version
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import ReferenceMismatchError
from rescoring.metrics import wer as module
from rescoring.metrics.wer import Cer, Wer

# (hypothesis, reference, substitutions, deletions, insertions, reference words), by hand
BY_HAND = [
    ("he added t t", "he added tea", 1, 0, 1, 3),
    ("a c", "a b c", 0, 1, 0, 3),
    ("", "a b", 0, 2, 0, 2),
    ("a b", "", 0, 0, 2, 0),
    ("", "", 0, 0, 0, 0),
    ("a\u00a0b", "a b", 1, 1, 0, 2),  # a no-break space does not part words
    ("A", "a", 1, 0, 0, 1),
    ("x", "x", 0, 0, 0, 1),  # jiwer's command line drops lines of one character; the library does not
]

text = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "substitutions", "deletions", "insertions", "words"), BY_HAND
)
def test_counts_by_hand(
    hypothesis: str, reference: str, substitutions: int, deletions: int, insertions: int, words: int
) -> None:
    counts = Wer().counts([hypothesis], np.array([0]), [[reference]])
    assert counts.dtype == np.int64
    assert counts.tolist() == [[substitutions, deletions, insertions, words]]


@given(st.lists(st.tuples(text, text), min_size=1, max_size=8), st.integers(1, 3))
def test_counts_are_jiwers(pairs: list[tuple[str, str]], block: int) -> None:
    """Alone or in a block with others: the same edits."""
    texts, references = [text for text, _ in pairs], [[reference] for _, reference in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        counts = Wer().counts(texts, np.arange(len(texts)), references)
    for row, (text, reference) in enumerate(pairs):
        output = jiwer.process_words(reference, text)
        assert counts[row].tolist() == [
            output.substitutions,
            output.deletions,
            output.insertions,
            output.hits + output.substitutions + output.deletions,
        ]


@given(st.lists(st.tuples(text, text), min_size=1, max_size=8))
def test_score_of_sums_is_jiwers(pairs: list[tuple[str, str]]) -> None:
    pairs.append(("a", "b"))  # at least one word in the references
    texts, references = [text for text, _ in pairs], [[reference] for _, reference in pairs]
    metric = Wer()
    sums = metric.counts(texts, np.arange(len(texts)), references).sum(axis=0)
    report = metric.report(texts, references)
    assert report.score == 100.0 * jiwer.wer([reference for _, reference in pairs], texts)
    assert metric.score(sums) == pytest.approx(report.score, rel=1e-13)
    assert report.signature == f"case:mixed|tok:wer_default|jiwer:{version('jiwer')}"


def test_an_empty_reference_among_others_costs_insertions() -> None:
    report = Wer().report(["a b", "uh"], [["a b"], [""]])
    assert report.score == 50.0


def test_no_reference_word_at_all() -> None:
    """jiwer gives a number of errors there, which is no rate: undefined to report, finite to compute with."""
    with pytest.raises(ReferenceMismatchError, match="undefined; expected at least one word"):
        Wer().report(["a"], [[""]])
    assert Wer().score(np.array([[0, 0, 3, 0], [0, 0, 0, 0]])).tolist() == [300.0, 0.0]


@pytest.mark.parametrize("several", [[], ["a", "b"]])
def test_one_reference_a_segment(several: list[str]) -> None:
    with pytest.raises(ReferenceMismatchError, match=f"segment 1: .* expected 1; got {len(several)}"):
        Wer().counts(["a"], np.array([0]), [["a"], several])


def test_real_lists(asr_dev: Any) -> None:
    """Rank 1 has WER 40.28 over 3,697 words (the data's README); edits equal jiwer's in every 40th list."""
    lists, references = asr_dev.lists, asr_dev.references
    metric = Wer()
    report = metric.report(asr_dev.first, references)
    assert round(report.score, 2) == 40.28
    first = metric.counts(asr_dev.first, np.arange(len(lists)), references)
    assert first[:, 3].sum() == 3697
    assert metric.score(first.sum(axis=0)) == pytest.approx(report.score, rel=1e-13)
    for segment in range(0, len(lists), 40):
        part = lists.select([segment])
        counts = metric.counts(part.texts, part.segments, [references[segment]])
        for row, text in enumerate(part.texts):
            output = jiwer.process_words(references[segment][0], text)
            assert counts[row, :3].tolist() == [output.substitutions, output.deletions, output.insertions]


@given(st.lists(st.tuples(text, text), min_size=1, max_size=8))
def test_characters_are_jiwers(pairs: list[tuple[str, str]]) -> None:
    """Spaces between words count."""
    texts, references = [text for text, _ in pairs], [[reference] for _, reference in pairs]
    counts = Cer().counts(texts, np.arange(len(texts)), references)
    for row, (text, reference) in enumerate(pairs):
        output = jiwer.process_characters(reference, text)
        edits = [output.substitutions, output.deletions, output.insertions]
        assert counts[row].tolist() == [*edits, len(reference)]
    if any(reference for _, reference in pairs):
        wanted = 100 * jiwer.cer([reference for _, reference in pairs], texts)
        assert Cer().score(counts.sum(axis=0)) == pytest.approx(wanted)
        assert Cer().report(texts, references).score == pytest.approx(wanted)


def test_character_error_rate_says_what_it_is() -> None:
    assert Cer().name == "cer"
    assert Cer().count_names[-1] == "reference_characters"
    assert Cer().signature == f"case:mixed|tok:cer_default|jiwer:{version('jiwer')}"
    with pytest.raises(
        ReferenceMismatchError, match="character error rate is undefined; expected at least one char"
    ):
        Cer().report(["a"], [[""]])


def test_real_characters(asr_dev: Any) -> None:
    metric = Cer()
    for segment in range(0, len(asr_dev.lists), 100):
        part = asr_dev.lists.select([segment])
        counts = metric.counts(part.texts, part.segments, [asr_dev.references[segment]])
        for row, text in enumerate(part.texts):
            output = jiwer.process_characters(asr_dev.references[segment][0], text)
            assert counts[row, :3].tolist() == [output.substitutions, output.deletions, output.insertions]
