import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import ConfigError, FeatureError, FormatError, NonFiniteFeatureError
from rescoring.features import add_external, add_scores, parse_external
from rescoring.formats import parse_nbest
from rescoring.nbest import NbestLists
from rescoring.scorer import ScoreArrays

MOSES = (
    "0 ||| The dog  ||| d= 1 ||| -5",
    "0 ||| a dog  ||| d= 2 ||| -6",
    "0 ||| The dog  ||| d= 3 ||| -6",
    "1 |||  ||| d= 4 ||| -7",
)


def lists_of(*lines: str) -> NbestLists:
    return parse_nbest(enumerate(lines, 1), "lists")


@dataclass
class CountingScorer:
    """Scores a text by its length; keeps what it was asked."""

    name: str = "small"
    digest: str = "sha256:00"
    unknown: str = "dog"
    asked: list[str] = field(default_factory=list)
    spoil: float | None = None
    cut: int = 0

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        self.asked += texts
        log_probs = np.array([-1.5 * len(text) for text in texts])
        if self.spoil is not None:
            log_probs[-1] = self.spoil
        counts = np.array([len(text.split(" ")) + 1 for text in texts])
        oov = np.array([text.count(self.unknown) for text in texts])
        return ScoreArrays(log_probs[self.cut :], counts, oov)


def test_each_distinct_text_is_scored_once() -> None:
    lists = lists_of(*MOSES)
    scorer = CountingScorer()
    scored = add_scores(lists, [scorer])
    assert scorer.asked == ["The dog", "a dog", ""]
    assert scored.column_names == ("d", "small", "small.oov", "word_count")
    assert scored.features.tolist() == [
        [1, -10.5, 1, 2],
        [2, -7.5, 1, 2],
        [3, -10.5, 1, 2],
        [4, 0, 0, 0],
    ]
    assert lists.column_names == ("d",)


def test_scores_are_those_of_each_text_alone() -> None:
    lists = lists_of(*MOSES)
    together = add_scores(lists, [CountingScorer()]).feature("small")[:, 0]
    alone = [CountingScorer().score([text]).nat_log_probs[0] for text in lists.texts]
    assert together.tolist() == alone


def test_several_scorers_and_one_word_count() -> None:
    lists = lists_of(*MOSES)
    scored = add_scores(lists, [CountingScorer(), CountingScorer("large")])
    assert scored.column_names == ("d", "small", "small.oov", "large", "large.oov", "word_count")
    again = add_scores(scored, [CountingScorer("third")])
    assert again.column_names == (*scored.column_names, "third", "third.oov")
    assert add_scores(lists, []).column_names == ("d", "word_count")


def test_texts_go_through_the_pipeline() -> None:
    scorer = CountingScorer()
    scored = add_scores(lists_of(*MOSES), [scorer], text="lower")
    assert scorer.asked == ["the dog", "a dog", ""]
    assert scored.texts[0] == "The dog"


def test_words_are_counted_between_ascii_spaces() -> None:
    scored = add_scores(lists_of("0 ||| 10\u00a0000 men |0-1|  x ||| d= 1 ||| 2"), [CountingScorer()])
    assert scored.feature("word_count").tolist() == [[3]]


def test_a_name_that_is_taken() -> None:
    lists = lists_of(*MOSES)
    scored = add_scores(lists, [CountingScorer()])
    with pytest.raises(FeatureError) as caught:
        add_scores(scored, [CountingScorer()])
    assert str(caught.value) == (
        "lists: feature small is there already; expected a new name; got d, small, small.oov, word_count"
    )
    with pytest.raises(FeatureError) as twice:
        add_scores(lists, [CountingScorer(), CountingScorer()])
    assert str(twice.value) == "two scorers of the same name; expected distinct names; got ['small', 'small']"


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a|b", "lm:", "models/small", "a\tb"])
def test_names_that_formats_could_not_hold(name: str) -> None:
    with pytest.raises(FeatureError, match=r"^not a feature name; expected a name without white space"):
        add_scores(lists_of(*MOSES), [CountingScorer(name)])


