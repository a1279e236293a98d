import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import (
    ConfigError,
    FeatureError,
    FormatError,
    NbestError,
    NonFiniteFeatureError,
    NotFoundError,
)
from nbest.files import read_lines
from rescoring.formats import one_best_lines
from rescoring.formats.kaldi import KaldiRecord, left_out, read_kaldi

from .conftest import binary, write


def test_costs_become_log_probabilities(directory: Path) -> None:
    lists = read_kaldi(directory)
    assert lists.ids == ("a-b", "a-c", "z")
    assert lists.offsets.tolist() == [0, 2, 3, 4]
    assert lists.texts == ("the first word", "first word", "", "only")
    assert lists.column_names == ("ac", "lmonly", "nolm", "rnn")
    assert lists.features.tolist() == [
        [-10.5, -5, 0, -6.5],
        [-11, -4, 0, -7],
        [0, -3, 0, -1e-05],
        [-1, -3, -2, -4],
    ]
    assert not np.signbit(lists.features[2, 0])
    assert lists.records[3] == KaldiRecord("z-1", 2, 0, frozenset(lists.column_names))


def test_a_graph_cost_that_is_zero_everywhere_is_left_out(directory: Path) -> None:
    (directory / "archives.2" / "lmwt.nolm").write_text("z-1 -0\n")
    assert read_kaldi(directory).column_names == ("ac", "lmonly", "rnn")
    assert read_kaldi(directory, columns=["nolm"]).features.tolist() == [[0], [0], [0], [0]]


def test_columns_can_be_chosen(directory: Path) -> None:
    assert read_kaldi(directory, columns=["rnn", "ac"]).features[0].tolist() == [-6.5, -10.5]
    assert read_kaldi(directory, columns=["all"]).column_names == (
        "ac", "interp.0.5", "lmonly", "nolm", "rnn", "withlm",
    )  # fmt: skip
    with pytest.raises(FeatureError) as caught:
        read_kaldi(directory, columns=["ac", "lm"])
    assert str(caught.value) == (
        f"{directory}: unknown column 'lm'; expected one of ac, interp.0.5, lmonly, nolm, rnn, withlm, or all"
    )
    with pytest.raises(ConfigError, match="a column is chosen twice; got ac, ac"):
        read_kaldi(directory, columns=["ac", "ac"])


def test_the_sum_stands_in_where_the_old_lm_is_not_apart(directory: Path) -> None:
    for archive in ("archives.1", "archives.2"):
        (directory / archive / "lmwt.lmonly").unlink()
    assert read_kaldi(directory).column_names == ("ac", "nolm", "rnn", "withlm")


def test_ranks_order_the_hypotheses(directory: Path) -> None:
    keys = ["u-10", "u-2", "u-1"]
    write(
        directory / "archives.2",
        words_text="".join(f"{key} {key}\n" for key in keys),
        acwt="u-1 1\nu-2 2\nu-10 10\n",
        **{
            f"lmwt.{name}": "".join(f"{key} 0\n" for key in keys)
            for name in ("nolm", "lmonly", "withlm", "rnn")
        },
        **{"lmwt.interp.0.5": "".join(f"{key} 0\n" for key in keys)},
    )
    lists = read_kaldi(directory, columns=["ac"])
    assert lists.texts[-3:] == ("u-1", "u-2", "u-10")
    assert lists.features[-3:, 0].tolist() == [-1, -2, -10]
    assert lists.records[-1] == KaldiRecord("u-10", 2, 0, frozenset({"ac"}))


@pytest.mark.parametrize("packed", [False, True])
def test_words_from_ids(directory: Path, tmp_path: Path, packed: bool) -> None:
    expected = read_kaldi(directory).texts
    for archive in ("archives.1", "archives.2"):
        (directory / archive / "words_text").unlink()
    if packed:
        content = binary("a-b-1", [1, 2, 3]) + binary("a-b-2", [2, 3]) + binary("a-c-1", [])
        (directory / "archives.1" / "words").write_bytes(content)
    words = tmp_path / "words.txt"
    words.write_text("<eps> 0\nthe 1\nfirst 2\nword 3\nonly 4\n")
    assert read_kaldi(directory, words_txt=words).texts == expected
    with pytest.raises(ConfigError) as caught:
        read_kaldi(directory)
    assert str(caught.value) == (
        f"{directory}/archives.1/words: only word ids in this archive; "
        "expected a words.txt to read them with (--words)"
    )
    words.write_text("<eps> 0\nthe 1\n")
    with pytest.raises(FormatError) as caught:
        read_kaldi(directory, words_txt=words)
    assert str(caught.value) == (
        f"{directory}/archives.1/words: a-b-1: word id 2 is unknown; expected one of the 2 ids of words.txt"
    )


