from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, InputError
from rescoring.formats.kaldi import read_kaldi
from rescoring.formats.table import FORMATS
from rescoring.nbest import Feature, NbestLists

from .conftest import binary, write


def write_kaldi(
    lists: NbestLists, path: Path, order: NDArray[np.int64], totals: NDArray[np.float64] | None = None
) -> None:
    with FORMATS["kaldi"].open(path) as write:
        write(lists, order, totals)


def as_they_are(lists: NbestLists) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(len(lists.texts), dtype=np.int64)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_nothing_added_is_a_copy(directory: Path, tmp_path: Path) -> None:
    (directory / "archives.1" / "ali").write_bytes(binary("a-b-1", [10, 32]) + binary("a-b-2", [1]))
    lists = read_kaldi(directory)
    write_kaldi(lists, tmp_path / "out", as_they_are(lists))
    assert files(tmp_path / "out") == files(directory)


def test_new_features_are_new_tables_of_costs(directory: Path, tmp_path: Path) -> None:
    lists = read_kaldi(directory).with_feature("small", np.array([-41.25, -123456.789, 0, -1e-7]))
    lists = lists.with_feature("word_count", np.array([3, 2, 0, 1]))
    write_kaldi(lists, tmp_path / "out", as_they_are(lists))
    out = files(tmp_path / "out")
    assert out["archives.1/lmwt.small"] == b"a-b-1 41.25\na-b-2 123456.789\na-c-1 0\n"
    assert out["archives.2/lmwt.small"] == b"z-1 1e-07\n"
    assert out["archives.1/lmwt.word_count"] == b"a-b-1 -3\na-b-2 -2\na-c-1 0\n"
    assert {name: content for name, content in out.items() if name in files(directory)} == files(directory)
    again = read_kaldi(tmp_path / "out", columns=lists.column_names)
    assert np.array_equal(again.features, lists.features)


def test_a_rescoring_sorts_every_table(directory: Path, tmp_path: Path) -> None:
    ali = [binary("a-b-1", [10, 32]), binary("a-b-2", [1]), binary("a-c-1", [5])]
    (directory / "archives.1" / "ali").write_bytes(b"".join(ali))
    (directory / "archives.1" / "lmwt.rnn").write_text("a-c-1 1e-05\na-b-1\t6.50\na-b-2\t7")  # no last \\n
    lists = read_kaldi(directory).with_feature("small", np.array([-41.25, -1, 0, -2]))
    write_kaldi(lists, tmp_path / "out", np.array([1, 0, 2, 3]), np.array([-1.5, 2, 0, -3]))
    out = files(tmp_path / "out")
    assert out["archives.1/words_text"] == b"a-b-1 first word\na-b-2 the first word\na-c-1 \n"
    assert out["archives.1/words"] == b"a-b-1 2 3 \na-b-2 1 2 3 \na-c-1 \n"
    assert out["archives.1/acwt"] == b"a-b-1 11 \na-b-2 10.5 \na-c-1 -0 \n"
    assert out["archives.1/lmwt.rnn"] == b"a-b-1\t7\na-b-2\t6.50\na-c-1 1e-05\n"
    assert out["archives.1/lmwt.small"] == b"a-b-1 1\na-b-2 41.25\na-c-1 0\n"
    assert out["archives.1/ali"] == binary("a-b-1", [1]) + binary("a-b-2", [10, 32]) + ali[2]
    assert out["archives.1/total"] == b"a-b-1 -2\na-b-2 1.5\na-c-1 0\n"
    assert out["archives.1/rank"] == b"a-b-1 2\na-b-2 1\na-c-1 1\n"
    assert out["archives.2/rank"] == b"z-1 1\n"
    again = read_kaldi(tmp_path / "out")
    assert again.texts == ("first word", "the first word", "", "only")
    assert {"total", "rank"}.isdisjoint(again.column_names)
    # back in the decoder's order: what was there is there again, and the ranks are still the decoder's
    write_kaldi(again, tmp_path / "back", np.array([1, 0, 2, 3]), np.array([1, 2, 3, 4]))
    back = files(tmp_path / "back")
    assert back["archives.1/rank"] == b"a-b-1 1\na-b-2 2\na-c-1 1\n"
    assert back["archives.2/total"] == b"z-1 -4\n"
    for name, content in files(directory).items():
        tidy = b"a-b-1\t6.50\na-b-2\t7\na-c-1 1e-05\n" if name == "archives.1/lmwt.rnn" else content
        assert back[name] == tidy, name


