import gzip
import logging
import time
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FeatureError, FormatError, NonFiniteFeatureError
from nbest.files import read_lines
from rescoring.formats import moses
from rescoring.formats.moses import MosesRecord, read_moses, scoring_text
from rescoring.formats.moses_features import parse_field
from rescoring.nbest import Feature, NbestLists

GOOD = "0 ||| a b  ||| LM0= -1 TM0= 1 2 ||| -5"


def read(*lines: str, keep_total: bool = False) -> NbestLists:
    return read_moses(enumerate(lines, 1), "f", keep_total=keep_total)


def test_one_list() -> None:
    lists = read(
        "0 ||| a group of men  ||| LM0= -44.1181 WordPenalty0= -4 TM0= -5.3 -12.4 ||| -117.175",
        "0 ||| a group  ||| LM0= -20.5 WordPenalty0= -2 TM0= -1.5 -1.25 ||| -118.86",
        "1 ||| dogs  ||| LM0= -3 WordPenalty0= -1 TM0= 0 -0.5 ||| -1e-05",
    )
    assert lists.ids == ("0", "1")
    assert lists.offsets.tolist() == [0, 2, 3]
    assert lists.texts == ("a group of men", "a group", "dogs")
    assert lists.schema == (Feature("LM0"), Feature("WordPenalty0"), Feature("TM0", 2))
    assert lists.features.tolist() == [
        [-44.1181, -4, -5.3, -12.4],
        [-20.5, -2, -1.5, -1.25],
        [-3, -1, 0, -0.5],
    ]
    assert lists.lines == (1, 2, 3)
    assert lists.where(2) == "f:3"
    records = [record for record in lists.records if isinstance(record, MosesRecord)]
    assert [record.decoder_total for record in records] == [-117.175, -118.86, -1e-05]


def test_the_total_is_a_feature_only_when_asked_for() -> None:
    lines = ("0 ||| a ||| d= 1 ||| -5.5 ||| 0-0", "0 ||| b ||| d= 2 ||| -7")
    assert read(*lines).schema == (Feature("d"),)
    lists = read(*lines, keep_total=True)
    assert lists.schema == (Feature("d"), Feature("decoder_total"))
    assert lists.features.tolist() == [[1, -5.5], [2, -7]]


@pytest.mark.parametrize(
    ("line", "text", "values"),
    [
        ("0|||text here||| LM0= 1 |||2", "text here", {"LM0": [1]}),
        ("0 |||text ||| map: 1.5 w: 9 1 2 3 4 ||| -7", "text", {"map": [1.5], "w": [9, 1, 2, 3, 4]}),
        ("0 ||| a  b   c  ||| LM0= 1 ||| 2", "a b c", {"LM0": [1]}),
        ("0 |||  ||| LM0= 0 ||| 0", "", {"LM0": [0]}),
        ("0 |||  ||| LM0= 0 ||| 0 ||| ", "", {"LM0": [0]}),
        ("0 ||| a ||| LM0= 0 ||| 0 ||| 0-0 ||| 0=0 ||| x", "a", {"LM0": [0]}),
        ("0 ||| a ||| d: 0 lm: -3.2 lm: -4.1 ||| -1", "a", {"d": [0], "lm": [-3.2, -4.1]}),
        ("0 ||| a ||| -3.2 0 -9 ||| -1", "a", {"f0": [-3.2], "f1": [0], "f2": [-9]}),
        ("0 ||| a ||| X=-1 Y=2e-3 ||| -1", "a", {"X": [-1], "Y": [0.002]}),
        ("0 ||| a |0-1| b |2-2|  ||| LM0= 1 ||| 2", "a b", {"LM0": [1]}),
        (
            "0 ||| a |0-1,wa=0-0 1-0 ,total=-3.5,LM0= -2 TM0= 1 2 | b |2-2,wa=,total=-1,LM0= -1| |||"
            " LM0= 1 ||| 2",
            "a b",
            {"LM0": [1]},
        ),
        ("0 ||| word|NN <x> &#124; |0-1 ||| LM0= 1 ||| 2", "word|NN <x> &#124; |0-1", {"LM0": [1]}),
        ("0 ||| 10\u00a0000 men\u2028\x85 ||| LM0= 1 ||| 2", "10\u00a0000 men\u2028\x85", {"LM0": [1]}),
        ("0 ||| a |||  ||| 2", "a", {}),
    ],
)
def test_one_line_of_each_flavour(line: str, text: str, values: dict[str, list[float]]) -> None:
    lists = read(line)
    assert lists.texts == (text,)
    assert lists.schema == tuple(Feature(name, len(numbers)) for name, numbers in values.items())
    assert lists.features.tolist() == [[number for numbers in values.values() for number in numbers]]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (" a |0-1| b |2-2|  ", "a b"),
        ("|0-0| a |1-1|", "a"),
        ("|0-0| |1-1|", ""),
        ("a|0-1| b", "a|0-1| b"),
        ("a |0-1|b", "a |0-1|b"),
        ("a |-1-1| b", "a |-1-1| b"),
        ("a\u00a0|0-1| b", "a\u00a0|0-1| b"),
    ],
)
def test_trace_tokens_and_nothing_else_are_taken_out(field: str, text: str) -> None:
    assert scoring_text(field) == text