Breaker = Callable[[Path], object]


@pytest.mark.parametrize(
    ("breaking", "error", "message"),
    [
        (
            lambda root: (root / "num_jobs").write_text("3\n"),
            FormatError,
            "{root}: num_jobs and the archives disagree; expected archives.1 to archives.3; got archives.1,"
            " archives.2",
        ),
        (
            lambda root: (root / "num_jobs").write_text("two\n"),
            FormatError,
            "{root}/num_jobs:1: not a number of jobs; expected an integer; got 'two'",
        ),
        (
            lambda root: (root / "num_jobs").write_text("9" * 5000),
            FormatError,
            "{root}/num_jobs:1: not a number of jobs; expected an integer; "
            f"got '{'9' * 80}… (5000 characters)",
        ),
        (
            lambda root: (root / "num_jobs").write_text("999999999"),
            FormatError,
            "{root}: num_jobs and the archives disagree; expected archives.1 to archives.999999999; "
            "got archives.1, archives.2",
        ),
        (
            lambda root: (root / "archives.2" / "lmwt.rnn").unlink(),
            FeatureError,
            "{root}/archives.2: archives hold different features; expected ac, interp.0.5, lmonly, nolm, rnn,"
            " withlm as in archives.1; got ac, interp.0.5, lmonly, nolm, withlm",
        ),
        (
            lambda root: (root / "archives.2" / "acwt").write_text("z-2 1\n"),
            FormatError,
            "{root}/archives.2/acwt: the keys are not those of the hypotheses: it lacks z-1; expected 1 keys;"
            " got 1",
        ),
        (
            lambda root: (root / "archives.2" / "acwt").write_text("z-1 1\nz-2 1\n"),
            FormatError,
            "{root}/archives.2/acwt: the keys are not those of the hypotheses: it has z-2; expected 1"
            " keys; got 2",
        ),
        (
            lambda root: (root / "archives.2" / "acwt").write_text("z-1 1\nz-1 1\n"),
            FormatError,
            "{root}/archives.2/acwt: the keys are not those of the hypotheses: it repeats a key;"
            " expected 1 keys;"
            " got 2",
        ),
        (
            lambda root: (root / "archives.2" / "acwt").write_text("z-1 nan\n"),
            NonFiniteFeatureError,
            "{root}/archives.2/acwt:1: the value in acwt is not finite; expected a finite number; got 'nan'",
        ),
        (
            lambda root: (root / "archives.2" / "words_text").write_text("z-one only\n"),
            FormatError,
            "{root}/archives.2, hypothesis 1: the key is not an utterance and a rank; expected"
            " 'utterance-rank',"
            " ranks from 1; got 'z-one'",
        ),
        (
            lambda root: (
                shutil.copytree(root / "archives.2", root / "archives.3")
                and (root / "num_jobs").write_text("3")
            ),
            FormatError,
            "{root}/archives.3, hypothesis 1: key z-1 stands there twice; got before at {root}/archives.2,"
            " hypothesis 1",
        ),
        (
            lambda root: (
                (root / "archives.2" / "words_text").unlink() or (root / "archives.2" / "words").unlink()
            ),
            NotFoundError,
            "{root}/archives.2: no hypotheses in this archive; expected words_text or words",
        ),
        (
            lambda root: shutil.rmtree(root),
            NotFoundError,
            "{root}: no such directory",
        ),
        (
            lambda root: (
                [shutil.rmtree(root / f"archives.{k}") for k in (1, 2)] and (root / "num_jobs").unlink()
            ),
            FormatError,
            "{root}: no n-best directory; expected archives.1, archives.2, ...",
        ),
        (
            lambda root: [table.write_text("") for table in root.glob("archives.*/*")],
            FormatError,
            "{root}: no n-best list in it; expected utterance-rank keys; got none",
        ),
    ],
)
def test_broken_directories(
    directory: Path, breaking: Breaker, error: type[NbestError], message: str
) -> None:
    breaking(directory)
    with pytest.raises(error) as caught:
        if "key is not" in message or "twice" in message:
            read_kaldi(directory, columns=[])
        else:
            read_kaldi(directory)
    assert str(caught.value) == message.format(root=directory)


