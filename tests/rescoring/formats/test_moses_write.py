import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nbest.errors import FormatError, LimitError
from nbest.files import open_bytes, read_lines
from rescoring.formats import one_best_blanks, one_best_lines
from rescoring.formats.moses import read_moses
from rescoring.formats.moses_write import moses_lines
from rescoring.formats.notes import Notes
from rescoring.formats.table import FORMATS
from rescoring.nbest import Feature, NbestLists


def write_moses(
    lists: NbestLists, path: Path, order: NDArray[np.int64], totals: NDArray[np.float64] | None = None
) -> None:
    with FORMATS["moses"].open(path) as write:
        write(lists, order, totals)


VARIANTS = "align comp dropunk dup nolabel plain seg segalign sparse trace untun".split()


def read(*lines: str) -> NbestLists:
    return read_moses(enumerate(lines, 1), "f")


def as_they_are(lists: NbestLists) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(len(lists.texts), dtype=np.int64)


@pytest.mark.parametrize("flavour", VARIANTS)
def test_real_lists_come_back_byte_for_byte(shared: Path, tmp_path: Path, flavour: str) -> None:
    path = shared / "data" / "mt" / "variants" / f"{flavour}.nbest"
    lists = read_moses(read_lines(path), str(path))
    write_moses(lists, tmp_path / "out", as_they_are(lists))
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def test_the_head_of_the_dev_set_comes_back_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "mt" / "dev.distinct.nbest.gz"
    with open_bytes(path) as stream:
        head = b"".join(stream.readline() for _ in range(3000))
    (tmp_path / "in").write_bytes(head)
    lists = read_moses(read_lines(tmp_path / "in"), "in")
    write_moses(lists, tmp_path / "out.gz", as_they_are(lists))
    with open_bytes(tmp_path / "out.gz") as stream:
        assert stream.read() == head


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "0 ||| a |0-1|  ||| LM0= -1 TM0= 1 2 ||| -5 ||| 0-0 ||| ",
            "0 ||| a |0-1|  ||| LM0= -1 TM0= 1 2 small= -41.25 small.oov= 0 v= 1 2 ||| -3.5 ||| 0-0 ||| ",
        ),
        ("0|||a|||X=-1|||2", "0|||a|||X=-1 small= -41.25 small.oov= 0 v= 1 2 |||-3.5"),
        (
            "0 ||| a ||| d: 0 lm: -3 ||| -5",
            "0 ||| a ||| d: 0 lm: -3 small: -41.25 small.oov: 0 v: 1 2 ||| -3.5",
        ),
        ("0 ||| a ||| -1 -2 ||| -5", "0 ||| a ||| -1 -2 small= -41.25 small.oov= 0 v= 1 2 ||| -3.5"),
        ("0 ||| a |||  ||| -5", "0 ||| a ||| small= -41.25 small.oov= 0 v= 1 2 ||| -3.5"),
    ],
)
def test_new_features_and_totals(line: str, expected: str) -> None:
    lists = read(line)
    for name, values in (("small", [-41.25]), ("small.oov", [0.0]), ("v", [[1.0, 2.0]])):
        lists = lists.with_feature(name, np.array(values))
    assert list(moses_lines(lists, as_they_are(lists), np.array([-3.5]))) == [expected]
    again = read(expected)
    assert again.column_names == lists.column_names
    assert np.array_equal(again.features, lists.features)


def test_sparse_features_absent_on_a_line_are_not_added() -> None:
    lines = ["0 ||| a ||| LM0= -1 s_a= 1 ||| -5", "0 ||| b ||| LM0= -1 s_b= 1 ||| -6"]
    lists = read(*lines)
    assert list(moses_lines(lists, as_they_are(lists))) == lines
    added = lists.with_feature("x", np.array([0.5, 1.5]))
    assert list(moses_lines(added, as_they_are(added))) == [
        "0 ||| a ||| LM0= -1 s_a= 1 x= 0.5 ||| -5",
        "0 ||| b ||| LM0= -1 s_b= 1 x= 1.5 ||| -6",
    ]


def test_the_kept_total_is_not_written_as_a_feature() -> None:
    lists = read_moses([(1, "0 ||| a ||| LM0= -1 ||| -5")], "f", keep_total=True)
    assert list(moses_lines(lists, as_they_are(lists))) == ["0 ||| a ||| LM0= -1 ||| -5"]


