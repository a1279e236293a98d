"""BLEU's counts and formula against sacrebleu, on made-up and on real lists."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from nbest.errors import ConfigError, ReferenceMismatchError
from rescoring.metrics.bleu import Bleu

# (hypothesis, references, lengths, matches, n-grams), counted by hand; Papineni et al. 2002, section 2.1.1
BY_HAND = [
    ("the the the the the the the", ["the cat is on the mat"], (7, 6), (2, 0, 0, 0), (7, 6, 5, 4)),
    ("the cat", ["the cat is on the mat"], (2, 6), (2, 1, 0, 0), (2, 1, 0, 0)),
    ("a b a b", ["a b c", "b a b d"], (4, 4), (3, 2, 1, 0), (4, 3, 2, 1)),
    ("", ["a b"], (0, 2), (0, 0, 0, 0), (0, 0, 0, 0)),
    ("a b", [""], (2, 0), (0, 0, 0, 0), (2, 1, 0, 0)),
    ("x y z", ["a", "a b c d e"], (3, 1), (0, 0, 0, 0), (3, 2, 1, 0)),  # 1 and 5 are as close: the shorter
]

word = st.sampled_from(["a", "b", "c", "d.", "E", "5,5", "&amp;", "\u00a0x"])
text = st.lists(word, max_size=7).map(" ".join)
segment = st.tuples(st.lists(text, min_size=1, max_size=3), st.lists(text, min_size=1, max_size=3))
OPTIONS = [("none", False), ("13a", False), ("13a", True), ("none", True)]


def reference_counts(
    texts: Sequence[str], references: Sequence[Sequence[str]], **options: Any
) -> list[list[int]]:
    """What sacrebleu itself extracts, one text at a time."""
    scorer = BLEU(force=True, **options)
    return [
        scorer._extract_corpus_statistics([text], [[one] for one in several])[0]
        for text, several in zip(texts, references, strict=True)
    ]


@pytest.mark.parametrize(("hypothesis", "references", "lengths", "matches", "ngrams"), BY_HAND)
def test_counts_by_hand(
    hypothesis: str,
    references: list[str],
    lengths: tuple[int, ...],
    matches: tuple[int, ...],
    ngrams: tuple[int, ...],
) -> None:
    counts = Bleu().counts([hypothesis], np.array([0]), [references])
    assert counts.dtype == np.int64
    assert counts.tolist() == [[*lengths, *matches, *ngrams]]
    assert reference_counts([hypothesis], [references], tokenize="none") == counts.tolist()


@given(st.lists(segment, min_size=1, max_size=4), st.sampled_from(OPTIONS))
def test_counts_are_sacrebleus(corpus: list[tuple[list[str], list[str]]], options: tuple[str, bool]) -> None:
    """Every hypothesis of every list, several references of different number, repeated texts."""
    texts = [text for hypotheses, _ in corpus for text in hypotheses]
    segments = np.array([s for s, (hypotheses, _) in enumerate(corpus) for _ in hypotheses])
    references = [refs for _, refs in corpus]
    counts = Bleu(*options).counts(texts, segments, references)
    wanted = reference_counts(
        texts, [references[s] for s in segments], tokenize=options[0], lowercase=options[1]
    )
    assert counts.tolist() == wanted


@given(st.lists(segment, min_size=1, max_size=6), st.sampled_from(OPTIONS))
def test_score_of_sums_is_sacrebleus_corpus_score(
    corpus: list[tuple[list[str], list[str]]], options: tuple[str, bool]
) -> None:
    texts = [hypotheses[0] for hypotheses, _ in corpus]
    references = [refs for _, refs in corpus]
    metric = Bleu(*options)
    report = metric.report(texts, references)
    sums = metric.counts(texts, np.arange(len(texts)), references).sum(axis=0)
    assert metric.score(sums) == pytest.approx(report.score, rel=1e-13, abs=1e-13)


def test_score_takes_whole_arrays_and_changes_none() -> None:
    """sacrebleu's compute_bleu may change what it is given; ours does not."""
    random = np.random.default_rng(0)
    ngrams = random.integers(0, 30, size=(7, 5, 4))
    sums = np.concatenate(
        [random.integers(1, 40, size=(7, 5, 2)), random.integers(0, ngrams + 1), ngrams], axis=-1
    )
    before = sums.copy()
    scores = Bleu().score(sums)
    assert scores.shape == (7, 5)
    assert np.isfinite(scores).all()
    assert (sums == before).all()
    for place in np.ndindex(7, 5):
        wanted = BLEU()._compute_score_from_stats(sums[place].tolist()).score
        assert scores[place] == pytest.approx(wanted, rel=1e-13, abs=1e-13)


