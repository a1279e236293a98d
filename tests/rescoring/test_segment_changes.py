import numpy as np
import pytest

from rescoring.metrics import get_metric
from rescoring.segment_changes import extremes, segment_gains

REFERENCES = [["a b c d e"], ["f g h i j"], ["k l m n o"]]
FIRST = ["a b c d x", "f g h i j", "x x x x x"]
SECOND = ["a b c d e", "f g x x x", "x x x x x"]


@pytest.mark.parametrize("name", ["bleu", "wer", "ter", "chrf"])
def test_a_gain_is_the_score_with_that_segment_exchanged(name: str) -> None:
    metric = get_metric(name)
    segments = np.arange(3)
    first, second = (metric.counts(texts, segments, REFERENCES) for texts in (FIRST, SECOND))
    found = segment_gains(first, second, metric)
    for place in range(3):
        mixed = [*FIRST[:place], SECOND[place], *FIRST[place + 1 :]]
        wanted = metric.report(mixed, REFERENCES).score - metric.report(FIRST, REFERENCES).score
        assert found[place] == pytest.approx(wanted if metric.larger_is_better else -wanted, abs=1e-9)
    shown = extremes(found, 5)
    assert (shown.improved.tolist(), shown.harmed.tolist()) == ([0], [1])


def test_runs_are_averaged() -> None:
    metric = get_metric("wer")
    first, second = (metric.counts(texts, np.arange(3), REFERENCES) for texts in (FIRST, SECOND))
    found = segment_gains(first, np.stack([second, first]), metric)
    assert found == pytest.approx(segment_gains(first, second, metric) / 2)


def test_of_equals_the_earlier_and_no_more_than_asked_for() -> None:
    found = extremes(np.array([1.0, 0.0, 2.0, 1.0, -1.0, -1.0, -3.0]), 2)
    assert (found.improved.tolist(), found.harmed.tolist()) == ([2, 0], [6, 4])
