import pytest

from nbest.errors import ReferenceMismatchError
from rescoring.comparison import compare
from rescoring.metrics import get_metric

REFERENCES = [("a b c d",), ("e f g h",), ("i j k l",)]
GOOD = [several[0] for several in REFERENCES]
BAD = ["a b c x", "e f g x", "i j k x"]


def test_the_difference_is_the_systems_minus_the_baselines() -> None:
    found = compare((BAD, REFERENCES), (GOOD, REFERENCES), get_metric("wer"))
    assert (found.score, found.difference, found.interval) == (25.0, -25.0, (-25.0, -25.0))
    assert found.p_value == pytest.approx(0.25, abs=0.02)  # 2 of the 8 ways to swap three segments
    assert compare((GOOD, REFERENCES), (GOOD, REFERENCES), get_metric("bleu")).p_value == 1.0


@pytest.mark.parametrize(
    ("other", "got"),
    [
        ([REFERENCES[0], REFERENCES[2], REFERENCES[1]], "segment 2"),
        ([*REFERENCES, ("m",)], "got 4 segments"),
    ],
)
def test_other_segments_are_refused(other: list[tuple[str]], got: str) -> None:
    with pytest.raises(ReferenceMismatchError, match=f"other.txt: the two outputs have .*{got}"):
        compare((["x"] * len(other), other), (GOOD, REFERENCES), get_metric("wer"), names=("other.txt", "my"))
