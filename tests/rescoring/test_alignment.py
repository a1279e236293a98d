import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rescoring.alignment import align, confusions, errors
from rescoring.metrics import get_metric

text = st.lists(st.sampled_from("abc"), max_size=6).map(" ".join)


def test_each_kind_of_edit() -> None:
    ((*edits,),) = align(["a x c e"], ["a b c d e"])
    assert [tuple(edit) for edit in edits] == [
        ("equal", "a", "a"),
        ("substitute", "b", "x"),
        ("equal", "c", "c"),
        ("delete", "d", None),
        ("equal", "e", "e"),
    ]
    assert align(["b", ""], ["", ""]) == [(("insert", None, "b"),), ()]


@given(st.lists(st.tuples(text, text), min_size=1, max_size=5))
def test_edits_are_those_that_wer_counts(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    found = align(hypotheses, references)
    counts = get_metric("wer").counts(hypotheses, np.arange(len(pairs)), [[one] for one in references])
    for alignment, (hypothesis, reference), row in zip(found, pairs, counts.tolist(), strict=True):
        kinds = [edit.kind for edit in alignment]
        assert [kinds.count(kind) for kind in ("substitute", "delete", "insert")] == row[:3]
        assert errors(alignment) == sum(row[:3])
        assert " ".join(edit.hypothesis for edit in alignment if edit.hypothesis) == hypothesis
        assert " ".join(edit.reference for edit in alignment if edit.reference) == reference


def test_confusions_most_frequent_first_then_by_alphabet() -> None:
    found = confusions(align(["x b", "x", "y q", "z b c"], ["a b", "a", "c q", "b"]), 2)
    assert found.substitutions == ((("a", "x"), 2), (("c", "y"), 1))
    assert found.deletions == ()
    assert found.insertions == (("c", 1), ("z", 1))
    assert confusions(align([""], ["b a a"]), 5).deletions == (("a", 2), ("b", 1))
