"""A body as strict JSON, read in pieces: however large it is, other threads get their turn.

The standard scanner holds the interpreter's lock until its value is whole. So it is given a window of
the text; a container that does not fit the window is walked entry by entry, each read in the same way.
"""

import json
import re
from collections import Counter
from json import JSONDecodeError
from typing import Any

from nbest.errors import FormatError, LimitError, shorten
from service.bodies import decode_text

_WINDOW = 128 * 1024  # characters: at most 64 thousand values, some 15 ms of the scanner
_MOST_VALUES = 6_000_000  # 32 MB of usual lists hold 2.5 million; 32 MB of [] would be 1 GB of objects
_MOST_LEVELS = 16  # of containers beyond a window; the values of a feature are on level 7
_MOST_FIELDS = 20_000  # of an object beyond a window; a weight set has at most 10,000
_SPACE = re.compile(r"[ \t\n\r]*")


def parse_json(body: bytes) -> Any:
    """Body as JSON; a key given twice in one object is an error, as is nesting without end.

    NaN, Infinity and 1e999 come through as non-finite floats: whoever knows the field can then say
    where they stood. Raises FormatError, LimitError.
    """
    if not body.strip():
        raise FormatError("empty body", expected="a JSON object")
    if sum(body.count(sign) for sign in (b",", b"[", b"{")) > _MOST_VALUES:
        raise LimitError("too many values in the body", expected=f"at most {_MOST_VALUES}")
    text = decode_text(body)
    try:
        if len(text) <= _WINDOW:
            return json.loads(text, object_pairs_hook=_unique_keys)
        return _Pieces(text).document()
    except JSONDecodeError as error:
        raise FormatError(
            f"body is not JSON: {error.msg}",
            where=f"body:{error.lineno}",
            expected="a JSON object",
            got=f"{shorten(text[error.pos : error.pos + 20])} at character {error.colno} of the line",
        ) from None
    except RecursionError:
        raise FormatError("body is not JSON of ours: nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise FormatError(f"body is not JSON of ours: {error}") from None


class _Pieces:
    """A text beyond one window; as `json.loads` reads it, which the tests compare."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._decode = json.JSONDecoder(object_pairs_hook=_unique_keys).raw_decode
        self._window, self._start = text[:_WINDOW], 0
        self._level = 0

    def document(self) -> Any:
        """The one value of the text."""
        value, end = self._value(self._skip(0))
        end = self._skip(end)
        if end < len(self._text):
            raise JSONDecodeError("Extra data", self._text, end)
        return value

    def _value(self, at: int) -> tuple[Any, int]:
        """The value that begins at `at`, and where it ends."""
        if self._text[at : at + 1] not in ("[", "{"):
            return self._decode(self._text, at)
        for start in dict.fromkeys((self._start, at)):
            if start != self._start:
                self._window, self._start = self._text[at : at + _WINDOW], at
            try:
                value, end = self._decode(self._window, at - start)
            except JSONDecodeError:
                continue  # cut by the window, or wrong: then the walk finds the place
            return value, start + end
        if self._level == _MOST_LEVELS:
            raise RecursionError
        self._level += 1
        found = self._walk(at)
        self._level -= 1
        return found

    def _walk(self, at: int) -> tuple[Any, int]:
        """The container that begins at `at`, entry by entry."""
        named = self._text[at] == "{"
        close = "}" if named else "]"
        keys: list[str] = []
        values: list[Any] = []
        at = self._skip(at + 1)
        while self._text[at : at + 1] != close or values:
            if named:
                if self._text[at : at + 1] != '"':
                    raise JSONDecodeError("Expecting property name enclosed in double quotes", self._text, at)
                if len(keys) == _MOST_FIELDS:
                    raise LimitError("too many fields in one object", expected=f"at most {_MOST_FIELDS}")
                key, at = self._decode(self._text, at)
                keys.append(key)
                at = self._after(":", at)
            value, at = self._value(at)
            values.append(value)
            at = self._skip(at)
            if self._text[at : at + 1] == close:
                break
            at = self._after(",", at)
        return (_unique_keys(list(zip(keys, values, strict=True))) if named else values), at + 1

    def _after(self, sign: str, at: int) -> int:
        at = self._skip(at)
        if self._text[at : at + 1] != sign:
            raise JSONDecodeError(f"Expecting {sign!r} delimiter", self._text, at)
        return self._skip(at + 1)

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        assert found is not None
        return found.end()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise FormatError(
            "a key stands twice in one JSON object", expected="each key once", got=shorten(twice)
        )
    return found