def test_ids_that_come_back_join_their_list(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lists = read(
            "100 ||| a ||| d= 1 ||| 1",
            "007 ||| c ||| d= 3 ||| 1",
            "",
            "100 ||| b ||| d= 2 ||| 1",
            "7 ||| d ||| d= 4 ||| 1",
            "100 ||| a ||| d= 1 ||| 1",
            "100 ||| a ||| d= 9 ||| 1",
        )
    assert lists.ids == ("100", "7")
    assert lists.texts == ("a", "b", "a", "c", "d")
    assert lists.features.tolist() == [[1], [2], [9], [3], [4]]
    assert lists.offsets.tolist() == [0, 3, 5]
    assert lists.lines == (1, 4, 7, 2, 5)
    first = lists.records[0]
    assert isinstance(first, MosesRecord)
    assert first.repeats == (6,)
    assert caplog.messages == [
        "f: 1 lines identical to an earlier one were left out",
        "f: ids come back later in the file; their lists were joined",
    ]


def test_sparse_features(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lists = read(
            "0 ||| a ||| LM0= -1 PL_2,2= 3 my_lm= -7 ||| 1",
            "0 ||| b ||| LM0= -2 WT_männern~men= 1 my_lm= -8 ||| 1",
        )
    assert lists.column_names == ("LM0", "PL_2,2", "my_lm", "WT_männern~men")
    assert lists.features.tolist() == [[-1, 3, -7, 0], [-2, 0, -8, 1]]
    assert caplog.messages == [
        "f: 2 features are absent on some lines and counted as 0 there (PL_2,2, WT_männern~men)"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "1 ||| text ||| LM0= -1",
            "f:2: too few fields between '|||': '1 ||| text ||| LM0= -1'; expected at least 4: 'id |||"
            " text |||"
            " features ||| total'; got 3",
        ),
        (
            "no list",
            "f:2: too few fields between '|||': 'no list'; expected at least 4: 'id ||| text ||| features |||"
            " total'; got 1",
        ),
        (
            "one ||| a ||| LM0= -1 TM0= 1 2 ||| -1",
            "f:2: the segment id is no integer; expected a number in 'id ||| text ||| features ||| total';"
            " got 'one'",
        ),
        (
            " ||| a ||| LM0= -1 TM0= 1 2 ||| -1",
            "f:2: the segment id is no integer; expected a number in 'id ||| text ||| features |||"
            " total'; got ''",
        ),
        (
            "-1 ||| a ||| LM0= -1 TM0= 1 2 ||| -1",
            "f:2: the segment id is no integer; expected a number in 'id ||| text ||| features ||| total';"
            " got '-1'",
        ),
        (
            "1 ||| a ||| LM0= -1 TM0= 1 2 ||| ",
            "f:2: the total is not a number; expected a number; got ''",
        ),
        (
            "1 ||| a ||| LM0= -1 TM0= 1 2 ||| x",
            "f:2: the total is not a number; expected a number; got 'x'",
        ),
        (
            "1 ||| a ||| LM0= -1 TM0= 1 ||| -1",
            "f:2: feature TM0 has another number of values than before; expected 2; got 1",
        ),
        (
            "1 ||| a ||| LM0= -1 ||| -1",
            "f:2: feature TM0 is missing; expected 2 values as on other lines; got none",
        ),
        (
            "1 ||| a ||| LM0= -1 TM0= ||| -1",
            "f:2: feature TM0 has no value; expected a number; got the end of the field",
        ),
        (
            "1 ||| a ||| LM0= -1 TM0= 1 2 X= ||| -1",
            "f:2: feature X has no value; expected a number; got the end of the field",
        ),
        (
            "1 ||| a ||| LM0= -1 TM0= 1 2 X=y ||| -1",
            "f:2: feature X is not a number; expected a number; got 'y'",
        ),
    ],
)
def test_broken_lines(line: str, message: str) -> None:
    with pytest.raises((FormatError, FeatureError)) as caught:
        read(GOOD, line)
    assert str(caught.value) == message
    with pytest.raises((FormatError, FeatureError), match=r"^f:2: "):
        read(GOOD, line, GOOD.replace("a b", "c"))


