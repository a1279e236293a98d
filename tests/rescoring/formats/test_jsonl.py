import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, InputError, NbestError, NonFiniteFeatureError
from rescoring.formats import jsonl, one_best_lines
from rescoring.formats.jsonl import (
    JsonRecord,
    jsonl_lines,
    parse_list,
    read_jsonl,
)
from rescoring.formats.table import FORMATS
from rescoring.nbest import Feature, NbestLists


def write_jsonl(
    lists: NbestLists, path: Path, order: NDArray[np.int64], totals: NDArray[np.float64] | None = None
) -> None:
    with FORMATS["jsonl"].open(path) as write:
        write(lists, order, totals)


GOOD = '{"id": "g", "hypotheses": [{"text": "a", "features": {"ac": -1.5, "tm": [1, 2]}}]}'


def read(*lines: str) -> NbestLists:
    return read_jsonl(enumerate(lines, 1), "f")


def as_they_are(lists: NbestLists) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(len(lists.texts), dtype=np.int64)


def test_lists_with_references() -> None:
    lists = read(
        json.dumps(
            {
                "id": "utt-1",
                "hypotheses": [
                    {"text": "he  said", "features": {"ac": -213.6, "tm": [-5, -12.5]}},
                    {"features": {"tm": [1e-3, 0], "ac": 0}, "text": ""},
                ],
                "references": ["he said ", "she said"],
            }
        ),
        "",
        '{"id":"ü","hypotheses":[{"text":"x\\u00a0y","features":{"ac":1,"tm":[2,3]}}],"references":["z"]}',
    )
    assert lists.ids == ("utt-1", "ü")
    assert lists.offsets.tolist() == [0, 2, 3]
    assert lists.texts == ("he said", "", "x\u00a0y")
    assert lists.schema == (Feature("ac"), Feature("tm", 2))
    assert lists.features.tolist() == [[-213.6, -5, -12.5], [0, 1e-3, 0], [1, 2, 3]]
    assert lists.references == (("he said", "she said"), ("z",))
    assert lists.lines == (1, 1, 3)


def test_features_and_references_may_be_absent() -> None:
    lists = read('{"id": "a", "hypotheses": [{"text": "x"}, {"text": "y", "features": {}}]}')
    assert lists.schema == ()
    assert lists.features.shape == (2, 0)
    assert lists.references == ()


