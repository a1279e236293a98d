import numpy as np
import pytest

from nbest.errors import ConfigError, NotFoundError
from rescoring.metrics import get_metric
from rescoring.metrics.mix import Mix, parse_mix

TEXTS, SEGMENTS = ["a b c d", "a b x d e", "d c b a"], np.array([0, 1, 1])
REFERENCES = [["a b c d"], ["a b c d e"]]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("bleu-ter", [(1.0, "bleu"), (-1.0, "ter")]),
        ("0.5*bleu+.25*chrf-2*wer", [(0.5, "bleu"), (0.25, "chrf"), (-2.0, "wer")]),
        ("+bleu", [(1.0, "bleu")]),
    ],
)
def test_what_is_written(text: str, terms: list[tuple[float, str]]) -> None:
    assert parse_mix(text) == terms


@pytest.mark.parametrize("text", ["bleu-", "bleu*2", "bleu--ter", "", "0.5 * bleu", "1e3*bleu-ter"])
def test_what_is_no_sum(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a sum of metrics; expected such as bleu-0\.5\*ter"):
        parse_mix(text)


def test_the_sum_of_its_parts() -> None:
    mix, bleu, ter = (get_metric(name) for name in ("bleu-0.5*ter", "bleu", "ter"))
    assert (mix.name, mix.larger_is_better, mix.separable) == ("bleu-0.5*ter", True, False)
    counts = mix.counts(TEXTS, SEGMENTS, REFERENCES)
    assert counts.shape == (3, len(mix.count_names)) == (3, 12)
    assert mix.count_names[0] == "bleu.hypothesis_length"
    assert mix.count_names[-1] == "ter.reference_words"
    for sums in (counts, counts[:2].sum(axis=0)):
        assert mix.score(sums) == pytest.approx(bleu.score(sums[..., :10]) - 0.5 * ter.score(sums[..., 10:]))
    report = mix.report(TEXTS[:2], REFERENCES)
    assert report.score == pytest.approx(float(mix.score(counts[:2].sum(axis=0))))
    assert report.signature == mix.signature_for(REFERENCES)
    assert report.signature.startswith("bleu:[nrefs:1|")
    assert "ter:[nrefs:1|case:lc" in report.signature
    assert "nrefs" not in mix.signature


def test_options_reach_those_that_have_them() -> None:
    mix = get_metric("bleu-wer", tokenize="13a", lowercase=True)
    assert "case:lc" in mix.signature
    assert "tok:13a" in mix.signature
    with pytest.raises(ConfigError, match="lowercase for bleu and chrf"):
        get_metric("-wer-ter", lowercase=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bleu+ter", "weight of ter has the wrong sign; expected less than 0; got 1"),
        ("ter-bleu", "weight of ter has the wrong sign"),
        ("bleu-0*ter", "weight of ter has the wrong sign"),
        ("bleu+bleu", "expected two or more metrics, each once; got bleu, bleu"),
        ("+bleu", "two or more"),
    ],
)
def test_what_makes_no_sense(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_metric(text)
    with pytest.raises(NotFoundError, match="no such metric"):
        get_metric("bleu-meteor")
    assert isinstance(get_metric("bleu-ter"), Mix)