@pytest.mark.parametrize("value", ["nan", "-inf", "inf", "1e999"])
def test_values_that_are_not_finite(value: str) -> None:
    with pytest.raises(NonFiniteFeatureError) as caught:
        read(GOOD, f"1 ||| a ||| LM0= {value} TM0= 1 2 ||| -1")
    assert str(caught.value) == f"f:2: feature LM0 is not finite; expected a finite number; got {value!r}"
    with pytest.raises(NonFiniteFeatureError) as caught:
        read(GOOD, f"1 ||| a ||| LM0= -1 TM0= 1 2 ||| {value}")
    assert str(caught.value) == f"f:2: the total is not finite; expected a finite number; got {value!r}"


@pytest.mark.parametrize("lines", [(), ("",), ("", "  \t", "")])
def test_no_lines(lines: tuple[str, ...]) -> None:
    with pytest.raises(FormatError) as caught:
        read(*lines)
    assert str(caught.value) == (
        "f: no n-best list in it; expected 'id ||| text ||| features ||| total'; got no lines"
    )


def test_crlf_and_invalid_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.nbest"
    path.write_bytes(b"0 ||| a b ||| d= 1 ||| 2\r\n\r\n0 ||| c ||| d= 2 ||| 3 ||| 0-0\r\n")
    lists = read_moses(read_lines(path), str(path))
    assert lists.texts == ("a b", "c")
    assert lists.lines == (1, 3)
    path.write_bytes(b"0 ||| a b ||| d= 1 ||| 2\n0 ||| \xe9t\xe9 ||| d= 1 ||| 2\n")
    with pytest.raises(FormatError) as caught:
        read_moses(read_lines(path), str(path))
    assert (
        str(caught.value)
        == f"{path}:2: invalid UTF-8; expected UTF-8 text; got byte 0xe9 at byte 7 of the line"
    )


def test_a_truncated_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    packed = gzip.compress("".join(f"{k} ||| a {k * k} ||| d= {k} ||| 2\n" for k in range(999)).encode())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(FormatError, match=r"x\.gz:[0-9]+: broken or truncated stream"):
        read_moses(read_lines(path), str(path))


