"""KenLM as a scorer, against an ARPA file whose numbers are known; a stand-in where it is not installed."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbest.errors import ConfigError, ModelFileError, NotFoundError
from rescoring.kenlm_scorer import open_scorer

# log10: P(a | <s>) = -0.2, P(b | a) = -0.5 backing off nothing, P(</s> | b) = bow(b) + P(</s>) = -0.1 - 0.9
ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.5\t<unk>
0\t<s>\t-0.3
-0.9\t</s>
-0.7\ta\t-0.4
-0.8\tb\t-0.1

\\2-grams:
-0.2\t<s> a
-0.5\ta b

\\end\\
"""


class StandIn:
    """What the scorer uses of kenlm.Model, for the text 'a b' and for 'zebra'."""

    def __init__(self, path: str) -> None:
        if "\\data\\" not in Path(path).read_text():
            raise OSError(f"Cannot read model '{path}' (bad magic)")

    def full_scores(self, text: str, bos: bool, eos: bool) -> Iterator[tuple[float, int, bool]]:
        assert bos
        assert eos
        known = {"a b": [(-0.2, 2, False), (-0.5, 2, False), (-1.0, 1, False)]}
        unknown = [(-0.3 - 1.5, 1, True), (-0.9, 1, False)]
        return iter(known.get(text, unknown))


@pytest.fixture(params=["KenLM", "stand-in"])
def arpa(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "KenLM":
        pytest.importorskip("kenlm", reason="the extra kenlm is not installed")
    else:
        monkeypatch.setitem(sys.modules, "kenlm", SimpleNamespace(Model=StandIn))
    path = tmp_path / "tiny.arpa"
    path.write_text(ARPA)
    return path


def test_scores_are_natural_logarithms_with_the_end_of_the_sentence(arpa: Path) -> None:
    scorer = open_scorer(arpa)
    scores = scorer.score(["a  b", "zebra"])
    ten = math.log(10)
    assert scores.nat_log_probs.tolist() == pytest.approx([-1.7 * ten, -2.7 * ten], rel=1e-6)
    assert scores.token_counts.tolist() == [3, 2]
    assert scores.oov_counts.tolist() == [0, 1]
    assert [one.token for one in scorer.score_tokens(["a b"])[0]] == ["a", "b", "</s>"]
    assert scorer.name == "tiny"
    assert scorer.digest.startswith("sha256:")


def test_files_that_are_no_model(arpa: Path) -> None:
    with pytest.raises(NotFoundError, match="no such KenLM model"):
        open_scorer(arpa.parent / "nothing.arpa")
    broken = arpa.parent / "broken.arpa"
    broken.write_text("hello")
    with pytest.raises(ModelFileError, match="KenLM cannot read it"):
        open_scorer(broken)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ConfigError, match=r"KenLM is not installed; expected pip install 'nbest\[kenlm\]'"):
        open_scorer("any.arpa")
