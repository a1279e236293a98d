import logging
import math
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import ConfigError, FormatError, NonFiniteFeatureError
from rescoring.formats import format_of, open_blocks, parse_nbest, read_nbest, write_nbest, write_one_best

BEAMS = "hello world\t-1.5\nhello word\t-2\n\t-3e-05\none\t-4\n"
FAIRSEQ = (
    "2023-01-01 00:00:00 | INFO | fairseq_cli.generate | loading model\n"
    "S-1\tein haus\n"
    "T-1\ta house\n"
    "H-1\t-0.5\ta ho@@ use\n"
    "D-1\t-0.5\ta house\n"
    "P-1\t-0.2500 -0.5000 -0.7500\n"
    "H-1\t-1\tthe house\n"
    "D-1\t-1\tthe house\n"
    "P-1\t-1.0000 -1.0000 -1.0000\n"
    "S-0\thallo\n"
    "T-0\thello\n"
    "H-0\t-0.25\thello\n"
    "D-0\t-0.25\thello\n"
    "P-0\t-0.2500\n"
    "Generate test with beam=5: BLEU4 = 30.00\n"
)


def test_nemo_needs_the_beam_size(tmp_path: Path) -> None:
    path = tmp_path / "beams.tsv"
    path.write_text(BEAMS)
    with pytest.raises(ConfigError, match=r"NeMo's file does not say where a list ends; .*--beam-size"):
        read_nbest(path)
    lists = read_nbest(path, beam_size=2)
    assert (format_of(lists), lists.ids, lists.column_names) == ("nemo", ("0", "1"), ("score",))
    assert lists.texts == ("hello world", "hello word", "", "one")
    assert lists.features[:, 0].tolist() == [-1.5, -2, -3e-05, -4]
    with open_blocks(path, beam_size=2, size=1) as blocks:
        assert [block.ids for block in blocks] == [("0",), ("1",)]
    with pytest.raises(FormatError, match=r"does not divide the lines; expected a multiple of 3; got 4"):
        read_nbest(path, beam_size=3)
    with pytest.raises(ConfigError, match="not a beam size"):
        read_nbest(path, beam_size=0)
    with pytest.raises(ConfigError, match="beam_size is for the format nemo; expected nemo; got moses"):
        parse_nbest([(1, "0 ||| a ||| d= 1 ||| 1")], "f", beam_size=2)