def test_keys_are_dealt_out_in_their_places(tmp_path: Path) -> None:
    """Lines stand as Kaldi sorts them, ranks have gaps: the best takes the lowest rank that is there."""
    write(tmp_path / "in" / "archives.1", words_text="u-1 a\nu-11 c\nu-3 b\n", acwt="u-1 1\nu-11 3\nu-3 2\n")
    lists = read_kaldi(tmp_path / "in")
    assert lists.texts == ("a", "b", "c")
    write_kaldi(lists, tmp_path / "out", np.array([2, 0, 1]))
    assert files(tmp_path / "out") == {
        "archives.1/words_text": b"u-1 c\nu-11 b\nu-3 a\n",
        "archives.1/acwt": b"u-1 3\nu-11 2\nu-3 1\n",
        "archives.1/rank": b"u-1 11\nu-11 3\nu-3 1\n",
    }


def test_some_of_the_lists_sorted(directory: Path, tmp_path: Path) -> None:
    lists = read_kaldi(directory, columns=["all"]).select([0])
    write_kaldi(lists, tmp_path / "out", np.array([1, 0]))
    out = files(tmp_path / "out")
    assert out["archives.1/words_text"] == b"a-b-1 first word\na-b-2 the first word\n"
    assert out["archives.2/words_text"] == b""


