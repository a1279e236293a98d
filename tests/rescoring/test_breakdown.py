import numpy as np
import pytest

from rescoring.breakdown import breakdown
from rescoring.groups import by_label
from rescoring.metrics import get_metric
from rescoring.significance import difference_interval, interval

WER = get_metric("wer")
FIRST = np.array([[1, 0, 0, 4], [2, 0, 0, 4], [0, 1, 0, 2]])
SECOND = np.array([[0, 0, 0, 4], [1, 0, 1, 4], [0, 0, 0, 2]])
GROUPS = by_label("speaker", ["anna", "anna", "bill"])


def test_one_system() -> None:
    anna, bill = breakdown(GROUPS, WER, FIRST, samples=50).groups
    assert (anna.label, anna.segments, anna.scores) == ("anna", 2, (37.5,))
    assert anna.interval == interval(FIRST[:2], WER, 50)
    assert anna.counts == {"substitutions": 3, "deletions": 0, "insertions": 0, "reference_words": 8}
    assert (bill.scores, bill.interval) == ((50.0,), None)  # one segment has no interval


def test_two_systems_of_several_runs() -> None:
    runs = np.stack([FIRST, SECOND])
    found = breakdown(GROUPS, WER, runs, SECOND[None], samples=50)
    anna, bill = found.groups
    assert found.by == "speaker"
    assert anna.scores == (pytest.approx((37.5 + 25) / 2), 25.0)
    assert anna.interval == difference_interval(runs[:, :2], SECOND[None, :2], WER, 50)
    assert bill.scores == (25.0, 0.0)
    assert anna.counts["insertions"] == 1


def test_groups_of_error_counts_add_up() -> None:
    found = breakdown(GROUPS, WER, FIRST, samples=5)
    for place, name in enumerate(WER.count_names):
        assert sum(group.counts[name] for group in found.groups) == FIRST[:, place].sum()