def test_report_carries_sacrebleus_signature() -> None:
    from sacrebleu import __version__

    report = Bleu().report(["a b c d", "e"], [["a b c d"], ["e f"]])
    assert report.signature == f"nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:{__version__}"
    report = Bleu("13a", lowercase=True).report(["a b c d", "e"], [["a b c d", "x"], ["e f"]])
    assert report.signature == f"nrefs:var|case:lc|eff:no|tok:13a|smooth:exp|version:{__version__}"
    assert Bleu("13a", lowercase=True).signature_for([["x"], ["x", "y"]]) == report.signature
    assert Bleu().signature_for([["x", "y"]]).startswith("nrefs:2|case:mixed|")
    assert Bleu().signature == f"case:mixed|eff:no|tok:none|smooth:exp|version:{__version__}"


def test_each_distinct_text_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from rescoring.metrics import bleu

    asked: list[list[str]] = []
    counting = bleu.clipped_matches

    def watched(hypotheses: Any, *rest: Any) -> Any:
        asked.append(list(hypotheses))
        return counting(asked[-1], *rest)

    monkeypatch.setattr(bleu, "clipped_matches", watched)
    counts = Bleu().counts(["a", "b", "a", "a"], np.array([0, 0, 0, 1]), [["a"], ["b"]])
    assert asked == [[["a"], ["b"], ["a"]]]  # the same text against another reference is another count
    assert counts[:, 2].tolist() == [1, 0, 1, 0]


def test_no_texts() -> None:
    assert Bleu().counts([], np.zeros(0, dtype=np.int64), [["a"]]).shape == (0, 10)


@pytest.mark.parametrize(
    ("texts", "segments", "references", "message"),
    [
        (["a"], [1], [["a"]], "segments 0 to 0, as there are 1 references; got segments 1 to 1"),
        (["a"], [0, 0], [["a"]], "differ in number; expected 1; got 2"),
        (["a"], [0], [[]], "segment 0: segment without a reference; expected one or more; got 0"),
    ],
)
def test_what_does_not_belong_together(
    texts: list[str], segments: list[int], references: list[list[str]], message: str
) -> None:
    with pytest.raises(ReferenceMismatchError, match=message):
        Bleu().counts(texts, np.array(segments), references)


def test_report_of_different_numbers_and_of_nothing() -> None:
    with pytest.raises(ReferenceMismatchError, match="expected 2 hypotheses, as there are references; got 1"):
        Bleu().report(["a"], [["a"], ["b"]])
    with pytest.raises(ReferenceMismatchError, match="nothing to score"):
        Bleu().report([], [])


def test_unknown_tokenizer() -> None:
    with pytest.raises(ConfigError, match="expected one of none, 13a, intl, char, zh; got 14a"):
        Bleu("14a")


def test_real_lists(mt_dev: Any) -> None:
    """The decoder's 1-best has BLEU 39.05 (the data's README); every 25th list's counts equal sacrebleu's."""
    lists, references = mt_dev.lists, mt_dev.references
    metric = Bleu()
    counts = metric.counts(lists.texts, lists.segments, references)
    report = metric.report(mt_dev.first, references)
    assert round(report.score, 2) == 39.05
    assert metric.score(counts[lists.offsets[:-1]].sum(axis=0)) == pytest.approx(report.score, rel=1e-13)
    for segment in range(0, len(lists), 25):
        rows = lists.rows(segment)
        texts = [lists.texts[row] for row in rows]
        wanted = reference_counts(texts, [references[segment]] * len(texts), tokenize="none")
        assert counts[rows].tolist() == wanted


def test_rounding_goes_no_higher_than_100() -> None:
    sums = np.array([[n, n, *range(n, n - 4, -1), *range(n, n - 4, -1)] for n in range(4, 200)])
    assert Bleu().score(sums).max() == 100.0
    assert all(Bleu().report(["a " * n], [["a " * n]]).score <= 100.0 for n in range(4, 60))
