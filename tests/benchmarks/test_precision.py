"""What int8 changes is counted: by list set and model, together, near-ties beside."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rescoring.formats import read_nbest
from rescoring.formats.references import read_references
from rescoring.metrics import get_metric
from rescoring.scorer import ScoreArrays

Load = Callable[[str], Any]
LISTS = """0 ||| a b ||| X= -1.0 ||| -1.0
0 ||| a c ||| X= -2.0 ||| -2.0
1 ||| d ||| X= -1.0 ||| -1.0
1 ||| e ||| X= -1.5 ||| -1.5
2 ||| f ||| X= -1.0 ||| -1.0
2 ||| g ||| X= -1.0 ||| -1.0
"""


@pytest.fixture
def precision(load_benchmark: Load) -> Any:
    return load_benchmark("precision")


class Fixed:
    """A scorer that knows what it says."""

    name, digest = "m", "sha256:1"

    def __init__(self, known: dict[str, float]) -> None:
        self.known = known

    def score(self, texts: list[str]) -> ScoreArrays:
        zeros = np.zeros(len(texts), dtype=np.int64)
        return ScoreArrays(np.asarray([self.known[text] for text in texts]), zeros + 1, zeros)

    def score_tokens(self, texts: list[str]) -> list[list[SimpleNamespace]]:
        return [[SimpleNamespace(nat_log_prob=self.known[text])] for text in texts]


def test_changes_and_near_ties_are_counted(
    precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").write_text(LISTS)
    (tmp_path / "references").write_text("a b\nd\nf\n")
    lists = read_nbest(tmp_path / "lists")
    side = precision.Side(lists, read_references([tmp_path / "references"], lists))
    task = precision.Task("mt", get_metric("bleu"), side, side)
    exact = Fixed({"a b": -4.0, "a c": -3.0, "d": -2.0, "e": -2.0, "f": -1.0, "g": -1.00005})
    near = Fixed({"a b": -4.0, "a c": -3.01, "d": -2.0, "e": -2.01, "f": -1.002, "g": -1.0})
    scorers = {"fp32": exact, "int8": near}
    monkeypatch.setattr(precision.catalog, "open_scorer", lambda _, precision: scorers[precision])
    none = {"X": 1.0, "m": 0.0, "m.oov": 0.0, "word_count": 0.0}
    found = precision.compare(task, "test", "models/m", exact, [none | {"m": 1.005}, none])
    assert found["model"] == "m"
    assert found["lists"] == 3
    assert found["changed_1_bests"] == [2, 0]  # list 0: a gap of 0.005 nats; list 2: one of 0.00005
    assert found["of_these_within_noise"] == [1, 0]
    assert found["share_changed"] == pytest.approx(1 / 3, abs=1e-3)
    assert found["nats_a_token"]["tokens"] == 6
    assert found["nats_a_token"]["most"] == 0.01
    assert precision.together([found, found]) == {
        "1_bests": 12,
        "changed": 4,
        "of_these_within_noise": 2,
        "share_changed": 0.333,
    }
