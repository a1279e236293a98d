from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FormatError, NonFiniteFeatureError
from rescoring.formats import format_of, open_blocks, read_nbest, write_nbest, write_one_best


def write(root: Path, tables: dict[str, str]) -> None:
    for name, content in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.fixture
def espnet(tmp_path: Path) -> Path:
    """Two jobs as asr_inference leaves them; b has one hypothesis less."""
    root = tmp_path / "decode"
    write(
        root / "logdir",
        {
            "output.2/1best_recog/text": "c \n",
            "output.2/1best_recog/score": "c tensor(-0.5, device='cuda:0')\n",
            "output.2/1best_recog/token": "c \n",
            "output.1/1best_recog/text": "a-1 hello world\nb one\n",
            "output.1/1best_recog/score": "a-1 -1.25\nb tensor(-3.5)\n",
            "output.1/1best_recog/token": "a-1 ▁hello ▁world\nb ▁one\n",
            "output.1/1best_recog/token_int": "a-1 5 6\nb 7\n",
            "output.1/2best_recog/text": "a-1 hello word\n",
            "output.1/2best_recog/score": "a-1 -2\n",
            "output.1/2best_recog/token": "a-1 ▁hello ▁word\n",
            "output.1/2best_recog/token_int": "a-1 5 8\n",
            "asr_inference.1.log": "a log\n",
        },
    )
    return root


def content(root: Path) -> dict[str, str]:
    return {str(one.relative_to(root)): one.read_text() for one in root.rglob("*") if one.is_file()}


def test_jobs_and_ranks(espnet: Path) -> None:
    lists = read_nbest(espnet)
    assert (format_of(lists), lists.ids) == ("espnet", ("a-1", "b", "c"))
    assert lists.texts == ("hello world", "hello word", "one", "")
    assert lists.offsets.tolist() == [0, 2, 3, 4]
    assert lists.column_names == ("score",)
    assert lists.features[:, 0].tolist() == [-1.25, -2, -3.5, -0.5]
    for place in (espnet / "logdir", espnet / "logdir/output.1"):
        assert read_nbest(place).ids[0] == "a-1"
    with open_blocks(espnet, size=1) as blocks:
        assert [block.ids for block in blocks] == [("a-1", "b"), ("c",)]


def test_written_again_nothing_is_lost(espnet: Path, tmp_path: Path) -> None:
    write_nbest(read_nbest(espnet), tmp_path / "out")
    expected = content(espnet / "logdir")
    del expected["asr_inference.1.log"]
    assert content(tmp_path / "out") == expected


def test_the_new_best_is_1best(espnet: Path, tmp_path: Path) -> None:
    lists = read_nbest(espnet).with_feature("small", np.array([-9.0, -8, -7, -6]))
    write_nbest(lists, tmp_path / "out", totals=np.array([-4, -3, -2, -1.5]))
    found = content(tmp_path / "out/output.1")
    assert found["1best_recog/text"] == "a-1 hello word\nb one\n"
    assert found["1best_recog/token_int"] == "a-1 5 8\nb 7\n"
    assert found["1best_recog/score"] == "a-1 -3\nb -2\n"
    assert found["1best_recog/score.small"] == "a-1 -8\nb -7\n"
    assert found["2best_recog/score.decoder_score"] == "a-1 -1.25\n"
    again = read_nbest(tmp_path / "out")
    assert again.column_names == ("score", "decoder_score", "small")
    assert again.features[0].tolist() == [-3, -2, -8]
    write_one_best(lists, np.array([1, 2, 3]), tmp_path / "hyp")
    assert (tmp_path / "hyp").read_text() == "a-1 hello word\nb one\nc\n"


@pytest.mark.parametrize(
    ("table", "text", "message"),
    [
        ("output.1/1best_recog/score", "a-1 x\nb 1\n", "the score of a-1 is not a number; expected a number"),
        ("output.1/1best_recog/score", "a-1 nan\nb 1\n", "the score of a-1 is not finite"),
        ("output.1/1best_recog/score", "a-1 1\n", "text and score have different utterances; expected 2"),
        ("output.1/1best_recog/text", "a-1 x\na-1 y\n", "text:2: utterance a-1 stands there twice"),
        ("output.1/1best_recog/text", " x\n", "text:1: line without an utterance; expected 'utt value'"),
        ("output.2/1best_recog/text", "a-1 x\n", "output.2/1best_recog: text and score have different"),
        ("output.1/3best_recog/text", "b x\n", "utterance b does not go on from rank 1; expected the same"),
    ],
)
def test_what_is_wrong_is_said(espnet: Path, table: str, text: str, message: str) -> None:
    write(espnet / "logdir", {table: text})
    with pytest.raises((FormatError, NonFiniteFeatureError)) as caught:
        read_nbest(espnet)
    assert message in str(caught.value)


def test_an_utterance_in_two_jobs(espnet: Path) -> None:
    write(espnet / "logdir", {"output.2/1best_recog/text": "b \n", "output.2/1best_recog/score": "b 1\n"})
    with pytest.raises(FormatError, match=r"utterance b stands in two jobs; expected output.1 only"):
        read_nbest(espnet)
