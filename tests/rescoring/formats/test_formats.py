import io
import sys
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import ConfigError, FeatureError, FormatError, NotFoundError
from nbest.files import read_lines
from rescoring.formats import (
    FORMATS,
    format_of,
    hypothesis_rows,
    parse_nbest,
    read_nbest,
    write_nbest,
    write_one_best,
)
from rescoring.nbest import Feature, NbestLists

MOSES = "0 ||| a  ||| d= 1 ||| -5\n0 ||| b  ||| d= 2 ||| -6\n1 ||| c  ||| d= 3 ||| -7\n"
JSONL = '{"id": "x", "hypotheses": [{"text": "a", "features": {"d": 1.0}}]}\n'
NAMES = ["moses", "kaldi", "jsonl", "mlm", "espnet", "srilm", "fairseq", "nemo"]
KNOWN = f"lists of {', '.join(NAMES)}"


@pytest.fixture
def moses(tmp_path: Path) -> Path:
    path = tmp_path / "lists"
    path.write_text(MOSES)
    return path


def in_memory(*texts: str) -> NbestLists:
    features = np.arange(len(texts), dtype=np.float64)[:, None]
    return NbestLists(("0",), np.array([0, len(texts)]), texts, (Feature("d"),), features)


def test_the_format_is_told_from_the_content(tmp_path: Path, directory: Path, moses: Path) -> None:
    assert list(FORMATS) == NAMES
    jsonl = tmp_path / "also-lists"
    jsonl.write_text(f"\n  {JSONL}")
    for path, name in ((moses, "moses"), (jsonl, "jsonl"), (directory, "kaldi")):
        assert format_of(read_nbest(path)) == name
        assert format_of(read_nbest(str(path), name)) == name
    assert format_of(in_memory("a")) == "jsonl"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(f"\n{MOSES}".encode())

    monkeypatch.setattr(sys, "stdin", Stdin())
    lists = read_nbest("-")
    assert (lists.source, lists.lines) == ("<stdin>", (2, 3, 4))


def test_compressed_by_name(tmp_path: Path, moses: Path) -> None:
    lists = read_nbest(moses)
    for suffix in (".gz", ".bz2", ".xz"):
        write_nbest(lists, tmp_path / f"x{suffix}")
        assert read_nbest(tmp_path / f"x{suffix}").texts == lists.texts


def test_what_is_not_a_list(tmp_path: Path, moses: Path, directory: Path) -> None:
    path = tmp_path / "x"

    def message(kind: type[Exception], *args: str) -> str:
        with pytest.raises(kind) as caught:
            read_nbest(path, *args)
        return str(caught.value)

    assert message(NotFoundError) == f"{path}: no such file"
    assert message(NotFoundError, "kaldi") == f"{path}: no such directory"
    path.write_text("\n")
    assert message(FormatError) == f"{path}: no n-best list in it; expected {KNOWN}; got no lines"
    path.write_text("\n<html>\n")
    assert (
        message(FormatError) == f"{path}:2: n-best lists of an unknown format; expected {KNOWN}; got '<html>'"
    )
    assert (
        message(ConfigError, "xml")
        == f"{path}: unknown file format; expected one of {', '.join(NAMES)}; got 'xml'"
    )
    assert message(FormatError, "kaldi") == f"{path}: is a file; expected a directory of kaldi"
    path = tmp_path / "empty"
    path.mkdir()
    assert (
        message(FormatError)
        == f"{path}: is a directory; expected a file, or a directory of kaldi, espnet, srilm"
    )
    assert message(FormatError, "moses") == f"{path}: is a directory; expected a moses file"
    (tmp_path / "archives.1").mkdir()  # of Kaldi, whose lists are the directory above
    (tmp_path / "archives.1" / "words_text").write_text("u-1 a\n")
    path = tmp_path / "archives.1"
    assert message(FormatError).endswith(
        f"expected a file, or a directory of kaldi, espnet, srilm, such as {tmp_path}"
    )


def test_options_of_another_format_are_refused(tmp_path: Path, moses: Path, directory: Path) -> None:
    jsonl = tmp_path / "x.jsonl"
    jsonl.write_text(JSONL)
    with pytest.raises(ConfigError, match="keep_total is for the format moses; expected moses; got kaldi"):
        read_nbest(directory, keep_total=True)
    with pytest.raises(ConfigError, match="keep_total is for the format moses; expected moses; got jsonl"):
        read_nbest(jsonl, keep_total=True)
    with pytest.raises(ConfigError, match="columns is for the format kaldi; expected kaldi; got moses"):
        read_nbest(moses, columns=["ac"])
    with pytest.raises(ConfigError, match="words_txt is for the format kaldi; expected kaldi; got moses"):
        read_nbest(moses, "moses", words_txt="words.txt")
    assert read_nbest(moses, keep_total=True).column_names == ("d", "decoder_total")
    assert read_nbest(directory, columns=["ac"]).column_names == ("ac",)


