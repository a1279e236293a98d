import re
from collections.abc import Callable
from typing import Any

import pytest

from nbest.errors import FormatError
from nbest.strict_json import StrictJson, pointer

READ = StrictJson("w.json", FormatError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "w.json: a key stands twice in one object; expected each key once; got 'a'"),
        ('{"a": NaN}', "w.json: a number is not finite; expected finite numbers; got NaN"),
        ("[-Infinity]", "w.json: a number is not finite; expected finite numbers; got -Infinity"),
        ("{", "w.json: not JSON; expected JSON; got "),
        ("[" * 100_000, "w.json: not JSON; expected JSON; got "),
        ('{"\\ud800": 1}', r"w.json: a lone surrogate in a string; expected whole characters; got '\ud800'"),
        ("9" * 5000, "w.json: not JSON; expected JSON; got "),
    ],
)
def test_what_is_no_json(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=re.escape(message)):
        READ.parse(text)


@pytest.mark.parametrize(
    ("take", "content", "message"),
    [
        (READ.mapping, [], "w.json:/x: not an object; expected an object; got '[]'"),
        (READ.sequence, {}, "w.json:/x: not a list; expected a list; got '{}'"),
        (READ.string, "", "w.json:/x: not a string, or empty; expected a string; got "),
        (READ.string, 1, "w.json:/x: not a string, or empty; expected a string; got '1'"),
        (READ.boolean, 1, "w.json:/x: neither true nor false; expected true or false; got '1'"),
        (READ.integer, True, "w.json:/x: not an integer; expected an integer; got 'True'"),
        (READ.integer, 1.0, "w.json:/x: not an integer; expected an integer; got '1.0'"),
        (READ.number, True, "w.json:/x: not a number; expected a finite number; got 'True'"),
        (READ.number, "1", "w.json:/x: not a number; expected a finite number; got "),
        (READ.number, float("inf"), "w.json:/x: not a finite number; expected a finite number; got 'inf'"),
        (READ.number, 10**400, "w.json:/x: not a finite number; expected a finite number; got '1000"),
    ],
)
def test_what_is_refused(take: Callable[[Any, str], Any], content: Any, message: str) -> None:
    with pytest.raises(FormatError, match=re.escape(message)):
        take(content, "/x")


def test_what_is_taken() -> None:
    assert READ.number(3, "/x") == 3.0
    assert isinstance(READ.number(3, "/x"), float)
    assert READ.integer(3, "/x") == 3
    assert READ.boolean(False, "/x") is False
    assert READ.mapping({"a": 1}, "/x", {"a"}, ["b"]) == {"a": 1}


def test_keys() -> None:
    with pytest.raises(FormatError, match=r"w.json:/: 'b' is missing; expected the keys a, b; got"):
        READ.mapping({"a": 1}, "", {"a", "b"})
    with pytest.raises(FormatError, match=r"w.json:/x/c~1d: unknown key; expected one of a, b; got "):
        READ.mapping({"a": 1, "c/d": 1}, "/x", {"a"}, {"b"})


def test_pointers_escape() -> None:
    assert pointer("/features", "a/b~c") == "/features/a~1b~0c"
