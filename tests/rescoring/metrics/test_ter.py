"""TER's counts by hand and against sacrebleu's corpus score."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.ter import TER

from nbest.errors import ReferenceMismatchError
from rescoring.metrics import ter as module
from rescoring.metrics.ter import Ter

# (hypothesis, reference, edits, reference words); Snover et al. 2006, section 3: a shift is one edit
BY_HAND = [
    ("c a b", "a b c", 1, 3),
    ("a x", "a b", 1, 2),
    ("A", "a", 0, 1),  # case does not count
    ("", "a b", 2, 2),
    ("a b", "", 2, 0),
    ("", "", 0, 0),
]
text = st.lists(st.sampled_from(["a", "b", "c", "D"]), max_size=7).map(" ".join)


@pytest.mark.parametrize(("hypothesis", "reference", "edits", "words"), BY_HAND)
def test_counts_by_hand(hypothesis: str, reference: str, edits: int, words: int) -> None:
    assert Ter().counts([hypothesis], np.array([0]), [[reference]]).tolist() == [[edits, words]]


def test_of_several_references_the_nearest_counts_and_the_average_length() -> None:
    """Snover et al. 2006, section 2; segment 0 has two references of 3 and 2 words, segment 1 three."""
    references = [["a b c", "a b"], ["a", "b c", "c d e"]]
    counts = Ter().counts(["a b", "x", "c d"], np.array([0, 0, 1]), references)
    assert counts.tolist() == [[6 * 0, 6 * 2.5], [6 * 2, 6 * 2.5], [6 * 1, 6 * 2]]
    assert Ter().score(counts[[0, 2]].sum(axis=0)) == pytest.approx(100 * 1 / 4.5)


@given(st.lists(st.tuples(text, st.lists(text, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_score_of_sums_is_sacrebleus_corpus_score(pairs: list[tuple[str, list[str]]]) -> None:
    texts, references = [text for text, _ in pairs], [several for _, several in pairs]
    sums = Ter().counts(texts, np.arange(len(texts)), references).sum(axis=0)
    streams = [[several[k] if k < len(several) else None for several in references] for k in range(4)]
    scorer = TER()
    wanted = scorer.corpus_score(
        texts, [stream for stream in streams if any(s is not None for s in stream)]
    ).score
    assert Ter().signature_for(references) == str(scorer.get_signature())
    assert Ter().score(sums) == pytest.approx(wanted, rel=1e-13)
    assert Ter().report(texts, references).score == pytest.approx(wanted, rel=1e-13)


def test_processes_share_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    texts = ["b a", "a", "b a", "x y", "a b c", "c b a"]
    arguments = (texts, np.array([0, 0, 0, 0, 1, 1]), [["a b"], ["a b c"]])
    assert Ter(jobs=2).counts(*arguments).tolist() == Ter().counts(*arguments).tolist()


def test_signatures() -> None:
    from sacrebleu import __version__

    wanted = f"case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:{__version__}"
    assert Ter().signature == wanted
    assert Ter().signature_for([["a"]]) == Ter().report(["a"], [["b"]]).signature == f"nrefs:1|{wanted}"


def test_no_reference_and_no_texts() -> None:
    assert Ter().counts([], np.zeros(0, dtype=np.int64), [["a"]]).shape == (0, 2)
    with pytest.raises(ReferenceMismatchError, match="segment without a reference"):
        Ter().counts(["a"], np.array([0]), [[]])


def test_real_lists(mt_dev: Any) -> None:
    """Every 200th list against sacrebleu's sentence score; benchmarks/tuning.py --check holds all of them."""
    segments = range(0, len(mt_dev.lists), 200)
    part = mt_dev.lists.select(list(segments))
    references = [mt_dev.references[segment] for segment in segments]
    counts = Ter().counts(part.texts, part.segments, references)
    for row, segment in enumerate(part.segments.tolist()):
        wanted = TER().sentence_score(part.texts[row], list(references[segment]))
        assert counts[row].tolist() == [wanted.num_edits, wanted.ref_length]