def test_other_keys_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    line = (
        '{"id": "a", "hypotheses": [{"text": "x  y", "features": {"ac": 1.0}, "score": 3.0, "start": [1]}],'
        ' "references": ["r"], "context": ["before"], "speaker": null}'
    )
    with caplog.at_level(logging.WARNING):
        lists = read(line)
    assert caplog.messages == ["f: keys without a meaning here are kept as they are: speaker, start"]
    assert list(jsonl_lines(lists, as_they_are(lists))) == [line]
    record = lists.records[0]
    assert isinstance(record, JsonRecord)
    assert record.text == "x  y"
    again = json.loads(next(jsonl_lines(lists, as_they_are(lists), np.array([7.5]))))
    assert again["hypotheses"][0]["score"] == 7.5


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        (
            "{",
            FormatError,
            "f:2: invalid JSON; expected one JSON object a line; got Expecting property name"
            " enclosed in double quotes at column 2",
        ),
        (
            '{"id": "x"} x',
            FormatError,
            "f:2: invalid JSON; expected one JSON object a line; got Extra data at column 13",
        ),
        (
            '{"id": "x", "id": "y"}',
            FormatError,
            "f:2: invalid JSON; expected one JSON object a line; got the key 'id' twice in one object",
        ),
        ("[" * 200_000, FormatError, "f:2: nested too deeply; expected a list as documented"),
        ("[]", FormatError, "f:2: wrong type; expected an object; got '[]'"),
        ("{}", FormatError, "f:2 /id: wrong type; expected a string; got nothing"),
        ('{"id": 7}', FormatError, "f:2 /id: wrong type; expected a string; got '7'"),
        ('{"id": ""}', FormatError, "f:2 /id: the list id is empty; expected a name"),
        ('{"id": "x"}', FormatError, "f:2 /hypotheses: wrong type; expected an array; got nothing"),
        (
            '{"id": "x", "hypotheses": {}}',
            FormatError,
            "f:2 /hypotheses: wrong type; expected an array; got '{}'",
        ),
        (
            '{"id": "x", "hypotheses": []}',
            FormatError,
            "f:2 /hypotheses: list without hypotheses; expected at least one",
        ),
        (
            '{"id": "x", "hypotheses": ["y"]}',
            FormatError,
            "f:2 /hypotheses/0: wrong type; expected an object; got '\"y\"'",
        ),
        (
            '{"id": "x", "hypotheses": [{}]}',
            FormatError,
            "f:2 /hypotheses/0/text: wrong type; expected a string; got nothing",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a\\nb"}]}',
            FormatError,
            "f:2 /hypotheses/0/text: a line break in a text; expected one line; got 'a\\nb'",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "\\ud800"}]}',
            FormatError,
            "f:2: a lone surrogate in a string; expected whole characters; got"
            ' \'{"id": "x", "hypotheses": [{"text": "\\\\ud800"}]}\'',
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": []}]}',
            FormatError,
            "f:2 /hypotheses/0/features: wrong type; expected an object; got '[]'",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a"}]}',
            FeatureError,
            "f:2 /hypotheses/0/features: other features than the first hypothesis; expected ac, tm; got none",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tn": [1, 2]}}]}',
            FeatureError,
            "f:2 /hypotheses/0/features: other features than the first hypothesis; expected ac, tm; got"
            " ac, tn",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 2], "x": 1}}]}',
            FeatureError,
            "f:2 /hypotheses/0/features: other features than the first hypothesis; expected ac, tm; got"
            " ac, tm, x",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1]}}]}',
            FeatureError,
            "f:2 /hypotheses/0/features/tm: feature tm has another number of values than in the first"
            " hypothesis;"
            " expected 2; got 1",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": true, "tm": [1, 2]}}]}',
            FormatError,
            "f:2 /hypotheses/0/features/ac: feature ac is not a number; expected a number; got 'true'",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, "2"]}}]}',
            FormatError,
            "f:2 /hypotheses/0/features/tm: feature tm is not a number; expected a number; got '\"2\"'",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": null, "tm": [1, 2]}}]}',
            FormatError,
            "f:2 /hypotheses/0/features/ac: feature ac is not a number; expected a number; got 'null'",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": NaN, "tm": [1, 2]}}]}',
            NonFiniteFeatureError,
            "f:2 /hypotheses/0/features/ac: feature ac is not finite; expected a finite number; got nan",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 1e999]}}]}',
            NonFiniteFeatureError,
            "f:2 /hypotheses/0/features/tm: feature tm is not finite; expected a finite number; got inf",
        ),
        (
            GOOD.replace('"g"', '"x"').replace("-1.5", "1" + "0" * 400),
            NonFiniteFeatureError,
            "f:2 /hypotheses/0/features/ac: feature ac is not finite; expected a finite number; got inf",
        ),
        (GOOD, FormatError, "f:2 /id: list id 'g' stands there twice; got before on line 1"),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 2]}}],'
            ' "references": []}',
            FormatError,
            "f:2 /references: no references in the array; expected at least one",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 2]}}],'
            ' "references": [1]}',
            FormatError,
            "f:2 /references/0: wrong type; expected a string; got '1'",
        ),
        (
            '{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 2]}}],'
            ' "references": ["r"]}',
            FormatError,
            "f:2 /references: some lists have references and others none; expected none, as on the lines"
            " before; got"
            " references",
        ),
    ],
)
def test_broken_lines(line: str, error: type[NbestError], message: str) -> None:
    with pytest.raises(error) as caught:
        read(GOOD, line)
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_pointers_are_escaped() -> None:
    with pytest.raises(NonFiniteFeatureError, match=r"^f:1 /hypotheses/0/features/a~1b~0c: "):
        read('{"id": "x", "hypotheses": [{"text": "a", "features": {"a/b~c": Infinity}}]}')
    with pytest.raises(FormatError) as caught:
        read('{"id": "x", "hypotheses": [{"text": "a", "features": {"": 1}}]}')
    assert (
        str(caught.value) == "f:1 /hypotheses/0/features: a feature without a name; expected a name; got ''"
    )
    with pytest.raises(FormatError) as caught:
        read('{"id": "x", "hypotheses": [{"text": "a", "features": {"v": []}}]}')
    assert str(caught.value) == "f:1 /hypotheses/0/features/v: a feature without values; got []"


def test_no_lines() -> None:
    with pytest.raises(FormatError) as caught:
        read("", " ")
    assert str(caught.value) == "f: no n-best list in it; expected a JSON object a line; got no lines"


def test_a_number_with_very_many_digits() -> None:
    with pytest.raises(FormatError, match=r"^f:1: invalid JSON; .* Exceeds the limit"):
        read(f'{{"id": "x", "hypotheses": [{{"text": "a", "features": {{"ac": {"1" * 9999}}}}}]}}')


