"""chrF's counts and formula against sacrebleu, on made-up and on real lists."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from nbest.errors import ReferenceMismatchError
from rescoring.metrics import chrf as module
from rescoring.metrics.chrf import Chrf

text = st.text(alphabet="abAB \u00a0\u3000.", max_size=12)
segment = st.tuples(st.lists(text, min_size=1, max_size=3), st.lists(text, min_size=1, max_size=3))


def reference_counts(hypothesis: str, references: list[str], lowercase: bool = False) -> list[int]:
    """What sacrebleu itself extracts of one text."""
    scorer = CHRF(lowercase=lowercase)
    return list(scorer._extract_corpus_statistics([hypothesis], [[one] for one in references])[0])


def test_counts_by_hand() -> None:
    """``ab`` and ``a c`` without the space: two and two characters, one in common; one pair each."""
    counts = Chrf().counts(["ab"], np.array([0]), [["a c"]])
    assert counts.tolist() == [[2, 2, 1, 1, 1, 0] + [0] * 12]
    assert Chrf().score(counts)[0] == pytest.approx(100 * 0.25)


@given(st.lists(segment, min_size=1, max_size=4), st.booleans(), st.integers(1, 4))
def test_counts_are_sacrebleus(
    corpus: list[tuple[list[str], list[str]]], lowercase: bool, block: int
) -> None:
    """Several references of different number, repeated texts, blocks of any size."""
    texts = [text for hypotheses, _ in corpus for text in hypotheses]
    segments = np.array([s for s, (hypotheses, _) in enumerate(corpus) for _ in hypotheses])
    references = [refs for _, refs in corpus]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        counts = Chrf(lowercase).counts(texts, segments, references)
    for row, (one, number) in enumerate(zip(texts, segments, strict=True)):
        assert counts[row].tolist() == reference_counts(one, references[number], lowercase)


@given(st.lists(segment, min_size=1, max_size=6))
def test_score_of_sums_is_sacrebleus_corpus_score(corpus: list[tuple[list[str], list[str]]]) -> None:
    texts, references = [hypotheses[0] for hypotheses, _ in corpus], [refs for _, refs in corpus]
    sums = Chrf().counts(texts, np.arange(len(texts)), references).sum(axis=0)
    assert Chrf().score(sums) == pytest.approx(Chrf().report(texts, references).score, rel=1e-13, abs=1e-13)


def test_signatures() -> None:
    from sacrebleu import __version__

    wanted = f"case:mixed|eff:yes|nc:6|nw:0|space:no|version:{__version__}"
    assert Chrf().report(["a"], [["b"]]).signature == f"nrefs:1|{wanted}"
    assert Chrf().signature == wanted
    assert Chrf().signature_for([["x"], ["x", "y"]]) == f"nrefs:var|{wanted}"
    assert "case:lc" in Chrf(lowercase=True).signature_for([["x", "y"]])


def test_no_texts_and_no_reference() -> None:
    assert Chrf().counts([], np.zeros(0, dtype=np.int64), [["a"]]).shape == (0, 18)
    with pytest.raises(ReferenceMismatchError, match="segment 0: segment without a reference"):
        Chrf().counts(["a"], np.array([0]), [[]])


def test_real_lists(mt_dev: Any) -> None:
    """Every 100th list's counts are sacrebleu's; benchmarks/tuning.py --check holds all of them."""
    segments = range(0, len(mt_dev.lists), 100)
    part = mt_dev.lists.select(list(segments))
    references = [mt_dev.references[segment] for segment in segments]
    counts = Chrf().counts(part.texts, part.segments, references)
    for row, segment in enumerate(part.segments.tolist()):
        assert counts[row].tolist() == reference_counts(part.texts[row], list(references[segment]))