def test_scores_of_an_earlier_rescoring_are_replaced(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = read_kaldi(directory).with_feature("small", np.array([-2, -1, 0, -2]))
    write_kaldi(first, tmp_path / "one", as_they_are(first), np.zeros(4))
    assert caplog.messages == []
    again = read_kaldi(tmp_path / "one", columns=["ac"]).with_feature("small", np.array([-3, -4, 0, -5]))
    write_kaldi(again, tmp_path / "two", as_they_are(again), np.zeros(4))
    assert files(tmp_path / "two")["archives.1/lmwt.small"] == b"a-b-1 3\na-b-2 4\na-c-1 0\n"
    assert caplog.messages == [f"{tmp_path / 'two'}: scores of an earlier rescoring are replaced: lmwt.small"]


def test_keys_keep_the_order_of_the_source(directory: Path, tmp_path: Path) -> None:
    write(directory / "archives.2", words_text="u-10 x\nu-2 y\nu-1 z\n", acwt="u-1 1\nu-2 2\nu-10 10\n")
    lists = read_kaldi(directory, columns=["ac"])
    lists = lists.with_feature("small", lists.feature("ac"))
    write_kaldi(lists, tmp_path / "out", as_they_are(lists))
    assert (tmp_path / "out" / "archives.2" / "lmwt.small").read_bytes() == b"u-10 10\nu-2 2\nu-1 1\n"


def test_some_of_the_lists(directory: Path, tmp_path: Path) -> None:
    ali = [binary("a-b-1", [10, 32]), binary("a-b-2", [1]), binary("a-c-1", [5])]
    (directory / "archives.1" / "ali").write_bytes(b"".join(ali))
    lists = read_kaldi(directory, columns=["all"]).select([1])
    write_kaldi(lists, tmp_path / "out", as_they_are(lists))
    again = read_kaldi(tmp_path / "out", columns=["all"])
    assert (again.ids, again.texts) == (("a-c",), ("",))
    assert np.array_equal(again.features, lists.features)
    assert (tmp_path / "out" / "archives.1" / "ali").read_bytes() == ali[2]
    assert (tmp_path / "out" / "archives.2" / "acwt").read_bytes() == b""


def test_a_name_that_is_taken_leaves_nothing_behind(directory: Path, tmp_path: Path) -> None:
    lists = read_kaldi(directory, columns=["ac"]).with_feature("rnn", np.zeros(4))
    with pytest.raises(FeatureError) as caught:
        write_kaldi(lists, tmp_path / "out", as_they_are(lists))
    assert str(caught.value) == f"{directory}: lmwt.rnn is there already; expected a new name"
    assert [path.name for path in tmp_path.iterdir()] == ["nbest"]


def test_the_source_may_be_replaced(directory: Path) -> None:
    lists = read_kaldi(directory).with_feature("small", np.zeros(4))
    before = files(directory)
    write_kaldi(lists, directory, as_they_are(lists))
    after = files(directory)
    assert after.keys() - before.keys() == {"archives.1/lmwt.small", "archives.2/lmwt.small"}
    assert {name: after[name] for name in before} == before


def test_a_directory_of_something_else_is_left_alone(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "precious").write_bytes(b"kept")
    lists = read_kaldi(directory)
    with pytest.raises(InputError, match="is a directory in use; expected a new name; got 'deep' in it"):
        write_kaldi(lists, other, as_they_are(lists))
    assert files(other) == {"deep/precious": b"kept"}


def test_lists_from_elsewhere(tmp_path: Path) -> None:
    lists = NbestLists(
        ids=("s-1", "s-2"),
        offsets=np.array([0, 2, 3]),
        texts=("a b", "", "c"),
        schema=(Feature("ac"), Feature("lm")),
        features=np.array([[-1.5, 2], [-2.5, 0], [-3.5, -1]]),
    )
    write_kaldi(lists, tmp_path / "out", np.array([1, 0, 2]), np.array([1.0, 2, 3]))
    assert files(tmp_path / "out") == {
        "num_jobs": b"1\n",
        "archives.1/words_text": b"s-1-1 \ns-1-2 a b\ns-2-1 c\n",
        "archives.1/acwt": b"s-1-1 2.5\ns-1-2 1.5\ns-2-1 3.5\n",
        "archives.1/lmwt.lm": b"s-1-1 0\ns-1-2 -2\ns-2-1 1\n",
        "archives.1/total": b"s-1-1 -2\ns-1-2 -1\ns-2-1 -3\n",
    }
    again = read_kaldi(tmp_path / "out")
    assert (again.ids, again.texts) == (lists.ids, ("", "a b", "c"))


@pytest.mark.parametrize(
    ("list_id", "text", "feature", "message"),
    [
        (
            "s 1",
            "a",
            Feature("x"),
            "a Kaldi key holds no white space; expected another utterance id; got 's 1'",
        ),
        ("s", "a\nb", Feature("x"), "a Kaldi text holds no line break; got 'a\\nb'"),
        (
            "s",
            "a",
            Feature("x/y"),
            "a Kaldi table cannot hold this feature; expected one value, and a name that can be a file's; got"
            " 'x/y' with 1 values",
        ),
    ],
)
def test_what_kaldi_cannot_hold(
    tmp_path: Path, list_id: str, text: str, feature: Feature, message: str
) -> None:
    lists = NbestLists((list_id,), np.array([0, 1]), (text,), (feature,), np.zeros((1, feature.width)))
    with pytest.raises(FormatError, match=r"^<memory>") as caught:
        write_kaldi(lists, tmp_path / "out", as_they_are(lists))
    assert str(caught.value).endswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_feature_of_several_values_is_several_tables(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = NbestLists(("s",), np.array([0, 1]), ("a",), (Feature("v", 2),), np.array([[-1.5, -1 / 3]]))
    write_kaldi(lists, tmp_path / "out", np.array([0]))
    assert caplog.messages == [f"{tmp_path / 'out'}: feature v of 2 values becomes v_0 to _1"]
    again = read_kaldi(tmp_path / "out")
    assert (again.column_names, again.features.tolist()) == (("v_0", "v_1"), [[-1.5, -1 / 3]])


def test_block_after_block_is_the_whole(tmp_path: Path, directory: Path) -> None:
    whole = read_kaldi(directory)
    for name, lists in (("own", whole), ("new", replace(whole, records=()))):
        write_kaldi(lists, tmp_path / f"{name}-whole", np.arange(4), np.array([1.0, 2, 3, 4]))
        with FORMATS["kaldi"].open(tmp_path / f"{name}-blocks") as write:
            for rows in ([0, 1], [2]):
                part = lists.select(rows)
                count = len(part.texts)
                write(part, np.arange(count), np.array([1.0, 2, 3] if count > 1 else [4.0]))
        files = sorted(
            path.relative_to(tmp_path / f"{name}-whole") for path in (tmp_path / f"{name}-whole").rglob("*")
        )
        assert files == sorted(
            path.relative_to(tmp_path / f"{name}-blocks") for path in (tmp_path / f"{name}-blocks").rglob("*")
        )
        for file in files:
            if (tmp_path / f"{name}-whole" / file).is_file():
                one, other = (tmp_path / f"{name}-{kind}" / file for kind in ("whole", "blocks"))
                assert one.read_bytes() == other.read_bytes(), file