def test_one_list_of_a_request() -> None:
    value: dict[str, Any] = {"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1}}]}
    one = parse_list(value, "/lists/57")
    assert (one.id, one.texts, one.schema, one.values.tolist()) == ("x", ("a",), (Feature("ac"),), [[1.0]])
    value["hypotheses"][0]["features"]["ac"] = float("nan")
    with pytest.raises(NonFiniteFeatureError) as caught:
        parse_list(value, "/lists/57")
    assert caught.value.where == "/lists/57/hypotheses/0/features/ac"
    with pytest.raises(FormatError) as wrong:
        parse_list([], "/lists/57")
    assert wrong.value.where == "/lists/57"


def test_the_best_stands_first() -> None:
    lists = read(
        '{"id": "a", "hypotheses": [{"text": "x"}, {"text": "y"}]}',
        '{"id": "b", "hypotheses": [{"text": "z"}]}',
    )
    assert list(jsonl_lines(lists, np.array([1, 0, 2]), np.array([1.0, 2.0, 3.0]))) == [
        '{"id": "a", "hypotheses": [{"text": "y", "features": {}, "score": 2.0},'
        ' {"text": "x", "features": {}, "score": 1.0}]}',
        '{"id": "b", "hypotheses": [{"text": "z", "features": {}, "score": 3.0}]}',
    ]
    assert list(one_best_lines(lists, np.array([1, 2]), "jsonl", lists.ids, [0, 0])) == [
        '{"id": "a", "text": "y"}',
        '{"id": "b", "text": "z"}',
    ]


NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r "), max_size=6)


@st.composite
def values(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(TEXT.filter(bool), max_size=3, unique=True))
    widths = [draw(st.integers(0, 2)) for _ in names]  # 0: a bare number
    ids = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=3, unique=True))
    with_references = draw(st.booleans())
    lists = []
    for list_id in ids:
        hypotheses = [
            {
                "text": draw(TEXT),
                "features": {
                    name: [draw(NUMBER) for _ in range(width)] if width > 1 else draw(NUMBER)
                    for name, width in zip(names, widths, strict=True)
                },
            }
            for _ in range(draw(st.integers(1, 3)))
        ]
        one: dict[str, Any] = {"id": list_id, "hypotheses": hypotheses}
        if with_references:
            one["references"] = draw(st.lists(TEXT, min_size=1, max_size=2))
        lists.append(one)
    return lists


@given(values())
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_written(content: list[dict[str, Any]]) -> None:
    lines = [json.dumps(one, ensure_ascii=False) for one in content]
    lists = read(*lines)
    assert list(jsonl_lines(lists, as_they_are(lists))) == lines
    assert [json.loads(line) for line in lines] == content


def test_written_whole(tmp_path: Path) -> None:
    lists = read(GOOD)
    write_jsonl(lists, tmp_path / "out.jsonl", as_they_are(lists))
    assert (tmp_path / "out.jsonl").read_text() == GOOD.replace("[1, 2]", "[1.0, 2.0]") + "\n"


_PLAIN: dict[str, Any] = {"text": "a  b ", "features": {"lm": -1.5, "tm": [0.5, 2.0], "one": [3.0]}}


@pytest.mark.parametrize(
    "second",
    [
        {},
        {"text": "a\nb"},
        {"text": 3},
        {"note": "kept"},
        {"features": {"lm": -1, "tm": [0.5, 2.0], "one": [3.0]}},
        {"features": {"tm": [0.5, 2.0], "one": [3.0], "lm": -2.5}},
        {"features": {"lm": -1.5, "tm": [0.5, 2.0], "one": 3.0}},
        {"features": {"lm": -1.5, "tm": [0.5], "one": [3.0]}},
        {"features": {"lm": [], "tm": [0.5, 2.0], "one": [3.0]}},
        {"features": {"lm": True, "tm": [0.5, 2.0], "one": [3.0]}},
        {"features": {"lm": float("nan"), "tm": [0.5, 2.0], "one": [3.0]}},
        {"features": {"lm": -1.5}},
        {"features": None},
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_read_at_once_is_what_is_read_one_by_one(
    second: dict[str, Any], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypotheses = [dict(_PLAIN), dict(_PLAIN)]
    hypotheses[place] |= second
    value = {"id": "u", "hypotheses": hypotheses}

    def read() -> object:
        try:
            found = parse_list(value, "/lists/0")
        except InputError as error:
            return type(error), str(error)
        return {**vars(found), "values": found.values.tolist()}

    at_once = read()
    monkeypatch.setattr(jsonl, "_plain", lambda *_: None)
    assert at_once == read()
