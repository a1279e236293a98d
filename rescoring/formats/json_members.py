"""The members of one large JSON object, one after the other: the file is never in memory as a whole."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from nbest.errors import FormatError, LimitError, shorten
from nbest.files import MAX_LINE_BYTES

_CHUNK = 1 << 16  # characters
_SPACE = re.compile(r"[ \t\r\n]*")
_REST_OF_NUMBER = re.compile(r"[0-9.eE+-]*")


def members(stream: IO[str], source: str) -> Iterator[tuple[str, Any]]:
    """Pairs (key, value) of the object that `stream` holds, and nothing beside it.

    Raises FormatError for what is no JSON object, a key that stands twice in an inner object, or a lone
    surrogate; LimitError for one value above MAX_LINE_BYTES. Keys of the outer object may repeat.
    """
    reader = _Reader(stream, source)
    reader.expect("{")
    if reader.peek() == "}":
        reader.expect("}")
    else:
        while True:
            key = reader.value()
            if not isinstance(key, str):
                raise reader.wrong("a key", shorten(repr(key)))
            reader.expect(":")
            yield key, reader.value()
            if reader.peek() != ",":
                break
            reader.expect(",")
        reader.expect("}")
    if reader.peek():
        raise reader.wrong("the end of the file after one object", shorten(reader.peek()))


class _Reader:
    """A window on the text, that grows until a value fits into it."""

    def __init__(self, stream: IO[str], source: str) -> None:
        self.stream, self.source = stream, source
        self.text, self.at, self.ended = "", 0, False
        self.key = ""
        self.decoder = json.JSONDecoder(object_pairs_hook=unique_keys)

    def wrong(self, expected: str, got: str) -> FormatError:
        return FormatError(
            "invalid JSON", where=f"{self.source}, after {shorten(self.key)}", expected=expected, got=got
        )

    def grow(self) -> bool:
        """More text, twice as much as there is; False where there is no more."""
        rest = self.text[self.at :]
        if len(rest) > MAX_LINE_BYTES:
            raise LimitError(
                "a value too long", where=self.source, expected=f"at most {MAX_LINE_BYTES} characters"
            )
        more = self.stream.read(max(_CHUNK, len(rest)))
        self.text, self.at = rest + more, 0
        self.ended = not more
        return bool(more)

    def peek(self) -> str:
        """The next character that is no white space; nothing at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.grow():
                return ""

    def expect(self, mark: str) -> None:
        found = self.peek()
        if found != mark:
            raise self.wrong(repr(mark), shorten(found) if found else "the end of the file")
        self.at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self.grow():
                    raise self.wrong("one JSON object", error.msg) from None
                continue
            except RecursionError:
                raise self.wrong("a value as documented", "one nested too deeply") from None
            except ValueError as error:
                raise self.wrong("one JSON object", str(error)) from None
            if _REST_OF_NUMBER.fullmatch(self.text, end) and self.grow():  # a number may go on
                continue
            if "\\u" in self.text[self.at : end]:
                _check_unicode(value, self)
            self.at = end
            self.key = value if isinstance(value, str) else self.key
            return value


def _check_unicode(value: object, reader: _Reader) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise reader.wrong("whole characters", "a lone surrogate") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON as a dict; raises ValueError for a key that stands twice."""
    built = dict(pairs)
    if len(built) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shorten(twice)} twice in one object")
    return built
