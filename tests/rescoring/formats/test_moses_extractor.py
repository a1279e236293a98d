import struct
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FeatureError, FormatError, NonFiniteFeatureError
from rescoring.formats import parse_nbest
from rescoring.formats.moses_extractor import bleu_counts, read_features, read_scores, write_extractor
from rescoring.metrics import get_metric
from rescoring.nbest import Feature

# as `extractor --nbest` of Moses writes them, with a sparse feature
FEATURES = (
    "FEATURES_TXT_BEGIN_0 0 2 3 LM0_0 TM0_0 TM0_1 \n-1.5 -2 -3 PL_1,1=2 \n-1 -2 -4 \nFEATURES_TXT_END_0\n"
    "FEATURES_TXT_BEGIN_0 7 1 3 LM0_0 TM0_0 TM0_1 \n-9 0 0 \nFEATURES_TXT_END_0\n"
)
SCORES = (
    "SCORES_TXT_BEGIN_0 0 2 9 BLEU\n3 4 1 3 0 2 0 1 4 \n4 4 3 3 2 2 1 1 4 \nSCORES_TXT_END_0\n"
    "SCORES_TXT_BEGIN_0 7 1 9 BLEU\n0 1 0 0 0 0 0 0 2 \nSCORES_TXT_END_0\n"
)


def test_features(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "f").write_text(FEATURES)
    found = read_features(tmp_path / "f")
    assert (found.ids, found.offsets.tolist()) == (("0", "7"), [0, 2, 3])
    assert found.schema == (Feature("LM0"), Feature("TM0", 2), Feature("PL_1,1"))
    assert found.values.tolist() == [[-1.5, -2, -3, 2], [-1, -2, -4, 0], [-9, 0, 0, 0]]
    assert "1 feature is absent on some lines" in caplog.text


def test_binary_features_and_ids_that_come_back(tmp_path: Path) -> None:
    row = struct.pack("<2f", -0.5, 3)
    data = b"FEATURES_BIN_BEGIN_0 4 1 2 a_0 b_0\n" + row + b"FEATURES_BIN_END_0\n"
    text = b"FEATURES_TXT_BEGIN_0 5 1 2 a_0 b_0\n8 9\nFEATURES_TXT_END_0\n"
    (tmp_path / "f").write_bytes(data + text + data)
    found = read_features(tmp_path / "f")
    assert (found.ids, found.offsets.tolist()) == (("4", "5"), [0, 2, 3])
    assert found.values.tolist() == [[-0.5, 3], [-0.5, 3], [8, 9]]
    (tmp_path / "f").write_bytes(data[:-24])
    with pytest.raises(FormatError, match=r"f:1: truncated block; expected 8 bytes; got [0-7]"):
        read_features(tmp_path / "f")


def test_scores(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(SCORES)
    found = read_scores(tmp_path / "s")
    assert (found.ids, found.schema) == (("0", "7"), (Feature("BLEU", 9),))
    assert found.values[1].tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 4]


def test_written_for_moses_tuners(tmp_path: Path) -> None:
    lines = ["0 ||| a b c d ||| LM0= -1.5 TM0= -2 -3 ||| 1", "0 ||| a b x d ||| LM0= -1 TM0= -2 -4 ||| 1"]
    lists = parse_nbest(enumerate([*lines, "7 ||| q ||| LM0= -9 TM0= 0 0 ||| 1"], 1), "f", "moses")
    references = (("a b c d",), ("x y",))
    counts = bleu_counts(get_metric("bleu").counts(lists.texts, lists.segments, references))
    write_extractor(lists, counts, tmp_path / "features.dat", tmp_path / "scores.dat.gz")
    assert (tmp_path / "features.dat").read_text() == (
        "FEATURES_TXT_BEGIN_0 0 2 3 LM0_0 TM0_0 TM0_1\n-1.5 -2 -3 \n-1 -2 -4 \nFEATURES_TXT_END_0\n"
        "FEATURES_TXT_BEGIN_0 7 1 3 LM0_0 TM0_0 TM0_1\n-9 0 0 \nFEATURES_TXT_END_0\n"
    )
    scores = read_scores(tmp_path / "scores.dat.gz")
    assert scores.values.tolist() == [
        [4, 4, 3, 3, 2, 2, 1, 1, 4],
        [3, 4, 1, 3, 0, 2, 0, 1, 4],
        [0, 1, 0, 0, 0, 0, 0, 0, 2],
    ]
    again = read_features(tmp_path / "features.dat")
    assert again.schema == lists.schema
    assert np.array_equal(again.values, lists.features)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f: no block in it; expected FEATURES_TXT_BEGIN_0 ...; got nothing"),
        ("x\n", "f:1: not the beginning of a block; expected 'FEATURES_TXT_BEGIN_0 id rows columns names'"),
        ("FEATURES_TXT_BEGIN_0 0 x 1 a_0\n", "f:1: not a number of rows or columns; got 'x'"),
        ("FEATURES_TXT_BEGIN_0 0 1 2 a_0 b_0\n1\n", "f:2: another number of values; expected 2; got 1"),
        ("FEATURES_TXT_BEGIN_0 0 1 1 a_0\nnan\n", "f:2: a value is not finite"),
        ("FEATURES_TXT_BEGIN_0 0 1 1 a_0\n1\n2\n", "f:3: the block does not end here; expected FEATURES_TXT"),
        (
            "FEATURES_TXT_BEGIN_0 0 1 2 a_0 a_1\n1 2\nFEATURES_TXT_END_0\n"
            "FEATURES_TXT_BEGIN_0 1 1 1 a_0\n1\nFEATURES_TXT_END_0\n",
            "f:4: feature a has another number of values than before; expected 2; got 1",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises((FormatError, FeatureError, NonFiniteFeatureError)) as caught:
        read_features(tmp_path / "f")
    assert message in str(caught.value)