@pytest.mark.parametrize("key", ["z", "-1", "z-0", "z-", "z--x", "z-١", "z-1234567890"])
def test_keys_that_are_no_keys(directory: Path, key: str) -> None:
    (directory / "archives.2" / "words_text").write_text(f"{key} only\n")
    with pytest.raises(FormatError, match="hypothesis 1: the key is not an utterance and a rank"):
        read_kaldi(directory, columns=[])


def test_an_utterance_in_two_archives(directory: Path) -> None:
    (directory / "archives.2" / "words_text").write_text("a-b-3 only\n")
    with pytest.raises(FormatError) as caught:
        read_kaldi(directory, columns=[])
    assert str(caught.value) == (
        f"{directory}/archives.2, hypothesis 1: utterance a-b stands in two archives; expected"
        f" archives.1 only;"
        " got archives.2 too"
    )


def test_one_best_is_kaldis_text_file(directory: Path) -> None:
    lists = read_kaldi(directory)
    assert list(one_best_lines(lists, np.array([1, 2, 3]), "kaldi", lists.ids, [0, 0, 0])) == [
        "a-b first word",
        "a-c",
        "z only",
    ]


@pytest.mark.parametrize("part", ["dev", "test"])
def test_real_lists_are_those_of_the_json_file(shared: Path, part: str) -> None:
    folder = shared / "data" / "asr" / part
    lists = read_kaldi(folder / "kaldi_nbest")
    rows = [json.loads(line) for _, line in read_lines(folder / "nbest.jsonl.gz")]
    expected = {row["utt"]: row["nbest"] for row in rows}
    assert sorted(lists.ids) == sorted(utt for utt in expected if expected[utt])
    columns = {name: lists.feature(name)[:, 0] for name in ("ac", "lmonly", "nolm", "rnn")}
    for utterance, span in zip(lists.ids, lists, strict=True):
        nbest = expected[utterance]
        assert [lists.texts[row] for row in span] == [one["text"] for one in nbest]
        # The data's own description: the penalty went into the graph cost divided by the LM scale 9.5.
        for name, key in (("ac", "ac"), ("lmonly", "lm"), ("nolm", "pen"), ("rnn", "lm_new")):
            values = columns[name][span.start : span.stop] * (9.5 if name == "nolm" else 1)
            assert np.allclose(values, [one[key] for one in nbest], rtol=1e-5, atol=1e-4)


def test_real_ids_spell_the_real_words(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "asr"
    shutil.copytree(folder / "dev" / "kaldi_nbest" / "archives.4", tmp_path / "nbest" / "archives.1")
    expected = read_kaldi(tmp_path / "nbest", columns=["ac"])
    hidden = tmp_path / "nbest" / "archives.1" / "words_text"
    hidden.parent.chmod(0o755)
    hidden.unlink()
    lists = read_kaldi(tmp_path / "nbest", columns=["ac"], words_txt=folder / "lang" / "words.txt")
    assert lists.texts == expected.texts


def test_what_was_left_out_and_why(directory: Path) -> None:
    assert left_out(read_kaldi(directory)) == [
        ("lmwt.interp.0.5", "a mixture of others"),
        ("lmwt.withlm", "a sum; lmonly is read"),
    ]
    for archive in ("archives.1", "archives.2"):
        (directory / archive / "lmwt.nolm").write_text((directory / archive / "acwt").read_text())
    (directory / "archives.1" / "lmwt.nolm").write_text("a-b-1 0\na-b-2 0\na-c-1 0\n")
    (directory / "archives.2" / "lmwt.nolm").write_text("z-1 0\n")
    assert ("lmwt.nolm", "0 everywhere") in left_out(read_kaldi(directory))
    assert left_out(read_kaldi(directory, columns=["all"])) == []
