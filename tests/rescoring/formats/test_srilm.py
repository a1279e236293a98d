import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FormatError, NonFiniteFeatureError, NotFoundError
from rescoring.formats import open_blocks, read_nbest, write_nbest
from rescoring.formats.srilm_files import utterance_of
from rescoring.formats.srilm_lines import kind_of, parse_hypothesis
from rescoring.nbest import Feature

LN10 = math.log(10)
FIRST = "NBestList1.0\n(-3291) start\n(-3451) i start\n"
SECOND = (
    "NBestList2.0\n"
    "(-3291) -pau- ( st: 0.00 et: 0.25 g: 0 a: -811 ) start ( st: 0.26 et: 0.74 g: -126 a: -1275 )\n"
    "(-3451) i ( st: 0.19 et: 0.25 g: -24 a: -423 ) ay ( st: 0.19 et: 0.20 g: 0 a: -5 )"
    " ay-1 ( st: 0.26 et: 0.27 g: 0 a: -6 ) start ( st: 0.26 et: 0.74 g: -109 a: -1275 )\n"
)
THIRD = "-92.763443 -5.621833 1 start\n-96.988046 -5.904676 3 <s> i -pau- start </s>\n"


def packed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture
def srilm(tmp_path: Path) -> Path:
    """Two utterances, a score directory, and a folder that holds something else."""
    root = tmp_path / "srilm"
    packed(root / "nbest/a-1.score.gz", THIRD)
    packed(root / "nbest/b.score.gz", "-1 0 0\n")
    packed(root / "newlm/a-1.gz", "-2.994548\n-5.5\n")
    packed(root / "newlm/b.gz", "0\n")
    packed(root / "nbest1/a-1.gz", FIRST)
    return root


@pytest.mark.parametrize(
    ("content", "names", "texts", "values"),
    [
        (FIRST, ["score"], ("start", "i start"), [[-3291 * 1024 / 10000.5], [-3451 * 1024 / 10000.5]]),
        (
            SECOND,
            ["total", "ac", "lm"],
            ("start", "i start"),
            [[x * 1024 / 10000.5 for x in row] for row in ((-3291, -2086, -126), (-3451, -1698, -133))],
        ),
        (
            THIRD,
            ["ac", "lm", "word_count"],
            ("start", "i start"),
            [[-92.763443 * LN10, -5.621833 * LN10, 1], [-96.988046 * LN10, -5.904676 * LN10, 3]],
        ),
    ],
)
def test_the_three_kinds(
    tmp_path: Path, content: str, names: list[str], texts: tuple[str, ...], values: list[list[float]]
) -> None:
    packed(tmp_path / "utt-7.gz", content)
    lists = read_nbest(tmp_path / "utt-7.gz")
    assert (lists.ids, lists.texts) == (("utt-7",), texts)
    assert lists.schema == tuple(map(Feature, names))
    assert np.allclose(lists.features, values, rtol=1e-15, atol=0)
    write_nbest(lists, tmp_path / "out")
    assert gzip.decompress((tmp_path / "out/nbest/utt-7.gz").read_bytes()).decode() == content


def test_a_bytelog_is_1024_of_log_1_0001() -> None:
    """nbest-format(5): a logarithm to base 1.0001, divided by 1024."""
    (found,) = parse_hypothesis("(-1000) a", 1, "f:1").values
    assert found == pytest.approx(-1000 * 1024 * math.log(1.0001), rel=1e-8)