def test_lines_from_anywhere() -> None:
    lists = parse_nbest([(7, "0 ||| a ||| d= 1 ||| 2")], "body")
    assert lists.where(0) == "body:7"
    assert parse_nbest([(1, JSONL.strip())], "body", "jsonl").texts == ("a",)


def test_new_totals_sort_each_list_and_the_earlier_wins_ties(tmp_path: Path, moses: Path) -> None:
    lists = read_nbest(moses)
    write_nbest(lists, tmp_path / "out", totals=np.array([1, 2.5, 0]))
    assert (tmp_path / "out").read_text() == (
        "0 ||| b  ||| d= 2 ||| 2.5\n0 ||| a  ||| d= 1 ||| 1\n1 ||| c  ||| d= 3 ||| 0\n"
    )
    write_nbest(lists, tmp_path / "out", totals=np.array([1, 1, 0]))
    assert [line.split()[2] for _, line in read_lines(tmp_path / "out")] == ["a", "b", "c"]
    write_nbest(lists, tmp_path / "out", ranking=np.array([1, 0, 2]))
    assert [line.split()[2] for _, line in read_lines(tmp_path / "out")] == ["b", "a", "c"]
    write_nbest(lists, tmp_path / "out")
    assert (tmp_path / "out").read_text() == MOSES


def test_what_is_not_an_order(tmp_path: Path, moses: Path) -> None:
    lists = read_nbest(moses)
    for ranking in ([0, 0, 2], [2, 0, 1], [0, 1]):
        with pytest.raises(ValueError, match="a ranking holds each row once, list by list"):
            write_nbest(lists, tmp_path / "out", ranking=np.array(ranking))
    with pytest.raises(FeatureError) as caught:
        write_nbest(lists, tmp_path / "out", totals=np.array([1, np.nan, 0]))
    assert str(caught.value) == (
        f"{moses}: totals do not fit the lists; expected 3 finite numbers; got shape (3,), 1 not finite"
    )
    with pytest.raises(ConfigError) as unknown:
        write_nbest(lists, tmp_path / "out", "xml")
    assert (
        str(unknown.value)
        == "unknown format; expected one of moses, kaldi, jsonl, mlm, espnet, srilm, fairseq, nemo; got 'xml'"
    )
    assert not (tmp_path / "out").exists()


def test_one_format_into_another(tmp_path: Path, moses: Path) -> None:
    lists = read_nbest(moses)
    totals = np.array([-5.0, -6, -7])
    for name in ("jsonl", "kaldi"):
        write_nbest(lists, tmp_path / name, name, totals=totals)
        again = read_nbest(tmp_path / name)
        assert format_of(again) == name
        assert (again.ids, again.texts, again.column_names) == (lists.ids, lists.texts, lists.column_names)
        assert np.array_equal(again.features, lists.features)
        write_nbest(again, tmp_path / "back", "moses", totals=totals)
        assert (tmp_path / "back").read_text() == MOSES.replace("  |||", " |||")


def test_one_best_in_each_style(tmp_path: Path, moses: Path) -> None:
    lists = read_nbest(moses)
    out = tmp_path / "out"
    for name, expected in (
        (None, "b\nc\n"),
        ("moses", "b\nc\n"),
        ("kaldi", "0 b\n1 c\n"),
        ("jsonl", '{"id": "0", "text": "b"}\n{"id": "1", "text": "c"}\n'),
    ):
        write_one_best(lists, np.array([1, 2]), out, name)
        assert out.read_text() == expected
    with pytest.raises(ValueError, match="one row a list: expected 2, got 1"):
        write_one_best(lists, np.array([1]), out)


def test_rows_in_the_order_of_the_source(tmp_path: Path, directory: Path) -> None:
    path = tmp_path / "x"
    path.write_text(
        "5 ||| a ||| d= 1 ||| 1\n6 ||| b ||| d= 1 ||| 1\n5 ||| c ||| d= 1 ||| 1\n\n6 ||| b ||| d= 1 ||| 1\n"
    )
    lists = read_nbest(path)
    assert lists.texts == ("a", "c", "b")
    assert hypothesis_rows(lists).tolist() == [0, 2, 1, 2]
    assert hypothesis_rows(in_memory("a", "b")).tolist() == [0, 1]
    assert hypothesis_rows(read_nbest(directory)).tolist() == [0, 1, 2, 3]
