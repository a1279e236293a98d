import json
import math
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FormatError, NotFoundError, ReferenceMismatchError
from rescoring.features import add_external
from rescoring.formats.external_scores import open_scores
from rescoring.nbest import Feature, NbestLists


def lists(*ids: str) -> NbestLists:
    texts = [f"{name} {k}" for name in ids for k in range(2)]
    return NbestLists(
        ids, np.arange(0, 2 * len(ids) + 1, 2), tuple(texts), (Feature("d"),), np.zeros((len(texts), 1))
    )


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("", 1), ("nat:", 1), ("log10:", math.log(10)), ("cost:", -1), ("bytelog:", 1024 / 10000.5)],
)
def test_units_of_a_file(tmp_path: Path, unit: str, factor: float) -> None:
    (tmp_path / "x").write_text("-1\n2\n-3\n4\n")
    found = add_external(lists("a", "b"), "lm", f"{unit}{tmp_path / 'x'}")
    assert np.allclose(found.feature("lm")[:, 0], factor * np.array([-1, 2, -3, 4]), rtol=1e-15)


def test_a_file_with_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cost:x").write_text("1\n2\n")
    assert add_external(lists("a"), "lm", "cost:x").feature("lm")[:, 0].tolist() == [1, 2]


def test_block_after_block(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1\n2\n3\n4\n")
    scores = open_scores("x", tmp_path / "x")
    assert scores.take(lists("a")).tolist() == [1, 2]
    with pytest.raises(FormatError, match=r"x: as many lines .* expected 2 lines, one a hypothesis .* got 4"):
        scores.finish()
    scores = open_scores("x", tmp_path / "x")
    assert scores.take(lists("a")).tolist() == [1, 2]
    assert scores.take(lists("b")).tolist() == [3, 4]
    scores.finish()
    with pytest.raises(FormatError, match="expected 6 lines, one a hypothesis of <memory>; got 4 lines"):
        scores.take(lists("c"))


def test_srilms_score_directory_is_in_log10(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.score").write_text("-1\n-2\n")
    found = add_external(lists("b", "a"), "lm", tmp_path).feature("lm")[:, 0]
    assert np.allclose(found, [-math.log(10), -2 * math.log(10)] * 2)
    assert add_external(lists("b"), "lm", f"nat:{tmp_path}").feature("lm")[:, 0].tolist() == [-1, -2]
    with pytest.raises(NotFoundError, match="no scores of c"):
        add_external(lists("c"), "lm", tmp_path)


def test_other_scores_of_the_same_texts(tmp_path: Path) -> None:
    def hypotheses(name: str) -> dict[str, object]:
        return {f"hyp_{k + 1}": {"text": f"{name} {k}", "score": -k - 0.5} for k in range(2)}

    path = tmp_path / "lm.json"
    path.write_text(json.dumps({name: hypotheses(name) for name in ("b", "a", "c")}))
    assert add_external(lists("a", "b"), "lm", path).feature("lm")[:, 0].tolist() == [-0.5, -1.5] * 2
    with pytest.raises(ReferenceMismatchError, match=r"the hypotheses of 'd' are not those .* got 0 texts"):
        add_external(lists("d"), "lm", path)
    path.write_text(
        json.dumps({"a": {"hyp_1": {"text": "a 1", "score": 0}, "hyp_2": {"text": "a 0", "score": 0}}})
    )
    with pytest.raises(ReferenceMismatchError, match=r"the 2 texts of <memory>, in their order; got other"):
        add_external(lists("a"), "lm", path)