def test_lists_from_elsewhere() -> None:
    lists = NbestLists(
        ids=("0", "3"),
        offsets=np.array([0, 1, 2]),
        texts=("a b", ""),
        schema=(Feature("LM0"), Feature("tm", 2)),
        features=np.array([[-1, 2, 3], [-0.1, 1e-7, 123456.789]]),
    )
    expected = [
        "0 ||| a b ||| LM0= -1 tm= 2 3 ||| -4",
        "3 |||  ||| LM0= -0.1 tm= 1e-07 123456.789 ||| 0.5",
    ]
    assert list(moses_lines(lists, as_they_are(lists), np.array([-4, 0.5]))) == expected
    totals = lists.with_feature("decoder_total", np.array([-4, 0.5]))
    assert list(moses_lines(totals, as_they_are(totals))) == expected
    notes = Notes("out")
    zeros = [line.rpartition(" ")[0] + " 0" for line in expected]
    assert list(moses_lines(lists, as_they_are(lists), None, notes)) == zeros
    assert notes.counts == {"{n} hypotheses have no total; theirs is written as 0": 2}
    score = lists.with_feature("score", np.array([-4, 0.5]))
    assert [line.split("|||")[3] for line in moses_lines(score, as_they_are(score))] == [" -4", " 0.5"]


@pytest.mark.parametrize(
    ("list_id", "text", "name", "message"),
    [
        (
            "utt-1",
            "a",
            "x",
            "a Moses list needs integer ids; expected digits (nbest convert --renumber counts the lists from"
            " 0); got 'utt-1'",
        ),
        (
            "1",
            "a ||| b",
            "x",
            "a Moses list cannot hold this text; expected a text without '|||' and line breaks; got 'a"
            " ||| b'",
        ),
        (
            "1",
            "a",
            "x y",
            "a Moses list cannot hold this feature name; expected a name without spaces and '|'; got 'x y'",
        ),
    ],
)
def test_what_moses_cannot_hold(list_id: str, text: str, name: str, message: str) -> None:
    lists = NbestLists((list_id,), np.array([0, 1]), (text,), (Feature(name),), np.array([[1.0]]))
    with pytest.raises(FormatError, match=r"^<memory>") as caught:
        list(moses_lines(lists, as_they_are(lists), np.array([1.0])))
    assert str(caught.value).endswith(message)


NAMES = st.text(alphabet="abLM_0.~", min_size=1, max_size=4).map(lambda name: f"x{name}")
WORDS = st.text(alphabet="aä|&\u00a0;0-9", min_size=1, max_size=5).filter(
    lambda word: "|||" not in word and word.strip("|0123456789-") != ""
)
NUMBERS = st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.10g}"))


@st.composite
def nbest_lists(draw: st.DrawFn) -> NbestLists:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    ids = draw(st.lists(st.integers(0, 99), min_size=len(sizes), max_size=len(sizes), unique=True))
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    schema = tuple(Feature(name, draw(st.integers(1, 3))) for name in names)
    width = sum(feature.width for feature in schema)
    rows = sum(sizes)
    texts = [" ".join([f"w{row}", *draw(st.lists(WORDS, max_size=3))]) for row in range(rows)]
    values = [[draw(NUMBERS) for _ in range(width)] for _ in range(rows)]
    return NbestLists(
        ids=tuple(map(str, ids)),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        texts=tuple(texts),
        schema=schema,
        features=np.array(values).reshape(rows, width),
    )


@given(nbest_lists(), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(lists: NbestLists, data: st.DataObject) -> None:
    totals = np.array([data.draw(NUMBERS) for _ in lists.texts])
    lines = list(moses_lines(lists, as_they_are(lists), totals))
    again = read_moses(enumerate(lines, 1), "f", keep_total=True)
    assert (again.ids, again.texts) == (lists.ids, lists.texts)
    assert again.offsets.tolist() == lists.offsets.tolist()
    assert again.schema == (*lists.schema, Feature("decoder_total"))
    assert np.array_equal(again.features[:, :-1], lists.features)
    assert np.array_equal(again.features[:, -1], totals)
    assert list(moses_lines(again, as_they_are(again))) == lines


def one_best(lists: NbestLists, rows: list[int]) -> list[str]:
    blanks = one_best_blanks("moses", lists.ids, lists.source)
    return list(one_best_lines(lists, np.array(rows), "moses", lists.ids, blanks))


def test_one_best_lines_stay_in_step_with_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    lists = read("3 ||| a |0-0| ||| d= 1 ||| 1", "3 ||| b ||| d= 1 ||| 1", "6 ||| c ||| d= 1 ||| 1")
    with caplog.at_level(logging.WARNING):
        assert one_best(lists, [0, 2]) == ["a", "", "", "c"]
    assert caplog.messages == ["f: 2 ids are missing; their 1-best lines are empty"]
    assert one_best(lists.select([1, 0]), [0, 2]) == ["c", "b"]
    far = read("3 ||| a ||| d= 1 ||| 1", "3000000 ||| c ||| d= 1 ||| 1")
    with pytest.raises(LimitError, match=r"f: too many ids are missing .* at most 1000000; got 2999996"):
        one_best(far, [0, 1])


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    lists = NbestLists(("0", "x"), np.array([0, 1, 2]), ("a", "b"), (Feature("d"),), np.array([[1.0], [2.0]]))
    (tmp_path / "out").write_text("before")
    with pytest.raises(FormatError):
        write_moses(lists, tmp_path / "out", as_they_are(lists), np.array([1.0, 2.0]))
    assert (tmp_path / "out").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
