import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FeatureError, FormatError, LimitError
from rescoring.formats import format_of, json_members, open_blocks, read_nbest, write_nbest, write_one_best
from rescoring.formats.json_members import members

ONE = {
    "utt-1": {
        "ref": "the weather",
        "hyp_1": {"score": -70.25, "text": "the whether"},
        "hyp_10": {"text": "a  weather", "score": -80},
        "hyp_2": {"text": "the weather", "score": -71.5, "am": -3.0},
    },
    "utt-2": {"ref": "x", "hyp_1": {"text": "", "score": -1e-07}, "speaker": "s"},
}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_hypotheses_come_by_their_number(tmp_path: Path) -> None:
    lists = read_nbest(write(tmp_path / "x.json", ONE))
    assert (format_of(lists), lists.ids) == ("mlm", ("utt-1", "utt-2"))
    assert lists.texts == ("the whether", "the weather", "a weather", "")
    assert lists.column_names == ("score",)
    assert lists.features[:, 0].tolist() == [-70.25, -71.5, -80, -1e-07]
    assert lists.references == (("the weather",), ("x",))


def test_written_again_nothing_is_lost(tmp_path: Path) -> None:
    lists = read_nbest(write(tmp_path / "x.json", ONE))
    write_nbest(lists, tmp_path / "out.json.gz")
    write_nbest(read_nbest(tmp_path / "out.json.gz"), tmp_path / "out.json")
    expected = json.loads(json.dumps(ONE))
    expected["utt-1"]["hyp_3"] = expected["utt-1"].pop("hyp_10")
    assert json.loads((tmp_path / "out.json").read_text()) == expected


def test_totals_are_the_scores_and_features_stay_readable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = read_nbest(write(tmp_path / "x.json", ONE)).with_feature("lm", np.array([-1.0, -2, -3, -4]))
    with caplog.at_level(logging.WARNING):
        write_nbest(lists, tmp_path / "out.json", totals=np.array([1.0, 2, 0, 5]))
    assert caplog.messages == [
        f"{tmp_path / 'out.json'}: the decoder's score is kept as the feature decoder_score"
    ]
    assert json.loads((tmp_path / "out.json").read_text())["utt-1"]["hyp_1"] == {
        "score": 2.0,
        "text": "the weather",
        "features": {"decoder_score": -71.5, "lm": -2.0},
        "am": -3.0,
    }
    again = read_nbest(tmp_path / "out.json")
    assert again.column_names == ("score", "decoder_score", "lm")
    assert again.features.tolist()[0] == [2.0, -71.5, -2.0]


def test_one_best(tmp_path: Path) -> None:
    lists = read_nbest(write(tmp_path / "x.json", ONE))
    write_one_best(lists, np.array([1, 3]), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "utt-1 the weather\nutt-2\n"


def test_pretty_and_in_one_line_block_by_block(tmp_path: Path) -> None:
    big = {f"u{k}": {"hyp_1": {"text": f"w {k}", "score": -k}} for k in range(1, 3000)}
    for indent in (None, 1):
        (tmp_path / "x").write_text(json.dumps(big, indent=indent))
        with open_blocks(tmp_path / "x", size=500) as blocks:
            sizes = [len(block) for block in blocks]
        assert sizes == [500, 500, 500, 500, 500, 499]
        whole = read_nbest(tmp_path / "x")
        assert whole.ids == tuple(big)
        assert whole.features[:, 0].tolist() == [-k for k in range(1, 3000)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"hyp_1": {"text": "x", "score": "-1"}}}', " /a/hyp_1/score: feature score is not a number"),
        ('{"a": {"hyp_1": {"text": "x"}}}', " /a/hyp_1/score: feature score is not a number"),
        ('{"a": {"hyp_1": {"text": "x", "score": NaN}}}', "feature score is not finite"),
        ('{"a": {"hyp_1": {"score": 1}}}', " /a/hyp_1/text: wrong type; expected a string; got nothing"),
        ('{"a": {"hyp_1": 1}}', " /a/hyp_1: wrong type; expected an object"),
        ('{"a": []}', " /a: wrong type; expected an object with hyp_1, hyp_2"),
        ('{"a": {"hyp_1": {"text": "x", "score": 1}}, "a": {}}', "utterance 'a' stands there twice"),
        ('{"a": {"hyp_1": {"text": "x", "score": 1}}', "expected '}'; got the end of the file"),
        ('{"a": {"hyp_1": {"text": "x", "score": 1}}} x', "expected the end of the file after one object"),
        ('{"a": {"hyp_1": {"text": "x", "score": 1, "score": 2}}}', "the key 'score' twice in one object"),
        ('{"a": {"hyp_1": {"text": "\\ud800", "score": 1}}}', "got a lone surrogate"),
        ("[]", "expected '{'; got '['"),
        ("{1: 2}", "x, after '': invalid JSON; expected a key; got '1'"),
        ('{"":{"hyp_1": {"text": "", "score": 1, "features": {"f": 1}},"hyp_2": {"text": "", "score": 0}}}',
         "other features than the first hypothesis"),
        ('{"a": {"ref": "r", "hyp_1": {"text": "x", "score": 1}}, "b": {"hyp_1": {"text": "x", "score": 1}}}',
         "some utterances have a ref and others none"),
        ('{"a": {}}', "no n-best list in it"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises((FormatError, FeatureError)) as caught:
        read_nbest(tmp_path / "x", "mlm")
    assert message in str(caught.value)


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 16])
def test_members_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(json_members, "_CHUNK", chunk)
    text = ' {"a": -12.5e3 , "b":[1,{"c":"}, \\u00e4"}],"d":"x" , "e": 123}\n'
    assert list(members(io.StringIO(text), "f")) == list(json.loads(text).items())
    assert list(members(io.StringIO(" { } "), "f")) == []


def test_a_value_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_members, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(json_members, "_CHUNK", 100)
    with pytest.raises(LimitError, match="f: a value too long; expected at most 1000 characters"):
        list(members(io.StringIO('{"a": "' + "x" * 10_000), "f"))


def test_real_lists(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "asr" / "test" / "espnet" / "test.am.json.gz"
    lists = read_nbest(path)
    kaldi = read_nbest(path.parents[1] / "kaldi_nbest")
    assert sorted(lists.ids) == sorted(kaldi.ids)
    assert len(lists.texts) == len(kaldi.texts)
    at = kaldi.ids.index(lists.ids[7])
    assert [lists.texts[row] for row in lists.rows(7)] == [kaldi.texts[row] for row in kaldi.rows(at)]
    write_nbest(lists, tmp_path / "out.json")
    again = read_nbest(tmp_path / "out.json")
    assert (again.ids, again.texts) == (lists.ids, lists.texts)
    assert np.array_equal(again.features, lists.features)
