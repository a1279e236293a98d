# ruff: noqa: E501 - a table reads better with each case on one line

"""Lists that cannot be read are set aside, in every format; the others are as if they were not there."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbest.errors import FormatError, InputError
from rescoring.formats import Blocks, open_blocks, read_nbest, write_nbest
from rescoring.formats.aside import Failure, write_failures

GOOD = "{n} ||| a horse ||| LM0= -{n} TM0= -1 -2 ||| -3"


def moses(**lines: str) -> list[str]:
    """Nine lists of two lines; some lines are others: l4a is the first of list 4."""
    names = [f"l{n}{k}" for n in range(1, 10) for k in "ab"]
    plain = {name: GOOD.format(n=name[1]) + ("" if name[2] == "a" else " ||| 0-0") for name in names}
    assert lines.keys() <= plain.keys()
    return list((plain | lines).values())


def setting_aside(path: Path, size: int = 4, **how: Any) -> tuple[list[str], tuple[Failure, ...], Blocks]:
    """The ids of all blocks, and what was set aside; strictly read, the file is an error."""
    with pytest.raises(InputError), open_blocks(path, size=size, **how):
        pass
    with open_blocks(path, size=size, set_aside=True, **how) as blocks:
        for _ in range(2):  # each reading sets the same aside, and says it once
            assert tuple(name for block in blocks for name in block.ids) == blocks.ids
        return list(blocks.ids), blocks.failures, blocks


@pytest.mark.parametrize("size", [1, 4, 7, 1000])
@pytest.mark.parametrize(
    ("lines", "gone", "error"),
    [
        ({"l4b": "4 ||| a ||| LM0= nan TM0= 1 2 ||| 1"}, "4", ":8: feature LM0 is not finite"),
        ({"l4b": "4 ||| a ||| LM0= x TM0= 1 2 ||| 1"}, "4", ":8: feature LM0 has no value"),
        ({"l4b": "4 ||| a ||| LM0= 1 TM0= 1 ||| 1"}, "4", ":8: feature TM0 has another number of values"),
        ({"l4a": "4 ||| a ||| LM0= 1"}, "4", ":7: too few fields"),
        ({"l4a": "4 ||| a ||| LM0= 1 ||| 1"}, "4", "feature TM0 is missing"),
        ({"l1a": "1 ||| a ||| LM0= 1 TM0= 1 2 3 ||| 1"}, "1", "feature TM0 has another number of values"),
        ({"l4a": "4 ||| a ||| LM0= 1 TM0= 1 2 ||| inf"}, "4", ":7: the total is not finite"),
        ({"l4a": "4 ||| \udcff ||| LM0= 1 TM0= 1 2 ||| 1"}, "4", ":7: invalid UTF-8"),
        ({"l9b": "9 ||| a |"}, "9", ":18: too few fields"),
        ({"l4a": "oops"}, "34", ":7: no id in the line"),  # it may have been of 3 or of 4
        ({"l4b": "oops"}, "45", ":8: no id in the line"),
        ({"l1a": "oops"}, "?1", ":1: no id in the line"),
        ({"l9b": "x ||| a ||| LM0= 1 TM0= 1 2 ||| 1"}, "9", ":18: no id in the line"),
        ({"l2a": "oops", "l2b": "oops"}, "13", ":3: no id in the line"),
        ({"l3a": "3 ||| a ||| LM0= -inf ||| 1", "l7a": "7"}, "37", ":5: feature LM0 is not finite"),
    ],
)  # fmt: skip
def test_moses(tmp_path: Path, size: int, lines: dict[str, str], gone: str, error: str) -> None:
    path = tmp_path / "in"
    path.write_bytes("\n".join(moses(**lines)).encode(errors="surrogateescape"))
    ids, failures, blocks = setting_aside(path, size, format="moses")
    assert ids == [str(n) for n in range(1, 10) if str(n) not in gone and n != (2 if gone == "13" else 0)]
    assert [failure.id for failure in failures] == [None if name == "?" else name for name in gone]
    assert error in failures[0].error or "other vectors" in failures[0].error
    good = "".join(f"{line}\n" for line in moses() if line[0] in ids)
    (tmp_path / "good").write_text(good)
    whole = read_nbest(tmp_path / "good")
    assert np.array_equal(np.concatenate([block.features for block in blocks]), whole.features)


def test_a_first_list_of_another_kind_is_outvoted_in_its_block_only(tmp_path: Path) -> None:
    odd = {name: f"1 ||| {name} ||| LM0= 1 TM0= 1 2 3 ||| 1" for name in ("l1a", "l1b")}
    (tmp_path / "in").write_text("\n".join(moses(**odd)))
    ids, failures, _ = setting_aside(tmp_path / "in", 1000)
    assert (ids, [one.id for one in failures]) == ([str(n) for n in range(2, 10)], ["1"])


def test_moses_ids_that_come_back_and_a_broken_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [*moses(l2a="2 ||| broken"), *(f"{n} ||| more ||| LM0= 0 TM0= 0 0 ||| 0" for n in range(1, 10))]
    (tmp_path / "in").write_text("\n".join(lines))
    ids, failures, blocks = setting_aside(tmp_path / "in", 4)
    assert ids == [str(n) for n in range(1, 10) if n != 2]
    assert [(one.id, one.line) for one in failures] == [("2", 3)]
    assert [len(block.texts) for block in blocks] == [24]
    assert "the whole file is held in memory" in caplog.text


def test_a_stream_that_is_cut_is_an_error_all_the_same(tmp_path: Path) -> None:
    packed = gzip.compress("\n".join(moses()).encode())
    (tmp_path / "in.gz").write_bytes(packed[: len(packed) // 2])
    with (
        pytest.raises(FormatError, match="truncated"),
        open_blocks(tmp_path / "in.gz", "moses", set_aside=True),
    ):
        pass


def test_a_file_without_any_list_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("0 ||| a\n1 ||| b\n")
    with pytest.raises(FormatError, match=r"no n-best list in it; .*; got .*in:1: too few fields"):
        with open_blocks(tmp_path / "in", set_aside=True):
            pass


HYPOTHESIS = '{"text": "a", "features": {"lm": -1.5, "tm": [1, 2]}}'


@pytest.mark.parametrize(
    ("line", "name", "error"),
    [
        ("{broken", None, "in:3: invalid JSON"),
        ('{"id": "odd", "hypotheses": []}', "odd", "in:3 /hypotheses: list without hypotheses"),
        ('{"id": "odd", "hypotheses": [{"text": "a", "features": {"lm": NaN, "tm": [1, 2]}}]}', "odd", "not finite"),
        ('{"id": "odd", "hypotheses": [{"text": "a", "features": {"lm": 1, "tm": [1]}}]}', "odd", "another number"),
        ('{"id": "odd", "hypotheses": [{"text": "a", "features": {}}]}', "odd", "other features"),
        (f'{{"id": "1", "hypotheses": [{HYPOTHESIS}]}}', "1", "list id '1' stands there twice"),
        ('{"id": 7, "hypotheses": []}', None, "in:3 /id: wrong type"),
        ("\udcff", None, "in:3: invalid UTF-8"),
    ],
)  # fmt: skip
def test_jsonl(tmp_path: Path, line: str, name: str | None, error: str) -> None:
    lines = [f'{{"id": "{n}", "hypotheses": [{HYPOTHESIS}]}}' for n in range(1, 5)]
    lines.insert(2, line)
    (tmp_path / "in").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    for size in (1, 1000):
        ids, (failure,), _ = setting_aside(tmp_path / "in", size)
        assert ids == ["1", "2", "3", "4"]
        assert (failure.id, failure.line) == (name, 3)
        assert error in failure.error


def test_mlm_scoring(tmp_path: Path) -> None:
    content: dict[str, Any] = {f"u{n}": {"hyp_1": {"text": "a", "score": -n}} for n in range(5)}
    content["u2"]["hyp_1"]["score"] = "x"
    content["u3"]["ref"] = "some have one"
    (tmp_path / "in.json").write_text(json.dumps(content))
    ids, failures, _ = setting_aside(tmp_path / "in.json", 1)
    assert (ids, [one.id for one in failures]) == (["u0", "u1", "u4"], ["u2", "u3"])
    (tmp_path / "in.json").write_text(
        json.dumps(content)[:-20]
    )  # behind broken JSON there is no step to be in
    with pytest.raises(FormatError, match="invalid JSON"), open_blocks(tmp_path / "in.json", set_aside=True):
        pass


def of_format(folder: Path, name: str) -> Path:
    (folder / "moses").write_text("\n".join(moses()))
    lists = read_nbest(folder / "moses", keep_total=name in ("espnet", "fairseq", "nemo"))
    if name == "nemo":
        lists = lists.select(range(9))
        (folder / "nemo").write_text("".join(f"text {n}\t-{n}\n" for n in range(18)))
    else:
        write_nbest(lists, folder / name, name)
    return folder / name


def broken(path: Path, change: Callable[[str], str]) -> None:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()).decode()).encode()))
    else:
        path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("name", "file", "change", "error"),
    [
        ("kaldi", "archives.1/lmwt.LM0", lambda s: s.replace("4-2 4", "4-2 nan"), "the value in lmwt.LM0 is not finite"),
        ("kaldi", "archives.1/lmwt.LM0", lambda s: s.replace("4-2 4", "4-2 4 4"), "lmwt.LM0 is not a number"),
        ("kaldi", "archives.1/lmwt.LM0", lambda s: s.replace("4-2 4\n", ""), "no value of 4-2"),
        ("srilm", "nbest/4.gz", lambda s: "x" + s, "not an n-best list of SRILM"),
        ("srilm", "LM0/4.gz", lambda s: s + "1\n", "as many lines as hypotheses are needed"),
        ("espnet", "output.1/2best_recog/score", lambda s: s.replace("4 -3", "4 nan"), "the score of 4 is not finite"),
        ("fairseq", "", lambda s: s.replace("H-4\t", "H-4 \t", 1).replace("H-4\t", "H-4\tx"), "not a number"),
        ("nemo", "", lambda s: s.replace("text 7\t-7", "text 7 -7"), "no TAB in the line"),
        ("nemo", "", lambda s: s.replace("text 7\t-7", ""), "an empty line"),
    ],
)  # fmt: skip
def test_other_formats(
    tmp_path: Path, name: str, file: str, change: Callable[[str], str], error: str
) -> None:
    path = of_format(tmp_path, name)
    how: dict[str, Any] = {"beam_size": 2, "format": "nemo"} if name == "nemo" else {}
    before = read_nbest(path, **how)
    broken(path / file if file else path, change)
    ids, (failure,), blocks = setting_aside(path, 4, **how)
    gone = "3" if name == "nemo" else "4"
    assert failure.id == gone
    assert error in failure.error
    kept = [k for k, one in enumerate(before.ids) if one != gone]
    assert ids == [before.ids[k] for k in kept]
    found = np.concatenate([block.features for block in blocks])
    assert np.array_equal(found, before.select(kept).features)


def test_failures_are_lines_of_json(tmp_path: Path) -> None:
    one = Failure("ü", "in", 3, "in:3: no")
    write_failures([one, Failure(None, "in", None, "?")], tmp_path / "failed")
    assert (tmp_path / "failed").read_text() == (
        '{"id": "ü", "source": "in", "line": 3, "error": "in:3: no"}\n'
        '{"id": null, "source": "in", "line": null, "error": "?"}\n'
    )
