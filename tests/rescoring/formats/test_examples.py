from pathlib import Path

import numpy as np
import pytest

from rescoring.features import add_external
from rescoring.formats import format_of, read_nbest, write_nbest
from rescoring.formats.moses import MosesRecord
from rescoring.formats.references import read_references
from rescoring.nbest import NbestLists

MOSES_WEIGHTS = [0.3] * 7 + [0.5, -1, 0.2] + [0.2] * 4  # as examples/README.md says


@pytest.fixture
def examples(repository: Path) -> Path:
    return repository / "examples"


def shape(lists: NbestLists) -> tuple[int, int]:
    return len(lists), len(lists.texts)


def check_references(lists: NbestLists, references: tuple[tuple[str, ...], ...]) -> None:
    """Every list holds its reference, and most do not have it first."""
    assert all(
        refs[0] in [lists.texts[row] for row in rows] for refs, rows in zip(references, lists, strict=True)
    )
    right = [lists.texts[rows.start] == refs[0] for refs, rows in zip(references, lists, strict=True)]
    assert sum(right) < len(right) / 2


@pytest.mark.parametrize("part", ["dev", "test"])
def test_translations(examples: Path, tmp_path: Path, part: str) -> None:
    path = examples / f"mt.{part}.nbest"
    lists = read_nbest(path)
    assert (format_of(lists), shape(lists), lists.features.shape[1]) == ("moses", (8, 48), 14)
    check_references(lists, read_references(examples / f"mt.{part}.ref", lists))
    totals = [record.decoder_total for record in lists.records if isinstance(record, MosesRecord)]
    assert np.allclose(lists.features @ np.array(MOSES_WEIGHTS), totals, atol=2e-4)
    assert all(totals[row] >= totals[row + 1] for rows in lists for row in rows[:-1])
    scored = add_external(lists, "extra", examples / f"mt.{part}.extra-scores")
    assert (scored.feature("extra") < 0).all()
    write_nbest(lists, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("lists", "text"), [("kaldi_nbest", "kaldi_text"), ("kaldi_test_nbest", "kaldi_test_text")]
)
def test_speech(examples: Path, lists: str, text: str) -> None:
    read = read_nbest(examples / lists)
    assert (format_of(read), shape(read)) == ("kaldi", (6, 48))
    assert read.column_names == ("ac", "lmonly", "nolm")
    check_references(read, read_references(examples / text, read))
    totals = read.features @ np.array([0.1, 1, 1])
    assert all(totals[row] >= totals[row + 1] - 1e-3 for rows in read for row in rows[:-1])


@pytest.mark.parametrize("name", ["lists.jsonl", "speech.jsonl"])
def test_lists_of_the_api(examples: Path, name: str) -> None:
    lists = read_nbest(examples / name)
    assert format_of(lists) == "jsonl"
    assert len(lists.references) == len(lists) > 2
    assert lists.column_names == ("ac", "lm")


def test_the_same_speech_in_other_formats(examples: Path) -> None:
    kaldi = read_nbest(examples / "kaldi_nbest")
    ac, lmonly, graph = kaldi.features.T
    for name, beam_size, expected in (
        ("srilm_nbest", None, {"ac": ac, "lm": lmonly + graph}),
        ("speech.mlm.json", None, {"score": 0.1 * ac + lmonly + graph}),
        ("beams.tsv", 8, {"score": 0.1 * ac + lmonly + graph}),
    ):
        lists = read_nbest(examples / name, beam_size=beam_size)
        assert (lists.texts, lists.offsets.tolist()) == (kaldi.texts, kaldi.offsets.tolist())
        assert beam_size or lists.ids == kaldi.ids
        for feature, values in expected.items():
            assert np.allclose(lists.feature(feature)[:, 0], values, rtol=1e-5, atol=1e-4)
