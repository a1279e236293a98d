import logging
import math
from pathlib import Path

import numpy as np
import pytest

from rescoring.formats import parse_nbest, read_nbest
from rescoring.formats.checks import FEWEST, against_totals, mistakes
from rescoring.nbest import Feature, NbestLists


def lists(count: int = 60, **columns: np.ndarray) -> NbestLists:
    """`count` hypotheses of one to seven words, ten a list, with these columns."""
    texts = tuple(" ".join(["w"] * (1 + k % 7)) for k in range(count))
    return NbestLists(
        tuple(str(k) for k in range(count // 10)),
        np.arange(0, count + 1, 10),
        texts,
        tuple(Feature(name) for name in columns),
        np.column_stack([values[:count] for values in columns.values()]),
    )


RANDOM = np.random.default_rng(7)
LENGTHS = np.array([1 + k % 7 for k in range(60)], dtype=np.float64)
LM = -6.0 * LENGTHS + RANDOM.normal(0, 2, 60) - 10
AC = -200.0 - RANDOM.normal(0, 30, 60)
OTHER = -5.0 * LENGTHS + RANDOM.normal(0, 2, 60) - 10


def test_nothing_is_said_of_good_lists() -> None:
    good = lists(lm=LM, ac=AC, lm_new=OTHER, word_count=LENGTHS, total=2 * LM + AC - LENGTHS)
    assert mistakes(good) == []


def test_costs_are_said_by_name() -> None:
    message = "the values of {} are positive and grow with the text: costs? A log-probability is negative"
    assert mistakes(lists(lm=-LM, ac=AC)) == [message.format("lm")]
    assert mistakes(lists(lm=-LM, ac=AC).select([0])) == []  # ten hypotheses tell nothing
    assert mistakes(lists(FEWEST, rnn=-LM)) == [message.format("rnn")]


def test_a_base_is_said_by_name() -> None:
    assert mistakes(lists(lm=LM, kenlm=LM / math.log(10) + RANDOM.normal(0, 0.05, 60))) == [
        "lm is 2.30 times kenlm, and ln 10 is 2.30: is kenlm in log10?"
    ]
    assert mistakes(lists(lm=LM, kenlm=LM / 2)) == []
    assert mistakes(lists(ac=LM, pen=LM / math.log(10))) == []  # no language models by their names


@pytest.mark.parametrize("name", ["lm", "LM0", "ac"])
def test_a_total_that_holds_a_part_against_the_hypothesis(name: str) -> None:
    """The parts reproduce the total, and so their weights are known."""
    parts = {name: LM, "x": AC}
    assert mistakes(lists(**parts, total=AC - 9.5 * LM)) == [
        f"the decoder's total falls where {name} rises: one of them has the wrong sign"
    ]
    assert mistakes(lists(**parts, total=AC + 9.5 * LM)) == []
    noisy = AC - 9.5 * LM + RANDOM.normal(0, 5, 60)  # something is missing: the weights are not known
    assert mistakes(lists(**parts, total=noisy)) == []


def test_moses_totals_are_known_without_being_features(caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        f"{k // 10} ||| {'w ' * int(n)}||| LM0= {lm:.6f} WordPenalty0= {-n} ||| {-0.5 * lm - n:.6f}"
        for k, (n, lm) in enumerate(zip(LENGTHS, LM, strict=True))
    ]
    found = mistakes(parse_nbest(enumerate(lines, 1), "f", "moses"))
    assert found == ["the decoder's total falls where LM0 rises: one of them has the wrong sign"]


def test_readers_say_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kaldi tables hold costs: log-probabilities among them are what users get wrong."""
    folder = tmp_path / "archives.1"
    folder.mkdir()
    keys = [f"u{k // 10}-{k % 10 + 1}" for k in range(60)]
    words = [" ".join(["w"] * int(n)) for n in LENGTHS]
    for name, values in (("words_text", words), ("acwt", -AC), ("lmwt.rnn", LM)):
        (folder / name).write_text("".join(f"{key} {v}\n" for key, v in zip(keys, values, strict=True)))
    with caplog.at_level(logging.WARNING):
        read_nbest(tmp_path)
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "the values of rnn are positive and grow with the text: costs? A log-probability is negative"
    ]


def test_nothing_is_said_of_real_lists(shared: Path) -> None:
    data = shared / "data"
    for path in (
        data / "mt/variants/plain.nbest",
        data / "mt/variants/untun.nbest",
        data / "mt/variants/dup.nbest",
        data / "asr/test/kaldi_nbest",
        data / "asr/test/srilm/nbest2",
        data / "asr/test/espnet/test.am.json.gz",
    ):
        assert mistakes(read_nbest(path)) == [], path


def test_weights_that_are_the_decoders_reproduce_its_totals(shared: Path) -> None:
    """Moses' default weights on its own lists; unknown words cost 100 each, the same throughout a list."""
    lists = read_nbest(shared / "data/mt/variants/plain.nbest")
    weights = {"LM0": 0.5, "WordPenalty0": -1, "PhrasePenalty0": 0.2, "TranslationModel0": 0.2}
    vector = np.array([weights.get(one.name, 0.3) for one in lists.schema for _ in range(one.width)])
    assert against_totals(lists, vector) is None
    flipped = np.where(np.arange(len(vector)) == 7, -vector, vector)  # LM0
    said = against_totals(lists, flipped)
    assert said is not None
    assert said.startswith("the weights do not reproduce the decoder's totals on ")
    assert against_totals(read_nbest(shared / "data/asr/test/kaldi_nbest"), np.ones(2)) is None