def test_very_long_lines_are_read_or_refused_quickly() -> None:
    started = time.monotonic()
    long = "word " * 2_000_000
    assert len(read(f"0 ||| {long} ||| d= 1 ||| 2").texts[0]) == len(long) - 1
    assert read(f"0 ||| {'|1-' * 1_000_000}1,wa= ||| d= 1 ||| 2").texts[0].endswith("|1-1,wa=")
    with pytest.raises(FormatError) as caught:
        read("x" * 10_000_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(FormatError) as caught:
        read(f"0 ||| a ||| d= 1 {'y' * 10_000_000} ||| 2")
    assert len(str(caught.value)) < 300
    assert time.monotonic() - started < 20


FIRST = [-1.68191, 0, 0, -0.717801, 0, 0, 0, -44.1181, -9, 6, -5.31278, -12.4899, -1.85174, -3.32577]


@pytest.mark.parametrize(
    ("flavour", "features", "first"),
    [
        ("plain", 14, FIRST),
        ("align", 14, None),
        ("dup", 14, None),
        ("dropunk", 14, None),
        ("seg", 14, None),
        ("segalign", 14, None),
        ("trace", 14, None),
        ("untun", 14, None),
        ("nolabel", 14, FIRST),
        ("comp", 12, [*FIRST[:11], FIRST[12]]),
        ("sparse", None, None),
    ],
)
def test_real_lists(shared: Path, flavour: str, features: int | None, first: list[float] | None) -> None:
    path = shared / "data" / "mt" / "variants" / f"{flavour}.nbest"
    lists = read_moses(read_lines(path), str(path))
    lines = [line.split("|||") for _, line in read_lines(path)]
    assert lists.ids == tuple(str(k) for k in range(8))
    assert len(lists.texts) == len(lines)
    assert lists.texts[0].startswith("a group of men loading ")
    assert not any("|" in text for text in lists.texts)
    assert "" in lists.texts  # the empty source line
    values = [parse_field(parts[2], "") for parts in lines]
    for row, line in enumerate(values):
        for feature in lists.schema:
            expected = line.get(feature.name, [0.0] * feature.width)
            assert lists.feature(feature.name)[row].tolist() == expected
    if features is not None:
        assert lists.features.shape[1] == features
    if first is not None:
        assert lists.features[0].tolist() == first


def test_the_traces_hide_the_same_words(shared: Path) -> None:
    folder = shared / "data" / "mt" / "variants"
    traced, aligned = (read_moses(read_lines(folder / name), name) for name in ("trace.nbest", "align.nbest"))
    assert traced.texts == aligned.texts


def test_the_whole_dev_set_line_by_line(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bulk reader against the rule, on the first 5,000 lines of real lists."""
    path = shared / "data" / "mt" / "dev.distinct.nbest.gz"
    head = [item for item, _ in zip(read_lines(path), range(5000), strict=False)]
    bulk = read_moses(head, "dev")
    monkeypatch.setattr(moses.Layout, "block", lambda self, fields: None)
    slow = read_moses(head, "dev")
    assert bulk.schema == slow.schema
    assert np.array_equal(bulk.features, slow.features)
    assert (bulk.texts, bulk.ids, bulk.records) == (slow.texts, slow.ids, slow.records)
    rows = [parse_field(line.split("|||")[2], "") for _, line in head]
    assert bulk.features.tolist() == [[x for xs in row.values() for x in xs] for row in rows]


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{k // 3} ||| w{k} ||| a= {k} b= {k}.5 ||| -{k}" for k in range(20)]
    whole = read(*lines, keep_total=True)
    monkeypatch.setattr(moses, "BLOCK_LINES", 7)
    cut = read(*lines, keep_total=True)
    assert np.array_equal(whole.features, cut.features)
    assert cut.features[19].tolist() == [19, 19.5, -19]
    with pytest.raises(NonFiniteFeatureError, match=r"^f:13: feature b is not finite"):
        read(*lines[:12], "5 ||| w ||| a= 1 b= nan ||| 0", *lines[13:])
