"""int8 is said in the signature, and weights tuned with one precision are not the other's."""

from pathlib import Path
from typing import Any

import pytest

from models import catalog

pytest.importorskip("nbest_native", reason="the compiled kernels are not installed: make native")

SMALL = str(catalog.shipped()["small"])


def test_scores_are_near_and_say_so(run: Any, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("the man walks in the park\n")
    exact = run("score", text, "--lm", SMALL)
    near = run("score", text, "--lm", SMALL, "--precision", "int8")
    first, second = (float(done.stdout.split("\t")[0]) for done in (exact, near))
    assert first != second
    assert second == pytest.approx(first, abs=0.1)
    assert "|precision:fp32|" in exact.stderr
    assert "+int8|precision:int8|" in near.stderr


def test_weights_are_bound_to_it(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    weights, model = tmp_path / "w.json", ["--lm", SMALL]
    arguments = ["tune", lists, *model, "--ref", references, "--metric", "bleu", "--restarts", 2]
    tuned = run(*arguments, "--precision", "int8", "--out", weights)
    assert tuned.exit_code == 0, tuned.stderr
    same = run("rescore", lists, *model, "--weights", weights, "--precision", "int8")
    assert same.exit_code == 0, same.stderr
    assert "|precision:int8|" in same.stderr
    refused = run("rescore", lists, *model, "--weights", weights)
    assert refused.exit_code == 2
    assert "+int8" in refused.stderr