def test_nemo_written_again(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(BEAMS)
    lists = read_nbest(tmp_path / "x", beam_size=2)
    write_nbest(lists, tmp_path / "out")
    assert (tmp_path / "out").read_text() == BEAMS
    write_nbest(lists, tmp_path / "out", totals=np.array([1, 2.5, 4, 3]))
    assert (tmp_path / "out").read_text() == "hello word\t2.5\nhello world\t1\n\t4\none\t3\n"


def test_nemo_lists_of_several_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x"
    path.write_text(BEAMS)
    lists = read_nbest(path, beam_size=(1, 0, 3))
    assert (lists.ids, lists.offsets.tolist()) == (("0", "2"), [0, 1, 4])
    assert caplog.messages == [f"{path}: 1 lists without a hypothesis are left out"]
    write_nbest(lists, tmp_path / "out", totals=np.array([1, 2.5, 4, 3]))
    assert (tmp_path / "out").read_text() == "hello world\t1\n\t4\none\t3\nhello word\t2.5\n"
    with open_blocks(path, beam_size=(1, 0, 3), size=1) as blocks:
        assert [block.ids for block in blocks] == [("0",), ("2",)]
    for sizes, total in (((1, 2), 3), ((2, 2, 1), 5)):
        with pytest.raises(
            FormatError, match=rf"sizes .* are not those of the lines; expected {total} lines; got 4"
        ):
            read_nbest(path, beam_size=sizes)
    with pytest.raises(ConfigError, match="not a beam size"):
        read_nbest(path, beam_size=(5, -1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\t1\nb\n", "x:2: no TAB in the line; expected 'text TAB score'; got 'b'"),
        ("a\t1\n\n", "x:2: an empty line; expected 'text TAB score'"),
        ("a\t1\nb\tx\n", "x:2: the score is not a number; expected a number; got 'x'"),
        ("a\t1\nb\t-inf\n", "x:2: the score is not finite; expected a finite number; got '-inf'"),
    ],
)
def test_nemo_broken_lines(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises((FormatError, NonFiniteFeatureError)) as caught:
        read_nbest(tmp_path / "x", beam_size=1)
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_what_nemo_cannot_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def lists_of(*lines: str) -> None:
        write_nbest(parse_nbest(enumerate(lines, 1), "f", "moses"), tmp_path / "out", "nemo", totals=totals)

    totals: np.ndarray[tuple[int], np.dtype[np.float64]] = np.array([1.0, 2, 3])
    with pytest.raises(FormatError, match=r"f, list 1: .* cannot tell lists of different sizes apart"):
        lists_of("0 ||| a ||| d= 1 ||| 1", "0 ||| b ||| d= 1 ||| 1", "1 ||| c ||| d= 1 ||| 1")
    totals = np.array([1.0])
    with pytest.raises(FormatError, match=r"NeMo's file has no place for ids; expected list 0, .*; got '5'"):
        lists_of("5 ||| a ||| d= 1 ||| 1")
    with pytest.raises(FormatError, match="NeMo's file cannot hold this text"):
        lists_of("0 ||| a\tb ||| d= 1 ||| 1")
    caplog.clear()
    lists_of("0 ||| a ||| d= 1 e= 2 3 ||| 1")
    assert caplog.messages == [f"{tmp_path / 'out'}: features without a place are left out: d, e"]


def test_fairseq_lists_are_put_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "generate-test.txt"
    path.write_text(FAIRSEQ)
    with caplog.at_level(logging.WARNING):
        lists = read_nbest(path, "fairseq")
    assert caplog.messages == [f"{path}: 2 lines that are no hypothesis are left out"]
    assert (format_of(lists), lists.ids) == ("fairseq", ("0", "1"))
    assert lists.texts == ("hello", "a ho@@ use", "the house")
    assert lists.references == (("hello",), ("a house",))
    assert lists.column_names == ("score", "log_prob")
    bits = np.array([[-0.25, -0.25], [-0.5, -1.5], [-1, -3]])
    assert np.allclose(lists.features, bits * math.log(2), rtol=1e-15)
    with open_blocks(path, "fairseq", size=1) as blocks:
        (block,) = blocks
    assert block.ids == ("0", "1")
    assert "list 0 stands after list 1: the whole file is held in memory" in caplog.messages[-2]


def test_fairseq_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x"
    first, second = FAIRSEQ.index("S-1"), FAIRSEQ.index("S-0")
    ordered = FAIRSEQ[second : FAIRSEQ.index("Generate")] + FAIRSEQ[first:second]
    path.write_text(ordered)
    lists = read_nbest(path)
    write_nbest(lists, tmp_path / "out")
    assert (tmp_path / "out").read_text() == ordered
    write_nbest(lists, tmp_path / "out", totals=np.array([-1.0, -2, -1]) * math.log(2))
    assert (tmp_path / "out").read_text().split("\n")[5:] == [
        "S-1\tein haus",
        "T-1\ta house",
        "H-1\t-1\tthe house",
        "D-1\t-1\tthe house",
        "P-1\t-1.0000 -1.0000 -1.0000",
        "H-1\t-2\ta ho@@ use",
        "D-1\t-2\ta house",
        "P-1\t-0.2500 -0.5000 -0.7500",
        "",
    ]
    write_one_best(lists, np.array([0, 2]), tmp_path / "hyp")
    assert (tmp_path / "hyp").read_text() == "hello\nthe house\n"
    with open_blocks(path, size=1) as blocks:
        assert [block.ids for block in blocks] == [("0",), ("1",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("H-0\t-1 a\n", "x:1: not a hypothesis; expected 'H-number TAB score TAB text'"),
        ("H-0\tx\ta\n", "x:1: the score is not a number; expected a number; got 'x'"),
        ("H-0\t-1\ta\nH-1\t-1\tb\nH-0\t-1\tc\n", "x:3: list 0 comes back later"),
        ("H-0\t-1\ta\nP-0\t-1 y\n", "a log-probability of P- is not a number"),
        ("T-0\tr\nH-0\t-1\ta\nH-1\t-1\tb\n", "x: list 1 has no T- line, and others do"),
        ("S-0\ta\n", "x: no n-best list in it; expected H-number TAB score TAB text; got no lines"),
    ],
)
def test_fairseq_broken_lines(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(FormatError) as caught:
        read_nbest(tmp_path / "x", "fairseq")
    assert message in str(caught.value)
