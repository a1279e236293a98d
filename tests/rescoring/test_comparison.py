"""Two systems side by side: one output each, several runs, clusters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nbest.errors import ConfigError, ReferenceMismatchError
from rescoring.comparison import Comparison, Run, compare
from rescoring.groups import by_label
from rescoring.metrics import get_metric
from rescoring.significance import difference_interval, paired_test

REFERENCES = [("a b c d",), ("e f g h",), ("i j k l",)]
GOOD = [several[0] for several in REFERENCES]
BAD = ["a b c x", "e f g x", "i j k x"]


def versus(first: Sequence[str], second: Sequence[str], metric: str, **options: Any) -> Comparison:
    return compare(
        [Run("first", first, REFERENCES)], [Run("second", second, REFERENCES)], get_metric(metric), **options
    )


def test_the_difference_is_the_second_systems_minus_the_firsts() -> None:
    found = versus(BAD, GOOD, "wer")
    assert (found.first.scores, found.second.scores, found.difference) == ((25.0,), (0.0,), -25.0)
    assert (found.interval.low, found.interval.high) == (-25.0, -25.0)
    assert found.verdict("randomization").p_value == pytest.approx(0.25, abs=0.02)  # 2 of the 8 ways to swap
    assert (found.units, found.first.deviation, found.interval_with_runs) == (3, None, None)
    same = versus(GOOD, GOOD, "bleu")
    assert [one.p_value for one in same.tests] == [1.0, 1.0]


def test_which_tests_fit() -> None:
    assert [one.test for one in versus(BAD, GOOD, "bleu").tests] == ["randomization", "bootstrap"]
    found = versus(BAD, ["a b c d", "e f g x", "i j k"], "wer").verdict("mapsswe")
    assert found.note == "3 segments with errors; rough: only 3 segments with errors"
    assert found.statistic == pytest.approx(-1.0)
    assert found.p_value == pytest.approx(
        0.3173, abs=1e-4
    )  # the normal distribution's table: 2 (1 - 0.84134)
    nothing = versus(BAD, GOOD, "wer").verdict("mapsswe")
    assert nothing.p_value is None
    assert nothing.note == "3 segments with errors; every segment with errors has the same difference"


def test_several_runs() -> None:
    metric = get_metric("wer")
    first = [Run("1", BAD, REFERENCES), Run("2", ["a b x x", "e f g h", "i j k l"], REFERENCES)]
    second = [Run("3", GOOD, REFERENCES), Run("4", GOOD, REFERENCES), Run("5", BAD, REFERENCES)]
    found = compare(first, second, metric, samples=200, trials=200)
    assert found.first.scores == (25.0, pytest.approx(100 / 6))
    assert found.difference == pytest.approx(25 / 3 - (25 + 100 / 6) / 2)
    assert found.first.deviation == pytest.approx(np.std([25, 100 / 6], ddof=1))
    assert [one.test for one in found.tests] == ["randomization", "bootstrap", "mapsswe", "runs"]
    assert found.verdict("mapsswe").p_value is None
    assert found.verdict("runs").p_value == pytest.approx(4 / 10)
    assert found.interval_with_runs is not None
    assert found.interval_with_runs.low < found.interval.low


def test_clusters_are_resampled_whole() -> None:
    metric = get_metric("wer")
    speakers = by_label("speaker", ["anna", "bill", "anna"])
    found = versus(BAD, ["a b c d", "e f x x", "i j k l"], "wer", clusters=speakers, samples=100, trials=500)
    counts = [
        np.array([[2, 0, 0, 8], [1, 0, 0, 4]]),
        np.array([[0, 0, 0, 8], [2, 0, 0, 4]]),
    ]  # by speaker
    assert found.units == 2
    assert found.interval == difference_interval(counts[0], counts[1], metric, 100)
    wanted = paired_test(counts[0], counts[1], metric, trials=500)
    assert found.verdict("randomization").p_value == wanted
    with pytest.raises(ConfigError, match="nothing to resample; expected at least 2 clusters; got 1"):
        versus(BAD, GOOD, "wer", clusters=by_label("speaker", ["anna"] * 3))


@pytest.mark.parametrize(
    ("other", "got"),
    [
        ([REFERENCES[0], REFERENCES[2], REFERENCES[1]], "segment 2"),
        ([*REFERENCES, ("m",)], "got 4 segments"),
    ],
)
def test_other_segments_are_refused(other: list[tuple[str]], got: str) -> None:
    with pytest.raises(ReferenceMismatchError, match=f"other.txt: the two outputs have .*{got}"):
        compare(
            [Run("other.txt", ["x"] * len(other), other)], [Run("my", GOOD, REFERENCES)], get_metric("wer")
        )
    with pytest.raises(ReferenceMismatchError, match="no output to compare"):
        compare([], [Run("my", GOOD, REFERENCES)], get_metric("wer"))