def test_a_directory_with_score_directories(srilm: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = read_nbest(srilm)
    assert lists.ids == ("a-1", "b")
    assert lists.column_names == ("ac", "lm", "word_count", "newlm")
    assert np.allclose(lists.feature("newlm")[:, 0], [-2.994548 * LN10, -5.5 * LN10, 0])
    assert lists.texts == ("start", "i start", "")
    assert caplog.messages == [f"{srilm}: the folder nbest1 holds no scores and is left out"]
    assert read_nbest(srilm / "nbest").column_names == ("ac", "lm", "word_count")


def test_a_list_of_files(srilm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_list = srilm.parent / "files"
    file_list.write_text("srilm/nbest/b.score.gz\n\nsrilm/nbest/a-1.score.gz\n")
    assert read_nbest(file_list, "srilm").ids == ("b", "a-1")
    monkeypatch.chdir(srilm.parent)
    assert read_nbest("files").ids == ("b", "a-1")
    file_list.write_text("srilm/nbest/none.gz\n")
    with pytest.raises(NotFoundError, match=r"files:1: no such n-best file; got 'srilm/nbest/none.gz'"):
        read_nbest(file_list, "srilm")


def test_written_again_with_new_features_and_totals(srilm: Path, tmp_path: Path) -> None:
    lists = read_nbest(srilm).with_feature("small", np.array([-LN10, -2 * LN10, -1 / 3]))
    write_nbest(lists, tmp_path / "out", totals=np.array([-2 * LN10, -LN10, 0]))

    def content(name: str) -> str:
        return gzip.decompress((tmp_path / "out" / name).read_bytes()).decode()

    assert content("nbest/a-1.score.gz") == "".join(line + "\n" for line in reversed(THIRD.split("\n")[:-1]))
    assert content("newlm/a-1.gz") == "-5.5\n-2.994548\n"
    assert content("small/a-1.gz") == "-2\n-1\n"
    assert content("total/a-1.gz") == "-1\n-2\n"
    again = read_nbest(tmp_path / "out")
    assert again.column_names == ("ac", "lm", "word_count", "newlm", "small", "total")
    assert np.allclose(again.feature("small")[:, 0], lists.feature("small")[[1, 0, 2], 0], rtol=1e-15)


def test_new_totals_of_the_first_kind_are_bytelogs(tmp_path: Path) -> None:
    packed(tmp_path / "u", FIRST)
    write_nbest(read_nbest(tmp_path / "u"), tmp_path / "out", totals=np.array([-2.0, -1.0]))
    assert (tmp_path / "out/nbest/u").read_text() == "NBestList1.0\n(-10) i start\n(-20) start\n"


def test_lists_without_a_hypothesis_are_counted(srilm: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed(srilm / "nbest/c.score.gz", "")
    packed(srilm / "nbest/d.score.gz", "\n")
    assert read_nbest(srilm / "nbest").ids == ("a-1", "b")
    assert caplog.messages == [f"{srilm / 'nbest'}: 2 lists without a hypothesis are left out"]


def test_blocks_are_whole_utterances(srilm: Path) -> None:
    whole = read_nbest(srilm)
    with open_blocks(srilm, size=1) as blocks:
        parts = list(blocks)
    assert [part.ids for part in parts] == [("a-1",), ("b",)]
    assert np.array_equal(np.concatenate([part.features for part in parts]), whole.features)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("NBestList1.0", 1),
        ("NBestList2.0 ", 2),
        ("-1.5 -2 3 a b c", 3),
        ("-1.5\t-2\t0", 3),
        ("-1.5 -2", None),
        ("-1.5 -2 x", None),
        ("(-3) a", None),
        ("", None),
    ],
)
def test_kinds_are_told_from_the_first_line(line: str, kind: int | None) -> None:
    assert kind_of(line) == kind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("NBestList1.0\n-3 a\n", "u:2: no score in parentheses; expected '(bytelog) word ...'; got '-3 a'"),
        ("NBestList1.0\n(x) a\n", "u:2: the score is not a number; expected a number; got 'x'"),
        (
            "NBestList2.0\n(-3) a ( st: 0\n",
            "u:2: words and their times do not fit; expected 'word ( st",
        ),
        (
            "NBestList2.0\n(-3) a ( st: 0 et: 1 x: 2 a: 3 )\n",
            "u:2: not a word with its times and scores; expected 'word ( st: time et: time g: bytelog"
            " a: bytelog )'; got 'a ( st: 0 et: 1 x: 2 a: 3 )'",
        ),
        ("-1 -2 3 a\n-1 -2 x\n", "u:2: not a line of scores; expected 'acoustic language words w w w'"),
        ("-1 -2 1 a\n-1 -inf 1 b\n", "u:2: a score is not finite; expected a finite number; got '-inf'"),
    ],
)
def test_broken_lines(tmp_path: Path, content: str, message: str) -> None:
    packed(tmp_path / "u", content)
    with pytest.raises((FormatError, NonFiniteFeatureError)) as caught:
        read_nbest(tmp_path / "u", "srilm")
    assert message in str(caught.value)


def test_what_does_not_belong_together(srilm: Path) -> None:
    packed(srilm / "newlm/a-1.gz", "-1\n")
    with pytest.raises(FormatError, match=r"newlm/a-1.gz: as many lines .* expected 2 lines; got 1 lines"):
        read_nbest(srilm)
    (srilm / "newlm/a-1.gz").unlink()
    with pytest.raises(NotFoundError, match=r"newlm: no scores of a-1"):
        read_nbest(srilm)
    packed(srilm / "nbest/c.gz", FIRST)
    with pytest.raises(FormatError, match=r"c.gz: lists of different kinds"):
        read_nbest(srilm / "nbest")
    packed(srilm / "nbest/a-1.gz", THIRD)
    with pytest.raises(FormatError, match=r"utterance a-1 has two lists"):
        read_nbest(srilm / "nbest")


def test_names_of_files() -> None:
    names = ("x/a.b.score.gz", "a.b.gz", "a.b", "a.b.Z", "a.b.score")
    assert {utterance_of(Path(name)) for name in names} == {"a.b"}


def test_real_lists(shared: Path) -> None:
    """The three kinds hold the same hypotheses; the parts are those of the decoder's own JSON."""
    root = shared / "data" / "asr" / "test" / "srilm"
    first, second, third = (read_nbest(root / name) for name in ("nbest1", "nbest2", "nbest"))
    assert first.ids == second.ids == third.ids
    assert first.texts == third.texts
    assert np.allclose(first.feature("score"), second.feature("total"))
    kaldi = read_nbest(shared / "data" / "asr" / "test" / "kaldi_nbest")
    row = third.offsets[third.ids.index(kaldi.ids[0])]
    assert third.feature("ac")[row, 0] == pytest.approx(kaldi.feature("ac")[0, 0], abs=1e-3)
    assert third.feature("lm")[row, 0] == pytest.approx(kaldi.feature("lmonly")[0, 0], abs=1e-3)
