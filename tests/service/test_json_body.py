import json
import math
import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import FormatError, LimitError
from service import json_body
from service.json_body import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty body"),
        (b" \n", "empty body"),
        (b'{"a": 1,\n "b": }', "body:2"),
        (b'{"a": "\xff"}', "invalid UTF-8"),
        (b'\n\n {"a": "\xff"}', "body:3"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON of ours"),
        ('{"a": 1}'.encode("utf-16"), "invalid UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": "x\ny"}', "control character"),
    ],
)
def test_bad_json_is_a_format_error(body: bytes, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_json(body)
    assert words in str(caught.value)


def test_non_finite_numbers_come_through_for_the_field_to_refuse() -> None:
    parsed = parse_json(b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": [1, 2.5]}')
    assert math.isnan(parsed["a"])
    assert (parsed["b"], parsed["c"], parsed["d"]) == (-math.inf, math.inf, [1, 2.5])


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=5)
)
def test_json_is_json(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(VALUES, st.sampled_from([None, 1]), st.integers(1, 40))
def test_pieces_read_what_the_standard_decoder_reads(value: object, indent: int | None, window: int) -> None:
    text = json.dumps(value, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_WINDOW", window)
        assert parse_json(text.encode()) == value


@given(VALUES, st.integers(1, 40), st.integers(0), st.sampled_from('[]{}",:0 x\\'))
def test_pieces_refuse_what_the_standard_decoder_refuses(
    value: object, window: int, place: int, sign: str
) -> None:
    text = json.dumps(value)
    place %= len(text)
    text = text[:place] + sign + text[place + 1 :]
    try:
        expected = parse_json(text.encode())
    except FormatError as error:
        expected = error
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_WINDOW", window)
        if isinstance(expected, FormatError):
            with pytest.raises(FormatError) as caught:
                parse_json(text.encode())
            assert caught.value.where == expected.where
        else:
            assert parse_json(text.encode()) == expected


def test_a_value_of_any_size_may_stand_anywhere() -> None:
    draw = random.Random(1)
    sizes = (10, 1000, 40_000, 90_000, 200_000)
    lists = [
        {"id": k, "text": "x," * draw.choice(sizes), "values": [1.5] * draw.choice(sizes)} for k in range(20)
    ]
    document = {"lists": lists, "options": {"top_k": 1}}
    assert parse_json(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" + b"[]," * 4_000_000 + b"[]]", "too many values"),
        (b"{" + b",".join(b'"%d":1' % k for k in range(30_000)) + b"}", "too many fields"),
    ],
    ids=["values", "fields"],
)
def test_more_than_any_request_needs_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(LimitError, match=words):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"lists": [' + b'"",' * 1_000_000 + b"1 1]}",
        b'{"lists": [[' + b"1," * 1_000_000 + b"]]}",
        b'{"a":' * 17 + b" " * 200_000 + b"1" + b"}" * 17,
        b"[" * 1_000_000,
    ],
    ids=["strings", "numbers", "levels", "brackets"],
)
def test_other_threads_run_while_a_large_body_is_refused(body: bytes) -> None:
    gaps, done = [0.0], threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not done.wait(0.001):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticking = threading.Thread(target=tick)
    ticking.start()
    began = time.perf_counter()
    with pytest.raises(FormatError):
        parse_json(body)
    whole = time.perf_counter() - began
    done.set()
    ticking.join()
    assert max(gaps) < max(0.5, whole / 4)  # some 20 ms on an idle core
