import numpy as np
import pytest

from nbest.errors import ConfigError, NotFoundError
from rescoring.metrics import METRICS, Bleu, get_metric


@pytest.mark.parametrize("name", METRICS)
def test_by_name(name: str) -> None:
    metric = get_metric(name)
    assert metric.name == name
    counts = metric.counts(["a b", "c"], np.array([0, 1]), [["a b"], ["d"]])
    assert counts.shape == (2, len(metric.count_names))
    perfect, wrong = metric.score(metric.counts(["a b c d", "x"], np.array([0, 0]), [["a b c d"]]))
    assert (perfect > wrong) == metric.larger_is_better


def test_options_are_for_bleu() -> None:
    metric = get_metric("bleu", tokenize="13a", lowercase=True)
    assert isinstance(metric, Bleu)
    assert (metric.tokenize, metric.lowercase) == ("13a", True)
    with pytest.raises(ConfigError, match="tokenize is for bleu, lowercase for bleu and chrf"):
        get_metric("wer", lowercase=True)


def test_unknown_name() -> None:
    with pytest.raises(
        NotFoundError, match="no such metric; expected one of bleu, chrf, ter, wer, cer, or a sum"
    ):
        get_metric("meteor")