def test_scorers_that_give_nonsense() -> None:
    with pytest.raises(NonFiniteFeatureError) as caught:
        add_scores(lists_of(*MOSES), [CountingScorer(spoil=-np.inf)])
    assert str(caught.value) == (
        "text 2: scorer small gave a score that is not finite; expected a finite number; got -inf"
    )
    with pytest.raises(FeatureError) as short:
        add_scores(lists_of(*MOSES), [CountingScorer(cut=1)])
    assert str(short.value) == (
        "scorer small gave another number of scores than texts; expected (3,); got (2,)"
    )


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return tmp_path / "scores"


def test_scores_from_a_file(scores: Path) -> None:
    scores.write_text("-1.5\n -2e1 \r\n+3\n-0\n")
    lists = add_external(lists_of(*MOSES), "ext", scores)
    assert lists.feature("ext")[:, 0].tolist() == [-1.5, -20, 3, 0]


def test_scores_follow_the_lines_of_the_source(scores: Path) -> None:
    lists = lists_of(MOSES[0], MOSES[3], "", MOSES[1], MOSES[0], MOSES[2])
    assert lists.texts == ("The dog", "a dog", "The dog", "")
    scores.write_text("-1\n-2\n-3\n-1.00001\n-5\n")
    assert add_external(lists, "ext", scores).feature("ext")[:, 0].tolist() == [-1, -3, -5, -2]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (
            "1\n2\n3\n",
            FormatError,
            ": as many lines as hypotheses are needed; expected 4 lines, one a hypothesis"
            " of lists; got 3 lines",
        ),
        (
            "",
            FormatError,
            ": as many lines as hypotheses are needed; expected 4 lines, one a hypothesis of lists;"
            " got 0 lines",
        ),
        ("1\n2\nx\n4\n", FormatError, ":3: the value of ext is not a number; expected a number; got 'x'"),
        ("1\n\n3\n4\n", FormatError, ":2: the value of ext is not a number; expected a number; got ''"),
        ("1 2\n2\n3\n4\n", FormatError, ":1: the value of ext is not a number; expected a number; got '1 2'"),
        (
            "1\nnan\n3\n4\n",
            NonFiniteFeatureError,
            ":2: the value of ext is not finite; expected a finite number; got 'nan'",
        ),
        (
            "1\n2\n3\n-inf\n",
            NonFiniteFeatureError,
            ":4: the value of ext is not finite; expected a finite number; got '-inf'",
        ),
    ],
)
def test_broken_score_files(scores: Path, content: str, error: type[Exception], message: str) -> None:
    scores.write_text(content)
    with pytest.raises(error) as caught:
        add_external(lists_of(*MOSES), "ext", scores)
    assert str(caught.value) == f"{scores}{message}"


def test_an_external_name_that_is_taken(scores: Path) -> None:
    scores.write_text("1\n2\n3\n4\n")
    with pytest.raises(FeatureError) as caught:
        add_external(lists_of(*MOSES), "d", scores)
    assert str(caught.value) == "lists: feature d is there already; expected a new name; got d"


def test_costs_are_pointed_out(scores: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = lists_of(*(f"0 ||| {'w ' * k} ||| d= 1 ||| {k}" for k in range(1, 6)))
    with caplog.at_level(logging.WARNING):
        scores.write_text("".join(f"-{k}.5\n" for k in range(1, 6)))
        add_external(lists, "log_prob", scores)
        scores.write_text("".join(f"{k}\n" for k in range(1, 6)))
        add_external(lists, "count", scores)
        scores.write_text("0.5\n" * 5)
        add_external(lists, "constant", scores)
        assert caplog.messages == []
        scores.write_text("".join(f"{k}.5\n" for k in range(1, 6)))
        add_external(lists, "cost", scores)
    assert caplog.messages == [
        f"{scores}: the values of cost are positive and grow with the text: costs? A log-probability is"
        f" negative"
    ]


def test_arguments() -> None:
    assert parse_external("nmt=/data/scores=1.gz") == ("nmt", Path("/data/scores=1.gz"))
    for argument in ("nmt", "=file", "nmt=", ""):
        with pytest.raises(ConfigError) as caught:
            parse_external(argument)
        assert str(caught.value) == f"not a name and a file; expected NAME=FILE; got {argument!r}"
